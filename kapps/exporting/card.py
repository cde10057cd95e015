"""The card of an exported model: what it is, what it takes, what was measured, under which licence, and its sums.

`<version>/card.json` is the truth about a version; `kapps.load` reads its labels and checks its sums.
`<path>/card.json` is a copy of the current version's, and says by its field `version` which one is current;
`<path>/card.md` says the same to a reader. Standard library only: reading a card loads no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from kapps.errors import RecipeError, SavedModelError, nearest

FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What is known about one exported version.

    Attributes:
        name: the folder's name, under which a server offers the model.
        version: its number.
        title: one line that says what the model does.
        architecture: the catalogue's name of the architecture.
        task: e.g. `"classification"`.
        paper: the source of the architecture; may be empty.
        licence: of the code and of the weights (SPDX).
        data: what it was trained on; `data_licence`: that data's licence.
        metrics: name -> {"value": number, "data": measured on what, "command": what reproduces it}.
        limits: what it should not be used for, where it is known to fail.
        params: number of weights, trainable and not.
        flops: operations for one input, counted as `flops_convention` says.
        scores: what the numbers in `probabilities` or `detection_scores` are: `"softmax"` (they sum to 1), `"sigmoid"`
            (each in [0, 1], one unit a class, they do not sum to 1) or `"unnormalised"` (higher is likelier, nothing
            more); `"embedding"` where there are none.
        labels: the class names in the order of `probabilities`; empty for an embedding.
        top_k: how many classes the output `classes` holds; of a detection how many objects at most.
        input: {"encoded": formats, "preprocessing": what the graph does to a decoded image,
            "shape": [h, w, c] and "dtype" of the preprocessed image, of a detection of the decoded one, null = any}.
        signatures: name -> {"inputs": {name: {"dtype", "shape"}}, "outputs": the same}.
        features: the names that the signature `features` gives; may be empty.
        sha256: relative path -> sha256 of every file of the version but this card.
        optimization: what made the graph faster than the model it came from, and by how much its answers moved
            ("difference", the largest of all outputs, in their standard deviations); empty if nothing did.
        engines: format for another runtime -> {"file": name, "difference": of its answers from the model's, in standard
            deviations of the scores}; of a detector {"networks": as `kapps.exporting.detection_parts.write_networks`
            gives them, "difference"}; `"onnx-int8"` -> what `kapps.exporting.quantize.write_int8` measured; empty if
            none was asked for.
        created: date and time (UTC). created_by: package -> version.
        format: of the card itself.
    """

    name: str
    version: int
    title: str
    architecture: str
    task: str
    paper: str
    licence: str
    data: str
    data_licence: str
    metrics: dict[str, dict[str, Any]]
    limits: tuple[str, ...]
    params: int
    flops: int
    flops_convention: str
    scores: str
    labels: tuple[str, ...]
    top_k: int
    input: dict[str, Any]
    signatures: dict[str, dict[str, dict[str, dict[str, Any]]]]
    features: tuple[str, ...]
    sha256: dict[str, str]
    created: str
    created_by: dict[str, str]
    optimization: dict[str, Any] = dataclasses.field(default_factory=dict)
    engines: dict[str, Any] = dataclasses.field(default_factory=dict)
    format: int = FORMAT

    @property
    def kind(self) -> str:
        """`"classification"`, `"segmentation"`, `"embedding"` or `"detection"`: what the signatures' outputs are."""
        outputs = self.signatures.get("serving_tensors", {}).get("outputs", {})
        telling = {"embedding": "embedding", "mask": "segmentation", "detection_boxes": "detection"}
        return next((kind for output, kind in telling.items() if output in outputs), "classification")

    def to_json(self) -> str:
        """The card as it lies in `card.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, file: Path) -> Card:
        """The card in a `card.json`.

        Raises:
            SavedModelError: there is no such file, or it is not a card of this format.
        """
        facts = read_json(file)
        if facts.get("format") != FORMAT:
            raise SavedModelError(
                f"{file} has format {facts.get('format')!r}, expected {FORMAT}: it is no card of kapps, or a newer one"
            )
        facts = {"optimization": {}, "engines": {}, **facts}  # younger than the format
        known = {field.name: field.type for field in dataclasses.fields(cls)}
        wrong = sorted(set(known) ^ set(facts))
        if wrong:
            raise SavedModelError(
                f"{file} lacks or adds the fields {', '.join(wrong)}: it is damaged, export the model again"
            )
        for name, kind in known.items():
            expected = {"str": str, "int": int, "t": list, "d": dict}[kind if kind in ("str", "int") else kind[0]]
            if not isinstance(facts[name], expected):
                raise SavedModelError(
                    f"{file}: the field {name} should be of type {expected.__name__} and is {facts[name]!r:.40}: "
                    "it is damaged, export the model again"
                )
            if expected is list:
                facts[name] = tuple(facts[name])
        return cls(**facts)

    def to_markdown(self) -> str:
        """The card as a page: how to use the model, what goes in and out, what was measured, licence and limits."""
        return _page(self)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        SavedModelError: it is not there, cannot be read, or is not a JSON object.
    """
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SavedModelError(
            f"{file} cannot be read ({error.strerror}): expected a model that kapps exported"
        ) from error
    except ValueError as error:  # malformed JSON or not UTF-8
        raise SavedModelError(f"{file} is not JSON ({error}): it is damaged, export the model again") from error
    if not isinstance(facts, dict):
        raise SavedModelError(f"{file} holds a {type(facts).__name__}, expected an object: it is not a card of kapps")
    return facts


