"""Network in network on CIFAR-10.

    kapps train cifar10_nin --data-dir DIR

Data: CIFAR-10 in TFDS' form under DIR, mirrored and shifted at random; the recorded figure is of slightly lossy copies,
which had been JPEG files. For the few epochs batch normalisation is added, dropout is less than the paper's and Muon
learns instead of SGD.
Reference: Lin, Chen, Yan 2014, table 2: 8.81 % error (91.19 %) with such distortions, after some hundred epochs.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import AugmentSpec, DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec

RECIPE = Recipe(
    title="Network in network on CIFAR-10",
    model=ModelSpec("nin_cifar10", config={"batch_normalization": True, "dropout_rate": 0.1}),
    data=DataSpec(
        name="cifar10",
        preprocessing=Preprocessing(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        batch_size=128,
        augment=AugmentSpec(flip=True, crop=4),
    ),
    optimizer=OptimizerSpec("muon", learning_rate=0.02, momentum=0.9, weight_decay=0.05),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=4,
    xla=False,
    expected=Expected(0.80, "Lin et al. 2014, table 2: 91.19 %"),
)
