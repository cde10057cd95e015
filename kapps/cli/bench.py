"""`kapps bench MODEL`: how long one answer takes, beside Keras' own predict or beside other runtimes; of a detector
also where the time goes. `kapps bench nms` and `kapps bench roi_align`: the operations on boxes alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kapps.cli.console import AsJson, console, print_json, print_table, waiting
from kapps.cli.tensorflow import load_tensorflow
from kapps.errors import DataError, RecipeError

if TYPE_CHECKING:
    from kapps.bench import Bench, Comparison
    from kapps.bench_detection import DetectorComparison, OperationComparison, Row


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="An exported model: saved_models/NAME or saved_models/NAME/VERSION. With --against also a name that "
            "`kapps list` shows: it is exported with seeded weights; a detector's name always. Or nms or roi_align."
        ),
    ],
    image: Annotated[
        Path | None, typer.Option(help="An image file; a made-up one of the input's size unless given.")
    ] = None,
    calls: Annotated[
        int | None,
        typer.Option(min=1, help="Calls of the model, and of its network alone: 1000; with --against, of each: 20."),
    ] = None,
    keras_calls: Annotated[int, typer.Option(min=0, help="Calls of Keras' predict to compare with; 0: none.")] = 100,
    against: Annotated[
        str | None,
        typer.Option(
            help="Measure beside these, with commas: keras, onnxruntime, openvino, litert, torchvision, "
            "onnxruntime-int8 (in 8 bits); detectors: onnxruntime, openvino, torchvision."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="With --against: threads of each; one a processor unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how long one answer takes."""
    names = [name.strip() for name in (against or "").split(",") if name.strip()]
    if _is_about_boxes(model):
        if image is not None:
            raise RecipeError("--image is for a single network: detectors are measured on a seeded image")
        _about_boxes(model, names, threads, calls, as_json)
        return
    if against is None:
        if threads is not None:
            raise RecipeError("--threads belongs to --against: name what to measure beside, e.g. --against keras")
        _alone(model, image, calls or 1000, keras_calls, as_json)
        return
    if image is not None:
        raise RecipeError("--image does not go with --against: there, networks are measured on seeded images")
    load_tensorflow()
    with waiting(f"measuring {model}"):
        from kapps.bench import compare

        result = compare(model, names, threads=threads, calls=calls or 20)
    if as_json:
        print_json(result)
    else:
        _print_comparison(result)


def _is_about_boxes(model: str) -> bool:
    """Whether this is a detector, or an operation on boxes."""
    from kapps.bench_detection import OPERATIONS, is_detector

    return model in OPERATIONS or is_detector(model)


def _about_boxes(model: str, against: list[str], threads: int | None, calls: int | None, as_json: bool) -> None:
    load_tensorflow()
    with waiting(f"measuring {model}"):
        from kapps.bench_detection import OPERATIONS, compare_detector, compare_operation

        if model in OPERATIONS:
            operation = compare_operation(model, against, threads=threads, calls=calls or 50)
            result: DetectorComparison | OperationComparison = operation
        else:
            detector = compare_detector(model, against, threads=threads, calls=calls or 10)
            result = detector
    if as_json:
        print_json(result)
    elif model in OPERATIONS:
        _print_rows(operation["rows"], "same results")
        console().print(f"\n{_machine(operation)}")
    else:
        _print_detector(detector)


def _alone(model: str, image: Path | None, calls: int, keras_calls: int, as_json: bool) -> None:
    data = None
    if image is not None:
        try:
            data = image.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {image}: {error.strerror}; check the path") from None
    load_tensorflow()
    with waiting(f"measuring {model}"):
        from kapps.bench import bench

        result = bench(model, data, calls=calls, keras_calls=keras_calls)
    if as_json:
        print_json(result)
    else:
        _print_bench(result)


def _print_bench(result: Bench) -> None:
    whole = result["predictor"]["median"]
    rows = [
        ("from the image's bytes", result["predictor"]),
        ("the network alone", result["network"]),
        ("keras predict", result["keras_predict"]),
    ]
    print_table(
        ("single answer", "median ms", "90 %", "99 %", "calls", "times the first"),
        (
            (
                name,
                f"{row['median']:.2f}",
                f"{row['p90']:.2f}",
                f"{row['p99']:.2f}",
                row["calls"],
                f"{row['median'] / whole:.2f}",
            )
            for name, row in rows
            if row is not None
        ),
        right=("median ms", "90 %", "99 %", "calls", "times the first"),
    )
    console().print(f"\n{result['image']}; engine {result['engine']}; {result['cpus']} processors, {result['machine']}")


def _print_comparison(result: Comparison) -> None:
    print_table(
        ("batch", "contender", "median ms", "25 %", "75 %", "images/s", "times kapps", "scores differ by"),
        (
            (
                row["batch"],
                row["contender"],
                f"{row['median']:.2f}",
                f"{row['p25']:.2f}",
                f"{row['p75']:.2f}",
                f"{1000 * row['batch'] / row['median']:.1f}",
                f"{row['ratio']:.2f}",
                f"{row['difference']:.0e}",
            )
            for row in result["rows"]
        ),
        right=("batch", "median ms", "25 %", "75 %", "images/s", "times kapps", "scores differ by"),
    )
    fastest = ", ".join(f"{name} at batch {batch}" for batch, name in result["fastest"].items())
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    size = "x".join(map(str, result["input_shape"]))
    numbers = "float32"
    if any(row["contender"] == "onnxruntime-int8" for row in result["rows"]):
        numbers = "float32 (onnxruntime-int8: 8 bits)"
    console().print(
        f"\nfastest: {fastest}\n{result['model']} at {size}, weights {result['weights']}, {numbers}, "
        f"{result['rows'][0]['calls']} calls each; kapps: its export in TensorFlow\n"
        f"{result['threads']} threads, {result['cpus']} processors, {result['machine']}; {versions}"
    )


def _print_detector(result: DetectorComparison) -> None:
    _print_rows(result["rows"], "same detections")
    console().print(f"\nwhere the time goes, median ms; {result['detections']} detections")
    steps = list(dict.fromkeys(step for times in result["profile"].values() for step in times))
    table = []
    for step in steps:
        # in another runtime than TensorFlow the trunk is one network with the RPN
        cells = [times.get(step) for times in result["profile"].values()]
        table.append((step, *("with trunk" if cell is None else f"{cell:.1f}" for cell in cells)))
    table.append(("all", *(f"{sum(times.values()):.1f}" for times in result["profile"].values())))
    print_table(("step", *result["profile"]), table, right=list(result["profile"]))
    console().print(
        f"\n{result['model']}, weights {result['weights']}, {result['image']}, float32, {result['rows'][0]['calls']} "
        f"calls each; kapps: its export in TensorFlow as a whole, in the profile step by step\n{_machine(result)}"
    )


def _print_rows(rows: list[Row], same: str) -> None:
    columns = ("contender", "median ms", "25 %", "75 %", "times kapps", same)
    with_case = any(row["case"] for row in rows)
    print_table(
        ("what", *columns) if with_case else columns,
        (
            (
                *((row["case"],) if with_case else ()),
                row["contender"],
                f"{row['median']:.2f}",
                f"{row['p25']:.2f}",
                f"{row['p75']:.2f}",
                f"{row['ratio']:.2f}",
                f"{row['same']:.1%}",
            )
            for row in rows
        ),
        right=columns[1:],
    )


def _machine(result: DetectorComparison | OperationComparison) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return f"{result['threads']} threads, {result['cpus']} processors, {result['machine']}; {versions}"
