"""Small Inception on CIFAR-10.

    kapps train cifar10_inception_bn --data-dir DIR

Data: CIFAR-10 in TFDS' form under DIR, mirrored and shifted at random; the recorded figure is of slightly lossy copies,
which had been JPEG files. Muon learns instead of SGD, for the few epochs, in bfloat16 where the processor has it.
Reference: Zhang et al. 2017, table 1: 89.05 % with random pieces and weight decay.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import AugmentSpec, DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec

RECIPE = Recipe(
    title="Small Inception on CIFAR-10",
    model=ModelSpec("inception_bn_cifar"),
    data=DataSpec(
        name="cifar10",
        preprocessing=Preprocessing(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        batch_size=128,
        augment=AugmentSpec(flip=True, crop=4),
    ),
    optimizer=OptimizerSpec("muon", learning_rate=0.02, momentum=0.9, weight_decay=0.05),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=4,
    mixed_precision="bfloat16",
    xla=False,
    expected=Expected(0.80, "Zhang et al. 2017, table 1: 89.05 %"),
)
