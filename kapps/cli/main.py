"""The command `kapps`: every subcommand is one module of this package with a function `command`.

Nothing heavy is imported here nor at the top of a command's module, so that `kapps --help` answers at once.

Exit codes: 0 done; 1 a check found something; 2 wrong usage or a `KappsError`, told in one line on stderr; 130 Ctrl-C.
Anything else is a fault of kapps itself and keeps its traceback.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

import kapps
from kapps.cli import bench, data, demo, evaluate, explain, export, info, predict, tables, train, transfer, weights
from kapps.cli import list as list_
from kapps.cli.console import print_error
from kapps.errors import KappsError

app = typer.Typer(
    name="kapps",
    help="The deep-learning canon as readable Keras 3 code: proven, trained, explained, shown and served.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kapps {kapps.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("list")(list_.command)
app.command("info")(info.command)
app.command("train")(train.command)
app.command("transfer")(transfer.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("explain")(explain.command)
app.command("bench")(bench.command)
app.command("export")(export.command)
app.command("data")(data.command)
app.command("demo")(demo.command)
app.add_typer(weights.app, name="weights")
app.command("tables", hidden=True)(tables.command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: the words after `kapps`; `sys.argv[1:]` unless given.
    """
    # TensorFlow reads this when it is loaded; its notes about the processor would bury a command's one line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app(args=None if arguments is None else list(arguments), prog_name="kapps")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KappsError as error:
        print_error(error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
