"""What all pages share: the head of a page, and the style of the small HTML figures of `drawing`."""

from __future__ import annotations

import re

import streamlit as st

LARGEST_UPLOAD = 20  # MB, one picture

# `currentColor` and the two accents are readable in the light and in the dark theme alike.
STYLE = """
<style>
[data-testid="stMainBlockContainer"] { max-width: 80rem; padding: 4.25rem clamp(1rem, 4vw, 4rem) 2rem; }
.stMarkdown .katex { font-size: 1.05em; }

.k-answer { display: flex; align-items: center; gap: 1.1rem; margin-bottom: 0.75rem; }
.k-label { font-size: 6.5rem; line-height: 1; font-weight: 600; font-variant-numeric: tabular-nums; }
.k-word { font-size: 2.4rem; }
.k-figure { font-size: 2.8rem; white-space: nowrap; }
.k-score { font-size: 1.6rem; font-weight: 600; }
.k-note { font-size: 0.85rem; opacity: 0.7; }

.k-bars { display: grid; gap: 0.3rem 0.6rem; max-width: 26rem; }
.k-bars { grid-template-columns: minmax(1.2rem, max-content) 1fr 4.2rem; }
.k-bar { display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; }
.k-bar { align-items: center; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
.k-name { text-align: right; }
.k-track { height: 0.75rem; border-radius: 0.2rem; overflow: hidden;
           background: color-mix(in srgb, currentColor 9%, transparent); }
.k-fill { display: block; height: 100%; min-width: 1px; background: color-mix(in srgb, currentColor 35%, transparent); }
.k-value { text-align: right; opacity: 0.65; }
.k-best { font-weight: 600; }
.k-best .k-fill { background: #3a7ca5; }
.k-best .k-value { opacity: 1; }

.k-thumbs { display: flex; flex-wrap: wrap; gap: 0.3rem; }
.k-thumbs img { height: 3.1rem; border-radius: 0.2rem; }
.k-thumbs span { align-self: center; font-size: 0.85rem; opacity: 0.7; }

.k-matrix { overflow-x: auto; }
.k-matrix table { border-collapse: separate; border-spacing: 3px; font-variant-numeric: tabular-nums; }
.k-matrix th { font-weight: normal; font-size: 0.85rem; padding: 0.15rem 0.5rem; text-align: right; }
.k-matrix thead th { text-align: center; }
.k-matrix td { min-width: 3.4rem; height: 2.6rem; text-align: center; border-radius: 0.2rem; }
.k-matrix .k-right { font-weight: 600; }

.k-steps { display: grid; gap: 0.35rem; font-size: 0.95rem; }
.k-steps div { display: flex; gap: 0.6rem; opacity: 0.6; }
.k-steps .k-now { opacity: 1; font-weight: 600; }
.k-steps span:first-child { width: 1.1rem; text-align: center; }

.k-figures { display: grid; gap: 0.9rem 1rem; }
.k-figures { grid-template-columns: repeat(auto-fill, minmax(min(var(--least), 100%), 1fr)); }
.k-figures figure { margin: 0; }
.k-frame { position: relative; aspect-ratio: 1; }
.k-frame img { position: absolute; width: 100%; height: 100%; object-fit: contain; object-position: left bottom; }
.k-frame img { image-rendering: pixelated; border-radius: 2px; }
.k-smooth img { image-rendering: auto; }
.k-figures figcaption { margin-top: 0.35rem; font-size: 0.8rem; line-height: 1.35; }
.k-figures figcaption { color: color-mix(in srgb, currentColor 70%, transparent); }
.k-figures b { color: color-mix(in srgb, currentColor 100%, transparent); }
</style>
"""


def header(title: str, sentence: str) -> None:
    """The head of a page: its title, and one sentence (Markdown, with the paper's link) that says what is seen."""
    st.html(STYLE)
    st.title(title, anchor=False)
    st.markdown(sentence)


def section(title: str, sentence: str = "") -> None:
    """The head of a part of a page."""
    st.subheader(title, anchor=False)
    if sentence:
        st.caption(sentence)


def failure(error: Exception) -> None:
    """One clear line instead of a traceback: what was expected, what came, what to do."""
    st.error(plain(str(error)))


def plain(text: str) -> str:
    """Text with everything escaped that Markdown would take for markup, e.g. in a visitor's file name."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:])", r"\\\1", text)
