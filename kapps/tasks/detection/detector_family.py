"""The R-CNN family side by side: the same scenes, the same trunk, and where the time of an image goes.

    kapps train detector_family --seeds 1

Data: generated scenes of up to five shapes and digits of 18 classes, 128x128 (`scene_boxes`): 300 to learn from, 100 to
be measured on. Trunk of all five: ResNet-18 up to its second stage, a map of 128 channels with a stride of 8. As the
papers' trunks come from ImageNet, this one first learns to tell pieces of 1,500 further scenes apart, each with one
object in it, of which it is told the class and not the place; all five start from these weights. It is the fairer way
of two: the trunk that Faster R-CNN learned would be one that was made for one of the five.

    detector            what learns behind the trunk, and whether the trunk itself does
    R-CNN               fine-tuned on proposals; support vector machines, ridge regression
    SPP-net             the trunk stays; support vector machines and ridge regression on a pyramid of 3, 2 and 1 bins
    Fast R-CNN          all of it at once; 5x5 bins, two dense layers of 256
    ... with SVD        the same, its dense layers then cut to their 64 and 32 largest singular values
    Faster R-CNN        all of it at once, its proposals as well; behind them the layers of Fast R-CNN

Time of an image: that of scenes of 375x500 pixels, the size of Pascal VOC's photos, with 2,000 proposals as in the
papers; selective search finds fewer in most scenes, and boxes drawn by lot fill them up. Sides are the papers' by 0.32:
regions of 72 pixels for 227, images whose shorter side is 192 for 600. The regions that R-CNN sees have 211 times the
pixels of the image that the others see, in the papers 215 times. That is what its speed is lost by, so a ratio of
speeds hangs on the number of proposals and on these two sides; how near it comes to 211 hangs on what each region
costs behind the map, which the others do not share: pooling, dense layers, suppression.

Every run measures both sides of its ratios in turn, image by image: R-CNN's features of the same proposals, and
selective search. Of R-CNN the features alone are counted against a detector's features and classification, so that no
ratio is too large. Faster R-CNN takes 300 proposals of its own, as in its paper, and the layers for them are all that
its proposals cost, as it has the map anyway.

Disk: what lies there when training ends, proposals of selective search and checkpoints. Features of regions do not:
they are computed anew where the authors of R-CNN and SPP-net stored them; what that would take is told beside it.

Papers: Girshick, Donahue, Darrell, Malik: "Rich feature hierarchies", CVPR 2014; He, Zhang, Ren, Sun: "Spatial pyramid
pooling", ECCV 2014; Girshick: "Fast R-CNN", ICCV 2015, table 4 (the ratios); Ren, He, Girshick, Sun: "Faster R-CNN",
NIPS 2015, table 4 (the cost of proposals).

Deviation: SPP-net looks at one scale, as the others do, which its paper measures beside five (table 9 there).
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.data.boxes import BoxDataset, load_boxes
from kapps.data.scenes import CLASS_NAMES, make_scene
from kapps.tasks.detection import rcnn
from kapps.tasks.detection.create import create_detector
from kapps.tasks.detection.detector import as_found
from kapps.tasks.detection.faster_rcnn import box_head, inner_tensors, prepare
from kapps.tasks.detection.network_detector import NetworkDetector
from kapps.tasks.detection.proposals import Propose, proposer
from kapps.tasks.detection.region_detector import mean_colour, normalised
from kapps.tasks.detection.selective_search import selective_search
from kapps.tasks.detection.warping import warp_regions
from kapps.tasks.experiments import Experiment
from kapps.training.optimizers import make_optimizer
from kapps.training.recipe import OptimizerSpec, ScheduleSpec

CASES = ("R-CNN", "SPP-net", "Fast R-CNN", "Fast R-CNN with SVD", "Faster R-CNN")
STAGES = ("proposals", "features", "classification")

_BACKBONE, _FEATURE = "resnet18", "stage2"
_REGION = 72  # side of R-CNN's regions
_SHORTER, _LONGER = 192, 320  # sides of the image for the others
_UNITS, _BINS = 256, 5
_RANKS = {"box_fc6": 64, "box_fc7": 32}  # singular values that the dense layers keep

# Of the scenes that are timed; 0 to 2 are those of the built-in sets.
_TIMED_SEED = 4


_BYTES_A_NUMBER = 4
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Plan:
    """How much is learned and measured.

    Attributes:
        train: scenes to learn from.
        test: scenes that average precision is measured on.
        trunk_scenes: further scenes whose objects the trunk learns from.
        views: pieces of each of these objects.
        trunk_epochs: over all of these pieces.
        tuning_steps: of R-CNN's fine-tuning, 128 regions each.
        fast_epochs: of Fast R-CNN, two images a step.
        faster_epochs: of Faster R-CNN, likewise.
        timed: images that are timed, after one that is not.
        timed_size: their height and width.
        proposals: of each of them.
    """

    train: int = 300
    test: int = 100
    trunk_scenes: int = 1500
    views: int = 3
    trunk_epochs: int = 6
    tuning_steps: int = 60
    fast_epochs: int = 6
    faster_epochs: int = 7
    timed: int = 4
    timed_size: tuple[int, int] = (375, 500)
    proposals: int = 2000


@dataclass(frozen=True, eq=False)
class Trunk:
    """What all five start from.

    Attributes:
        weights: name of a layer -> its weights.
        accuracy: share of pieces of other scenes that it names rightly.
        seconds: of its learning.
    """

    weights: dict[str, list[np.ndarray]]
    accuracy: float
    seconds: float


def run(
    case: str,
    seed: int,
    *,
    data_dir: Path | None,
    folder: Path,
    report: Callable[[str], None],
    plan: Plan = Plan(),
) -> dict[str, Any]:
    """Train and time one of the family; `value` is AP50 on the test scenes.

    Args:
        case: of `CASES`.
        plan: how much of all.
    """
    trunk = pretrained(seed, plan)
    report(f"trunk: {100 * trunk.accuracy:.1f} % of the pieces named rightly after {trunk.seconds:.0f} s")
    keras.utils.set_random_seed(seed)  # whether the trunk was learned in this run or in one before
    splits = f"train[:{plan.train}]", f"test[:{plan.test}]"
    train, test = (in_memory(load_boxes("scene_boxes", split)) for split in splits)
    detector = make(case, trunk.weights, plan)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        own = Counted(proposer(detector.config, Path(place) / "proposals")) if case != "Faster R-CNN" else None
        if own is not None:
            detector.propose = own
        begun = time.perf_counter()
        detector.fit(train, seed=seed, folder=Path(place) / "training", progress=False, **learning(case, plan))
        took = time.perf_counter() - begun
        disk = disk_megabytes(Path(place))
    report(f"trained in {took:.0f} s")
    if own is not None:
        detector.propose = proposer(detector.config)  # no cache: what is timed is the search
    if case == "Fast R-CNN with SVD":
        detector = detector.compressed(_RANKS)
    figures = detector.evaluate(test)
    report(f"AP50 {figures['AP50']:.3f}, AP {figures['AP']:.3f}")
    rows = time_stages(case, detector, make("R-CNN", trunk.weights, plan), plan)
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    parts: dict[str, float] = {
        **{stage: medians[stage] for stage in STAGES},
        **ratios(case, medians),
        "training seconds": took,
        "disk, MB": disk,
        "AP": figures["AP"],
        "trunk's accuracy": trunk.accuracy,
        "trunk's training seconds": trunk.seconds,
    }
    if own is not None:
        parts["proposals of a training image"] = own.boxes / max(own.images, 1)
        parts["features if stored, MB"] = stored_megabytes(case, detector, own.boxes)
    return {"value": figures["AP50"], "parts": parts, "timings": rows}


# What is measured -----------------------------------------------------------------------------------------------------


class Counted:
    """Proposals as another source gives them, counted.

    Attributes:
        images: how many were asked about.
        boxes: how many were given in all.
    """

    def __init__(self, propose: Propose):
        self.propose = propose
        self.images = self.boxes = 0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        found = self.propose(image)
        self.images += 1
        self.boxes += len(found)
        return found


def disk_megabytes(folder: Path) -> float:
    """Millions of bytes in all files under a folder; 0 where it is not there."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / _MEGABYTE


