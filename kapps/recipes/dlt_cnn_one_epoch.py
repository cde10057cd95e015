"""DeepLearnToolbox's network after one epoch, as its own test runs it.

    kapps train dlt_cnn_one_epoch --data-dir DIR --seeds 5

Data: MNIST in TFDS' form under DIR. Rate 1, batches of 50, half squared error on sigmoid outputs: `cnnexamples.m`.
Reference: the toolbox' own test asks for less than 12 % error after one epoch.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, Expected, ModelSpec, OptimizerSpec, Recipe

RECIPE = Recipe(
    title="DeepLearnToolbox CNN, one epoch",
    model=ModelSpec("dlt_cnn", classifier_activation="sigmoid"),
    data=DataSpec(name="mnist", preprocessing=Preprocessing(size=(28, 28), channels=1, fit="digit"), batch_size=50),
    optimizer=OptimizerSpec("sgd", learning_rate=1.0),
    loss="half_squared_error",
    epochs=1,
    expected=Expected(0.88, "DeepLearnToolbox' own test: under 12 % error"),
)
