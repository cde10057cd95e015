"""Optimisers side by side on one small network.

    kapps train optimizer_race --data-dir DIR --seeds 5

Data: MNIST in TFDS' form under DIR; the last 10,000 training digits show progress by epoch. Five epochs of a ReLU
network with 128 units. Every optimiser runs at a usual rate of its own.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, ModelSpec, OptimizerSpec, Recipe, Study

RECIPE = Study(
    title="Optimisers side by side (MLP 784-128-10, MNIST, 5 epochs)",
    question="Which optimiser gets furthest in five epochs, each at a usual learning rate?",
    claim="The adaptive methods get there faster than plain gradient descent; momentum closes most of the gap.",
    finding=(
        "Half holds: at these rates momentum and Nesterov do not close the gap but lead every adaptive method; "
        "Adadelta, RMSprop, Adam and AdaSecant are close behind and ahead of plain SGD; Adagrad ends behind it."
    ),
    base=Recipe(
        title="MLP 784-128-10",
        model=ModelSpec("mlp", config={"hidden": (128,), "activation": "relu"}),
        data=DataSpec(
            name="mnist",
            train="train[:50000]",
            validation="train[50000:]",
            preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit"),
            batch_size=128,
        ),
        epochs=5,
    ),
    cases={
        "SGD": {"optimizer": OptimizerSpec("sgd", learning_rate=0.1)},
        "Momentum": {"optimizer": OptimizerSpec("sgd", learning_rate=0.05, momentum=0.9)},
        "Nesterov": {"optimizer": OptimizerSpec("sgd", learning_rate=0.05, momentum=0.9, nesterov=True)},
        "Adagrad": {"optimizer": OptimizerSpec("adagrad", learning_rate=0.02)},
        "Adadelta": {"optimizer": OptimizerSpec("adadelta", learning_rate=1.0)},
        "RMSprop": {"optimizer": OptimizerSpec("rmsprop", learning_rate=1e-3)},
        "Adam": {"optimizer": OptimizerSpec("adam", learning_rate=1e-3)},
        "AdaSecant": {"optimizer": OptimizerSpec("ada_secant", learning_rate=1.0)},
    },
)