def stored_megabytes(case: str, detector: Any, regions: int) -> float:
    """Millions of bytes that the features of so many regions take, both for classes and for boxes; 0 where a detector
    learns without two passes over its regions."""
    if case not in ("R-CNN", "SPP-net"):
        return 0.0
    numbers = sum(detector.network.output[kind].shape[-1] for kind in ("features", "box_features"))
    return regions * numbers * _BYTES_A_NUMBER / _MEGABYTE


def ratios(case: str, seconds: Mapping[str, float]) -> dict[str, float]:
    """How many times faster than R-CNN, and than selective search where a detector proposes by itself.

    Args:
        case: of `CASES`; R-CNN has no ratio to itself.
        seconds: of an image, as `time_stages` names them.
    """
    if case == "R-CNN":
        return {}
    behind = seconds["features"] + seconds["classification"]
    found = {
        "times R-CNN's speed without proposals": seconds["R-CNN's features"] / behind,
        "times R-CNN's speed": (seconds["selective search"] + seconds["R-CNN's features"])
        / (seconds["proposals"] + behind),
    }
    if case == "Faster R-CNN":
        found["times selective search's speed"] = seconds["selective search"] / seconds["proposals"]
    return found


def time_stages(case: str, detector: Any, yardstick: Any, plan: Plan) -> list[dict[str, float]]:
    """Seconds of each timed image: `STAGES` of the detector, and in turn with them `selective search` and `R-CNN's
    features`, which for R-CNN are its own two.

    Args:
        case: of `CASES`.
        detector: the trained one.
        yardstick: an R-CNN; what it has learned does not change its time.
        plan: says of how many images, of which size and with how many proposals.
    """
    images = [
        make_scene(_TIMED_SEED, number, plan.timed_size, num_objects=(2, 5)).image for number in range(plan.timed + 1)
    ]
    timed: Any = detector
    if case == "Faster R-CNN":
        timed = StagedFasterRCNN(detector)
    else:
        detector.propose = lambda image: searched(image, plan.proposals)
    for _ in range(2):  # the first call builds the graphs, and TensorFlow makes the second one's faster
        timed.find(images[0])
    if case != "R-CNN":
        yardstick.describe(images[0], searched(images[0], rcnn._AT_ONCE))
    rows = []
    for image in images[1:]:
        timed.find(image)
        row = {stage: timed.timings[stage] for stage in STAGES}
        begun = time.perf_counter()
        boxes = searched(image, plan.proposals)
        found = time.perf_counter()
        if case != "R-CNN":
            yardstick.describe(image, boxes)
        described = time.perf_counter()
        if case == "R-CNN":
            row |= {"selective search": row["proposals"], "R-CNN's features": row["features"]}
        else:
            row |= {"selective search": found - begun, "R-CNN's features": described - found}
        rows.append(row)
    return rows


