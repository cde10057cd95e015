"""The table of contents: every architecture, detector and learner, its paper, its file to read, its layers."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pandas as pd
import streamlit as st

from apps import layout
from apps.models import import_kapps
from kapps import catalog
from kapps.catalog import DetectorEntry, Entry, LearnerEntry

AnyEntry = Entry | DetectorEntry | LearnerEntry

# What can be looked up, and what makes one of its entries.
KINDS: dict[str, tuple[tuple[AnyEntry, ...], str]] = {
    "Architectures": (catalog.ENTRIES, "kapps.create_model"),
    "Detectors": (catalog.DETECTORS, "kapps.create_detector"),
    "Learners without labels": (catalog.LEARNERS, "kapps.create_learner"),
}


def source_of(module: str) -> str:
    """The text of a module's file, without importing the module (which would load TensorFlow)."""
    found = importlib.util.find_spec(module)
    assert found is not None  # a test holds catalogue and files together
    return Path(str(found.origin)).read_text(encoding="utf-8")


def matches(entry: AnyEntry, words: str) -> bool:
    """Whether every word is found somewhere in the entry."""
    text = f"{entry.name} {entry.title} {entry.year} {entry.paper} {getattr(entry, 'task', '')} {entry.module}".lower()
    return all(word in text for word in words.lower().split())


def size_of(entry: AnyEntry) -> str:
    """The shape of what it takes."""
    shape = (
        entry.data_shape if isinstance(entry, LearnerEntry) else entry.input_shape if isinstance(entry, Entry) else ()
    )
    return " × ".join("any" if n is None else str(n) for n in shape)


def table_of(entries: list[AnyEntry]) -> pd.DataFrame:
    """What the table shows of each entry; of detectors, which take images of any size and any backbone, no sizes."""
    sizes = {
        "Input": [size_of(entry) for entry in entries],
        "Parameters": [getattr(entry, "params", None) for entry in entries],
    }
    return pd.DataFrame(
        {
            "Name": [entry.name for entry in entries],
            "Title": [entry.title for entry in entries],
            "Year": [entry.year for entry in entries],
            **({} if any(isinstance(entry, DetectorEntry) for entry in entries) else sizes),
            "Paper": [entry.paper for entry in entries],
            "Link": [entry.url or None for entry in entries],
        }
    )


@st.cache_data(show_spinner="Building the network")
def layers_of(name: str) -> pd.DataFrame:
    """The layers of one architecture with its default input and head: name, kind, output's shape, parameters."""
    kapps = import_kapps()
    from kapps.exporting.flops import without_weights  # shapes are all that is shown: VGG-19 would take half a gigabyte

    with without_weights():
        model = kapps.create_model(name)
    rows = []
    for layer in model.layers:
        outputs = layer.output if isinstance(layer.output, list) else [layer.output]
        shapes = [" × ".join("any" if n is None else str(n) for n in tensor.shape[1:]) for tensor in outputs]
        rows.append((layer.name, type(layer).__name__, ", ".join(shapes), layer.count_params()))
    return pd.DataFrame(rows, columns=["Layer", "Kind", "Output", "Parameters"])


layout.header(
    "Catalogue",
    "Every architecture is one file that reads from top to bottom like the paper's figure: choose a row to read it.",
)
# ?model=lenet5 is a link to one entry.
wanted = st.query_params.get("model")
found_in = [kind for kind, (entries_of, _) in KINDS.items() if wanted in [entry.name for entry in entries_of]]
kind = st.segmented_control(
    "What to look up", list(KINDS), default=(found_in or list(KINDS))[0], required=True, label_visibility="collapsed"
)
known, maker = KINDS[kind]
words = st.text_input("Search", placeholder="A name, a year, an author, a word of the title", key="search")
entries = [entry for entry in known if matches(entry, words)]
if not entries:
    st.info(f"None of the {len(known)} {kind.lower()} has all of these words: try fewer.")
    st.stop()

names = [entry.name for entry in entries]
table = st.dataframe(
    table_of(entries),
    hide_index=True,
    height="content" if len(entries) <= 10 else 388,
    on_select="rerun",
    selection_mode="single-row-required",
    selection_default={"selection": {"rows": [names.index(wanted) if wanted in names else 0]}},
    key=f"table {kind} {words}",
    column_config={
        "Year": st.column_config.NumberColumn(format="%d", width="small"),
        "Parameters": st.column_config.NumberColumn(format="localized", width="small"),
        "Paper": st.column_config.TextColumn(width="large"),
        "Link": st.column_config.LinkColumn(display_text="open", width="small"),
    },
)
rows = table.selection.rows
entry = entries[rows[0] if rows and rows[0] < len(entries) else 0]
st.query_params["model"] = entry.name

source = source_of(entry.module)
layout.section(f"{entry.title} ({entry.year})", layout.plain(entry.paper))
parts = ["About", "Read the file", *(["Layers"] if isinstance(entry, Entry) else [])]
about, read, *others = st.tabs(parts, key="part" if "Layers" in parts else "part without layers", on_change="rerun")
with about:
    st.code(ast.get_docstring(ast.parse(source)) or "", language=None)
    facts = []
    if not isinstance(entry, DetectorEntry):
        facts.append(f"{entry.params:,} parameters ({layout.plain(entry.params_source)})")
    if isinstance(entry, Entry):
        facts.append(f"{catalog.flops(entry.name) or 0:,} float operations for one input")
    link = f" [The paper]({entry.url})" if entry.url else ""
    st.caption("; ".join([*facts, f'in Python: `{maker}("{entry.name}")`.']) + link)
with read:
    st.caption(f"`{entry.module.replace('.', '/')}.py`, {len(source.splitlines())} lines")
    st.code(source, language="python", line_numbers=True)
for layers in others:
    with layers:
        if layers.open:
            st.dataframe(
                layers_of(entry.name),
                hide_index=True,
                height="content",
                column_config={"Parameters": st.column_config.NumberColumn(format="localized")},
            )
