"""The lectures' digit reader on the built-in digits: a first run that needs nothing.

    kapps train mlp_digits --seeds 5

Data: scikit-learn's 1,797 handwritten digits, enlarged to the 16x16 = 256 pixels of the lecture's network.
Takes seconds.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, EarlyStopping, ModelSpec, OptimizerSpec, Recipe

RECIPE = Recipe(
    title="MLP on the built-in digits",
    model=ModelSpec("mlp", config={"hidden": (256,)}),
    data=DataSpec(
        name="digits",
        train="train[:85%]",
        validation="train[85%:]",
        preprocessing=Preprocessing(size=(16, 16), channels=1),
        batch_size=32,
    ),
    optimizer=OptimizerSpec("adam", learning_rate=2e-3),
    epochs=60,
    early_stopping=EarlyStopping(patience=8),
)
