"""The four steps by which Faster R-CNN's paper makes two networks share one trunk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig
from kapps.tasks.detection.joint_training import JointTraining
from kapps.training.callbacks import read_log, written_whole
from kapps.training.loop import fit_resumable

STEPS = ("proposals", "boxes", "proposals, trunk fixed", "boxes, trunk fixed")


def fit_alternating(
    network: keras.Model,
    config: FasterRCNNConfig,
    batches: Callable[[int], tf.data.Dataset],
    folder: Path,
    *,
    make_optimizer: Callable[[], keras.optimizers.Optimizer],
    title: str,
    seed: int,
    epochs: int,
    steps: int,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, section 3.2, "4-Step Alternating Training".

    1. A network learns to propose. 2. Another one, which starts where the first did, learns to tell what is in these
    proposals: two trunks so far. 3. The second network's trunk is fixed, and on it the first one's layers for proposals
    learn anew. 4. On the same trunk and by its own proposals, the layers for boxes learn anew.

    Args:
        network: of `faster_rcnn.build`; has learned afterwards.
        config: of the network.
        batches: the number of the first epoch -> an endless stream of training batches from there on.
        folder: holds a folder for each step; called again with it, the training goes on where it was.
        make_optimizer: a fresh optimiser for a step.
        title: of the progress bar.
        seed: of the samples.
        epochs: of each step.
        steps: batches an epoch.
        progress: show a bar (on stderr).

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
    for number, (name, make) in enumerate(zip(STEPS, learners, strict=True), start=1):
        if number == 3:
            for head in heads:
                network.get_layer(head).set_weights(proposer.get_layer(head).get_weights())
        learner = make()
        learner.compile(optimizer=make_optimizer(), jit_compile=False)
        place = folder / f"step{number}"
        place.mkdir(parents=True, exist_ok=True)
        done = place / "done.weights.h5"
        if done.exists():
            learner.load_weights(done)
            found = read_log(place / "log.csv")
        else:
            found = fit_resumable(
                learner,
                batches,
                place,
                title=f"{title}: {name}",
                seed=seed,
                epochs=epochs,
                steps=steps,
                progress=progress,
            )
            with written_whole(done) as part:
                learner.save_weights(part)
        rows += [{"step": number, **row} for row in found]
    return rows
