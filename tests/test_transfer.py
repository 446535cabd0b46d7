"""Runs that begin with a trained net: what is taken over, new, and frozen."""

import dataclasses
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from made_nets import GROUPED, Tiny
from made_runs import DIGITS
from train_processes import assert_same_end

import gpwjax
import train.loop
import train.start
from gpwjax.models import MODELS
from gpwjax.weights import flatten
from train.config import NO_AUGMENTATION, Config, RunError
from train.loop import fit
from train.process.stop import Stopped, StopRequest
from train.state import Metrics, TrainState, split
from train.step import StepSettings, train_step
from train.transfer import HEAD

START = dataclasses.replace(DIGITS, model="parted", min_channels=8, batch_size=64)
RMSPROP = {"optimizer": "rmsprop", "on_nan": "skip-batch"}
ADAMW = {"optimizer": "adamw", "weight_decay": 0.5, "ema": 0.9}


class Block(nn.Module):
    """A convolution and its batch normalisation."""

    train: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(16, (3, 3), strides=2, use_bias=False, name="conv")(x)
        norm = nn.BatchNorm(not self.train, momentum=0.9, name="norm")
        return nn.relu(norm(x))


class Parted(Tiny):
    """Has the parts that the nets of `create_model` have."""

    blocks_per_stage = (2,)

    @nn.compact
    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        x = nn.Conv(8, (3, 3), use_bias=False, name="stem")(images)
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9, name="stem_norm")(x))
        for number in range(2):
            x = Block(train, name=f"block{number}")(x)
        return {"top": x}


@pytest.fixture(scope="module", autouse=True)
def in_the_tests_process(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "parted", Parted)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(signal, "signal", lambda *_: None)  # as pytest has them
        yield


def save_net(
    path: Path, draw_variables: Callable[..., dict], classes: Sequence[str]
) -> Path:
    """Writes a net with variables that no run would draw."""
    model = gpwjax.create_model("parted", len(classes), 8, small_images=True)
    images = np.zeros((1, 8, 8, 3), np.float32)
    variables = draw_variables(model, images, train=False)
    # An update of 0 that is added would make it 0.
    variables["params"]["stem"]["kernel"][0, 0, 0, 0] = -0.0
    gpwjax.save(path, model, variables, classes=classes, image_size=8)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory, draw_variables) -> Path:
    """The file of a net for the classes of digits."""
    folder = tmp_path_factory.mktemp("weights")
    return save_net(folder / "digits.safetensors", draw_variables, "0123456789")


@pytest.fixture
def config(tmp_path, weights) -> Config:
    """A run that begins with it."""
    return dataclasses.replace(START, run_dir=tmp_path / "run", init=weights)


@pytest.fixture(scope="module")
def frozen_run(request, tmp_path_factory, weights) -> Config:
    """A finished run of two epochs that left two parts as they were."""
    settings = {"init": weights, "epochs": 2, "freeze": ("stem", "block0")}
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = dataclasses.replace(START, run_dir=folder, **settings, **request.param)
    fit(config, StopRequest())
    return config


@pytest.fixture
def first_state(monkeypatch) -> Callable[[Config], TrainState]:
    """Gives the state with which the first epoch of a run begins."""

    class ReachedError(Exception):
        """The run need not go on."""

    def reached(run: Any, stop: Any, state: TrainState, *_: Any) -> None:
        raise ReachedError(state)

    def begin(config: Config) -> TrainState:
        with monkeypatch.context() as patch:
            patch.setattr(train.loop, "train", reached)
            with pytest.raises(ReachedError) as error:
                fit(config, StopRequest())
        shutil.rmtree(config.folder)
        return error.value.args[0]

    return begin


def arrays(variables: dict) -> dict[str, bytes]:
    """The bits of each array by its name, as of "params/head/kernel"."""
    return {name: np.asarray(x).tobytes() for name, x in flatten(variables).items()}


def part(name: str) -> str:
    """block0 for "params/block0/conv/kernel"."""
    return name.split("/")[1]


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "freeze": ("stem",)}])
def test_with_the_same_classes_it_begins_with_the_whole_net(
    config, weights, first_state, settings
):
    state = first_state(dataclasses.replace(config, **settings))
    expected = arrays(gpwjax.load(weights).variables)
    assert arrays(state.variables) == arrays(state.tested_variables) == expected
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state))
    assert all(len(x.devices()) == 2 for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ("abc", "there are 3 classes there, 10 here"),
        ("0123456798", "class 8 is '9' there, '8' here"),
    ],
)
def test_with_other_classes_the_classifier_alone_is_new(
    config, tmp_path, draw_variables, first_state, caplog, classes, reason
):
    caplog.set_level("INFO")
    other = save_net(tmp_path / "other.safetensors", draw_variables, classes)
    state = first_state(dataclasses.replace(config, init=other))
    there = arrays(gpwjax.load(other).variables)
    drawn = arrays(first_state(dataclasses.replace(config, init=None)).variables)
    expected = {n: drawn[n] if part(n) == HEAD else there[n] for n in drawn}
    assert arrays(state.variables) == expected
    # Three kernels, and four arrays of each norm:
    # 27 * 8 + 9 * 8 * 16 + 9 * 16 * 16 + 2 * (8 + 16 + 16).
    taken = f"taken over from {other}: 15 arrays (3,752 parameters)"
    assert taken in caplog.text
    assert f"not taken over: head, the classifier, since {reason}" in caplog.text


