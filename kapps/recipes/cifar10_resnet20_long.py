"""ResNet-20 on CIFAR-10 with half of the paper's epochs.

    kapps train cifar10_resnet20_long --data-dir DIR

`cifar10_resnet20` with 80 epochs. Reference: He, Zhang, Ren, Sun 2016, table 6: 8.75 % error (91.25 %), 164 epochs.
"""

from kapps.recipes.cifar10_resnet20 import RECIPE as SHORT
from kapps.training.recipe import Expected, change

RECIPE = change(
    SHORT,
    {
        "title": "ResNet-20 on CIFAR-10, 80 epochs",
        "epochs": 80,
        "expected": Expected(0.91, "He et al. 2016, table 6: 91.25 % after 164 epochs"),
    },
)
