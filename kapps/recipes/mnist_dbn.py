"""A deep belief net on MNIST that knows ten labels: it sorts digits, dreams them, and goes on from a drawn one.

    kapps train mnist_dbn --data-dir DIR

Data: MNIST (60,000 + 10,000) in TFDS' form under DIR. Layer by layer, each a restricted Boltzmann machine; the labels
are ten further visible units of the last one. The measured figure is that of a logistic regression on the codes of the
top layer, learned from 10,000 of them.
Reference: Hinton, Osindero, Teh 2006: 1.25 % error of a net 500-500-2000 after up-down learning.
"""

from kapps.data.preprocessing import Preprocessing
from kapps.training.recipe import DataSpec, Expected, LearnerRecipe, LearnerSpec

RECIPE = LearnerRecipe(
    title="Deep belief net on MNIST",
    learner=LearnerSpec("dbn", config={"hidden": (400, 300, 800), "classes": 10}),
    data=DataSpec("mnist", Preprocessing(size=(28, 28), channels=1), batch_size=100),
    epochs=15,
    expected=Expected(0.97, "Hinton et al. 2006: 98.75 % after up-down, with 500-500-2000"),
)
