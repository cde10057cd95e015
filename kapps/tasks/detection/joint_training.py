"""One step of Faster R-CNN's learning: proposals and boxes at once, or one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from kapps.boxes.sampler import sample
from kapps.layers.region_proposals import RegionProposals
from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig, box_head, inner_tensors
from kapps.tasks.detection.losses import anchor_losses, region_losses
from kapps.tasks.detection.network_training import NetworkTraining
from kapps.tasks.detection.targets import anchor_targets, proposal_targets

# What each head is judged by.
LOSSES = {"proposals": ("anchor_score_loss", "anchor_box_loss"), "boxes": ("class_loss", "box_loss")}


class JointTraining(NetworkTraining):
    """A network of `faster_rcnn.build` that learns by `fit`.

    Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, section 3.2: approximate joint training. In each step the
    network's own proposals are taken as given, a sample of them goes on to the box head, and the four losses are added:
    of the anchors' scores and deltas (equation 1), and of the regions' classes and boxes (Girshick: "Fast R-CNN", ICCV
    2015, equation 1).

    The batches of `fit` are those of `kapps.data.boxes.BoxDataset.batches`. What is drawn follows from the seed and the
    number of the step alone, so that a run that was interrupted goes on with the same samples.

    Args:
        network: of `faster_rcnn.build`; its weights are what learns.
        config: of the network.
        seed: of the samples of anchors and proposals.
        learn: `"proposals"` or `"boxes"`: only that head and what lies below it, for alternating training.
        shared: whether what lies below the heads, backbone and pyramid, learns, too.
        proposer: another network whose proposals the box head learns from; None = the network's own.
    """

    def __init__(
        self,
        network: keras.Model,
        config: FasterRCNNConfig,
        *,
        seed: int = 0,
        learn: Literal["both", "proposals", "boxes"] = "both",
        shared: bool = True,
        proposer: keras.Model | None = None,
        **kwargs: Any,
    ):
        heads = LOSSES if learn == "both" else (learn,)
        super().__init__(network, config, [loss for head in heads for loss in LOSSES[head]], seed=seed, **kwargs)
        self.learn = learn
        self.shared = shared
        # Not as attributes of a model, which would save the same layers twice.
        self._head = _Untracked(box_head(network))
        self._own = _Proposer(network, config)
        self._proposer = self._own if proposer is None else _Proposer(proposer, config)

    def learns(self, layer: keras.layers.Layer) -> bool:
        heads = {"proposals": ("rpn_",), "boxes": ("box_",)}.get(self.learn, ("rpn_", "box_"))
        return layer.name.startswith(heads) or (self.shared and not layer.name.startswith(("rpn_", "box_")))

    def losses_of(self, inputs: Mapping[str, Any], truths: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        boxes, classes, valid = truths["boxes"], truths["classes"], truths["valid"]
        seed = self.step_seed * [2, 1]
        losses = {}
        proposed = self._proposer(inputs, training=self._proposer is self._own)  # another one stays as it is
        if self.learn != "boxes":
            scores, deltas = (
                tf.concat([tf.reshape(level, shape) for level in proposed[kind]], axis=1)
                for kind, shape in (("scores", (tf.shape(boxes)[0], -1)), ("deltas", (tf.shape(boxes)[0], -1, 4)))
            )
            labels, targets = anchor_targets(proposed["anchors"], boxes, valid)
            numbers, taken = sample(labels, self.config.anchors_per_image, 0.5, seed)
            losses["anchor_score_loss"], losses["anchor_box_loss"] = anchor_losses(
                scores, deltas, labels, targets, numbers, taken
            )
        if self.learn != "proposals":
            own = (
                proposed
                if self._proposer is self._own
                else self._own.maps([inputs["image"], inputs["sizes"]], training=True)
            )
            chosen, labels, targets = proposal_targets(
                proposed["proposals"],
                proposed["counts"],
                boxes,
                classes,
                valid,
                num_classes=self.network.get_layer("box_scores").units - 1,
                seed=tf.stack([seed[0] + 1, seed[1]]),
                count=self.config.regions_per_image,
            )
            regions = self.network.get_layer("regions")(own["maps"], chosen)
            scores, deltas = self._head.model(regions, training=True)
            losses["class_loss"], losses["box_loss"] = region_losses(scores, deltas, labels, targets)
        return losses


@dataclass(frozen=True)
class _Untracked:
    """A model that Keras does not see."""

    model: keras.Model


class _Proposer:
    """What a network says about its anchors, and the proposals that follow while it learns."""

    def __init__(self, network: keras.Model, config: FasterRCNNConfig):
        self.maps = keras.Model(network.inputs, inner_tensors(network), name="anchors")
        asked = network.get_layer("proposals")
        self.proposals = RegionProposals(
            asked.anchor_sizes, asked.ratios, config.training_proposals, config.training_proposals, asked.iou_threshold
        )

    def __call__(self, inputs: Any, *, training: bool) -> dict[str, Any]:
        found = self.maps([inputs["image"], inputs["sizes"]], training=training)
        boxes, _, counts = self.proposals(found["scores"], found["deltas"], inputs["image"], inputs["sizes"])
        anchors = tf.concat(self.proposals.anchors(found["scores"], inputs["image"]), axis=0)
        return {**found, "anchors": anchors, "proposals": boxes, "counts": counts}
