"""What the explanations reach on trained networks and real images. Each test prints its figures: `pytest -s -m slow`.

LeNet-5 of `saved_models`, on MNIST; SqueezeNet 1.0 with its ImageNet weights, on photographs of 120 classes. The
photographs and weights are in the shared data folder, and the tests are skipped where that is absent.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kapps
from kapps.data.scenes import make_scene
from kapps.explaining import attribute
from kapps.explaining.attribution import Attribution
from kapps.explaining.grad_cam import grad_cam
from kapps.explaining.integrated_gradients import integrated_gradients
from kapps.explaining.sanity import (
    copied,
    deletion_and_insertion,
    randomisation,
    shuffle_weights,
    weighted_layers,
)

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[2]
SIDE, MEAN_BGR = 227, np.array([104, 117, 123], np.float32)
BLACK = -MEAN_BGR


def network_input(pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB -> float32 BGR without the mean, as SqueezeNet's weights want it."""
    return pixels[..., ::-1].astype(np.float32) - MEAN_BGR


def middle(path: Path) -> np.ndarray:
    """Short side 256, the middle 227x227, uint8 RGB."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize([max(256, round(length * scale)) for length in image.size], Image.Resampling.BILINEAR)
    left, top = ((length - SIDE) // 2 for length in image.size)
    return np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))


@pytest.fixture(scope="module")
def squeezenet(shared_dir):
    weights = shared_dir / "weights" / "squeezenet1_0.caffe_in1k.safetensors"
    if not weights.exists():
        pytest.skip(f"needs {weights.name}")
    return kapps.create_model("squeezenet1_0", input_shape=(SIDE, SIDE, 3), weights=weights)


@pytest.fixture(scope="module")
def photos(shared_dir):
    """(file, class number) of each photograph."""
    folder = shared_dir / "data" / "imagenet_samples"
    if not folder.is_dir():
        pytest.skip("needs imagenet_samples")
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return [(folder / row["file"], int(row["index"])) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def scenes(photos):
    """Each photograph on a generated texture, at a random place, its longer side 0.35 to 0.75 of the image's:
    (network input, class number, (top, left, bottom, right)).
    """
    random = np.random.default_rng(0)
    made = []
    for number, (file, label) in enumerate(photos):
        canvas = make_scene(7, number, (SIDE, SIDE), num_objects=(0, 0)).image.copy()
        with Image.open(file) as opened:
            photo = opened.convert("RGB")
        scale = int(random.uniform(0.35, 0.75) * SIDE) / max(photo.size)
        width, height = (max(1, round(length * scale)) for length in photo.size)
        top, left = int(random.integers(0, SIDE - height + 1)), int(random.integers(0, SIDE - width + 1))
        canvas[top : top + height, left : left + width] = photo.resize((width, height), Image.Resampling.BILINEAR)
        made.append((network_input(canvas), label, (top, left, top + height, left + width)))
    return made


def share_of_hits(model, scenes) -> float:
    """How often the peak of the class' Grad-CAM lies in its box; of several equal peaks one is drawn."""
    random = np.random.default_rng(1)
    hits = []
    for image, label, (top, left, bottom, right) in scenes:
        map_ = grad_cam(model, image, target=label).map
        peaks = np.argwhere(map_ == map_.max())
        row, column = peaks[random.integers(len(peaks))]
        hits.append(top <= row < bottom and left <= column < right)
    return float(np.mean(hits))


def box_share(scenes) -> float:
    return float(np.mean([(bottom - top) * (right - left) for _, _, (top, left, bottom, right) in scenes]) / SIDE**2)


def deltas(model, images, **options) -> np.ndarray:
    found = [integrated_gradients(model, image, steps=50, **options).details for image in images]
    return np.array([details["completeness_delta"] for details in found])


