"""The lectures' MNIST network with Nesterov momentum 0.01 / 0.9.

    kapps train mnist_convnet --data-dir DIR --seeds 5

Data: MNIST in TFDS' form under DIR, no distortions. Architecture, rate and momentum are the lecture's; the batch size
and the number of epochs are ours.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe

RECIPE = Recipe(
    title="Convolutional network of the lectures on MNIST",
    model=ModelSpec("mnist_convnet"),
    data=DataSpec(name="mnist", preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit"), batch_size=50),
    optimizer=OptimizerSpec("sgd", learning_rate=0.01, momentum=0.9, nesterov=True),
    epochs=16,
    expected=Expected(0.993, "the lecture's network"),
)
