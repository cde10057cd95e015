"""ResNet-20 on CIFAR-10 with a quarter of the paper's epochs.

    kapps train cifar10_resnet20_long --data-dir DIR

`cifar10_resnet20` with 40 epochs, in bfloat16 where the processor has it.
Reference: He, Zhang, Ren, Sun 2016, table 6: 8.75 % error (91.25 %), 164 epochs.
"""

from kapps.recipes.cifar10_resnet20 import RECIPE as SHORT
from kapps.training.recipe import Expected, change

RECIPE = change(
    SHORT,
    {
        "title": "ResNet-20 on CIFAR-10, 40 epochs",
        "epochs": 40,
        "mixed_precision": "bfloat16",
        "expected": Expected(0.88, "He et al. 2016, table 6: 91.25 % after 164 epochs"),
    },
)
