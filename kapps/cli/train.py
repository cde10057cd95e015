"""`kapps train`: run a recipe, or a series of seeds, or a study, or an experiment."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from kapps.cli.console import AsJson, print_facts, print_json, print_table, progress
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import RecipeError, UnknownNameError
from kapps.tasks.experiments import EXPERIMENTS


def command(
    recipe: Annotated[
        str | None, typer.Argument(help="The name of a recipe or an experiment, or a recipe.json.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where TensorFlow Datasets keeps its prepared sets.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/RECIPE.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="One run with this seed.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="A series of this many seeds (0, 1, ...).")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs of a series at the same time.")] = 1,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in the run folder, or start anew.")] = True,
    record: Annotated[bool, typer.Option(hidden=True, help="Write the results beside the recipe too.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the recipes and experiments.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe; a killed run goes on where it was."""
    if list_all or recipe is None:
        _print_recipes(as_json=as_json)
        return
    load_tensorflow()
    from kapps.training.recipe import Study, list_recipes, load_recipe, parse_changes

    is_experiment = recipe in EXPERIMENTS
    if not is_experiment and not recipe.endswith(".json") and not Path(recipe).is_file():
        known = [*list_recipes(), *EXPERIMENTS]
        if recipe not in known:
            raise UnknownNameError("recipe", recipe, known, hint="see `kapps train --list`")
    changes = parse_changes(change or ())
    if is_experiment and changes:
        raise RecipeError(f"{recipe} is an experiment and has no recipe's fields: leave out --set")
    if is_experiment or isinstance(load_recipe(recipe), Study) or seeds is not None:
        if seed is not None:
            raise typer.BadParameter(
                "give either one --seed or a series with --seeds; studies and experiments always run a series"
            )
        _series(recipe, seeds or 1, out, data_dir, changes, resume, jobs, record, as_json=as_json)
        return
    from kapps.tasks.train import train
    from kapps.training.study import bar_of, headline

    run = train(recipe, out=out, data_dir=data_dir, seed=seed, changes=changes, resume=resume)
    if as_json:
        print_json({"folder": str(run.folder), **run.metrics})
        return
    test = run.metrics["test"]
    metric, value = headline(test)
    print_facts(
        {
            "run folder": run.folder,
            metric: f"{100 * value:.2f} % of {test['num_examples']:,}",
            "expected": "" if run.recipe.expected is None else f"{100 * bar_of(run.recipe.expected):.2f} %",
            "seconds": f"{run.metrics['seconds']:.0f} in {run.metrics['epochs']} epochs on {run.metrics['machine']}",
            "next": f"kapps export {run.folder} saved_models/NAME",
        }
    )


def _series(
    recipe: str,
    seeds: int,
    out: Path | None,
    data_dir: Path | None,
    changes: dict[str, Any],
    resume: bool,
    jobs: int,
    record: bool,
    *,
    as_json: bool,
) -> None:
    from kapps.cli.tables import figure
    from kapps.tasks.experiments import count_runs, load_experiment, run_experiment
    from kapps.tasks.train import train
    from kapps.training.recipe import Study, load_recipe
    from kapps.training.study import run_seeds

    run: Callable[..., dict[str, Any]]
    if recipe in EXPERIMENTS:
        run, runs = run_experiment, seeds * count_runs(load_experiment(recipe))
    else:
        loaded = load_recipe(recipe)
        run = functools.partial(run_seeds, changes=changes, train=train)
        runs = seeds * (len(loaded.cases) if isinstance(loaded, Study) else 1)
    with progress(f"{recipe}: {runs} runs", runs) as advance:

        def report(line: str) -> None:
            typer.echo(line, err=True)
            advance()

        results = run(
            recipe,
            seeds=range(seeds),
            out=out,
            data_dir=data_dir,
            resume=resume,
            jobs=jobs,
            record=record,
            report=report,
        )
    if as_json:
        print_json(results)
        return
    rows = [
        (
            case.get("label", recipe),
            *(figure(case[key], results["metric"]) for key in ("median", "min", "max")),
            len(case["values"]),
        )
        for case in results.get("cases", [results])
    ]
    print_table(("case", "median", "min", "max", "seeds"), rows, right=("median", "min", "max", "seeds"))


def _print_recipes(*, as_json: bool) -> None:
    """Names and first docstring lines, read from the files without importing them."""
    import ast
    import pkgutil

    import kapps.recipes
    from kapps.tasks.experiments import experiment_file

    names = [module.name for module in pkgutil.iter_modules(kapps.recipes.__path__)]
    files = {name: Path(kapps.recipes.__path__[0], f"{name}.py") for name in names}
    files |= {name: experiment_file(name) for name in sorted(EXPERIMENTS)}
    recipes = []
    for name, file in files.items():
        title = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0].rstrip(".")
        recipes.append({"name": name, "title": title})
    if as_json:
        print_json(recipes)
    else:
        print_table(("recipe", "what"), [(recipe["name"], recipe["title"]) for recipe in recipes])
