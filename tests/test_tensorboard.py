"""Event files, read as TensorBoard reads them."""

import csv
import dataclasses
import io
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_nets import Tiny
from made_runs import DIGITS
from PIL import Image

import train.loop
from gpwjax.models import MODELS
from train.config import Config
from train.loop import fit
from train.process.stop import StopRequest

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

STEPS = 1258 // 64  # of an epoch


@pytest.fixture
def config(tmp_path, monkeypatch) -> Config:
    monkeypatch.setitem(MODELS, "tiny", Tiny)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    settings = {"run_dir": tmp_path / "run", "model": "tiny", "batch_size": 64}
    return dataclasses.replace(DIGITS, epochs=2, tensorboard=True, **settings)


def read_events(file: Path) -> Iterator[Any]:
    """The records of a file: length, its checksum, content, its checksum."""
    content = io.BytesIO(file.read_bytes())
    while header := content.read(12):
        yield event_pb2.Event.FromString(content.read(struct.unpack("<Q4x", header)[0]))
        content.seek(4, io.SEEK_CUR)


def shown(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Step and value of all that TensorBoard shows, by name: where a later file begins
    anew at a step, nothing from that step on of the earlier ones."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for file in sorted(folder.iterdir()):
        for event in read_events(file):
            if event.HasField("session_log"):
                for values in found.values():
                    values[:] = [pair for pair in values if pair[0] < event.step]
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                pair = event.step, getattr(value, kind)
                found.setdefault(value.tag, []).append(pair)
    return found


def test_a_run_that_broke_off_shows_each_step_once(config, monkeypatch):
    step, steps = train.loop.train_step, iter(range(STEPS + 6))

    def failing_step(*args: Any, **kwargs: Any) -> Any:
        if next(steps, None) is None:
            raise RuntimeError("no more")
        return step(*args, **kwargs)

    monkeypatch.setattr(train.loop, "train_step", failing_step)
    with pytest.raises(RuntimeError, match="no more"):
        fit(config, StopRequest())
    broken_off = shown(config.folder / "tensorboard")
    assert len(broken_off["step/loss"]) > STEPS  # of which some are made again
    monkeypatch.setattr(train.loop, "train_step", step)
    fit(config, StopRequest())

    found = shown(config.folder / "tensorboard")
    numbers, losses = zip(*found["step/loss"], strict=True)
    assert numbers == tuple(range(1, 2 * STEPS + 1))
    with (config.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in rows[0].keys() - {"epoch", "step"}:
        expected = [(int(row["step"]), float(row[name])) for row in rows]
        np.testing.assert_allclose(found[f"epoch/{name}"], expected, rtol=1e-6)
    means = np.reshape(losses, (2, STEPS)).mean(1)
    expected = [float(row["train_loss"]) for row in rows]
    np.testing.assert_allclose(means, expected, rtol=1e-4)
    for name, at in {"training_images": 0, "heatmaps": 2 * STEPS}.items():
        ((number, picture),) = found[name]
        assert number == at
        Image.open(io.BytesIO(picture.encoded_image_string)).load()


def test_without_the_setting_there_are_none(config):
    fit(dataclasses.replace(config, epochs=1, tensorboard=False), StopRequest())
    assert not (config.folder / "tensorboard").exists()


def test_a_missing_package_is_one_error_before_the_run(config, monkeypatch):
    monkeypatch.setattr("train.config.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--tensorboard .*gpwjax\[tensorboard\]"):
        dataclasses.replace(config)
