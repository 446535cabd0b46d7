"""Whole runs on the digits, each with one modern piece: it changes what it should.

With a tiny net, and as slow tests with the net that `python -m train` trains. What
tests/test_optimizer.py, test_mix.py and test_step.py show in a step is slow here too.
"""

import collections
import csv
import dataclasses
import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import pytest
from made_runs import DIGITS

import gpwjax
import train.loop
from train.checkpoints import Checkpoints
from train.config import Config
from train.data import load_dataset
from train.loop import fit
from train.process.stop import StopRequest
from train.seeds import fit_seeds
from train.start import first_state, run_of
from train.state import TrainState
from train.step import StepSettings, train_step

pytestmark = pytest.mark.usefixtures("tiny_runs")

NETS = {
    "tiny": {"model": "tiny", "epochs": 6, "batch_size": 64, "lr": 3e-3},
    "mobilenet": {"epochs": 12, "cycle_epochs": 12},
}


class Finished(NamedTuple):
    """A run that is over: its settings, result.json, epochs and saved net."""

    config: Config
    result: dict[str, Any]
    epochs: list[dict[str, float]]
    net: gpwjax.Classifier

    @property
    def kernels(self) -> list[np.ndarray]:
        leaves = jax.tree.leaves(self.net.variables["params"])
        return [np.asarray(x, np.float64) for x in leaves if x.ndim > 1]

    def column(self, name: str) -> np.ndarray:
        return np.array([epoch[name] for epoch in self.epochs])

    def confidence(self) -> float:
        """Mean of the highest probability of each test image."""
        data = load_dataset(self.config)
        return float(self.net.predict(data.images[data.test]).max(1).mean())


@pytest.fixture(
    scope="module", params=["tiny", pytest.param("mobilenet", marks=pytest.mark.slow)]
)
def finish(request, tiny_runs, tmp_path_factory) -> Callable[..., Finished]:
    """Makes a run of a net with other settings than the paper's."""

    def run(**settings: Any) -> Finished:
        folder = tmp_path_factory.mktemp("runs") / "run"
        config = dataclasses.replace(
            DIGITS, run_dir=folder, **{**NETS[request.param], **settings}
        )
        return read(config, fit(config, StopRequest()))

    return run


def read(config: Config, result: dict[str, Any]) -> Finished:
    with (config.folder / "metrics.csv").open(newline="") as stream:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    net = gpwjax.load(config.folder / "model.safetensors")
    return Finished(config, result, rows, net)


@pytest.fixture(scope="module")
def plain(finish) -> Finished:
    """The run without any modern piece."""
    return finish()


def learned(run: Finished) -> bool:
    """Whether it got far beyond the 10% of chance."""
    return run.result["test_accuracy"] > 0.5 and np.isfinite(run.column("val_loss"))[-1]


def first(run: Finished) -> TrainState:
    """The state before the first step."""
    start = run_of(run.config, load_dataset(run.config))
    init = first_state(start.config, start.model, start.optimizer)
    return init(start.keys["init"])


def norm(tree: Any) -> float:
    """Of all the arrays together."""
    return math.sqrt(sum(float(np.sum(np.square(x))) for x in jax.tree.leaves(tree)))


def distance(a: Any, b: Any) -> float:
    return norm(jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), a, b))


@pytest.mark.slow
def test_adamw_shrinks_the_kernels(finish):
    """As adam it learns; the weight decay makes the kernels smaller."""
    without = finish(optimizer="adamw", weight_decay=0.0)
    decayed = finish(optimizer="adamw", weight_decay=1.0)
    assert learned(without)
    assert learned(decayed)
    norms = [norm(run.kernels) for run in (without, decayed)]
    assert norms[1] < 0.95 * norms[0]


@pytest.mark.slow
def test_adamw_without_decay_is_adam(finish, plain):
    assert plain.config.optimizer == "adam"
    run = finish(optimizer="adamw", weight_decay=0.0)
    np.testing.assert_allclose(run.column("train_loss"), plain.column("train_loss"))


@pytest.mark.slow
def test_momentum_makes_sgd_quicker(finish):
    settings = {"optimizer": "sgd", "lr": 0.01}
    runs = [finish(**settings, momentum=m) for m in (0.0, 0.9)]
    losses = [run.epochs[-1]["train_loss"] for run in runs]
    assert learned(runs[1])
    assert losses[1] < 0.9 * losses[0]


def test_the_cosine_rises_in_the_warm_up_and_falls_to_0(finish):
    run = finish(schedule="cosine", warmup_epochs=2)
    assert learned(run)
    rates, epochs, peak = run.column("lr"), run.config.epochs, run.config.lr
    # Rates of the last step of each epoch.
    steps = run.column("step") - 1
    per_epoch = steps[0] + 1
    rising = peak * steps / (2 * per_epoch)
    along = (steps - 2 * per_epoch) / ((epochs - 2) * per_epoch)
    falling = peak * (1 + np.cos(math.pi * along)) / 2
    expected = np.where(steps < 2 * per_epoch, rising, falling)
    np.testing.assert_allclose(rates, expected, rtol=1e-4, atol=1e-9)
    assert rates[-1] < 0.01 * peak