def searched(image: np.ndarray, count: int) -> np.ndarray:
    """float32 [count, 4], `"xyxy"`: what selective search finds in an image, and boxes by lot up to `count`."""
    return filled(selective_search(image, "fast", count, longest_side=500), count, image.shape[:2])


def filled(boxes: np.ndarray, count: int, size: Sequence[int]) -> np.ndarray:
    """Boxes [N, 4], `"xyxy"`, and others by lot, at least 8 pixels wide and high where the image is: float32
    [count, 4], N being at most `count`. The same numbers give the same boxes.

    Args:
        boxes: those that there are.
        count: those that there should be.
        size: height and width of the image.
    """
    rng = np.random.default_rng(0)
    limits = np.array(size[::-1], np.float64)
    sides = rng.uniform(np.minimum(8, limits), limits, (count - len(boxes), 2))
    corners = rng.uniform(0, 1, sides.shape) * (limits - sides)
    return np.concatenate([boxes.reshape(-1, 4), np.concatenate([corners, corners + sides], axis=1)]).astype(np.float32)


class StagedFasterRCNN:
    """Faster R-CNN in three pieces that are waited for one after the other, so that each can be timed.

    Features are the map; proposals what is computed of it until there are boxes; classification is the rest. The answer
    is that of the detector.

    Args:
        detector: a Faster R-CNN without a pyramid.

    Attributes:
        timings: of the last `find`, in seconds: `proposals`, `features` and `classification`.
    """

    def __init__(self, detector: NetworkDetector):
        self.network, self.config = detector.network, detector.config
        self.timings: dict[str, float] = {}

    def find(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """As `kapps.tasks.detection.detector.Detector.find`."""
        begun = time.perf_counter()
        maps, pixels, size = self._features(tf.convert_to_tensor(image))
        maps.numpy()  # waits until it is there
        described = time.perf_counter()
        boxes, counts = self._proposals(maps, pixels, size)
        boxes.numpy()
        proposed = time.perf_counter()
        found = as_found(self._classification(maps, boxes, counts, size))
        scale = np.tile(size[0].numpy()[::-1] / np.array(image.shape[1::-1], np.float32), 2)
        found["boxes"] = found["boxes"] / scale
        self.timings = {
            "proposals": proposed - described,
            "features": described - begun,
            "classification": time.perf_counter() - proposed,
        }
        return found

    @cached_property
    def _features(self) -> Callable[[tf.Tensor], Any]:
        """From an image uint8 [H, W, 3] to its map, the pixels that it is made of, and height and width in them."""
        image = next(each for each in self.network.inputs if each.name == "image")
        (maps,) = inner_tensors(self.network)["maps"]
        network = keras.Model(image, maps)

        @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
        def features(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            pixels, size = prepare(self.config, image)
            return network(pixels[None], training=False), pixels[None], size[None]

        return features

    @cached_property
    def _proposals(self) -> Callable[..., Any]:
        """From these three to boxes [1, N, 4] and how many there are, [1]."""
        inner = inner_tensors(self.network)
        network = keras.Model(inner["maps"][0], [*inner["scores"], *inner["deltas"]])
        layer = self.network.get_layer("proposals")

        @tf.function(reduce_retracing=True)
        def proposals(maps: tf.Tensor, pixels: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            scores, deltas = network(maps, training=False)
            boxes, _, counts = layer([scores], [deltas], pixels, size)
            return boxes, counts

        return proposals

    @cached_property
    def _classification(self) -> Callable[..., dict[str, tf.Tensor]]:
        """From map and boxes to the answer of `kapps.layers.detections.Detections` for one image."""
        regions, detections = (self.network.get_layer(name) for name in ("regions", "detections"))
        head = box_head(self.network)

        @tf.function(reduce_retracing=True)
        def classification(
            maps: tf.Tensor, boxes: tf.Tensor, counts: tf.Tensor, size: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            scores, deltas = head(regions([maps], boxes), training=False)
            return {name: value[0] for name, value in detections(scores, deltas, boxes, counts, size).items()}

        return classification


# What learns ----------------------------------------------------------------------------------------------------------


@cache
def pretrained(seed: int, plan: Plan) -> Trunk:
    """The trunk, which has learned to name pieces of scenes; a function of its arguments alone."""
    keras.utils.set_random_seed(seed)
    begun = time.perf_counter()
    last = plan.train + plan.trunk_scenes
    pieces, labels = pieces_of(load_boxes("scene_boxes", f"train[{plan.train}:{last}]"), plan.views, seed)
    config = rcnn.RCNNConfig(backbone=_BACKBONE, feature=_FEATURE, box_feature=_FEATURE, input_size=_REGION)
    network = rcnn.build(config, len(CLASS_NAMES))
    learner = keras.Model(network.inputs[0], network.output["scores"])
    steps = -(-len(pieces) // 32)
    learner.compile(
        optimizer=optimizer(1e-3, plan.trunk_epochs, steps),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )

    def batches(pieces: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
        data = tf.data.Dataset.from_tensor_slices((pieces, labels)).shuffle(len(pieces), seed=seed).batch(32)
        return data.map(lambda pixels, labels: (normalised(config, pixels), labels)).prefetch(1)

    learner.fit(batches(pieces, labels), epochs=plan.trunk_epochs, shuffle=False, verbose=0)
    seconds = time.perf_counter() - begun
    others = load_boxes("scene_boxes", f"validation[:{plan.test}]")
    _, accuracy = learner.evaluate(batches(*pieces_of(others, 1, seed)), verbose=0)
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights and layer.name != "scores"}
    return Trunk(weights, float(accuracy), seconds)


def pieces_of(dataset: BoxDataset, views: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of images with one of the objects whole in each, the object being all of it or at least two fifths of each
    side, wherever in it.

    Args:
        dataset: images with boxes.
        views: pieces of each object.
        seed: of the pieces.

    Returns:
        uint8 [N, s, s, 3], warped as R-CNN's regions, and int32 [N], the objects' classes.
    """
    rng = np.random.default_rng(seed)
    pieces, labels = [], []
    fill = mean_colour(rcnn.RCNNConfig())
    for image, targets in dataset.examples.as_numpy_iterator():
        boxes, classes = (np.repeat(targets[key], views, axis=0) for key in ("boxes", "classes"))
        if not len(boxes):
            continue
        margins = rng.uniform(0, 0.75, (len(boxes), 1)) * (boxes[:, 2:] - boxes[:, :2])
        moves = rng.uniform(-1, 1, margins.shape) * margins
        around = np.concatenate([boxes[:, :2] - margins + moves, boxes[:, 2:] + margins + moves], axis=1)
        warped = warp_regions(image, around, _REGION, context=0, fill=fill)
        pieces.append(np.asarray(warped).round().astype(np.uint8))
        labels.append(classes)
    return np.concatenate(pieces), np.concatenate(labels).astype(np.int32)


def in_memory(dataset: BoxDataset) -> BoxDataset:
    """The same data set, its images drawn once and then held."""
    held: dict[str, Any] = {"records": dataset.examples.cache(), "decode": None}
    return dataclasses.replace(dataset, **held)


def make(case: str, weights: Mapping[str, list[np.ndarray]], plan: Plan) -> Any:
    """An untrained detector with the trunk's weights.

    Args:
        case: of `CASES`.
        weights: name of a layer -> its weights.
        plan: says how many proposals there are at most.
    """
    searching = {"feature": _FEATURE, "proposals": "fast", "max_proposals": plan.proposals}
    machines = {**searching, "svm_strength": 0.01, "regression_strength": 100.0, "score_threshold": 0.25}
    image = {"shorter_side": _SHORTER, "longer_side": _LONGER}
    dense = {
        **searching,
        **image,
        "region_size": _BINS,
        "units": _UNITS,
        "own_layers": False,
        "background_iou": 0.0,  # else empty scenes could not be learned from
        "flip": False,  # mirrored digits are none
    }
    name, config = {
        "R-CNN": (
            "rcnn",
            {**machines, "box_feature": _FEATURE, "input_size": _REGION, "context": 5, "dropout_rate": 0.0},
        ),
        "SPP-net": (
            "sppnet",
            {**machines, "levels": (3, 2, 1), "scales": (_SHORTER,), "longer_side": _LONGER, "own_layers": False},
        ),
        "Fast R-CNN": ("fast_rcnn", dense),
        "Fast R-CNN with SVD": ("fast_rcnn", dense),
        "Faster R-CNN": (
            "faster_rcnn_resnet18_fpn",
            {
                **image,
                "features": (_FEATURE,),
                "frozen": "",
                "anchor_sizes": ((24, 36, 54, 81),),
                "proposals_before": 1000,
                "proposals_after": 300,
                "training_proposals": 1000,
                "anchors_per_image": 128,
                "regions_per_image": 64,
                "region_size": _BINS,
                "units": _UNITS,
            },
        ),
    }[case]
    detector = create_detector(name, classes=CLASS_NAMES, backbone=_BACKBONE, config=config)
    for layer, values in weights.items():
        detector.network.get_layer(layer).set_weights(values)
    return detector


def learning(case: str, plan: Plan) -> dict[str, Any]:
    """What `fit` of each detector is given."""
    steps = max(1, plan.train // 2)
    return {
        "R-CNN": {"epochs": 1, "steps": plan.tuning_steps, "optimizer": optimizer(5e-4, 1, plan.tuning_steps)},
        "SPP-net": {"epochs": 0},  # nothing behind its pyramid would learn but the scores, which nobody reads
        "Fast R-CNN": {"epochs": plan.fast_epochs, "optimizer": optimizer(5e-4, plan.fast_epochs, steps)},
        "Fast R-CNN with SVD": {"epochs": plan.fast_epochs, "optimizer": optimizer(5e-4, plan.fast_epochs, steps)},
        "Faster R-CNN": {"epochs": plan.faster_epochs, "optimizer": optimizer(5e-4, plan.faster_epochs, steps)},
    }[case]


def optimizer(rate: float, epochs: int, steps: int) -> keras.optimizers.Optimizer:
    """AdamW, its rate up to `rate` and down again."""
    spec = OptimizerSpec("adamw", learning_rate=rate, weight_decay=0.05, clipnorm=10.0)
    return make_optimizer(spec, ScheduleSpec("one_cycle", warmup=0.15), epochs=epochs, steps_per_epoch=steps)


EXPERIMENT = Experiment(
    title="The R-CNN family on one trunk and one set (generated scenes)",
    question="What did each step from R-CNN to Faster R-CNN win, in time and in precision, if all else is the same?",
    claim="Without proposals SPP-net is at least 20 times as fast as R-CNN, Fast R-CNN 98 times, with SVD 169 times, "
    "without loss; and Faster R-CNN's proposals cost a fiftieth of selective search.",
    finding="In part. Without proposals SPP-net is 46 times as fast as R-CNN, Fast R-CNN 60 times, with SVD 84 times "
    "(two points less precise), Faster R-CNN 141 times; its proposals cost a 228th of selective search. Fast "
    "R-CNN misses 98 and 169 because, of its 49 ms an image, only 14 are the map that R-CNN's regions compute "
    "211 times over: 35 go into pooling, dense layers and suppression of 2,000 proposals, which a network "
    "this small does not dwarf. R-CNN is the least precise by far.",
    metric="AP50",
    cases=CASES,
    run=run,
    data="generated scenes",
)
