"""FractalNet on CIFAR-10.

    kapps train cifar10_fractalnet --data-dir DIR

Data: CIFAR-10 in TFDS' form under DIR, mirrored and shifted at random; the recorded figure is of slightly lossy copies,
which had been JPEG files. Three columns of the narrow form (20 layers, 2.1 million weights), with Muon and without
dropout for the few epochs, but with drop-path, so that each column answers alone, too; in
bfloat16 where the processor has it.
Reference: Larsson, Maire, Shakhnarovich 2017, table 1: 4.60 % error (95.40 %) with the wide form and 400 epochs.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import AugmentSpec, DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec

RECIPE = Recipe(
    title="FractalNet on CIFAR-10",
    model=ModelSpec(
        "fractalnet", config={"columns": 3, "drop_path": 0.15, "global_share": 0.25, "dropout": (0.0,) * 5}
    ),
    data=DataSpec(
        name="cifar10",
        preprocessing=Preprocessing(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        batch_size=128,
        augment=AugmentSpec(flip=True, crop=4),
    ),
    optimizer=OptimizerSpec("muon", learning_rate=0.02, momentum=0.9, weight_decay=0.05),
    schedule=ScheduleSpec("one_cycle", warmup=0.2),
    epochs=10,
    mixed_precision="bfloat16",
    xla=False,
    expected=Expected(0.80, "Larsson et al. 2017, table 1: 95.40 % with sixteen times the weights and 400 epochs"),
)