# What the one who exports may say about a model; everything else in the card is found out.
FACTS = {
    "title": str,
    "architecture": str,
    "task": str,
    "paper": str,
    "licence": str,
    "data": str,
    "data_licence": str,
    "metrics": Mapping,
    "limits": Sequence,
    "command": str,
}


def check_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The exporter's own facts for the card, checked; see `FACTS` for what may be said.

    Args:
        facts: `metrics` maps a name to a number, or to {"value", "data", "command"}. `command` (and `data`, as
            "measured on") at the top serve for those metrics that do not name theirs.

    Raises:
        RecipeError: an unknown field, a wrong type, or a metric without the command that reproduces it.
    """
    for name, value in facts.items():
        if name not in FACTS:
            near = nearest(name, FACTS) or list(FACTS)
            raise RecipeError(f"a card has no field {name!r}: expected {' or '.join(near)}")
        if not isinstance(value, FACTS[name]) or (FACTS[name] is Sequence and isinstance(value, str)):
            expected = {str: "text", Mapping: "a mapping", Sequence: "a list of texts"}[FACTS[name]]
            raise RecipeError(f"the card's field {name} should be {expected}, got {value!r:.60}")
    checked = {name: value for name, value in facts.items() if name not in ("metrics", "command", "limits")}
    checked["metrics"] = {
        name: _check_metric(name, metric, facts.get("command", "")) for name, metric in facts.get("metrics", {}).items()
    }
    checked["limits"] = tuple(str(limit) for limit in facts.get("limits", ()))
    return checked


def _check_metric(name: str, metric: Any, command: str) -> dict[str, Any]:
    metric = dict(metric) if isinstance(metric, Mapping) else {"value": metric}
    unknown = sorted(set(metric) - {"value", "data", "command"})
    value = metric.get("value")
    if unknown or not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise RecipeError(
            f"the card's metric {name!r} should be a finite number or a mapping of value, data and command, "
            f"got {metric!r:.80}"
        )
    command = metric.get("command", command)
    if not command:
        raise RecipeError(f"the card's metric {name!r} has no command: say in `command` what reproduces it")
    value = int(value) if isinstance(value, int) else float(value)
    return {"value": value, "data": str(metric.get("data", "")), "command": str(command)}


def _page(card: Card) -> str:
    size = " x ".join("any" if n is None else str(n) for n in card.input["shape"])
    more = f", ... ({len(card.labels)} in all)" if len(card.labels) > 20 else ""
    labels = f"\nLabels: {', '.join(card.labels[:20])}{more}\n" if card.labels else ""
    metrics = "\n".join(
        f"| {name} | {metric['value']:.6g} | {metric['data'] or '-'} | `{metric['command']}` |"
        for name, metric in card.metrics.items()
    )
    signatures = "\n".join(
        f"| `{name}` | {_tensors(ends['inputs'])} | {_tensors(ends['outputs'])} |"
        for name, ends in card.signatures.items()
    )
    preprocessing = "\n".join(f"    {name}: {value}" for name, value in card.input["preprocessing"].items())
    optimised = (
        f"\nOptimised: {card.optimization['folded_batch_normalisations']} batch normalisations folded, weights frozen; "
        f"the outputs moved by {card.optimization['difference']:.1e} of their standard deviation at most.\n"
        if card.optimization
        else ""
    )
    engines = "".join(f"\n{_engine(name, engine)}\n" for name, engine in card.engines.items())
    limits = "\n".join(f"- {limit}" for limit in card.limits) or (
        "- None were recorded. Expect good answers only for images like those it was trained on."
    )
    paper = f"\nPaper: {card.paper}\n" if card.paper else ""
    measured = (
        f"| figure | value | measured on | command |\n| --- | --- | --- | --- |\n{metrics}"
        if metrics
        else "No figure was recorded at the export."
    )
    made = ", ".join(f"{package} {version}" for package, version in card.created_by.items())
    return f"""# {card.name}, version {card.version}

{card.title}

Architecture: `{card.architecture}` ({card.task}), {card.params:,} weights, {card.flops:,} FLOPs an image
({card.flops_convention}).
{paper}
## Use

Python:

```python
import kapps

predictor = kapps.load("{card.name}")  # the path of this folder
answer = predictor("image.png")
{_SHOWN[card.kind]}
```

