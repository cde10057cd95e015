"""LeNet-5 as the original on MNIST.

    kapps train lenet5_mnist --data-dir DIR --seeds 5

Data: MNIST (60,000 + 10,000) in TFDS' form under DIR. The measured result lies beside this file.
Reference: LeCun et al. 1998, fig. 9: 0.95 % error (99.05 %), 0.8 % with distortions.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import (
    AugmentSpec,
    DataSpec,
    Expected,
    ModelSpec,
    OptimizerSpec,
    Recipe,
    ScheduleSpec,
)

RECIPE = Recipe(
    title="LeNet-5 on MNIST",
    model=ModelSpec("lenet5"),
    data=DataSpec(
        name="mnist",
        # Pixels from 0..255 to -0.1..1.175, which makes the mean about 0 and the variance about 1 (sec. II.B of the
        # paper).
        preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit", mean=(0.1 / 1.275,), std=(1 / 1.275,)),
        batch_size=100,
        augment=AugmentSpec(shift=0.07, rotate=8, zoom=0.08),
    ),
    optimizer=OptimizerSpec("adam", learning_rate=3e-3, ema=0.998),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=26,
    xla=False,
    expected=Expected(0.9925, "LeCun 1998: 99.05 %, with distortions 99.2 %"),
)
