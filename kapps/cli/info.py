"""`kapps info NAME`: one entry of the catalogue, and what the architecture's own file says about it."""

from __future__ import annotations

import ast
import inspect
from dataclasses import asdict
from typing import Annotated

import typer

from kapps import catalog, paths
from kapps.cli.console import AsJson, print_facts, print_json
from kapps.cli.list import shape


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="The architecture's name, as `kapps list` shows it.",
            autocompletion=lambda: [*catalog.list_models(), *catalog.list_detectors(), *catalog.list_learners()],
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show one architecture, detector or learner: figures, paper and how its file describes it."""
    if name in catalog.list_detectors():
        _show_detector(catalog.detector_info(name), as_json=as_json)
        return
    if name in catalog.list_learners():
        _show_learner(catalog.learner_info(name), as_json=as_json)
        return
    entry = catalog.info(name)
    description = module_docstring(entry.module)
    if as_json:
        print_json({**asdict(entry), "flops": catalog.flops(name), "description": description})
        return
    print_facts(
        {
            "name": entry.name,
            "title": entry.title,
            "year": entry.year,
            "paper": entry.paper,
            **({"url": entry.url} if entry.url else {}),
            "task": entry.task,
            "input": shape(entry.input_shape),
            "classes": entry.num_classes,
            "parameters": f"{entry.params:,} ({entry.params_source})",
            "FLOPs": f"{catalog.flops(name):,} for one input" if catalog.flops(name) else "not counted",
            "file": entry.module.replace(".", "/") + ".py",
        }
    )
    typer.echo("\n" + description)


def _show_detector(entry: catalog.DetectorEntry, *, as_json: bool) -> None:
    description = module_docstring(entry.module)
    if as_json:
        print_json({**asdict(entry), "description": description})
        return
    print_facts(
        {
            "name": entry.name,
            "title": entry.title,
            "year": entry.year,
            "paper": entry.paper,
            "url": entry.url,
            "task": "detection",
            **({"weights": ", ".join(entry.weights)} if entry.weights else {}),
            "file": entry.module.replace(".", "/") + ".py",
        }
    )
    typer.echo("\n" + description)


def _show_learner(entry: catalog.LearnerEntry, *, as_json: bool) -> None:
    description = module_docstring(entry.module)
    if as_json:
        print_json({**asdict(entry), "description": description})
        return
    print_facts(
        {
            "name": entry.name,
            "title": entry.title,
            "year": entry.year,
            "paper": entry.paper,
            **({"url": entry.url} if entry.url else {}),
            "task": "features",
            "data": shape(entry.data_shape),
            "parameters": f"{entry.params:,} ({entry.params_source})",
            "file": entry.module.replace(".", "/") + ".py",
        }
    )
    typer.echo("\n" + description)


def module_docstring(module: str) -> str:
    """The docstring of a module of kapps, read from its source: importing it would load TensorFlow."""
    source = paths.PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    return inspect.cleandoc(ast.get_docstring(ast.parse(source.read_bytes())) or "")
