"""The table of contents: one plain entry for every variant of every architecture.

Standard library only, so that `kapps list` and `kapps info` answer at once; TensorFlow is never loaded from here.
Tests hold the entries, the architecture files, their `VARIANTS` and the README's table together.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from kapps.errors import UnknownNameError


@dataclass(frozen=True)
class Entry:
    """What is known about one architecture without building it.

    Attributes:
        name: the name that `create_model` takes.
        module: the module that holds it; its `VARIANTS` has `name` as a key.
        title: the name people use.
        year: the year of the paper.
        paper: authors, title and venue, with the figure or table that the file follows.
        task: what the default head does, e.g. `"classification"`.
        input_shape: the default input, channels last, without the batch.
        num_classes: the default number of classes.
        params: the number of weights (trainable and not) with the default input and head.
        params_source: where that number comes from: a paper's table, another library, or the arithmetic.
        url: the page of the paper (arXiv, else its DOI) or of the code that the file follows; "" where there is none.
    """

    name: str
    module: str
    title: str
    year: int
    paper: str
    task: str
    input_shape: tuple[int, ...]
    num_classes: int
    params: int
    params_source: str
    url: str = ""


ENTRIES: tuple[Entry, ...] = (
    # ---- foundations
    Entry(
        name="mcculloch_pitts",
        module="kapps.architectures.foundations.mcculloch_pitts",
        title="McCulloch-Pitts unit",
        year=1943,
        paper="McCulloch, Pitts: A logical calculus of the ideas immanent in nervous activity, 1943, fig. 1",
        task="logic",
        input_shape=(2,),
        num_classes=1,
        params=0,
        params_source="its weights are fixed by hand; nothing is learned",
        url="https://doi.org/10.1007/BF02478259",
    ),
    Entry(
        name="perceptron",
        module="kapps.architectures.foundations.perceptron",
        title="Perceptron",
        year=1958,
        paper="Rosenblatt: The perceptron, Psychological Review 65; Principles of Neurodynamics, 1962, ch. 5",
        task="classification",
        input_shape=(28, 28, 1),
        num_classes=10,
        params=7_850,
        params_source="(28 * 28 + 1) * 10",
        url="https://doi.org/10.1037/h0042519",
    ),
    Entry(
        name="xor_net",
        module="kapps.architectures.foundations.mlp",
        title="XOR network (2-2-1)",
        year=1986,
        paper="Rumelhart, Hinton, Williams: Learning internal representations by error propagation, PDP 1, ch. 8",
        task="logic",
        input_shape=(2,),
        num_classes=1,
        params=9,
        params_source="(2 + 1) * 2 + (2 + 1) * 1",
        url="https://doi.org/10.21236/ADA164453",
    ),
    Entry(
        name="mlp",
        module="kapps.architectures.foundations.mlp",
        title="Multilayer perceptron",
        year=1986,
        paper="Rumelhart, Hinton, Williams: Learning representations by back-propagating errors, Nature 323",
        task="classification",
        input_shape=(16, 16, 1),
        num_classes=10,
        params=384_010,
        params_source="(16 * 16 + 1) * 500 + (500 + 1) * 500 + (500 + 1) * 10",
        url="https://doi.org/10.1038/323533a0",
    ),
    Entry(
        name="maxout",
        module="kapps.architectures.foundations.maxout",
        title="Maxout network",
        year=2013,
        paper="Goodfellow et al.: Maxout networks, ICML 2013, sec. 5.1 and the authors' mnist_pi.yaml",
        task="classification",
        input_shape=(28, 28, 1),
        num_classes=10,
        params=1_233_610,
        params_source="(28 * 28 + 1) * 240 * 5 + (240 + 1) * 240 * 5 + (240 + 1) * 10",
        url="https://arxiv.org/abs/1302.4389",
    ),
    # ---- convolutional
    Entry(
        name="lenet5",
        module="kapps.architectures.convolutional.lenet",
        title="LeNet-5",
        year=1998,
        paper="LeCun et al.: Gradient-based learning applied to document recognition, 1998, fig. 2 and table I",
        task="classification",
        input_shape=(28, 28, 1),
        num_classes=10,
        params=60_840,
        params_source="the paper's 60,000 trainable parameters, and the 10 * 84 fixed ones of the output codes",
        url="https://doi.org/10.1109/5.726791",
    ),
    Entry(
        name="lenet5_softmax",
        module="kapps.architectures.convolutional.lenet",
        title="LeNet-5 with softmax",
        year=1998,
        paper="LeCun et al.: Gradient-based learning applied to document recognition, 1998; in its common form",
        task="classification",
        input_shape=(28, 28, 1),
        num_classes=10,
        params=61_706,
        params_source="25 * 6 + 6 + 25 * 6 * 16 + 16 + 25 * 16 * 120 + 120 + (120 + 1) * 84 + (84 + 1) * 10",
        url="https://doi.org/10.1109/5.726791",
    ),
    Entry(
        name="dlt_cnn",
        module="kapps.architectures.convolutional.dlt_cnn",
        title="DeepLearnToolbox CNN (6c-2s-12c-2s)",
        year=2012,
        paper="Palm: Prediction as a candidate for learning deep hierarchical models of data, DTU 2012; cnnexamples.m",
        task="classification",
        input_shape=(28, 28, 1),
        num_classes=10,
        params=3_898,
        params_source="25 * 6 + 6 + 25 * 6 * 12 + 12 + (4 * 4 * 12 + 1) * 10",
        url="https://github.com/rasmusbergpalm/DeepLearnToolbox",
    ),
    Entry(
        name="mnist_convnet",
        module="kapps.architectures.convolutional.mnist_convnet",
        title="MNIST convnet",
        year=2015,
        paper="Dieleman et al.: Lasagne, examples/mnist.py, build_cnn",
        task="classification",
        input_shape=(28, 28, 1),
        num_classes=10,
        params=160_362,
        params_source="25 * 32 + 32 + 25 * 32 * 32 + 32 + (4 * 4 * 32 + 1) * 256 + (256 + 1) * 10",
        url="https://github.com/Lasagne/Lasagne/blob/master/examples/mnist.py",
    ),
)

_BY_NAME = {entry.name: entry for entry in ENTRIES}


def list_models(pattern: str = "*", *, task: str | None = None) -> list[str]:
    """Names of the architectures that match, in the catalogue's order.

    Args:
        pattern: a shell pattern such as `"lenet*"`; case does not matter.
        task: only architectures for this task, e.g. `"classification"`.

    Raises:
        UnknownNameError: no architecture in the catalogue has this task.
    """
    tasks = sorted({entry.task for entry in ENTRIES})
    if task is not None and task not in tasks:
        raise UnknownNameError("task", task, tasks)
    return [
        entry.name
        for entry in ENTRIES
        if fnmatch.fnmatchcase(entry.name, pattern.lower()) and task in (None, entry.task)
    ]


def info(name: str) -> Entry:
    """The entry of one architecture.

    Raises:
        UnknownNameError: with the nearest right names.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UnknownNameError("model", name, _BY_NAME, hint="see `kapps list`") from None
