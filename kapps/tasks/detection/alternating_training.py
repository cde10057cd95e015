"""The four steps by which Faster R-CNN's paper makes two networks share one trunk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig
from kapps.tasks.detection.joint_training import JointTraining
from kapps.training.callbacks import read_log, written_whole


def fit_alternating(
    network: keras.Model,
    config: FasterRCNNConfig,
    learn: Callable[[keras.Model, Path | None], list[dict[str, float]]],
    folder: Path | None,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, section 3.2, "4-Step Alternating Training".

    1. A network learns to propose. 2. Another one, which starts where the first did, learns to tell what is in these
    proposals: two trunks so far. 3. The second network's trunk is fixed, and on it the first one's layers for proposals
    learn anew. 4. On the same trunk and by its own proposals, the layers for boxes learn anew.

    Args:
        network: of `faster_rcnn.build`; has learned afterwards.
        config: of the network.
        learn: lets one `JointTraining` learn, in a folder from which it goes on where it was.
        folder: holds a folder for each step; None = nothing is kept.
        seed: of the samples.

    Returns:
        One row an epoch, all steps after each other; `step` is the step's number from 1.
    """
    proposer = keras.models.clone_model(network)
    proposer.set_weights(network.get_weights())
    heads = [layer.name for layer in network.layers if layer.name.startswith("rpn_") and layer.weights]
    learners = (
        lambda: JointTraining(proposer, config, seed=seed, learn="proposals"),
        lambda: JointTraining(network, config, seed=seed, learn="boxes", proposer=proposer),
        lambda: JointTraining(network, config, seed=seed, learn="proposals", shared=False),
        lambda: JointTraining(network, config, seed=seed, learn="boxes", shared=False),
    )
    rows: list[dict[str, Any]] = []
    for number, make in enumerate(learners, start=1):
        if number == 3:
            for head in heads:
                network.get_layer(head).set_weights(proposer.get_layer(head).get_weights())
        learner = make()
        place = None if folder is None else folder / f"step{number}"
        done = None if place is None else place / "done.weights.h5"
        if place is not None and done is not None and done.exists():
            learner.load_weights(done)
            found = read_log(place / "log.csv")
        else:
            found = learn(learner, place)
            if done is not None:
                with written_whole(done) as part:
                    learner.save_weights(part)
        rows += [{"step": number, **row} for row in found]
    return rows
