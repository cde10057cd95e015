"""DeepLearnToolbox's network trained as well as it can be.

    kapps train dlt_cnn_mnist --data-dir DIR --seeds 5

Data: MNIST in TFDS' form under DIR, slightly distorted. The 6c-2s-12c-2s network with softmax, cross-entropy and Adam.
Reference: the toolbox reports 1.2 % error (98.8 %) after 100 epochs of plain gradient descent.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import AugmentSpec, DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec

RECIPE = Recipe(
    title="DeepLearnToolbox CNN, best recipe",
    model=ModelSpec("dlt_cnn"),
    data=DataSpec(
        name="mnist",
        preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit"),
        batch_size=64,
        augment=AugmentSpec(shift=0.05, rotate=6),
    ),
    optimizer=OptimizerSpec("adam", learning_rate=0.01, ema=0.998),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=25,
    expected=Expected(0.99, "DeepLearnToolbox: 98.8 % after 100 epochs"),
)