Command line:

```sh
kapps predict {card.name} image.png{_WRITTEN.get(card.kind, "")}
```

TensorFlow Serving, from the folder above this one:

```sh
docker run --rm -p 8501:8501 -v "$PWD/{card.name}:/models/{card.name}" -e MODEL_NAME={card.name} tensorflow/serving
curl -d "{{\\"instances\\": [{{\\"b64\\": \\"$(base64 -w0 image.png)\\"}}]}}" \\
  http://localhost:8501/v1/models/{card.name}:predict
```

{_about_keras(card)}

## Input and output

Encoded images ({", ".join(card.input["encoded"])}; grey, colour or with alpha; any size) go into `serving_default`.
The graph does the rest:

{preprocessing}

{
        _TAKES.get(
            card.kind, "`serving_tensors` takes {dtype} images of {size} on which that was done already."
        ).format(dtype=card.input["dtype"], size=size)
    }

| signature | takes | gives |
| --- | --- | --- |
{signatures}
{optimised}{engines}
{_outputs(card)}
{labels}
## Measured

{measured}

## Licence

Code and weights: {card.licence}. Trained on: {card.data}. Licence of the data: {card.data_licence}.

## Limits

{limits}

Made {card.created} by {made}. The sha256 of every file is in `card.json`; it shows damage, not who made the model.
"""


_TAKES = {"detection": "`serving_tensors` takes {dtype} images of one size, any, as they were decoded."}

# What the command line may write besides.
_WRITTEN = {"segmentation": " --out mask.png", "detection": " --draw found.png"}

# The last line of the example in Python.
_SHOWN = {
    "classification": 'print(answer["label"], answer["score"])',
    "segmentation": 'print(answer["classes"], answer["mask"].shape)',
    "embedding": 'print(answer["embedding"])',
    "detection": 'print([found for found in answer if found["score"] >= 0.5])',
}


def _outputs(card: Card) -> str:
    """What the names of the outputs mean."""
    scores = {
        "softmax": "probabilities that sum to 1 (softmax)",
        "sigmoid": "one sigmoid unit a class: each lies in [0, 1], they do not sum to 1",
        "unnormalised": "scores without a scale: higher is likelier, nothing more",
        "embedding": "",
    }[card.scores]
    if card.kind == "embedding":
        return "`embedding` holds no scores: what counts is how near the embeddings of two images are."
    if card.kind == "detection":
        return (
            "`detection_boxes` are the best first: top, left, bottom and right as parts of the image's height and "
            f"width (`rel_yxyx`). `detection_scores` are {scores}, `detection_classes` indices into the list of labels "
            "and `detection_class_names` the labels; behind `num_detections` all are empty."
        )
    if card.kind == "segmentation":
        return (
            "`mask` is the index of each pixel's class in the list of labels, `confidence` its score. `classes` and "
            "`shares` hold all labels and their parts of the pixels, falling; a share of 0: not in the image. The maps "
            "are as large as the network's, not as the image: `kapps.load` puts the mask back onto the image. "
            f"`probabilities` are, at each pixel, {scores}."
        )
    return (
        f"`probabilities` are {scores}. `classes` and `top_k` hold the {card.top_k} likeliest labels and their scores, "
        "falling."
    )


def _engine(name: str, engine: Mapping[str, Any]) -> str:
    if "networks" in engine:
        files = " and ".join(f"`{network['file']}`" for network in engine["networks"].values())
        return (
            f"{files}: the detector's networks for the engine `{name}`, between which TensorFlow computes; what they "
            f"give differs by {engine['difference']:.1e} of its standard deviation at most."
        )
    if "difference" in engine:
        return (
            f"`{engine['file']}` is the network of `serving_tensors` for the engine `{name}`; its scores differ by "
            f"{engine['difference']:.1e} of their standard deviation at most."
        )
    return (
        f"`{engine['file']}` is the same in 8 bits for the engine `{name}`, which is used only where it is asked for: "
        f"{engine['bytes_int8']:,} bytes instead of {engine['bytes_float32']:,}. It gets {engine['accuracy_int8']:.2%} "
        f"of {engine['images']:,} images right, in float32 {engine['accuracy_float32']:.2%}: a loss of "
        f"{100 * engine['loss']:.2f} percentage points. To {engine['agreement']:.2%} of them both give one answer. "
        f"Measured on: {engine['data']}; by: `{engine['command']}`. Calibrated on "
        f"{engine['calibration_images']:,} other images."
    )


def _tensors(tensors: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(
        f"`{name}` {tensor['dtype']} [{', '.join('B' if n is None else str(n) for n in tensor['shape'])}]"
        for name, tensor in tensors.items()
    )


def _about_keras(card: Card) -> str:
    if "model.keras" in card.sha256:
        return f"Fine-tuning: `{card.version}/model.keras` is the Keras model itself."
    return "It was exported without its Keras model, and cannot be trained further."
