"""The loop from inside."""

import dataclasses
import signal

import chex
import jax
import pytest
from made_nets import Tiny

import train.loop
from gpwjax.models import MODELS
from train.config import RunError
from train.loop import fit
from train.presets import DIGITS
from train.step import train_step
from train.stop import StopRequest


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A run of two epochs of a small net."""
    monkeypatch.setitem(MODELS, "tiny", Tiny)
    return dataclasses.replace(
        DIGITS, run_dir=tmp_path / "run", model="tiny", epochs=2, batch_size=64
    )


@pytest.fixture
def stop(monkeypatch):
    """Signals stay as pytest has them."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return StopRequest()


def test_a_run_traces_the_train_step_once(config, stop, monkeypatch):
    chex.clear_trace_counter()
    traced_once = jax.jit(
        chex.assert_max_traces(train_step.__wrapped__, n=1),
        donate_argnames="state",
        static_argnames="config",
    )
    monkeypatch.setattr(train.loop, "train_step", traced_once)
    result = fit(config, stop)
    assert result["device_count"] == 2
    assert result["test_accuracy"] > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "mobile"}, "model must be one of .*mobilenet, .*got 'mobile'"),
        ({"model": "mobilenet", "image_size": 2}, "images must be at least 4x4 pixels"),
        ({"batch_size": 15}, "--batch-size must be a multiple of the 2 devices"),
        ({"batch_size": 2000}, "--batch-size must be at most the 1258 training"),
    ],
)
def test_what_cannot_run_leaves_no_folder(config, stop, settings, message):
    with pytest.raises(RunError, match=message):
        fit(dataclasses.replace(config, **settings), stop)
    assert not config.folder.exists()


def test_a_loss_that_is_not_finite_stops_the_run(config, stop):
    with pytest.raises(RunError, match="the loss of epoch 1 is (nan|inf)"):
        fit(dataclasses.replace(config, lr=1e38), stop)