def told(name: str, values: np.ndarray) -> None:
    quantiles = ", ".join(f"{share:.0%}: {np.quantile(values, share):.3%}" for share in (0.5, 0.9, 1))
    print(f"\n{name}: {len(values)} images, {quantiles}, under 1 %: {(values < 0.01).mean():.0%}")


def test_integrated_gradients_of_lenet_add_up(shared_dir):
    datasets = pytest.importorskip("tensorflow_datasets")
    data = datasets.load("mnist", split="test[:100]", data_dir=str(shared_dir / "data" / "tfds"))
    predictor = kapps.load(REPO / "saved_models" / "mnist_lenet5", engine="tensorflow")
    images = predictor.preprocess(np.stack([example["image"] for example in datasets.as_numpy(data)]))
    adaptive, fixed = (deltas(predictor, images, rule=rule) for rule in ("adaptive", "gauss-legendre"))
    told("LeNet-5, adaptive", adaptive)
    told("LeNet-5, Gauss-Legendre", fixed)
    assert adaptive.max() < 0.01
    assert np.median(fixed) > 5 * np.median(adaptive)


def test_the_peak_of_grad_cam_lies_on_the_thing(squeezenet, scenes):
    hits, chance = share_of_hits(squeezenet, scenes), box_share(scenes)
    print(f"\npointing game: {len(scenes)} scenes, hits {hits:.1%}, boxes {chance:.1%} of the image")
    assert hits >= 0.8


def test_with_random_weights_the_peak_lies_anywhere(squeezenet, scenes):
    scenes = scenes[::2]
    shares = []
    for seed in range(3):
        copy, random = copied(squeezenet), np.random.default_rng(seed)
        for _, layer in weighted_layers(copy):
            shuffle_weights(layer, random)
        shares.append(share_of_hits(copy, scenes))
    chance = box_share(scenes)
    # three times 60 scenes: three standard deviations of chance are 10 points
    print(f"\npointing game, random weights: hits {shares}, boxes {chance:.1%} of the image")
    assert abs(np.mean(shares) - chance) < 3 * np.sqrt(chance * (1 - chance) / (3 * len(scenes)))


def test_randomised_layers_change_maps_and_guided_backpropagation_least(squeezenet, photos):
    """Adebayo et al., figure 2: the gradient and Grad-CAM forget with the weights, guided backpropagation lags."""
    left = {}
    for method in ("saliency", "grad_cam", "guided_backpropagation"):
        options = {"feature": "fire9"} if method == "grad_cam" else {}
        rows = [
            randomisation(squeezenet, network_input(middle(file)), method=method, seed=seed, options=options)
            for seed, (file, _) in enumerate(photos[:2])
        ]
        left[method] = np.mean([[row.magnitude for row in image] for image in rows], axis=0)
        print(f"\n{method}: {np.round(left[method], 2).tolist()}")
    assert left["grad_cam"][-1] < 0.3
    assert left["saliency"][-1] < 0.6
    assert left["guided_backpropagation"][:6].mean() > left["grad_cam"][:6].mean()


def test_deletion_and_insertion_prefer_grad_cam_to_noise(squeezenet, photos):
    random = np.random.default_rng(0)
    areas = {"grad_cam": [], "noise": []}
    for file, label in photos[::12]:
        image = network_input(middle(file))
        noise = Attribution(random.normal(size=(SIDE, SIDE)).astype(np.float32), "noise", label, 0.0, False)
        for name, map_ in (
            ("grad_cam", attribute(squeezenet, image, method="grad_cam", target=label)),
            ("noise", noise),
        ):
            curves = deletion_and_insertion(squeezenet, image, map_, steps=20, baseline=BLACK)
            areas[name].append((curves.deletion_area, curves.insertion_area))
    means = {name: np.mean(values, axis=0) for name, values in areas.items()}
    print("\n(deletion, insertion) areas:", {name: values.round(3).tolist() for name, values in means.items()})
    assert means["grad_cam"][1] > 1.5 * means["noise"][1]
