"""Warm-up requests for TensorFlow Serving: the first real request then finds the graph optimised and memory allotted.

Format: a TFRecord of `PredictionLog` messages in `<version>/assets.extra/tf_serving_warmup_requests`, at most 1,000
(https://www.tensorflow.org/tfx/serving/saved_model_warmup).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

FILE = Path("assets.extra", "tf_serving_warmup_requests")
MOST = 1000  # TensorFlow Serving refuses to load a version with more


def write_warmup(
    version_folder: Path, model_name: str, requests: Sequence[tuple[str, Mapping[str, np.ndarray]]]
) -> Path:
    """Write the requests a server sends to itself when it loads the version.

    Args:
        version_folder: the folder with `saved_model.pb`.
        model_name: the name that the server gives the model.
        requests: signature name and its inputs, name -> array (bytes of images: an array of dtype object), in order.

    Returns:
        The file written.

    Raises:
        ValueError: more than 1,000 requests.
    """
    if len(requests) > MOST:
        raise ValueError(f"TensorFlow Serving takes at most {MOST} warm-up requests, got {len(requests)}")
    file = version_folder / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    return file
