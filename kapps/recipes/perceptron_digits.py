"""Rosenblatt's rule on the built-in digits.

    kapps train perceptron_digits --seeds 5

Data: scikit-learn's 1,797 handwritten digits. One unit a class, no hidden layer, no gradient.
Takes seconds.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, ModelSpec, OptimizerSpec, Recipe

RECIPE = Recipe(
    title="Perceptron on the built-in digits",
    model=ModelSpec("perceptron"),
    data=DataSpec(name="digits", preprocessing=Preprocessing(size=(8, 8), channels=1), batch_size=1),
    optimizer=OptimizerSpec("sgd", learning_rate=1.0),  # the rule's own step; its size only scales the weights
    epochs=10,
)
