"""The gallery: `kapps demo`, or `streamlit run apps/streamlit_app.py`. One page a file in `views/`.

This file is the router and loads nothing heavy: a page that needs a network loads TensorFlow itself, behind a spinner.
"""

from __future__ import annotations

import sys
from pathlib import Path

# In a checkout the folder around `apps` is the repository, in a wheel it is kapps/_gallery; neither is on the path.
AROUND = str(Path(__file__).resolve().parent.parent)
if AROUND not in sys.path:
    sys.path.insert(0, AROUND)

import streamlit as st  # noqa: E402

LOGO = Path(__file__).resolve().parent / "logo.svg"

st.set_page_config(page_title="kapps", page_icon=str(LOGO), layout="wide")
st.logo(str(LOGO), size="large")
page = st.navigation(
    [
        st.Page("views/read_a_digit.py", title="Read a digit", default=True),
        st.Page("views/look_at_a_photo.py", title="Look at a photo", url_path="photo"),
        st.Page("views/teach_it_yours.py", title="Teach it yours", url_path="teach"),
        st.Page("views/why.py", title="Why?", url_path="why"),
        st.Page("views/label_every_pixel.py", title="Label every pixel", url_path="pixels"),
        st.Page("views/find_things.py", title="Find things", url_path="find"),
        st.Page("views/layer_by_layer.py", title="Layer by layer", url_path="layers"),
        st.Page("views/perceptron.py", title="The perceptron", url_path="perceptron"),
        st.Page("views/scenes.py", title="Scenes", url_path="scenes"),
        st.Page("views/catalogue.py", title="Catalogue", url_path="catalogue"),
        st.Page("views/results.py", title="Results", url_path="results"),
    ],
    position="top",
)
page.run()
