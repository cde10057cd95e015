"""A deep autoencoder that puts every digit on a map of two dimensions.

    kapps train mnist_deep_autoencoder_2d --data-dir DIR

Data: MNIST (60,000 + 10,000) in TFDS' form under DIR. A stack of restricted Boltzmann machines is unrolled and
fine-tuned to give back what it saw, through a code of two numbers. The measured figure is that of a logistic regression
on these two, from 10,000 codes: how far the classes lie apart, without one label having been seen.
Reference: Hinton, Salakhutdinov 2006, fig. 3B (784-1000-500-250-2).
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, LearnerRecipe, LearnerSpec

RECIPE = LearnerRecipe(
    title="Deep autoencoder with a code of two numbers on MNIST",
    learner=LearnerSpec("deep_autoencoder_2d", config={"hidden": (500, 250, 125)}),
    data=DataSpec("mnist", Preprocessing(size=(28, 28), channels=1), batch_size=100),
    epochs=15,
)
