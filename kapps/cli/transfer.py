"""`kapps transfer FOLDER`: teach a pre-trained network the classes of a folder of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kapps.cli.console import AsJson, print_facts, print_json, steps_bar
from kapps.cli.files import read_preprocessing
from kapps.cli.tensorflow import load_tensorflow


def command(
    folder: Annotated[Path, typer.Argument(help="A folder of class folders with photos; or train and val inside it.")],
    backbone: Annotated[str, typer.Option(help="The pre-trained network.")] = "efficientnet_lite0",
    weights: Annotated[str, typer.Option(help="Its weights: imagenet, hf://OWNER/REPOSITORY or a file.")] = "imagenet",
    preprocessing: Annotated[
        Path | None, typer.Option(help="JSON file with what the weights expect; found out unless given.")
    ] = None,
    head: Annotated[str, typer.Option(help="logistic_regression, softmax, svm or nearest.")] = "logistic_regression",
    fine_tune: Annotated[bool, typer.Option(help="Let the whole network learn, too, if that helps.")] = True,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long fine-tuning may take.")] = 2.5,
    patience: Annotated[
        int, typer.Option(min=0, help="Epochs without a better validation loss that end a phase early; 0 = never.")
    ] = 6,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="Let batch normalisations learn from these photos.")
    ] = False,
    class_weights: Annotated[
        str, typer.Option(help="balanced: every class counts the same; none: every photo does.")
    ] = "balanced",
    tta: Annotated[
        bool, typer.Option("--tta", help="Let the model average each photo with its mirror image: twice the work.")
    ] = False,
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share kept back where the folder has no val folder.")
    ] = 0.2,
    out: Annotated[Path | None, typer.Option(help="Where report and model go; runs/transfer/FOLDER.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Teach a pre-trained network the classes of a folder of photos: report and SavedModel in some minutes."""
    load_tensorflow()
    from kapps.tasks.transfer.transfer import summary, transfer

    options: dict[str, Any] = {"preprocessing": read_preprocessing(preprocessing)} if preprocessing else {}
    with steps_bar() as progress:
        result = transfer(
            folder,
            backbone=backbone,
            weights=weights,
            head=head,
            tune=fine_tune,
            minutes=minutes,
            patience=patience or None,
            batch_norm=batch_norm,
            class_weights=class_weights,
            mirror=tta,
            validation=validation,
            out=out,
            seed=seed,
            progress=progress,
            **options,
        )
    facts = summary(result)
    if as_json:
        print_json(facts)
        return
    sides = {
        side: f"{row['accuracy']:.2%} of {row['num_examples']:,} ({row['low']:.1%} to {row['high']:.1%})"
        for side, row in result.metrics.items()
        if side in ("validation", "test")
    }
    print_facts(
        {
            "photos": ", ".join(f"{count:,} {side}" for side, count in facts["photos"].items() if count),
            **sides,
            "report": facts["report"],
            "model": facts["model"],
            "seconds": f"{result.seconds['in all']:.0f}",
            "next": f"kapps predict {result.folder / 'model'} PHOTO.jpg",
        }
    )
