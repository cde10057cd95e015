"""ReLU against sigmoid from two hidden layers to eight.

    kapps train depth_race --data-dir DIR --seeds 5

Data: MNIST in TFDS' form under DIR; the last 10,000 training digits show progress by epoch. Five epochs, 128 units a
layer, Adam.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, ModelSpec, OptimizerSpec, Recipe, Study

RECIPE = Study(
    title="ReLU against sigmoid by depth (128 units a layer, MNIST, 5 epochs)",
    question="From which depth on does a sigmoid network no longer learn, and does a ReLU network?",
    claim="Sigmoid networks stop learning as they get deep (vanishing gradients); ReLU networks do not.",
    finding=(
        "Holds in part: sigmoid networks lose nearly five points from four layers to eight, and the deepest depend on "
        "the seed, but with Glorot's start and Adam none of them stops learning; ReLU networks lose half a point."
    ),
    base=Recipe(
        title="MLP by depth",
        model=ModelSpec("mlp", config={"hidden": (128, 128), "activation": "relu"}),
        data=DataSpec(
            name="mnist",
            train="train[:50000]",
            validation="train[50000:]",
            preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit"),
            batch_size=128,
        ),
        optimizer=OptimizerSpec("adam", learning_rate=1e-3),
        epochs=5,
    ),
    cases={
        f"{activation}, {depth} layers": {"model.config.activation": activation, "model.config.hidden": (128,) * depth}
        for activation in ("relu", "sigmoid")
        for depth in range(2, 9)
    },
)
