"""What was measured: one table for the recipes, one picture for every study."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from apps import layout

SUFFIX = ".results.json"


def read_results(folder: Traversable) -> list[tuple[str, dict[str, Any]]]:
    """The name and the content of every results file in the folder, by name."""
    files = sorted((file for file in folder.iterdir() if file.name.endswith(SUFFIX)), key=lambda file: file.name)
    return [(file.name.removesuffix(SUFFIX), json.loads(file.read_text(encoding="utf-8"))) for file in files]


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
        metric = run.get("metric", "")
        rows.append(
            {
                "Recipe": run.get("title", name),
                "Metric": metric,
                "Median": figure(metric, run.get("median")),
                "Range": f"{figure(metric, run.get('min'))} to {figure(metric, run.get('max'))}",
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
    return (bars + dots + ticks).properties(height=max(110, 30 * len(cases) + 50))


layout.header(
    "Results",
    "What the recipes reach: the median over the seeds with its range, as the runs themselves wrote it down.",
)
folder = resources.files("kapps.recipes")
found = read_results(folder)
runs = [(name, result) for name, result in found if result.get("kind") != "study"]
studies = [(name, result) for name, result in found if result.get("kind") == "study"]
if not found:
    st.info("No recipe has been measured yet: `kapps train RECIPE --seeds 5` measures one.")

if runs:
    layout.section("Recipes", "What each recipe reaches, and what it has to reach.")
    st.dataframe(runs_table(runs), hide_index=True, height="content")
    st.caption("The commands that give these figures again:")
    st.code("\n".join(run["command"] for _, run in runs), language="bash", wrap_lines=True)
    curves = [(run.get("title", name), folder / f"{name}.png") for name, run in runs]
    curves = [(title, picture) for title, picture in curves if picture.is_file()]
    if curves:
        title = st.selectbox("Learning curves of", [title for title, _ in curves], key="curves")
        st.image(dict(curves)[title].read_bytes())

for name, study in studies:
    layout.section(study.get("title", name), layout.plain(study.get("question", "")))
    if study.get("claim"):
        st.markdown("**What the lecture says.** " + layout.plain(study["claim"]))
    if study.get("finding"):
        st.markdown("**What was found.** " + layout.plain(study["finding"]))
    metric = study.get("metric", "")
    st.altair_chart(range_chart(study["cases"], metric))
    with st.expander("Figures, curves and the command"):
        figures = [
            {"Case": case["label"], **{key.capitalize(): figure(metric, case[key]) for key in ("median", "min", "max")}}
            for case in study["cases"]
        ]
        st.dataframe(pd.DataFrame(figures), hide_index=True, height="content")
        if (folder / f"{name}.png").is_file():
            st.image((folder / f"{name}.png").read_bytes())
        st.code(study["command"], language="bash", wrap_lines=True)
