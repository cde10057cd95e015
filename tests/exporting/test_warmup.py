"""TensorFlow Serving's warm-up requests, read back as a server reads them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kapps.exporting.saved_model import export
from kapps.exporting.warmup import FILE, write_warmup


def read(version_folder):
    """(signature, inputs) of every request in the file."""
    requests = []
    for record in tf.data.TFRecordDataset(str(version_folder / FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        requests.append((request.model_spec.name, request.model_spec.signature_name, inputs))
    return requests


def test_every_request_runs_through_its_signature(exported):
    loaded = tf.saved_model.load(str(exported / "1"))
    requests = read(exported / "1")
    assert {name for name, _, _ in requests} == {"colours"}
    assert {signature for _, signature, _ in requests} == {"serving_default", "serving_tensors"}
    sizes = set()
    for _, signature, inputs in requests:
        result = loaded.signatures[signature](**inputs)
        (value,) = inputs.values()
        assert result["probabilities"].shape == (len(value), 3)
        sizes.add((signature, len(value)))
    # one image and several take different ways through the graph
    assert sizes == {("serving_default", 1), ("serving_default", 2), ("serving_tensors", 1)}


@pytest.mark.usefixtures("light_decoding")
def test_given_samples_are_used_and_bounded(colour_model, preprocessing, tmp_path):
    red = np.zeros((6, 5, 3), np.uint8)
    red[..., 0] = 255
    folder = export(
        colour_model, tmp_path / "x", preprocessing=preprocessing, labels=["red", "green", "blue"], samples=[red] * 700
    )
    requests = read(folder)
    assert len(requests) == 1000
    for _, signature, inputs in requests[:4]:
        if signature == "serving_tensors":
            np.testing.assert_allclose(inputs["image"], red[None] / 255)
        else:
            np.testing.assert_array_equal(tf.io.decode_png(inputs["image_bytes"][0]), red)


def test_more_than_a_server_takes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 1000 warm-up requests, got 1001"):
        write_warmup(tmp_path, "x", [("serving_tensors", {"image": np.zeros((1, 1))})] * 1001)
    assert not list(tmp_path.iterdir())
