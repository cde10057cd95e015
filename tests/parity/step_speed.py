"""How many images a second one training step takes: TensorFlow's own operations, in bfloat16, XLA, and torch, in turns.

    python tests/parity/step_speed.py                                    resnet20 plain, in bfloat16 and with XLA
    python tests/parity/step_speed.py resnet20 --torch ENV/bin/python    and torch, of an environment that has it
    python tests/parity/step_speed.py nin_cifar10 squeezenet_cifar --threads 1

Each case is a process of its own that waits while another one measures, so whatever else the machine does falls on all
alike. Two figures: images a second of wall time, and of the process' CPU time, which a busy machine disturbs less (with
one thread; torch's threads spin while they wait).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Start a worker for each case, let them take turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["resnet20"], help="names of the catalogue, for 32x32 images")
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch; it runs resnet20 only")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of one turn")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return

    common = {"threads": options.threads, "batch": options.batch}
    cases = {
        f"{model}, {label}": (sys.executable, {**common, "model": model, "xla": xla, "bfloat16": bfloat16})
        for model in options.models
        for label, xla, bfloat16 in (
            ("TensorFlow", False, False),
            ("TensorFlow in bfloat16", False, True),
            ("TensorFlow with XLA", True, False),
        )
    }
    if options.torch:
        for label, channels_last in (("torch", False), ("torch, channels last", True)):
            cases[f"resnet20, {label}"] = (options.torch, {**common, "channels_last": channels_last})
    workers = {label: start(python, case) for label, (python, case) in cases.items()}
    figures: dict[str, list[tuple[float, float]]] = {label: [] for label in workers}
    for _ in range(options.rounds):
        for label, worker in workers.items():
            figures[label].append(take_turn(worker, options.steps))
    print(f"images a second, median of {options.rounds} turns; {options.threads} thread(s), batches of {options.batch}")
    for label, measured in figures.items():
        wall, cpu = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"{label:40s} {wall:7.1f} of wall time {cpu:7.1f} of CPU time")
    for worker in workers.values():
        worker.communicate()


def start(python: str, case: dict) -> subprocess.Popen:
    """A worker that has built and warmed up its step."""
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": str(case["threads"]),
        "OMP_NUM_THREADS": str(case["threads"]),
    }
    command = [python, __file__, "--worker", json.dumps(case)]
    worker = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True, env=environment)
    if worker.stdout.readline() != "ready\n":
        raise SystemExit(f"{python} cannot run {case}: start it by hand with --worker to see why")
    return worker


def take_turn(worker: subprocess.Popen, steps: int) -> tuple[float, float]:
    """Images a second of wall and of CPU time."""
    worker.stdin.write(f"{steps}\n")
    worker.stdin.flush()
    wall, cpu = map(float, worker.stdout.readline().split())
    return wall, cpu


def work(case: dict) -> None:
    """In the worker: as many steps as each line of the input says."""
    step = torch_step(case) if "channels_last" in case else tensorflow_step(case)
    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        images = case["batch"] * int(line)
        print(images / (time.perf_counter() - wall), images / (time.process_time() - cpu), flush=True)


def tensorflow_step(case: dict) -> Callable[[], object]:
    """One step of a network of the catalogue, as `fit` compiles it."""
    sys.path.insert(0, str(ROOT))
    import keras
    import numpy as np
    import tensorflow as tf

    from kapps.create import create_model

    if case["bfloat16"]:  # as recipes with mixed_precision="bfloat16" do
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    model = create_model(case["model"], input_shape=(32, 32, 3), num_classes=10)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.002)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=case["xla"])
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(case["batch"], 32, 32, 3)), tf.float32)
    batches = iter(tf.data.Dataset.from_tensors((images, tf.constant(random.integers(0, 10, case["batch"])))).repeat())
    model.make_train_function()
    return lambda: float(model.train_function(batches)["loss"])


def torch_step(case: dict) -> Callable[[], object]:
    """One step of ResNet-20 in torch."""
    import torch
    from torch import nn

    torch.set_num_threads(case["threads"])

    class Block(nn.Module):
        def __init__(self, before: int, channels: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
            self.stride, self.new = stride, channels - before

        def forward(self, x):
            y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
            shortcut = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
            return torch.relu(y + shortcut)

    shapes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    layout = torch.channels_last if case["channels_last"] else torch.contiguous_format
    model = nn.Sequential(stem, *(Block(*shape) for shape in shapes), head).to(memory_format=layout)
    images = torch.randn(case["batch"], 3, 32, 32).to(memory_format=layout)
    labels = torch.randint(0, 10, (case["batch"],))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=0.0002)

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
