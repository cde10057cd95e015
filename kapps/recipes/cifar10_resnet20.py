"""ResNet-20 on CIFAR-10 in about a tenth of the paper's epochs.

    kapps train cifar10_resnet20 --data-dir DIR

Data: CIFAR-10 in TFDS' form under DIR. Random mirroring and 32x32 pieces of the images in a border of 4, as in the
paper (section 4.2), and its batches of 128. The learning rate goes up and down once. The weight decay is decoupled from
the momentum: 0.003 here is 0.0003 there (the paper: 0.0001).
Reference: He, Zhang, Ren, Sun 2016, table 6: 8.75 % error (91.25 %) after 164 epochs.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import AugmentSpec, DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec

RECIPE = Recipe(
    title="ResNet-20 on CIFAR-10",
    model=ModelSpec("resnet20"),
    data=DataSpec(
        name="cifar10",
        preprocessing=Preprocessing(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        batch_size=128,
        augment=AugmentSpec(flip=True, crop=4),
    ),
    optimizer=OptimizerSpec("sgd", learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.003),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=18,
    xla=False,
    expected=Expected(0.88, "He et al. 2016, table 6: 91.25 % after 164 epochs"),
)
