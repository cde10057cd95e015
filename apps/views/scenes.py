"""Generated scenes: everything in them is known exactly."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from apps import drawing, layout, scene_pictures
from apps.drawing import Figure

if TYPE_CHECKING:
    from kapps.data.scenes import Scene

SIDES = (64, 96, 128, 192, 256)
MOST_IN_A_FILE = 500


@st.cache_data(show_spinner="Drawing the scene", max_entries=64)
def draw(seed: int, index: int, side: int, num_objects: tuple[int, int]) -> Scene:
    """Scene `index` of a seed."""
    from kapps.data.scenes import make_scene  # only now: TensorFlow takes seconds

    return make_scene(seed, index, (side, side), num_objects=num_objects)


layout.header(
    "Scenes",
    "Shapes and real handwritten digits on textured backgrounds, with exact boxes, masks, captions, questions and "
    "answers, as many as are asked for, in the manner of CLEVR ([Johnson et al. 2017](https://arxiv.org/abs/1612.06890)).",
)
seeds, numbers, sides, objects = st.columns([1, 1, 1.3, 1.6], gap="medium")
seed = seeds.number_input("Seed", 0, 2**31 - 1, 0, key="seed")
index = numbers.number_input("Scene", 0, 2**31 - 1, 0, key="scene")
side = sides.select_slider("Pixels a side", SIDES, 128, key="side")
num_objects = objects.slider("Objects: fewest and most", 0, 10, (2, 5), key="objects")

scene = draw(seed, index, side, num_objects)
st.html(
    drawing.figures_html(
        [
            Figure(scene_pictures.enlarged(scene.image), "Image", f"“{scene.caption}”", scene.caption),
            Figure(
                scene_pictures.with_boxes(scene),
                "Boxes",
                "round what can be seen of each object",
                "The scene with a box round every object",
                smooth=True,
            ),
            Figure(
                scene_pictures.with_masks(scene),
                "Masks",
                "every pixel belongs to one object or to none",
                "The scene with every object in a colour of its own",
            ),
        ],
        least_width="19rem",
    )
)

left, right = st.columns(2, gap="large")
with left:
    layout.section("Objects", "From the farthest to the nearest; boxes are left, top, right, bottom in pixels.")
    if scene.objects:
        things = [
            {
                "Object": str(thing),
                "Box": ", ".join(f"{edge:g}" for edge in thing.box),
                "Visible": drawing.percent(thing.visible),
            }
            for thing in scene.objects
        ]
        st.dataframe(pd.DataFrame(things), hide_index=True, height="content")
    else:
        st.info("This scene is empty: that is legal, and a detector has to say so.")
with right:
    layout.section("Questions", "Yes and no are equally likely, so that guessing does not pay.")
    st.dataframe(pd.DataFrame(scene.questions, columns=["Question", "Answer"]), hide_index=True, height="content")

layout.section(
    "Take some home", "Images, COCO's boxes, masks and captions, and VQA's questions and answers, as one zip file."
)
amount, button, _ = st.columns([1, 1.4, 2.4], vertical_alignment="bottom")
count = amount.number_input("Scenes, from number 0", 1, MOST_IN_A_FILE, 100, key="count")
button.download_button(
    f"Download {count} scenes",
    partial(scene_pictures.zip_of, count, seed, (side, side), num_objects),
    file_name=f"scenes_seed{seed}_{side}x{side}.zip",
    mime="application/zip",
    on_click="ignore",
)
st.caption("In Python: `write_scenes` for files like these and `scene_dataset` for a stream, in `kapps.data.scenes`.")
