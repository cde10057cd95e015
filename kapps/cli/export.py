"""`kapps export RUN PATH` or `kapps export resnet50 PATH --weights imagenet`: a SavedModel for servers, `kapps predict`
and the gallery."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kapps import catalog
from kapps.cli.calibration import quantization, shown
from kapps.cli.console import AsJson, print_facts, print_json, waiting
from kapps.cli.files import read_json, read_preprocessing
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import RecipeError, WeightsError

if TYPE_CHECKING:
    import keras

    from kapps.training.recipe import DetectionRecipe, LearnerRecipe, Recipe


def command(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="The folder of a finished run, a .keras file, or an architecture.")],
    path: Annotated[Path, typer.Argument(help="The folder of the versions, e.g. saved_models/my_digits.")],
    version: Annotated[int | None, typer.Option(min=1, help="The version's number; the next one unless given.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Class names in the outputs' order, e.g. cat,dog; '' for an embedding, which has none. A run brings "
            "its own."
        ),
    ] = None,
    preprocessing: Annotated[
        Path | None, typer.Option(help="JSON file with the preprocessing of a .keras file. A run brings its own.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of an architecture: imagenet, hf://OWNER/REPOSITORY or a file of weights.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Layers whose outputs can be asked for, e.g. c1,s2. Of a run: all that its paper names."),
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="For a model that ends in logits: softmax, sigmoid or linear (as they are).")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights, for the card, e.g. Apache-2.0.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="What the model cannot do, for the card; several times for several.")
    ] = None,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Fold batch normalisation and freeze the weights: faster, same answers.")
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Also for another runtime: onnx, openvino, litert; several times for several."),
    ] = None,
    without_keras: Annotated[
        bool,
        typer.Option("--without-keras", help="Of a detector: leave out model.keras; half as large, not to be trained."),
    ] = False,
    quantize: Annotated[
        bool, typer.Option("--quantize", help="Also in 8 bits for ONNX Runtime; the card says what it loses.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="With --quantize: images in folders named by label, or by its number, to calibrate and measure on. "
            "A run brings its own."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="With --quantize: where TensorFlow Datasets keeps the sets of a run.")
    ] = None,
    largest_loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --quantize: a larger loss of accuracy is refused; 0.02 unless given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a trained model with its preprocessing and labels."""
    for name, value in (("calibration", calibration), ("data-dir", data_dir), ("largest-loss", largest_loss)):
        if value is not None and not quantize:
            raise RecipeError(f"--{name} belongs to --quantize: give that, too, or leave it out")
    load_tensorflow()
    if weights is None and not model.exists() and str(model) in catalog.list_models():
        raise RecipeError(f"{model} is an architecture: say with --weights which weights, see `kapps weights list`")
    if (model / "detector.json").is_file():
        for name, given in (
            ("labels", labels),
            ("preprocessing", preprocessing),
            ("weights", weights),
            ("features", features),
            ("activation", activation),
            ("quantize", quantize or None),
        ):
            if given is not None:
                raise RecipeError(f"--{name} is not for a detector, and {model} holds one: leave it out")
        chosen = {"optimize": optimize, "formats": formats or [], "with_keras": not without_keras}
        _export_detector(model, path, version, licence, limit, chosen, as_json=as_json)
        return
    if without_keras:
        raise RecipeError("--without-keras is for detectors: leave it out")
    if weights is not None:
        arguments = _from_catalogue(str(model), weights, labels, preprocessing)
    elif (model / "recipe.json").is_file():
        if preprocessing is not None:
            raise RecipeError(f"{model} brings its own preprocessing: leave --preprocessing out")
        file, arguments = model / "model.keras", _from_run(model)
    else:
        if model.suffix != ".keras" or not model.is_file():
            raise WeightsError(f"expected the folder of a run (with recipe.json) or a .keras file, got {model}")
        if preprocessing is None or labels is None:
            raise RecipeError("a .keras file brings neither: give --preprocessing FILE.json and --labels a,b,...")
        file, arguments = model, {"preprocessing": read_preprocessing(preprocessing)}
    arguments |= {"labels": _words(labels)} if labels is not None else {}
    arguments |= {"features": _words(features)} if features is not None else {}
    arguments |= {"activation": activation} if activation is not None else {}
    stated: dict[str, Any] = {"licence": licence} if licence is not None else {}
    stated |= {"limits": limit} if limit else {}
    if stated:
        arguments["card"] = {**arguments.get("card", {}), **stated}
    if quantize and calibration is None and not (model / "recipe.json").is_file():
        raise RecipeError(f"{model} brings no images: say with --calibration FOLDER which to calibrate and measure on")
    with waiting(f"exporting to {path}") as received:
        import kapps
        from kapps.create import load_keras

        if weights is not None:
            size = arguments["preprocessing"]
            network = kapps.create_model(
                str(model),
                num_classes=len(arguments["labels"]) or None,  # of an embedding, its own number of dimensions
                input_shape=(*size.size, size.channels),
                weights=weights,
                progress=received,
            )
        else:
            network = load_keras(file)
            if features is None and arguments.get("features"):
                arguments["features"] += _refined_by_crfs(network)
        if quantize:
            arguments["quantize"] = quantization(
                calibration or model,
                labels=arguments["labels"],
                preprocessing=arguments["preprocessing"],
                data_dir=data_dir,
                command=shown(context),
                largest_loss=largest_loss,
            )
        folder = kapps.export(network, path, version=version, optimize=optimize, formats=formats or (), **arguments)
    result = {"path": str(folder), "name": folder.parent.name, "version": int(folder.name)}
    result |= {"labels": arguments["labels"], "features": arguments.get("features", [])}
    if as_json:
        print_json(result)
    else:
        print_facts({key: ", ".join(value) if isinstance(value, list) else value for key, value in result.items()})