def test_what_is_taken_over_and_frozen_is_said(config, first_state, caplog):
    caplog.set_level("INFO")
    first_state(dataclasses.replace(config, freeze=("stem",)))
    assert "safetensors: 17 arrays (3,922 parameters)" in caplog.text
    # 27 * 8, and 8 scales and 8 biases.
    assert "frozen: stem: 5 arrays (232 parameters)" in caplog.text
    assert "not taken over" not in caplog.text


@pytest.mark.parametrize("frozen_run", [RMSPROP, ADAMW], indirect=True)
def test_frozen_parts_keep_their_bits_and_all_others_change(frozen_run, weights):
    before = arrays(gpwjax.load(weights).variables)
    after = arrays(gpwjax.load(frozen_run.folder / "model.safetensors").variables)
    same = {name for name in before if before[name] == after[name]}
    frozen = {"stem", "stem_norm", "block0"}
    assert same == {name for name in before if part(name) in frozen}


@pytest.mark.parametrize("frozen_run", [ADAMW], indirect=True)
def test_a_stopped_run_goes_on_without_the_file_to_the_same_end(
    frozen_run, weights, tmp_path
):
    init = shutil.copy(weights, tmp_path)
    again = dataclasses.replace(frozen_run, run_dir=tmp_path / "run", init=Path(init))
    stop = StopRequest()
    stop.signum = signal.SIGTERM
    with pytest.raises(Stopped):
        fit(again, stop)
    again.init.unlink()
    fit(again, StopRequest())
    assert_same_end(again.folder, frozen_run.folder)


def test_the_optimizer_keeps_nothing_for_frozen_parts(config, first_state):
    state = first_state(dataclasses.replace(config, freeze=("stem", "block0")))
    text = str(jax.tree.structure(state.opt_state))
    assert "block1" in text
    assert "stem" not in text
    assert "block0" not in text


def test_the_net_of_a_run_folder_is_taken_over(config, tmp_path, weights, first_state):
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(weights, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    state = first_state(dataclasses.replace(config, init=folder))
    assert arrays(state.variables) == arrays(gpwjax.load(weights).variables)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_channels": 16}, "--min-channels is 8 there, 16 here$"),
        ({"min_channels": None}, "--min-channels is 8 there, none here$"),
        (
            {"model": "mobilenet", "small_images": False},
            "--model is parted there, mobilenet here; --small-images is True there, Fa",
        ),
        (
            {"freeze": ("stem", "block2")},
            "some of head, stem, block0, block1, stem_norm; got 'block2'",
        ),
        ({"freeze": ("block0", "block1", "stem", "head")}, "leave a part .*, got all"),
        (
            {"init": Path("none.safetensors")},
            "--init: no weights file none.safetensors",
        ),
        ({"init": Path(__file__)}, "--init: .*test_transfer.py is not a weights file"),
        ({"init": Path(__file__).parent}, "--init: .* is no run folder"),
    ],
)
def test_what_does_not_fit_is_one_error_before_the_data_are_read(
    config, monkeypatch, settings, message
):
    monkeypatch.setattr(train.start, "load_dataset", None)
    with pytest.raises(RunError, match=message):
        fit(dataclasses.replace(config, **settings), StopRequest())
    assert not config.folder.exists()


def test_a_new_classifier_cannot_be_frozen(config, tmp_path, draw_variables):
    other = save_net(tmp_path / "other.safetensors", draw_variables, "ab")
    config = dataclasses.replace(config, init=other, freeze=("head",))
    message = "--freeze must leave out head, .*there are 2 classes there, 10 here"
    with pytest.raises(RunError, match=message):
        fit(config, StopRequest())
    assert not config.folder.exists()


@pytest.mark.parametrize("shallow", ["densenet_bc_l100"], indirect=True)
def test_frozen_norms_use_their_running_statistics(shallow):
    """A net whose stem alone is trained has the gradient of inference.

    In blocks that are computed again for it, and in the other parts.
    """
    model, variables, _ = shallow
    model = model.clone(remat=True)
    frozen_parts = set(variables["params"]) - {"stem"}
    trained, frozen = split(variables, frozen_parts)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    labels = np.arange(4)

    @jax.value_and_grad
    def expected(params: Any) -> jax.Array:
        params = frozen["params"] | params
        inputs = images / np.float32(255)
        logits = model.apply(variables | {"params": params}, inputs, train=False)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return loss.mean()

    loss, gradient = jax.jit(expected)(trained["params"])
    state = TrainState.create(
        apply_fn=model.apply,
        tx=optax.sgd(1.0),
        metrics=Metrics.zero(),
        frozen=frozen,
        **trained,
    ).replace(step=np.int32(0))
    config = Config("drawn", image_size=8, augmentation=NO_AUGMENTATION)
    # Not donated, since it is compared with.
    step = jax.jit(partial(train_step.__wrapped__, settings=StepSettings.of(config)))
    new, actual_loss = step(state, images, labels, jax.random.key(0))
    np.testing.assert_allclose(actual_loss, loss, rtol=1e-5)
    change = jax.tree.map(lambda a, b: a - b, state.params, new.params)
    chex.assert_trees_all_close(change, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shallow", GROUPED, indirect=True)
def test_the_parts_of_the_nets(shallow):
    """With the stem goes its norm, and every net's classifier is its head."""
    model, variables, _ = shallow
    _, frozen = split(variables, ("stem",))
    has_norm = not isinstance(model, gpwjax.densenet.DenseNet)
    names = {"stem", "stem_norm"} if has_norm else {"stem"}
    assert set(frozen["params"]) == names
    assert set(frozen["batch_stats"]) == names - {"stem"}
    assert variables["params"][HEAD]["bias"].shape == (model.classes,)
