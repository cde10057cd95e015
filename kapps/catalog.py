"""The table of contents: one plain entry for every variant of every architecture.

Standard library only, so that `kapps list` and `kapps info` answer at once; TensorFlow is never loaded from here.
Tests hold the entries, the architecture files, their `VARIANTS` and the README's table together.
"""

from __future__ import annotations

import fnmatch
import functools
import json
from dataclasses import dataclass
from pathlib import Path

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
        name="neocognitron",
        module="kapps.architectures.convolutional.neocognitron",
        title="Neocognitron",
        year=1980,
        paper="Fukushima: Neocognitron, Biological Cybernetics 36, 1980",
        task="classification",
        input_shape=(16, 16, 1),
        num_classes=10,
        params=29_712,
        params_source="25 * 24 + 24 + 2 * (25 * 24 * 24 + 24) + 24 * 10",
        url="https://doi.org/10.1007/BF00344251",
    ),
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
        name="alexnet",
        module="kapps.architectures.convolutional.alexnet",
        title="AlexNet",
        year=2012,
        paper="Krizhevsky et al.: ImageNet classification with deep convolutional neural networks, 2012, fig. 2",
        task="classification",
        input_shape=(227, 227, 3),
        num_classes=1_000,
        params=60_965_224,
        params_source=(
            "(11 * 11 * 3 + 1) * 96 + (5 * 5 * 48 + 1) * 256 + (3 * 3 * 256 + 1) * 384 + (3 * 3 * 192 + 1) * 384 "
            "+ (3 * 3 * 192 + 1) * 256 + (6 * 6 * 256 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000"
        ),
        url="https://doi.org/10.1145/3065386",
    ),
    Entry(
        name="alexnet_tv",
        module="kapps.architectures.convolutional.alexnet",
        title="AlexNet, one tower",
        year=2014,
        paper="Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014; torchvision",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=61_100_840,
        params_source="torchvision's alexnet",
        url="https://arxiv.org/abs/1404.5997",
    ),
    Entry(
        name="overfeat_fast",
        module="kapps.architectures.convolutional.overfeat",
        title="OverFeat, fast",
        year=2014,
        paper="Sermanet et al.: OverFeat: integrated recognition, localization and detection, ICLR 2014, table 1",
        task="classification",
        input_shape=(231, 231, 3),
        num_classes=1_000,
        params=145_920_872,
        params_source=(
            "(11 * 11 * 3 + 1) * 96 + (5 * 5 * 96 + 1) * 256 + (9 * 256 + 1) * 512 + (9 * 512 + 1) * 1024 + (9 * "
            "1024 + 1) * 1024 + (36 * 1024 + 1) * 3072 + (3072 + 1) * 4096 + (4096 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1312.6229",
    ),
    Entry(
        name="overfeat_accurate",
        module="kapps.architectures.convolutional.overfeat",
        title="OverFeat, accurate",
        year=2014,
        paper="Sermanet et al.: OverFeat: integrated recognition, localization and detection, ICLR 2014, table 3",
        task="classification",
        input_shape=(221, 221, 3),
        num_classes=1_000,
        params=144_656_488,
        params_source=(
            "(7 * 7 * 3 + 1) * 96 + (7 * 7 * 96 + 1) * 256 + (9 * 256 + 1) * 512 + (9 * 512 + 1) * 512 + (9 * 512 "
            "+ 1) * 1024 + (9 * 1024 + 1) * 1024 + (25 * 1024 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1312.6229",
    ),
    Entry(
        name="nin_cifar10",
        module="kapps.architectures.convolutional.nin",
        title="Network in network (CIFAR-10)",
        year=2014,
        paper="Lin, Chen, Yan: Network in network, ICLR 2014, fig. 2; the authors' Caffe file for CIFAR-10",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=966_986,
        params_source=(
            "(25 * 3 + 1) * 192 + (192 + 1) * 160 + (160 + 1) * 96 + (25 * 96 + 1) * 192 + 2 * (192 + 1) * 192 + "
            "(9 * 192 + 1) * 192 + (192 + 1) * 192 + (192 + 1) * 10"
        ),
        url="https://arxiv.org/abs/1312.4400",
    ),
    Entry(
        name="nin_imagenet",
        module="kapps.architectures.convolutional.nin",
        title="Network in network (ImageNet)",
        year=2014,
        paper="Lin, Chen, Yan: Network in network, ICLR 2014, fig. 2; the authors' Caffe file for ImageNet",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=7_595_176,
        params_source=(
            "(121 * 3 + 1) * 96 + 2 * (96 + 1) * 96 + (25 * 96 + 1) * 256 + 2 * (256 + 1) * 256 + (9 * 256 + 1) * "
            "384 + 2 * (384 + 1) * 384 + (9 * 384 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1312.4400",
    ),
    Entry(
        name="sppnet_zf5",
        module="kapps.architectures.convolutional.sppnet",
        title="SPP-net (ZF-5)",
        year=2014,
        paper="He et al.: Spatial pyramid pooling in deep convolutional networks for visual recognition, 2014, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=77_037_672,
        params_source=(
            "(49 * 3 + 1) * 96 + (25 * 96 + 1) * 256 + (9 * 256 + 1) * 384 + (9 * 384 + 1) * 384 + (9 * 384 + 1) "
            "* 256 + (50 * 256 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1406.4729",
    ),
    Entry(
        name="sppnet_overfeat7",
        module="kapps.architectures.convolutional.sppnet",
        title="SPP-net (OverFeat-7)",
        year=2014,
        paper="He et al.: Spatial pyramid pooling in deep convolutional networks for visual recognition, 2014, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=136_988_264,
        params_source=(
            "(49 * 3 + 1) * 96 + (25 * 96 + 1) * 256 + (9 * 256 + 1) * 512 + 4 * (9 * 512 + 1) * 512 + (50 * 512 "
            "+ 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1406.4729",
    ),
    Entry(
        name="googlenet",
        module="kapps.architectures.convolutional.googlenet",
        title="GoogLeNet (Inception v1)",
        year=2014,
        paper="Szegedy et al.: Going deeper with convolutions, CVPR 2015, table 1 and figure 3",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=6_998_552,
        params_source="BVLC's GoogLeNet in Caffe; the paper's table 1 adds up to 6.8 million",
        url="https://arxiv.org/abs/1409.4842",
    ),
    Entry(
        name="googlenet_bn",
        module="kapps.architectures.convolutional.googlenet",
        title="GoogLeNet with batch normalisation",
        year=2014,
        paper="Szegedy et al.: Going deeper with convolutions, CVPR 2015, table 1 and figure 3; in torchvision's form",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=6_639_464,
        params_source="torchvision's 6,624,904, and the moving statistics, 2 for each of 7,280 channels",
        url="https://arxiv.org/abs/1409.4842",
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
    Entry(
        name="vgg11",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-11",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column A",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=132_863_336,
        params_source="torchvision's vgg11; paper, table 2: 133 million",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg11_lrn",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-11 with LRN",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column A-LRN",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=132_863_336,
        params_source="that of vgg11: LRN has no weights; paper, table 2: 133 million",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg13",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-13",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column B",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=133_047_848,
        params_source="torchvision's vgg13; paper, table 2: 133 million",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg16_c",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-16 with 1x1 convolutions",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column C",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=133_638_952,
        params_source="133_047_848 + (256 + 1) * 256 + 2 * (512 + 1) * 512",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg16",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-16",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column D",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=138_357_544,
        params_source="Keras' VGG16; paper, table 2: 138 million",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg19",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-19",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column E",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=143_667_240,
        params_source="Keras' VGG19; paper, table 2: 144 million",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg11_bn",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-11-BN",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column A",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=132_874_344,
        params_source="torchvision's 132,868,840 and 2 * 2,752 moving statistics",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg11_lrn_bn",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-11-BN with LRN",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column A-LRN",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=132_874_344,
        params_source="that of vgg11_bn: LRN has no weights",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg13_bn",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-13-BN",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column B",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=133_059_624,
        params_source="torchvision's 133,053,736 and 2 * 2,944 moving statistics",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg16_c_bn",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-16-BN with 1x1 convolutions",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column C",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=133_655_848,
        params_source="133_638_952 + 4 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg16_bn",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-16-BN",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column D",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=138_374_440,
        params_source="torchvision's 138,365,992 and 2 * 4,224 moving statistics",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="vgg19_bn",
        module="kapps.architectures.convolutional.vgg",
        title="VGG-19-BN",
        year=2015,
        paper="Simonyan, Zisserman: Very deep convolutional networks, ICLR 2015, table 1, column E",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=143_689_256,
        params_source="torchvision's 143,678,248 and 2 * 5,504 moving statistics",
        url="https://arxiv.org/abs/1409.1556",
    ),
    Entry(
        name="msra_net_a",
        module="kapps.architectures.convolutional.msra_net",
        title="MSRA-net A",
        year=2015,
        paper="He et al.: Delving deep into rectifiers, ICCV 2015, table 3, model A",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=178_032_072,
        params_source=(
            "(147 + 2) * 96 + (9 * 96 + 2) * 256 + 4 * (9 * 256 + 2) * 256 + (9 * 256 + 2) * 512 + 9 * (9 * 512 + "
            "2) * 512 + (63 * 512 + 2) * 4096 + (4096 + 2) * 4096 + (4096 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1502.01852",
    ),
    Entry(
        name="msra_net_b",
        module="kapps.architectures.convolutional.msra_net",
        title="MSRA-net B",
        year=2015,
        paper="He et al.: Delving deep into rectifiers, ICCV 2015, table 3, model B",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=183_343_048,
        params_source=(
            "(147 + 2) * 96 + (9 * 96 + 2) * 256 + 5 * (9 * 256 + 2) * 256 + (9 * 256 + 2) * 512 + 11 * (9 * 512 "
            "+ 2) * 512 + (63 * 512 + 2) * 4096 + (4096 + 2) * 4096 + (4096 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1502.01852",
    ),
    Entry(
        name="msra_net_c",
        module="kapps.architectures.convolutional.msra_net",
        title="MSRA-net C",
        year=2015,
        paper="He et al.: Delving deep into rectifiers, ICCV 2015, table 3, model C",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=330_623_944,
        params_source=(
            "(147 + 2) * 96 + (9 * 96 + 2) * 384 + 5 * (9 * 384 + 2) * 384 + (9 * 384 + 2) * 768 + 5 * (9 * 768 + "
            "2) * 768 + (9 * 768 + 2) * 896 + 5 * (9 * 896 + 2) * 896 + (63 * 896 + 2) * 4096 + (4096 + 2) * 4096 "
            "+ (4096 + 1) * 1000"
        ),
        url="https://arxiv.org/abs/1502.01852",
    ),
    Entry(
        name="resnet18",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-18",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=11_699_112,
        params_source="torchvision: 11,689,512 trainable; and 9,600 moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet34",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-34",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=21_814_696,
        params_source="torchvision: 21,797,672 trainable; and 17,024 moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet50",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-50",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=25_610_152,
        params_source="torchvision: 25,557,032 trainable; and 53,120 moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet101",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-101",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=44_654_504,
        params_source="torchvision: 44,549,160 trainable; and 105,344 moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet152",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-152",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=60_344_232,
        params_source="torchvision: 60,192,808 trainable; and 151,424 moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet50_v1",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-50 as in the paper",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=25_610_152,
        params_source="keras.applications: 25,636,712, without 26,560 biases in front of batch normalisations",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet101_v1",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-101 as in the paper",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=44_654_504,
        params_source="keras.applications: 44,707,176, without 52,672 biases in front of batch normalisations",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet152_v1",
        module="kapps.architectures.convolutional.resnet",
        title="ResNet-152 as in the paper",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=60_344_232,
        params_source="keras.applications: 60,419,944, without 75,712 biases in front of batch normalisations",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet20",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="ResNet-20 for CIFAR",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, sec. 4.2",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=271_098,
        params_source="the paper's table 6: 0.27 million; and the moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet32",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="ResNet-32 for CIFAR",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, sec. 4.2",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=466_426,
        params_source="the paper's table 6: 0.46 million; and the moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet44",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="ResNet-44 for CIFAR",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, sec. 4.2",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=661_754,
        params_source="the paper's table 6: 0.66 million; and the moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet56",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="ResNet-56 for CIFAR",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, sec. 4.2",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=857_082,
        params_source="the paper's table 6: 0.85 million; and the moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="resnet110",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="ResNet-110 for CIFAR",
        year=2015,
        paper="He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, sec. 4.2",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=1_736_058,
        params_source="the paper's table 6: 1.7 million; and the moving means and variances",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Entry(
        name="inception_bn",
        module="kapps.architectures.convolutional.inception_bn",
        title="Inception with batch normalisation (v2)",
        year=2015,
        paper="Ioffe, Szegedy: Batch normalization, ICML 2015, figure 5",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=11_305_256,
        params_source="pretrainedmodels' 11,295,240, with 2 moving statistics for 1 bias of each of 10,016 channels",
        url="https://arxiv.org/abs/1502.03167",
    ),
    Entry(
        name="inception_bn_cifar",
        module="kapps.architectures.convolutional.inception_bn",
        title="Small Inception for CIFAR",
        year=2015,
        paper="Zhang et al.: Understanding deep learning requires rethinking generalization, ICLR 2017, figure 3",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=1_654_538,
        params_source="Zhang et al., table 1: 1,649,402 with 1 number for each of 1,712 channels; normalisation has 4",
        url="https://arxiv.org/abs/1611.03530",
    ),
    Entry(
        name="facenet",
        module="kapps.architectures.convolutional.facenet",
        title="FaceNet",
        year=2015,
        paper="Schroff et al.: FaceNet: a unified embedding for face recognition and clustering, CVPR 2015, figure 2",
        task="embedding",
        input_shape=(160, 160, 3),
        num_classes=512,
        params=23_512_224,
        params_source="facenet-pytorch's 23,482,624, and the moving statistics, 2 for each of 14,800 channels",
        url="https://arxiv.org/abs/1503.03832",
    ),
    Entry(
        name="inception_v3",
        module="kapps.architectures.convolutional.inception_v3",
        title="Inception v3",
        year=2015,
        paper="Szegedy et al.: Rethinking the Inception architecture for computer vision, CVPR 2016, table 1",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=23_851_784,
        params_source="keras.applications.InceptionV3",
        url="https://arxiv.org/abs/1512.00567",
    ),
    Entry(
        name="inception_v3_torchvision",
        module="kapps.architectures.convolutional.inception_v3",
        title="Inception v3, torchvision's form",
        year=2015,
        paper="Szegedy et al.: Rethinking the Inception architecture for computer vision, CVPR 2016, table 1",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=23_869_000,
        params_source="torchvision's 27,161,264 - 3,326,696 (auxiliary classifier) + 2 statistics for 17,216 channels",
        url="https://arxiv.org/abs/1512.00567",
    ),
    Entry(
        name="fcn32s",
        module="kapps.architectures.convolutional.fcn",
        title="FCN-32s (VGG-16)",
        year=2015,
        paper="Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation, CVPR 2015, fig. 3",
        task="segmentation",
        input_shape=(500, 500, 3),
        num_classes=21,
        params=134_346_581,
        params_source="14_714_688 + (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 21",
        url="https://arxiv.org/abs/1411.4038",
    ),
    Entry(
        name="fcn16s",
        module="kapps.architectures.convolutional.fcn",
        title="FCN-16s (VGG-16)",
        year=2015,
        paper="Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation, CVPR 2015, fig. 3",
        task="segmentation",
        input_shape=(500, 500, 3),
        num_classes=21,
        params=134_364_410,
        params_source=(
            "14_714_688 + (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 21 + (512 + 1) * 21 + 4 * "
            "4 * 21 * 21"
        ),
        url="https://arxiv.org/abs/1411.4038",
    ),
    Entry(
        name="fcn8s",
        module="kapps.architectures.convolutional.fcn",
        title="FCN-8s (VGG-16)",
        year=2015,
        paper="Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation, CVPR 2015, fig. 3",
        task="segmentation",
        input_shape=(500, 500, 3),
        num_classes=21,
        params=134_376_863,
        params_source=(
            "14_714_688 + (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 21 + (512 + 1) * 21 + 4 * "
            "4 * 21 * 21 + (256 + 1) * 21 + 4 * 4 * 21 * 21"
        ),
        url="https://arxiv.org/abs/1411.4038",
    ),
    Entry(
        name="crf_rnn",
        module="kapps.architectures.convolutional.fcn",
        title="CRF-RNN (FCN-8s with a dense CRF)",
        year=2015,
        paper="Zheng et al.: Conditional random fields as recurrent neural networks, ICCV 2015, fig. 3",
        task="segmentation",
        input_shape=(500, 500, 3),
        num_classes=21,
        params=134_377_346,
        params_source=(
            "14_714_688 + (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 21 + (512 + 1) * 21 + 4 * "
            "4 * 21 * 21 + (256 + 1) * 21 + 4 * 4 * 21 * 21 + 21 + 21 + 21 * 21"
        ),
        url="https://arxiv.org/abs/1502.03240",
    ),
    Entry(
        name="fcn_scenes",
        module="kapps.architectures.convolutional.fcn",
        title="FCN-4s, small, for the generated scenes",
        year=2015,
        paper="Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation, CVPR 2015, fig. 3",
        task="segmentation",
        input_shape=(64, 64, 3),
        num_classes=19,
        params=301_446,
        params_source=(
            "27 * 16 + 144 * 32 + 288 * 32 + 288 * 64 + 576 * 64 + 25 * 64 * 128 + 128 * 128 + 4 * (16 + 32 + 32 "
            "+ 64 + 64 + 128 + 128) + (128 + 1) * 19 + (32 + 1) * 19 + 4 * 4 * 19 * 19"
        ),
        url="https://arxiv.org/abs/1411.4038",
    ),
    Entry(
        name="st_cnn",
        module="kapps.architectures.convolutional.spatial_transformer",
        title="Spatial transformer CNN",
        year=2015,
        paper=(
            "Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial transformer networks, NIPS 2015, fig. 2 and "
            "supplement"
        ),
        task="classification",
        input_shape=(42, 42, 1),
        num_classes=10,
        params=77_928,
        params_source=(
            "(81 + 1) * 32 + (49 * 32 + 1) * 32 + (25 * 32 + 1) * 10 + (25 + 1) * 20 + (25 * 20 + 1) * 20 + (320 "
            "+ 1) * 20 + (20 + 1) * 6"
        ),
        url="https://arxiv.org/abs/1506.02025",
    ),
    Entry(
        name="st_cnn_plain",
        module="kapps.architectures.convolutional.spatial_transformer",
        title="The same CNN without spatial transformer",
        year=2015,
        paper=(
            "Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial transformer networks, NIPS 2015, fig. 2 and "
            "supplement"
        ),
        task="classification",
        input_shape=(42, 42, 1),
        num_classes=10,
        params=60_842,
        params_source="(81 + 1) * 32 + (49 * 32 + 1) * 32 + (25 * 32 + 1) * 10",
        url="https://arxiv.org/abs/1506.02025",
    ),
    Entry(
        name="squeezenet1_0",
        module="kapps.architectures.convolutional.squeezenet",
        title="SqueezeNet 1.0",
        year=2016,
        paper="Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, 2016, table 1",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=1_248_424,
        params_source="torchvision's squeezenet1_0; paper, table 1: 1,248,424",
        url="https://arxiv.org/abs/1602.07360",
    ),
    Entry(
        name="squeezenet1_1",
        module="kapps.architectures.convolutional.squeezenet",
        title="SqueezeNet 1.1",
        year=2016,
        paper="Iandola et al.: SqueezeNet, 2016; version 1.1 of the authors' repository",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=1_235_496,
        params_source="torchvision's squeezenet1_1",
        url="https://github.com/forresti/SqueezeNet",
    ),
    Entry(
        name="squeezenet_cifar",
        module="kapps.architectures.convolutional.squeezenet",
        title="SqueezeNet (CIFAR stem)",
        year=2016,
        paper="Iandola et al.: SqueezeNet, 2016; version 1.1 with a stem for 32x32 pixels",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=736_458,
        params_source="1_235_496 - 990 * 513 + 3 * (64 + 2 * 144 + 2 * 288 + 2 * 432 + 2 * 576)",
        url="https://arxiv.org/abs/1602.07360",
    ),
    Entry(
        name="preact_resnet20",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="Pre-activation ResNet-20 for CIFAR",
        year=2016,
        paper="He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016, fig. 4 (e) and appendix",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=271_098,
        params_source="as resnet20, 0.27 million in the first paper's table 6: the same layers in another order",
        url="https://arxiv.org/abs/1603.05027",
    ),
    Entry(
        name="preact_resnet56",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="Pre-activation ResNet-56 for CIFAR",
        year=2016,
        paper="He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016, fig. 4 (e) and appendix",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=857_082,
        params_source="as resnet56, 0.85 million in the first paper's table 6: the same layers in another order",
        url="https://arxiv.org/abs/1603.05027",
    ),
    Entry(
        name="preact_resnet110",
        module="kapps.architectures.convolutional.resnet_cifar",
        title="Pre-activation ResNet-110 for CIFAR",
        year=2016,
        paper="He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016, fig. 4 (e) and appendix",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=1_736_058,
        params_source="as resnet110, 1.7 million in the first paper's table 6: the same layers in another order",
        url="https://arxiv.org/abs/1603.05027",
    ),
    Entry(
        name="resnet50_v2",
        module="kapps.architectures.convolutional.resnet_v2",
        title="ResNet-50 v2",
        year=2016,
        paper="He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016, fig. 4 (e)",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=25_613_800,
        params_source="keras.applications: 25,613,800",
        url="https://arxiv.org/abs/1603.05027",
    ),
    Entry(
        name="resnet101_v2",
        module="kapps.architectures.convolutional.resnet_v2",
        title="ResNet-101 v2",
        year=2016,
        paper="He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016, fig. 4 (e)",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=44_675_560,
        params_source="keras.applications: 44,675,560",
        url="https://arxiv.org/abs/1603.05027",
    ),
    Entry(
        name="resnet152_v2",
        module="kapps.architectures.convolutional.resnet_v2",
        title="ResNet-152 v2",
        year=2016,
        paper="He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016, fig. 4 (e)",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1000,
        params=60_380_648,
        params_source="keras.applications: 60,380,648",
        url="https://arxiv.org/abs/1603.05027",
    ),
    Entry(
        name="fractalnet",
        module="kapps.architectures.convolutional.fractalnet",
        title="FractalNet, 40 layers",
        year=2016,
        paper="Larsson, Maire, Shakhnarovich: Ultra-deep neural networks without residuals, ICLR 2017, table 3",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=4_778_250,
        params_source="the paper's table 3: 4.8 million",
        url="https://arxiv.org/abs/1605.07648",
    ),
    Entry(
        name="fractalnet20",
        module="kapps.architectures.convolutional.fractalnet",
        title="FractalNet, 20 layers",
        year=2016,
        paper="Larsson, Maire, Shakhnarovich: Ultra-deep neural networks without residuals, ICLR 2017, table 1",
        task="classification",
        input_shape=(32, 32, 3),
        num_classes=10,
        params=33_745_226,
        params_source="27 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512**2) "
        "+ 36 * (64**2 + 128**2 + 256**2 + 2 * 512**2) + 28 * (64 + 128 + 256 + 2 * 512) + (512 + 1) * 10",
        url="https://arxiv.org/abs/1605.07648",
    ),
    Entry(
        name="inception_v4",
        module="kapps.architectures.convolutional.inception_v4",
        title="Inception v4",
        year=2016,
        paper="Szegedy et al.: Inception-v4, Inception-ResNet and the impact of residual connections, 2016, fig. 9",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=42_742_984,
        params_source="timm's 42,679,816, and the moving statistics, 2 for each of 31,584 channels",
        url="https://arxiv.org/abs/1602.07261",
    ),
    Entry(
        name="inception_resnet_v1",
        module="kapps.architectures.convolutional.inception_resnet",
        title="Inception-ResNet v1",
        year=2016,
        paper="Szegedy et al.: Inception-v4, Inception-ResNet and the impact of residual connections, 2016, fig. 15",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=22_769_848,
        params_source=(
            "27 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 64 * 80 + 9 * 80 * 192 + 9 * 192 * 256 + 3 * 656"
            " + 5 * (3 * 256 * 32 + 3 * 9 * 32 * 32 + 3 * 192 + 97 * 256)"
            " + 9 * 256 * 384 + 256 * 192 + 9 * 192 * 192 + 9 * 192 * 256 + 3 * 1024"
            " + 10 * (2 * 896 * 128 + 2 * 7 * 128 * 128 + 3 * 512 + 257 * 896)"
            " + 3 * 896 * 256 + 9 * 256 * (384 + 256 + 256 + 256) + 3 * 1920"
            " + 5 * (2 * 1792 * 192 + 2 * 3 * 192 * 192 + 3 * 768 + 385 * 1792) + 1793 * 1000"
        ),
        url="https://arxiv.org/abs/1602.07261",
    ),
    Entry(
        name="inception_resnet_v2",
        module="kapps.architectures.convolutional.inception_resnet",
        title="Inception-ResNet v2",
        year=2016,
        paper="Szegedy et al.: Inception-v4, Inception-ResNet and the impact of residual connections, 2016, fig. 15",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=55_873_736,
        params_source="keras.applications.InceptionResNetV2",
        url="https://arxiv.org/abs/1602.07261",
    ),
    Entry(
        name="inception_resnet_v2_timm",
        module="kapps.architectures.convolutional.inception_resnet",
        title="Inception-ResNet v2, timm's form",
        year=2016,
        paper="Szegedy et al.: Inception-v4, Inception-ResNet and the impact of residual connections, 2016, fig. 15",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=55_904_008,
        params_source="timm's 55,843,464, and the moving statistics, 2 for each of 30,272 channels",
        url="https://arxiv.org/abs/1602.07261",
    ),
    Entry(
        name="xception",
        module="kapps.architectures.convolutional.xception",
        title="Xception",
        year=2016,
        paper="Chollet: Xception: deep learning with depthwise separable convolutions, CVPR 2017, figure 5",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=22_910_480,
        params_source="keras.applications.Xception",
        url="https://arxiv.org/abs/1610.02357",
    ),
    Entry(
        name="xception_timm",
        module="kapps.architectures.convolutional.xception",
        title="Xception, timm's form",
        year=2016,
        paper="Chollet: Xception: deep learning with depthwise separable convolutions, CVPR 2017, figure 5",
        task="classification",
        input_shape=(299, 299, 3),
        num_classes=1_000,
        params=22_910_480,
        params_source="timm's 22,855,952 (legacy_xception), and the moving statistics, 2 for each of 27,264 channels",
        url="https://arxiv.org/abs/1610.02357",
    ),
    Entry(
        name="fcn_resnet50",
        module="kapps.architectures.convolutional.fcn_resnet",
        title="FCN on a dilated ResNet-50",
        year=2017,
        paper=(
            "Long, Shelhamer, Darrell: Fully convolutional networks, CVPR 2015; Yu, Koltun, Funkhouser: Dilated "
            "residual networks, CVPR 2017"
        ),
        task="segmentation",
        input_shape=(520, 520, 3),
        num_classes=21,
        params=33_011_157,
        params_source="torchvision 0.29 without the auxiliary head",
        url="https://arxiv.org/abs/1705.09914",
    ),
    Entry(
        name="efficientnet_lite0",
        module="kapps.architectures.convolutional.efficientnet_lite",
        title="EfficientNet-Lite0",
        year=2019,
        paper="Tan, Le: EfficientNet: rethinking model scaling, ICML 2019, table 1; the authors' Lite form of 2020",
        task="classification",
        input_shape=(224, 224, 3),
        num_classes=1_000,
        params=4_694_024,
        params_source="the authors' 4,652,008 trainable, and the moving statistics, 2 for each of 21,008 channels",
        url="https://arxiv.org/abs/1905.11946",
    ),
    Entry(
        name="efficientnet_lite1",
        module="kapps.architectures.convolutional.efficientnet_lite",
        title="EfficientNet-Lite1",
        year=2019,
        paper="Tan, Le: EfficientNet: rethinking model scaling, ICML 2019, table 1; the authors' Lite form of 2020",
        task="classification",
        input_shape=(240, 240, 3),
        num_classes=1_000,
        params=5_470_344,
        params_source="the authors' 5,416,680 trainable, and the moving statistics, 2 for each of 26,832 channels",
        url="https://arxiv.org/abs/1905.11946",
    ),
    Entry(
        name="efficientnet_lite2",
        module="kapps.architectures.convolutional.efficientnet_lite",
        title="EfficientNet-Lite2",
        year=2019,
        paper="Tan, Le: EfficientNet: rethinking model scaling, ICML 2019, table 1; the authors' Lite form of 2020",
        task="classification",
        input_shape=(260, 260, 3),
        num_classes=1_000,
        params=6_150_168,
        params_source="the authors' 6,092,072 trainable, and the moving statistics, 2 for each of 29,048 channels",
        url="https://arxiv.org/abs/1905.11946",
    ),
    Entry(
        name="efficientnet_lite3",
        module="kapps.architectures.convolutional.efficientnet_lite",
        title="EfficientNet-Lite3",
        year=2019,
        paper="Tan, Le: EfficientNet: rethinking model scaling, ICML 2019, table 1; the authors' Lite form of 2020",
        task="classification",
        input_shape=(280, 280, 3),
        num_classes=1_000,
        params=8_273_768,
        params_source="the authors' 8,197,096 trainable, and the moving statistics, 2 for each of 38,336 channels",
        url="https://arxiv.org/abs/1905.11946",
    ),
    Entry(
        name="efficientnet_lite4",
        module="kapps.architectures.convolutional.efficientnet_lite",
        title="EfficientNet-Lite4",
        year=2019,
        paper="Tan, Le: EfficientNet: rethinking model scaling, ICML 2019, table 1; the authors' Lite form of 2020",
        task="classification",
        input_shape=(300, 300, 3),
        num_classes=1_000,
        params=13_118_936,
        params_source="the authors' 13,006,568 trainable, and the moving statistics, 2 for each of 56,184 channels",
        url="https://arxiv.org/abs/1905.11946",
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
    tasks = sorted({"detection", "features", *(entry.task for entry in ENTRIES)})
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


def flops(name: str) -> int | None:
    """Float operations for one input, as `kapps.exporting.flops` counts them (a multiply-add is two).

    They are computed by `kapps tables --flops`, never typed; None for an architecture that was not counted yet.

    Raises:
        UnknownNameError: as `info`.
    """
    return _flops().get(info(name).name)


@functools.cache
def _flops() -> dict[str, int]:
    file = Path(__file__).with_name("flops.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


# ---- detectors: networks and pipelines around a backbone, made by `kapps.create_detector`


@dataclass(frozen=True)
class DetectorEntry:
    """What is known about a detector without building it.

    Attributes:
        name: the name that `kapps.create_detector` takes.
        module: the module that holds it; its `VARIANTS` has `name` as a key.
        title: the name people use.
        year: of the paper.
        paper: authors, title and venue.
        url: the page of the paper.
        weights: names of published weights of the whole detector.
    """

    name: str
    module: str
    title: str
    year: int
    paper: str
    url: str
    weights: tuple[str, ...] = ()


DETECTORS: tuple[DetectorEntry, ...] = (
    DetectorEntry(
        name="overfeat_detector",
        module="kapps.tasks.detection.overfeat_detector",
        title="OverFeat: windows, and boxes merged",
        year=2013,
        paper="Sermanet et al.: OverFeat, ICLR 2014, sec. 4 and 5",
        url="https://arxiv.org/abs/1312.6229",
    ),
    DetectorEntry(
        name="rcnn",
        module="kapps.tasks.detection.rcnn",
        title="R-CNN: regions with CNN features",
        year=2014,
        paper="Girshick et al.: Rich feature hierarchies, CVPR 2014",
        url="https://arxiv.org/abs/1311.2524",
    ),
    DetectorEntry(
        name="sppnet",
        module="kapps.tasks.detection.spp_detector",
        title="SPP-net: one map, a pyramid of every region",
        year=2014,
        paper="He et al.: Spatial pyramid pooling in deep convolutional networks, ECCV 2014, sec. 4",
        url="https://arxiv.org/abs/1406.4729",
    ),
    DetectorEntry(
        name="fast_rcnn",
        module="kapps.tasks.detection.fast_rcnn",
        title="Fast R-CNN",
        year=2015,
        paper="Girshick: Fast R-CNN, ICCV 2015",
        url="https://arxiv.org/abs/1504.08083",
    ),
    DetectorEntry(
        name="yolo",
        module="kapps.tasks.detection.yolo",
        title="YOLO: you only look once",
        year=2015,
        paper="Redmon et al.: You only look once, CVPR 2016, sec. 2",
        url="https://arxiv.org/abs/1506.02640",
    ),
    DetectorEntry(
        name="faster_rcnn_resnet50_c4",
        module="kapps.tasks.detection.faster_rcnn",
        title="Faster R-CNN, ResNet-50 C4",
        year=2015,
        paper="Ren et al.: Faster R-CNN, NIPS 2015; He et al.: Deep residual learning, CVPR 2016, appendix A",
        url="https://arxiv.org/abs/1506.01497",
    ),
    DetectorEntry(
        name="faster_rcnn_resnet18_fpn",
        module="kapps.tasks.detection.faster_rcnn",
        title="Faster R-CNN with a feature pyramid, ResNet-18",
        year=2017,
        paper="Lin et al.: Feature pyramid networks for object detection, CVPR 2017, sec. 4",
        url="https://arxiv.org/abs/1612.03144",
    ),
    DetectorEntry(
        name="faster_rcnn_resnet50_fpn",
        module="kapps.tasks.detection.faster_rcnn",
        title="Faster R-CNN with a feature pyramid, ResNet-50",
        year=2017,
        paper="Lin et al.: Feature pyramid networks for object detection, CVPR 2017, sec. 4 and table 3",
        url="https://arxiv.org/abs/1612.03144",
        weights=("coco",),
    ),
)


def list_detectors(pattern: str = "*") -> list[str]:
    """Names of the detectors that match a shell pattern such as `"faster*"`; case does not matter."""
    return [entry.name for entry in DETECTORS if fnmatch.fnmatchcase(entry.name, pattern.lower())]


def detector_info(name: str) -> DetectorEntry:
    """The entry of one detector.

    Raises:
        UnknownNameError: with the nearest right names.
    """
    known = {entry.name: entry for entry in DETECTORS}
    if name not in known:
        raise UnknownNameError("detector", name, known, hint="see `kapps list`")
    return known[name]


@dataclass(frozen=True)
class LearnerEntry:
    """What is known about one learner without labels.

    Attributes:
        name: the name that `kapps.create_learner` takes.
        module: the module that holds it; its `VARIANTS` has `name` as a key.
        title: the name people use.
        year: the year of the paper.
        paper: authors, title and venue, with the section or equation that the file follows.
        data_shape: of one example by default, without the batch.
        params: the number of weights with the default shape and configuration.
        params_source: the arithmetic of that number.
        url: the page of the paper; "" where there is none.
    """

    name: str
    module: str
    title: str
    year: int
    paper: str
    data_shape: tuple[int, ...]
    params: int
    params_source: str
    url: str = ""


LEARNERS: tuple[LearnerEntry, ...] = (
    LearnerEntry(
        name="autoencoder",
        module="kapps.architectures.unsupervised.autoencoder",
        title="Autoencoder",
        year=1986,
        paper="Rumelhart, Hinton, Williams: Learning internal representations by error propagation, 1986, sec. 8.3",
        data_shape=(28, 28, 1),
        params=393_284,
        params_source="784 * 500 tied weights + 500 + 784",
    ),
    LearnerEntry(
        name="rbm",
        module="kapps.architectures.unsupervised.rbm",
        title="Restricted Boltzmann machine",
        year=1986,
        paper="Smolensky: Foundations of harmony theory, 1986; learning: Hinton, Neural Computation 14, 2002, eq. 5",
        data_shape=(28, 28, 1),
        params=393_284,
        params_source="784 * 500 + 784 + 500",
        url="https://doi.org/10.1162/089976602760128018",
    ),
    LearnerEntry(
        name="helmholtz_machine",
        module="kapps.architectures.unsupervised.helmholtz_machine",
        title="Helmholtz machine",
        year=1995,
        paper="Hinton, Dayan, Frey, Neal: The wake-sleep algorithm, Science 268, 1995",
        data_shape=(28, 28, 1),
        params=365_084,
        params_source="both ways of 784-200-100-50: 2 * (156,800 + 20,000 + 5,000), their biases, and the top's 50",
        url="https://doi.org/10.1126/science.7761831",
    ),
    LearnerEntry(
        name="sparse_coding",
        module="kapps.architectures.unsupervised.sparse_coding",
        title="Sparse coding",
        year=1996,
        paper="Olshausen, Field: Emergence of simple-cell receptive field properties, Nature 381, 1996, eq. 2 to 4",
        data_shape=(8, 8, 1),
        params=98_305,
        params_source="256 * 64 atoms; 256 * (256 + 64) statistics of the codes; 1 count",
        url="https://doi.org/10.1038/381607a0",
    ),
    LearnerEntry(
        name="dbn",
        module="kapps.architectures.unsupervised.dbn",
        title="Deep belief net",
        year=2006,
        paper="Hinton, Osindero, Teh: A fast learning algorithm for deep belief nets, Neural Computation 18, 2006",
        data_shape=(28, 28, 1),
        params=2_288_784,
        params_source="(784 + 1) * 500 + 784, 500 * 502, 500 * 2,001 + 2,000, and 642,000 generative weights",
        url="https://doi.org/10.1162/neco.2006.18.7.1527",
    ),
    LearnerEntry(
        name="deep_autoencoder",
        module="kapps.architectures.unsupervised.deep_autoencoder",
        title="Deep autoencoder",
        year=2006,
        paper="Hinton, Salakhutdinov: Reducing the dimensionality of data with neural networks, Science 313, 2006",
        data_shape=(28, 28, 1),
        params=2_837_314,
        params_source="784-1000-500-250-30 and back, with biases",
        url="https://doi.org/10.1126/science.1127647",
    ),
    LearnerEntry(
        name="deep_autoencoder_2d",
        module="kapps.architectures.unsupervised.deep_autoencoder",
        title="Deep autoencoder with a code of two numbers",
        year=2006,
        paper="Hinton, Salakhutdinov: Reducing the dimensionality of data, Science 313, 2006, fig. 3B",
        data_shape=(28, 28, 1),
        params=2_823_286,
        params_source="784-1000-500-250-2 and back, with biases",
        url="https://doi.org/10.1126/science.1127647",
    ),
    LearnerEntry(
        name="sparse_autoencoder",
        module="kapps.architectures.unsupervised.autoencoder",
        title="Sparse autoencoder",
        year=2007,
        paper="Lee, Ekanadham, Ng: Sparse deep belief net model for visual area V2, NIPS 2007; Ng: CS294A notes, 2011",
        data_shape=(28, 28, 1),
        params=393_284,
        params_source="784 * 500 tied weights + 500 + 784",
        url="https://web.stanford.edu/class/cs294a/sparseAutoencoder_2011new.pdf",
    ),
    LearnerEntry(
        name="stacked_autoencoder",
        module="kapps.architectures.unsupervised.stacked",
        title="Stacked autoencoder",
        year=2007,
        paper="Bengio, Lamblin, Popovici, Larochelle: Greedy layer-wise training of deep networks, NIPS 2007",
        data_shape=(28, 28, 1),
        params=2_789_784,
        params_source="784-1000-1000-1000, tied: 784,000 + 2 * 1,000,000, and biases of both ways",
        url="https://proceedings.neurips.cc/paper/2006/hash/5da713a690c067105aeb2fae32403405-Abstract.html",
    ),
    LearnerEntry(
        name="denoising_autoencoder",
        module="kapps.architectures.unsupervised.autoencoder",
        title="Denoising autoencoder",
        year=2008,
        paper="Vincent, Larochelle, Bengio, Manzagol: Extracting and composing robust features, ICML 2008, sec. 2.3",
        data_shape=(28, 28, 1),
        params=393_284,
        params_source="784 * 500 tied weights + 500 + 784",
        url="https://doi.org/10.1145/1390156.1390294",
    ),
    LearnerEntry(
        name="psd",
        module="kapps.architectures.unsupervised.predictive_sparse_decomposition",
        title="Predictive sparse decomposition",
        year=2008,
        paper="Kavukcuoglu, Ranzato, LeCun: Fast inference in sparse coding algorithms, CBLL-TR-2008-12-01",
        data_shape=(8, 8, 1),
        params=33_280,
        params_source="256 * 64 atoms + 64 * 256 + 2 * 256",
        url="https://arxiv.org/abs/1010.3467",
    ),
    LearnerEntry(
        name="convolutional_rbm",
        module="kapps.architectures.unsupervised.convolutional_rbm",
        title="Convolutional RBM",
        year=2009,
        paper="Lee, Grosse, Ranganath, Ng: Convolutional deep belief networks, ICML 2009, sec. 3.2 and 3.3",
        data_shape=(28, 28, 1),
        params=1_972,
        params_source="9 * 9 * 24 + 24 + 1, and 3 numbers of the data",
        url="https://doi.org/10.1145/1553374.1553453",
    ),
    LearnerEntry(
        name="gaussian_convolutional_rbm",
        module="kapps.architectures.unsupervised.convolutional_rbm",
        title="Convolutional RBM, Gaussian visible units",
        year=2009,
        paper="Lee, Grosse, Ranganath, Ng: Convolutional deep belief networks, ICML 2009, sec. 3.2 and 3.3",
        data_shape=(28, 28, 1),
        params=1_972,
        params_source="9 * 9 * 24 + 24 + 1, and 3 numbers of the data",
        url="https://doi.org/10.1145/1553374.1553453",
    ),
    LearnerEntry(
        name="convolutional_dbn",
        module="kapps.architectures.unsupervised.convolutional_dbn",
        title="Convolutional deep belief net",
        year=2009,
        paper="Lee, Grosse, Ranganath, Ng: Convolutional deep belief networks, ICML 2009, sec. 3.4",
        data_shape=(28, 28, 1),
        params=62_645,
        params_source="11 * 11 * 40 + 41 and 6 * 6 * 40 * 40 + 80, and 84 numbers of the data",
        url="https://doi.org/10.1145/1553374.1553453",
    ),
    LearnerEntry(
        name="dbm",
        module="kapps.architectures.unsupervised.dbm",
        title="Deep Boltzmann machine",
        year=2009,
        paper="Salakhutdinov, Hinton: Deep Boltzmann machines, AISTATS 2009, sec. 2.1 and 2.2",
        data_shape=(28, 28, 1),
        params=944_284,
        params_source="784 * 500 + 500 * 1,000 + 784 + 500 + 1,000, and 100 chains of 500",
        url="https://proceedings.mlr.press/v5/salakhutdinov09a.html",
    ),
    LearnerEntry(
        name="gaussian_rbm",
        module="kapps.architectures.unsupervised.rbm",
        title="Restricted Boltzmann machine, Gaussian visible units",
        year=2010,
        paper="Hinton: A practical guide to training restricted Boltzmann machines, UTML TR 2010-003, sec. 13.2",
        data_shape=(8, 8, 1),
        params=32_692,
        params_source="64 * 500 + 64 + 500, and 2 * 64 to standardise with",
        url="https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf",
    ),
    LearnerEntry(
        name="stacked_denoising_autoencoder",
        module="kapps.architectures.unsupervised.stacked",
        title="Stacked denoising autoencoder",
        year=2010,
        paper="Vincent, Larochelle, Lajoie, Bengio, Manzagol: Stacked denoising autoencoders, JMLR 11, 2010",
        data_shape=(28, 28, 1),
        params=2_789_784,
        params_source="784-1000-1000-1000, tied: 784,000 + 2 * 1,000,000, and biases of both ways",
        url="https://www.jmlr.org/papers/v11/vincent10a.html",
    ),
    LearnerEntry(
        name="lista",
        module="kapps.architectures.unsupervised.lista",
        title="Learned ISTA",
        year=2010,
        paper="Gregor, LeCun: Learning fast approximations of sparse coding, ICML 2010, algorithm 3",
        data_shape=(8, 8, 1),
        params=180_481,
        params_source="256 * 64 + 256 * 256 + 256, and the 98,305 of the coder it follows",
        url="https://icml.cc/Conferences/2010/papers/449.pdf",
    ),
    LearnerEntry(
        name="space_time_dbn",
        module="kapps.architectures.unsupervised.space_time_dbn",
        title="Space-time deep belief net",
        year=2010,
        paper="Chen, Ting, Marlin, de Freitas: Deep learning of invariant spatio-temporal features from video, 2010",
        data_shape=(16, 32, 32, 1),
        params=18_287,
        params_source="9 * 9 * 16, 3 * 16 * 24, 5 * 5 * 24 * 24, 2 * 24 * 24 weights; biases, numbers of the data",
    ),
    LearnerEntry(
        name="contractive_autoencoder",
        module="kapps.architectures.unsupervised.autoencoder",
        title="Contractive autoencoder",
        year=2011,
        paper="Rifai, Vincent, Muller, Glorot, Bengio: Contractive auto-encoders, ICML 2011, eq. 4 to 6",
        data_shape=(28, 28, 1),
        params=393_284,
        params_source="784 * 500 tied weights + 500 + 784",
        url="https://icml.cc/2011/papers/455_icmlpaper.pdf",
    ),
    LearnerEntry(
        name="convolutional_autoencoder",
        module="kapps.architectures.unsupervised.convolutional_autoencoder",
        title="Convolutional autoencoder",
        year=2011,
        paper="Masci, Meier, Ciresan, Schmidhuber: Stacked convolutional auto-encoders, ICANN 2011",
        data_shape=(28, 28, 1),
        params=13_265,
        params_source="5 * 5 * (16 + 16 * 32) tied weights + 48 + 17",
        url="https://doi.org/10.1007/978-3-642-21735-7_7",
    ),
    LearnerEntry(
        name="bimodal_autoencoder",
        module="kapps.architectures.unsupervised.bimodal_autoencoder",
        title="Bimodal deep autoencoder",
        year=2011,
        paper="Ngiam, Khosla, Kim, Nam, Lee, Ng: Multimodal deep learning, ICML 2011, sec. 4, fig. 3b",
        data_shape=(1808,),
        params=2_212_008,
        params_source="784-500, 1024-500, 1000-200 and back, with biases",
        url="https://icml.cc/2011/papers/399_icmlpaper.pdf",
    ),
    LearnerEntry(
        name="vae",
        module="kapps.architectures.unsupervised.variational_autoencoder",
        title="Variational autoencoder",
        year=2014,
        paper="Kingma, Welling: Auto-encoding variational Bayes, ICLR 2014, eq. 10 and appendix B and C",
        data_shape=(28, 28, 1),
        params=815_824,
        params_source="784-500-2x20, 20-500-784, with biases",
        url="https://arxiv.org/abs/1312.6114",
    ),
)


def list_learners(pattern: str = "*") -> list[str]:
    """Names of what learns features without labels, by a shell pattern such as `"*rbm"`; case does not matter."""
    return [entry.name for entry in LEARNERS if fnmatch.fnmatchcase(entry.name, pattern.lower())]


def learner_info(name: str) -> LearnerEntry:
    """The entry of one learner.

    Raises:
        UnknownNameError: with the nearest right names.
    """
    known = {entry.name: entry for entry in LEARNERS}
    if name not in known:
        raise UnknownNameError("learner", name, known, hint="see `kapps list`")
    return known[name]
