"""Faster R-CNN from scratch on generated scenes.

    kapps train scenes_faster_rcnn

Data: built in; 128x128 scenes of up to five shapes and digits of 18 classes on textured backgrounds, 9 to 64 pixels
wide, partly hidden by each other: 10,000 to train on, 1,000 to test. The first two stages of ResNet-18 under a pyramid
of 64 maps; half of the images are mirrored, which some shapes and digits would not survive, so none is.
"""

from kapps.training.recipe import (
    BoxDataSpec,
    DetectionRecipe,
    DetectorSpec,
    ExpectedBoxes,
    OptimizerSpec,
    ScheduleSpec,
)

RECIPE = DetectionRecipe(
    title="Faster R-CNN on generated scenes",
    detector=DetectorSpec(
        "faster_rcnn_resnet18_fpn",
        config={
            "features": ("stage1", "stage2"),
            "frozen": "",
            "train_norms": True,
            "channels": 64,
            "anchor_sizes": ((16,), (32,), (64,)),
            "anchor_ratios": (0.5, 1.0, 2.0),
            "proposals_before": 200,
            "proposals_after": 100,
            "training_proposals": 200,
            "anchors_per_image": 64,
            "regions_per_image": 64,
            "units": 256,
            "shorter_side": 128,
            "longer_side": 256,
            "multiple": 16,
            "score_threshold": 0.01,
            "max_detections": 50,
        },
    ),
    data=BoxDataSpec(name="scene_boxes", validation="validation[:200]", batch_size=8, validate_every=5),
    optimizer=OptimizerSpec("adamw", learning_rate=1.5e-3, weight_decay=0.05, clipnorm=10.0),
    schedule=ScheduleSpec("one_cycle", warmup=0.15),
    epochs=5,
    expected=ExpectedBoxes(AP50=0.95, AP=0.70),
)
