"""The classes of COCO as published detectors number them. Standard library only."""

from __future__ import annotations

# Of the numbers 1 to 90 ten were never given to a class in the published annotations.
_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, -, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, -, backpack, umbrella, -, -,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, -, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, -, dining table, -, -, toilet, -, tv,
laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, -, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""


def coco_labels() -> tuple[str, ...]:
    """90 names: class 0 here is COCO's category 1. A number without a class is called `unused 12` by COCO's number."""
    names = " ".join(_NAMES.split()).split(", ")
    return tuple(f"unused {number}" if name == "-" else name for number, name in enumerate(names, start=1))
