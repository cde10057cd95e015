"""Maxout with dropout on permutation-invariant MNIST.

    kapps train maxout_mnist --data-dir DIR --seeds 3

Data: MNIST in TFDS' form under DIR; nothing is known of which pixels are neighbours, and nothing is distorted.
Reference: Goodfellow et al. 2013, table 2: 0.94 % error (99.06 %), after several hundred epochs.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec

RECIPE = Recipe(
    title="Maxout with dropout on permutation-invariant MNIST",
    model=ModelSpec("maxout"),
    data=DataSpec(name="mnist", preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit"), batch_size=250),
    optimizer=OptimizerSpec("sgd", learning_rate=0.1, momentum=0.9, nesterov=True, ema=0.999),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=150,
    expected=Expected(0.989, "Goodfellow 2013: 99.06 %"),
)