def _export_detector(
    run: Path,
    path: Path,
    version: int | None,
    licence: str | None,
    limits: list[str] | None,
    chosen: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """A trained detector, with what its run folder knows of it."""
    metrics = read_json(run / "metrics.json") if (run / "metrics.json").is_file() else None
    with waiting(f"exporting to {path}"):
        from kapps.tasks.detection.create import load_detector
        from kapps.training.recipe import DetectionRecipe, load_recipe

        card: dict[str, Any] = {}
        if metrics is not None:
            recipe = load_recipe(run / "recipe.json")
            assert isinstance(recipe, DetectionRecipe)  # beside a detector
            measured_on = f"{recipe.data.name}, {recipe.data.test}, {metrics['test']['num_examples']:,} images"
            card = {
                "title": recipe.title,
                "data": f"{recipe.data.name}, {recipe.data.train}",
                "data_licence": metrics["licence"],
                "command": _command(recipe),
                "metrics": {
                    f"test {name}": {"value": metrics["test"][name], "data": measured_on} for name in ("AP50", "AP")
                },
            }
        card |= {"licence": licence} if licence is not None else {}
        card |= {"limits": limits} if limits else {}
        detector = load_detector(run)
        folder = detector.export(path, version=version, card=card, **chosen)
    result = {"path": str(folder), "name": folder.parent.name, "version": int(folder.name)}
    shown = {**result, "labels": list(detector.class_names)}
    if as_json:
        print_json(shown)
    else:
        print_facts({key: ", ".join(value) if isinstance(value, list) else value for key, value in shown.items()})


def _from_catalogue(name: str, weights: str, labels: str | None, preprocessing: Path | None) -> dict[str, Any]:
    """The arguments of `kapps.export` for an architecture with weights from elsewhere."""
    from kapps.data.preprocessing import Preprocessing
    from kapps.weights.sources import find, imagenet_labels

    entry = catalog.info(name)
    card = {"title": entry.title, "architecture": name, "task": entry.task, "paper": entry.paper}
    if weights == "imagenet" or weights.startswith("imagenet/"):
        source = find(name, weights)
        return {
            "preprocessing": read_preprocessing(preprocessing)
            if preprocessing
            else Preprocessing(**source.preprocessing),
            "labels": imagenet_labels(),
            "card": {
                **card,
                "licence": source.licence,
                "data": "ImageNet (ILSVRC 2012)",
                "data_licence": "for non-commercial research",
            },
        }
    if labels is None and entry.task == "embedding":
        labels = ""
    if preprocessing is None or labels is None:
        raise RecipeError(f"{weights} brings neither: give --preprocessing FILE.json and --labels a,b,...")
    return {"preprocessing": read_preprocessing(preprocessing), "labels": _words(labels), "card": card}


def _refined_by_crfs(network: keras.Model) -> list[str]:
    """The layers whose scores a CRF behind them changes: to see what it does, one needs them, too."""
    from kapps.layers.dense_crf import DenseCRF

    return [layer.input[0]._keras_history.operation.name for layer in network.layers if isinstance(layer, DenseCRF)]


def _from_run(run: Path) -> dict[str, Any]:
    """The arguments of `kapps.export` that the folder of a finished run gives."""
    if not (run / "metrics.json").is_file() or not (run / "model.keras").is_file():
        raise WeightsError(
            f"{run} is not a finished run (no metrics.json or model.keras): go on with `kapps train` into this folder"
        )
    metrics = read_json(run / "metrics.json")

    from kapps.create import create_backbone
    from kapps.training.recipe import DetectionRecipe, LearnerRecipe, Study, load_recipe
    from kapps.training.study import headline

    recipe = load_recipe(run / "recipe.json")
    assert not isinstance(recipe, Study | DetectionRecipe)  # a run folder holds no study; a detector was sent elsewhere
    if isinstance(recipe, LearnerRecipe):
        return _from_learner(recipe, metrics)
    steps = recipe.data.preprocessing
    backbone = create_backbone(recipe.model.name, input_shape=(*steps.size, steps.channels), config=recipe.model.config)
    entry = catalog.info(recipe.model.name)
    metric, value = headline(metrics["test"])
    measured_on = f"{recipe.data.name}, {recipe.data.test}, {metrics['test']['num_examples']:,} examples"
    return {
        "preprocessing": steps,
        "labels": list(metrics["labels"]),
        "features": list(backbone.output),
        "activation": "softmax" if recipe.model.classifier_activation is None else None,
        "card": {
            "title": recipe.title,
            "architecture": entry.name,
            "task": entry.task,
            "paper": entry.paper,
            "data": f"{recipe.data.name}, {recipe.data.train}",
            "data_licence": metrics["licence"],
            "command": _command(recipe),
            "metrics": {metric: {"value": value, "data": measured_on}},
        },
    }


def _from_learner(recipe: LearnerRecipe, metrics: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `kapps.export` for the encoder of what learned without labels."""
    entry = catalog.learner_info(recipe.learner.name)
    measured_on = f"{recipe.data.name}, {recipe.data.test}, {metrics['test']['num_examples']:,} examples"
    names = {"accuracy": "test accuracy of a logistic regression on the codes", "reconstruction_error": "test MSE"}
    return {
        "preprocessing": recipe.data.preprocessing,
        "labels": [],
        "card": {
            "title": recipe.title,
            "architecture": entry.name,
            "task": "embedding",
            "paper": entry.paper,
            "data": f"{recipe.data.name}, {recipe.data.train}",
            "data_licence": metrics["licence"],
            "command": _command(recipe),
            "metrics": {shown: {"value": metrics["test"][name], "data": measured_on} for name, shown in names.items()},
        },
    }


def _command(recipe: Recipe | DetectionRecipe | LearnerRecipe) -> str:
    """What reproduces the run: the recipe's name where it is one of ours and only the seed differs, else its file."""
    from kapps.training.recipe import list_recipes, load_recipe, to_dict

    for name in list_recipes():
        ours = load_recipe(name)
        # as JSON has them: a recipe that was read from a run holds lists where ours holds tuples
        if type(ours) is type(recipe) and to_dict(dataclasses.replace(ours, seed=recipe.seed)) == to_dict(recipe):
            return f"kapps train {name} --seed {recipe.seed}"
    return "kapps train recipe.json"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
