"""What was measured: one table for the recipes, one picture for every study and experiment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from apps import layout


def read_results(folder: Traversable) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, bytes]]:
    """Every results file in and under the folder as (name, content), by name; and the pictures beside them."""
    found, pictures = [], {}
    for file in _files(folder):
        name, _, kind = file.name.partition(".")
        if kind == "results.json":
            found.append((name, json.loads(file.read_text(encoding="utf-8"))))
        elif kind == "png":
            pictures[name] = file.read_bytes()
    return sorted(found, key=lambda pair: pair[0]), pictures


def _files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def figure(metric: str, value: float | None) -> str:
    """A measured figure: accuracies and errors in percent, others with four digits; a dash where there is none."""
    if value is None:
        return "–"
    return f"{100 * value:.2f} %" if is_share(metric) else f"{value:.4g}"


def is_share(metric: str) -> bool:
    """Whether the metric is a share from 0 to 1, which people read in percent."""
    return re.search("accuracy|error|IoU", metric) is not None


def duration(seconds: float | None) -> str:
    """`48 s` or `3 min 20 s`; a dash where nothing was measured."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def runs_table(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """One line a recipe: the median over the seeds with its range, beside what it has to reach."""
    rows = []
    for name, run in runs:
        metric, several = run.get("metric", ""), len(run.get("values") or ()) > 1
        rows.append(
            {
                "Recipe": run.get("title", name),
                "Metric": metric,
                "Median": figure(metric, run.get("median")),
                "Range": f"{figure(metric, run.get('min'))} to {figure(metric, run.get('max'))}" if several else "–",
                "Seeds": len(run.get("values") or ()),
                "Must reach": figure(metric, run.get("bar")),
                "Reference": run.get("reference") or "–",
                "Time a run": duration(run.get("seconds")),
                "Machine": run.get("machine") or "–",
            }
        )
    return pd.DataFrame(rows)


def range_chart(cases: Sequence[Mapping[str, Any]], metric: str) -> alt.LayerChart:
    """The cases of a study from top to bottom: a dot for each seed, a bar for the range, a tick at the median."""
    order = [str(case["label"]) for case in cases]
    percent = is_share(metric)
    ranges = pd.DataFrame(
        [{"case": str(case["label"]), **{key: case[key] for key in ("min", "median", "max")}} for case in cases]
    )
    values = pd.DataFrame(
        [{"case": str(case["label"]), "value": value} for case in cases for value in case.get("values") or ()],
        columns=["case", "value"],
    )
    axis = alt.Axis(format=".1%" if percent else "~g", title=metric or None)
    y = alt.Y("case:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    scale = alt.Scale(zero=False, padding=12)
    bars = (
        alt.Chart(ranges)
        .mark_rule(strokeWidth=6, opacity=0.25)
        .encode(y=y, x=alt.X("min:Q", axis=axis, scale=scale), x2="max:Q")
    )
    dots = alt.Chart(values).mark_circle(size=36, opacity=0.6).encode(y=y, x=alt.X("value:Q", axis=axis, scale=scale))
    ticks = (
        alt.Chart(ranges)
        .mark_tick(thickness=3, size=18)
        .encode(
            y=y,
            x=alt.X("median:Q", axis=axis, scale=scale),
            tooltip=[
                "case",
                *(alt.Tooltip(f"{end}:Q", format=".2%" if percent else ".4g") for end in ("min", "median", "max")),
            ],
        )
    )
    return (bars + dots + ticks).properties(height=32 * len(cases) + 70)


def size_chart(cases: Sequence[Mapping[str, Any]], metric: str, size_name: str) -> alt.LayerChart:
    """The cases of a study as lines over sizes, on a logarithmic axis: the median, and a band for the range."""
    percent = is_share(metric)
    table = pd.DataFrame([{key: case[key] for key in ("case", "size", "median", "min", "max")} for case in cases])
    x = alt.X(
        "size:Q",
        title=size_name or None,
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=alt.Axis(values=sorted(set(table["size"])), format=",", grid=False),
    )
    axis = alt.Axis(format=".0%" if percent else "~g", title=metric or None, tickCount=6)
    scale = alt.Scale(zero=False)
    colour = alt.Color(
        "case:N",
        sort=list(dict.fromkeys(table["case"])),
        legend=alt.Legend(orient="top", title=None, labelLimit=320, symbolOpacity=1),
    )
    bands = (
        alt.Chart(table)
        .mark_area(opacity=0.18)
        .encode(x=x, y=alt.Y("min:Q", axis=axis, scale=scale), y2="max:Q", color=colour)
    )
    lines = (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(
            x=x,
            y=alt.Y("median:Q", axis=axis, scale=scale),
            color=colour,
            tooltip=[
                "case",
                alt.Tooltip("size:Q", title=size_name, format=","),
                *(alt.Tooltip(f"{end}:Q", format=".2%" if percent else ".4g") for end in ("min", "median", "max")),
            ],
        )
    )
    return (bands + lines).properties(height=340)


def figures_table(cases: Sequence[Mapping[str, Any]], metric: str) -> pd.DataFrame:
    """One line a case: median and range, and what else was measured."""
    return pd.DataFrame(
        [
            {
                "Case": case["label"],
                **{key.capitalize(): figure(metric, case[key]) for key in ("median", "min", "max")},
                **{part: f"{value:.4g}" for part, value in (case.get("parts") or {}).items()},
            }
            for case in cases
        ]
    ).fillna("–")


layout.header(
    "Results",
    "What the recipes reach: the median over the seeds with its range, as the runs themselves wrote it down.",
)
found, pictures = read_results(resources.files("kapps.recipes"))
more, more_pictures = read_results(resources.files("kapps.tasks"))  # the experiments
found, pictures = found + more, pictures | more_pictures
runs = [(name, result) for name, result in found if result.get("kind") != "study"]
studies = [(name, result) for name, result in found if result.get("kind") == "study"]
if not found:
    st.info("No recipe has been measured yet: `kapps train RECIPE --seeds 5` measures one.")

if runs:
    layout.section("Recipes", "What each recipe reaches, and what it has to reach.")
    st.dataframe(runs_table(runs), hide_index=True, height="content")
    st.caption("The commands that give these figures again:")
    st.code("\n".join(run["command"] for _, run in runs), language="bash", wrap_lines=True)
    curves = {run.get("title", name): pictures[name] for name, run in runs if name in pictures}
    if curves:
        st.image(curves[st.selectbox("Learning curves of", list(curves), key="curves")])

for name, study in studies:
    layout.section(study.get("title", name), layout.plain(study.get("question", "")))
    if study.get("claim"):
        st.markdown("**What the lecture says.** " + layout.plain(study["claim"]))
    if study.get("finding"):
        st.markdown("**What was found.** " + layout.plain(study["finding"]))
    metric = study.get("metric", "")
    if all("size" in case for case in study["cases"]):
        st.altair_chart(size_chart(study["cases"], metric, study.get("size_name", "")))
    else:
        st.altair_chart(range_chart(study["cases"], metric))
    with st.expander("Figures, curves and the command"):
        st.dataframe(figures_table(study["cases"], metric), hide_index=True, height="content")
        if name in pictures:
            st.image(pictures[name])
        st.code(study["command"], language="bash", wrap_lines=True)
