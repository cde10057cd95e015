"""Dropout, DropConnect, standout and nothing on the same network.

    kapps train dropout_race --data-dir DIR --seeds 5

Data: MNIST in TFDS' form under DIR; the last 10,000 training digits show progress by epoch. Ten epochs of a ReLU
network with two layers of 256.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec, Study

RECIPE = Study(
    title="Dropout and its relatives (MLP 784-256-256-10, MNIST, 10 epochs)",
    question="How much does each way of dropping help a network that can learn its training set by heart?",
    claim="DropConnect and standout beat dropout, and all beat no regularisation.",
    finding=(
        "Does not hold here: in ten epochs a network of 256 units a layer is better off without dropping; at half the "
        "units (or weights) every way of it only slows the learning, standout least and DropConnect most."
    ),
    base=Recipe(
        title="MLP 784-256-256-10",
        model=ModelSpec("mlp", config={"hidden": (256, 256), "activation": "relu"}),
        data=DataSpec(
            name="mnist",
            train="train[:50000]",
            validation="train[50000:]",
            preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit"),
            batch_size=128,
        ),
        optimizer=OptimizerSpec("sgd", learning_rate=0.1, momentum=0.9),
        schedule=ScheduleSpec("cosine"),
        epochs=10,
    ),
    cases={
        "none": {},
        "dropout": {"model.config.dropout": "dropout"},
        "DropConnect": {"model.config.dropout": "dropconnect"},
        "standout": {"model.config.dropout": "standout"},
        "annealed dropout": {"model.config.dropout": "annealed_dropout", "model.config.anneal_steps": 3900},
    },
)
