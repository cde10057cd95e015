"""`kapps weights list|convert|verify`: published weights, their conversion, and the proof that they mean the same."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kapps.cli.console import AsJson, print_facts, print_json, print_table, waiting
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import OutputError, RecipeError, WeightsError

app = typer.Typer(no_args_is_help=True, help="Weights from elsewhere: list, convert, verify.")


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="Only for this architecture.")] = None,
    as_json: AsJson = False,
) -> None:
    """List where published weights come from, with checksum, licence and preprocessing."""
    from kapps import catalog
    from kapps.weights.sources import EXTRA, sources

    if name is not None:
        catalog.info(name)  # an unknown name is answered with the nearest
    rows = sources(name)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("name", "weights", "top-1", "licence", "checksum", "url"),
        (
            (
                row.name,
                row.weights,
                f"{row.top1:.2%}" if row.top1 else "",
                row.licence,
                row.checksum,
                row.url or f"{row.package} ({EXTRA})",
            )
            for row in rows
        ),
        right=("top-1",),
        fold=("url", "checksum"),
    )


@app.command("convert")
def convert(
    name: Annotated[str, typer.Argument(help="The architecture, as `kapps list` shows it.")],
    weights: Annotated[
        str, typer.Argument(help="'imagenet', hf://OWNER/REPOSITORY, or a .safetensors, .pth, .h5, .keras file.")
    ],
    out: Annotated[Path, typer.Argument(help="The file to write: .weights.h5 or .keras.")],
    num_classes: Annotated[int | None, typer.Option(min=1, help="Another number of classes gets a fresh head.")] = None,
    as_json: AsJson = False,
) -> None:
    """Convert weights to a file of Keras with the layer names of kapps."""
    if not out.name.endswith((".weights.h5", ".keras")):
        raise RecipeError(f"expected a file .weights.h5 or .keras to write, got {out}")
    load_tensorflow()
    with waiting(f"converting {weights}") as received:
        from kapps.create import create_model

        model = create_model(name, num_classes=num_classes, weights=weights, progress=received)
        partial = out.with_name(f".partial-{os.getpid()}-{out.name}")  # keeps the suffix, which Keras looks at
        try:
            write = model.save_weights if out.name.endswith(".h5") else model.save
            write(partial)
            os.replace(partial, out)
        except OSError as error:
            raise OutputError(f"{out} cannot be written ({error.strerror or error}): choose another place") from error
        finally:
            partial.unlink(missing_ok=True)
    facts = {"name": name, "weights": weights, "path": str(out), "params": model.count_params()}
    print_json(facts) if as_json else print_facts({**facts, "params": f"{facts['params']:,}"})


@app.command("verify")
def verify(
    name: Annotated[str, typer.Argument(help="The architecture, as `kapps list` shows it.")],
    against: Annotated[
        str | None, typer.Option(help="keras, torchvision or timm; all that there are unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that the same weights give the numbers of the reference implementations.

    Keras' own applications are run; torchvision's and timm's outputs are recorded. Ends with 1 if one is off.
    """
    load_tensorflow()
    with waiting(f"comparing {name}"):
        from kapps.create import create_model
        from kapps.weights import parity

        known = parity.publishers(name)
        if not known:
            raise WeightsError(f"{name} has no outside implementation to be compared with: its tests are its proof")
        if against is not None and against not in known:
            raise WeightsError(f"{name} can be compared with {', '.join(known)}, not with {against}")
        results = []
        for publisher in [against] if against else known:
            if publisher == "keras":
                results.append(parity.against_keras(create_model(name, classifier_activation=None)))
                continue
            for size in parity.recorded_sizes(name, publisher):
                model = create_model(name, input_shape=(*size, 3), classifier_activation=None)
                results.append(parity.against_recording(model, publisher, size))
    if as_json:
        print_json([{**asdict(result), "passed": result.passed} for result in results])
    else:
        print_table(
            ("reference", "input", "output", "worst feature", "bar", "passed"),
            (
                (
                    result.reference,
                    "x".join(map(str, result.input_shape)),
                    f"{result.output:.1e}",
                    f"{max(result.features.values(), default=0.0):.1e}",
                    f"{result.bar:g}",
                    "yes" if result.passed else "NO",
                )
                for result in results
            ),
            right=("output", "worst feature", "bar"),
        )
    if not all(result.passed for result in results):
        raise typer.Exit(1)
