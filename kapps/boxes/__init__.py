"""Boxes: formats, overlaps, coding, matching, sampling, suppression and anchors, as functions on tensors.

All are safe in a graph. Without a word about it, boxes are float32 [..., 4] in the format `"xyxy"`: left, top, right
and bottom in pixels, where a box of one pixel is 1 wide.
"""
