"""SqueezeNet on CIFAR-10.

    kapps train cifar10_squeezenet --data-dir DIR

Data: CIFAR-10 in TFDS' form under DIR, mirrored and shifted at random; the recorded figure is of slightly lossy copies,
which had been JPEG files. The form for small images, with batch normalisation.
Reference: none; the paper trains on ImageNet only.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import AugmentSpec, DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec

RECIPE = Recipe(
    title="SqueezeNet on CIFAR-10",
    model=ModelSpec("squeezenet_cifar", config={"dropout_rate": 0.1}),
    data=DataSpec(
        name="cifar10",
        preprocessing=Preprocessing(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        batch_size=128,
        augment=AugmentSpec(flip=True, crop=4),
    ),
    optimizer=OptimizerSpec("sgd", learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.005),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=15,
    xla=False,
    expected=Expected(0.80, "no published figure: the paper trains on ImageNet only"),
)
