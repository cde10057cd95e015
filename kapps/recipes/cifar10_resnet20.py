"""ResNet-20 on CIFAR-10 in a sixth of the paper's epochs.

    kapps train cifar10_resnet20 --data-dir DIR

Data: CIFAR-10 in TFDS' form under DIR; the recorded figure is of slightly lossy copies, which had been JPEG files.
Random mirroring and 32x32 pieces of the images in a border of 4, as in the paper (section 4.2), and its batches of 128.
Muon instead of SGD, and a learning rate that goes up and down once: in 5 epochs on 45,000 of the images Muon comes to
84 % of the other 5,000, SGD with a rate of 0.1 or 0.3 to 79 or 81 %.
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
    optimizer=OptimizerSpec("muon", learning_rate=0.02, momentum=0.9, weight_decay=0.05),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    label_smoothing=0.1,
    epochs=28,
    xla=False,
    expected=Expected(0.88, "He et al. 2016, table 6: 91.25 % after 164 epochs"),
)
