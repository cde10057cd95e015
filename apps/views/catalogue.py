"""The table of contents: every architecture, its paper, its file to read, its layers."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pandas as pd
import streamlit as st

from apps import layout
from apps.models import import_kapps
from kapps import catalog
from kapps.catalog import Entry


def source_of(module: str) -> str:
    """The text of a module's file, without importing the module (which would load TensorFlow)."""
    found = importlib.util.find_spec(module)
    assert found is not None  # a test holds catalogue and files together
    return Path(str(found.origin)).read_text(encoding="utf-8")


def matches(entry: Entry, words: str) -> bool:
    """Whether every word is found somewhere in the entry."""
    text = f"{entry.name} {entry.title} {entry.year} {entry.paper} {entry.task} {entry.module}".lower()
    return all(word in text for word in words.lower().split())


def table_of(entries: list[Entry]) -> pd.DataFrame:
    """What the table shows of each entry."""
    return pd.DataFrame(
        {
            "Name": [entry.name for entry in entries],
            "Title": [entry.title for entry in entries],
            "Year": [entry.year for entry in entries],
            "Input": [" × ".join("any" if n is None else str(n) for n in entry.input_shape) for entry in entries],
            "Parameters": [entry.params for entry in entries],
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
known = [entry.name for entry in catalog.ENTRIES]
words = st.text_input("Search", placeholder="A name, a year, an author, a word of the title", key="search")
entries = [entry for entry in catalog.ENTRIES if matches(entry, words)]
if not entries:
    st.info(f"None of the {len(known)} architectures has all of these words: try fewer.")
    st.stop()

# ?model=lenet5 is a link to one architecture.
wanted = st.query_params.get("model")
names = [entry.name for entry in entries]
table = st.dataframe(
    table_of(entries),
    hide_index=True,
    height="content" if len(entries) <= 10 else 388,
    on_select="rerun",
    selection_mode="single-row-required",
    selection_default={"selection": {"rows": [names.index(wanted) if wanted in names else 0]}},
    key=f"table {words}",
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
about, read, layers = st.tabs(["About", "Read the file", "Layers"], key="part", on_change="rerun")
with about:
    st.code(ast.get_docstring(ast.parse(source)) or "", language=None)
    st.caption(
        f"{entry.params:,} parameters ({layout.plain(entry.params_source)}); "
        f"{catalog.flops(entry.name) or 0:,} float operations for one input. "
        f'In Python: `kapps.create_model("{entry.name}")`.' + (f" [The paper]({entry.url})" if entry.url else "")
    )
with read:
    st.caption(f"`{entry.module.replace('.', '/')}.py`, {len(source.splitlines())} lines")
    st.code(source, language="python", line_numbers=True)
with layers:
    if layers.open:
        st.dataframe(
            layers_of(entry.name),
            hide_index=True,
            height="content",
            column_config={"Parameters": st.column_config.NumberColumn(format="localized")},
        )