@pytest.mark.slow
def test_label_smoothing_makes_answers_less_sure(finish, plain):
    run = finish(label_smoothing=0.3)
    assert learned(run)
    assert run.confidence() < 0.9 * plain.confidence()
    # Cross entropy with smoothed labels is never below their entropy.
    classes = 10
    rest = 0.3 / classes
    entropy = -(1 - 9 * rest) * math.log(1 - 9 * rest) - 9 * rest * math.log(rest)
    assert run.column("train_loss").min() > entropy


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_mixed_images_are_harder_to_learn_and_whole_ones_are_known(
    finish, plain, method
):
    run = finish(**{method: 1.0})
    assert learned(run)
    assert run.epochs[-1]["train_loss"] > 1.2 * plain.epochs[-1]["train_loss"]
    # Unlike those it was trained on, the images of the test are not mixed.
    assert run.result["test_loss"] < run.epochs[-1]["train_loss"]
    assert run.confidence() < plain.confidence()


def test_the_mean_of_the_weights_is_what_is_tested_and_saved(finish, plain):
    """Training goes as without it; the mean is behind at first, and steadier."""
    run = finish(ema=0.9)
    np.testing.assert_allclose(run.column("train_loss"), plain.column("train_loss"))
    assert (run.column("val_loss") != plain.column("val_loss")).all()
    with Checkpoints(run.config.folder, first(run)) as checkpoints:
        state, best = checkpoints.restore_best()
    assert best["epoch"] == run.result["best_epoch"]
    chex.assert_trees_all_equal(run.net.variables, state.ema)
    assert 0 < distance(state.ema["params"], state.params) < norm(state.params)


def test_clipping_bounds_how_far_the_weights_get(finish):
    """Without momentum, no further than rate * norm in each step."""
    settings = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.01}
    runs = [finish(**settings, epochs=2, clip_norm=norm) for norm in (0.0, 0.01)]
    moved = [distance(run.net.variables["params"], first(run).params) for run in runs]
    steps_per_epoch = np.diff(runs[1].column("step"), prepend=0)
    furthest = (steps_per_epoch * runs[1].column("lr") * 0.01).sum()
    assert moved[1] <= furthest * 1.001 < moved[0]


@pytest.mark.slow
def test_bfloat16_learns_as_float32_does(finish, plain):
    run = finish(dtype="bfloat16")
    chex.assert_type(jax.tree.leaves(run.net.variables), np.float32)
    losses = run.column("train_loss"), plain.column("train_loss")
    assert (losses[0] != losses[1]).all()  # it rounds ...
    np.testing.assert_allclose(*losses, rtol=0.1)  # ... and no more


def test_the_precision_is_that_of_the_nets_program(finish, monkeypatch):
    """Beside the augmentation's, which is always the highest; a CPU has but one."""
    counts = {}

    class ReachedError(Exception):
        """The first step is traced, which is enough."""

    def trace(*args: Any, settings: StepSettings) -> None:
        jaxpr = str(train_step.trace(*args, settings=settings).jaxpr)
        found = re.findall(r"Precision\.(\w+),", jaxpr)
        counts[precision] = collections.Counter(found)
        raise ReachedError

    monkeypatch.setattr(train.loop, "train_step", trace)
    for precision in ("default", "high", "highest"):
        with pytest.raises(ReachedError):
            finish(matmul_precision=precision)
    assert set(counts["default"]) == {"DEFAULT", "HIGHEST"}
    of_net, of_augmentation = (counts["default"][x] for x in ("DEFAULT", "HIGHEST"))
    assert counts["high"] == {"HIGH": of_net, "HIGHEST": of_augmentation}
    assert counts["highest"] == {"HIGHEST": of_net + of_augmentation}


def test_several_seeds_make_a_run_each_and_a_table(tmp_path):
    """And the same command goes on with the seeds that are missing."""
    one = dataclasses.replace(
        DIGITS, run_dir=tmp_path / "runs", **NETS["tiny"] | {"epochs": 1}
    )
    fit_seeds(one, StopRequest())
    first = one.folder / "seed0" / "result.json"
    made = first.stat().st_mtime_ns
    config = dataclasses.replace(one, seeds=2)
    table = fit_seeds(config, StopRequest())
    assert first.stat().st_mtime_ns == made
    results = [
        json.loads((config.folder / f"seed{seed}" / "result.json").read_text())
        for seed in (0, 1)
    ]
    accuracies = [result["test_accuracy"] for result in results]
    assert [result["seed"] for result in results] == [0, 1]
    assert accuracies[0] != accuracies[1]
    for seed, accuracy in enumerate(accuracies):
        assert f"{accuracy:.2%}" in table.splitlines()[1 + seed]
    assert f"{100 * np.mean(accuracies):.2f} ± " in table
    with (config.folder / "seeds.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["seed"] for row in rows] == ["0", "1", "mean", "interval95"]
    assert [float(row["test_accuracy"]) for row in rows[:2]] == accuracies
    assert f"{accuracies[1]:.2%}" in (config.folder / "report.html").read_text()
