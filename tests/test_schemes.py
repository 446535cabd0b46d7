"""The schemes `any` and `parallel`, against loops over the channels."""

import json
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import gpwjax
from gpwjax import Pointwise, cli, export, from_keras, save
from gpwjax.formats import FILES
from gpwjax.ops.platforms import form
from gpwjax.schemes import SCHEMES
from train.config import Config, RunError
from train.report.command import command_of
from train.report.paper import paper_row
from train.transfer import check_same_net

LATER = ("any", "parallel")
NORM = partial(nn.BatchNorm, use_running_average=True, epsilon=1e-3)
SIZES = st.integers(1, 40)


def interleaved(x: np.ndarray, step: int) -> np.ndarray:
    """Every step-th channel from the first on, then from the second on, ..."""
    return np.concatenate([x[..., first::step] for first in range(step)], axis=-1)


def uneven_by_loop(x: np.ndarray, kernel: np.ndarray, min_channels: int) -> np.ndarray:
    """PAPER 6: a convolution of `any`, channel by channel; kernel (c, F)."""
    channels, features = x.shape[-1], kernel.shape[-1]
    groups = min(int(np.ceil(channels / min_channels)), features)
    if groups == 1:
        return x @ kernel
    size = min_channels
    if groups * min_channels < channels:
        size = int(np.ceil(channels / groups))
    assert kernel.shape == (size, features)
    copies = x[..., : groups * size - channels]
    padded = np.concatenate([x, copies], axis=-1)
    rest = features % groups
    y = np.zeros((*x.shape[:-1], features))
    for f in range(features):
        in_second_path = f >= features - rest
        group = (
            f - (features - rest)
            if in_second_path
            else f // ((features - rest) // groups)
        )
        for j in range(size):
            y[..., f] += padded[..., group * size + j] * kernel[j, f]
    return y


def parallel_by_loop(x: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """PAPER 6: the sum before the norm; kernels (2, N, Cin / N, F / N)."""
    _, groups, inputs, outputs = kernels.shape
    y = np.zeros((*x.shape[:-1], groups * outputs))
    for source, kernel in zip((x, interleaved(x, inputs)), kernels, strict=True):
        for f in range(groups * outputs):
            for j in range(inputs):
                weight = kernel[f // outputs, j, f % outputs]
                y[..., f] += source[..., f // outputs * inputs + j] * weight
    return y


def norm_and_swish(y: np.ndarray, variables: dict, number: int) -> np.ndarray:
    name = f"BatchNorm_{number}"
    norm = variables["params"][name] | variables["batch_stats"][name]
    y = (y - norm["mean"]) / np.sqrt(norm["var"] + 1e-3)
    y = y * norm["scale"] + norm["bias"]
    return y / (1 + np.exp(-y))


def by_hand(
    scheme: str, variables: dict, x: np.ndarray, features: int, min_channels: int
) -> np.ndarray:
    """A whole layer with biases, batch norm and swish, in float64."""
    x = np.asarray(x, np.float64)
    channels, params = x.shape[-1], variables["params"]

    def part(x: np.ndarray, name: str, number: int) -> np.ndarray:
        kernel = params[name]["kernel"]
        if kernel.ndim == 4:
            y = parallel_by_loop(x, kernel)
        elif kernel.ndim == 3:
            assert len(kernel) == 1
            y = x @ kernel[0]
        else:
            y = uneven_by_loop(x, kernel, min_channels)
        return norm_and_swish(y + params[name]["bias"], variables, number)

    k = part(x, "K", 0)
    replaced = channels > 2 * min_channels or features > channels > min_channels
    groups = min(int(np.ceil(channels / min_channels)), features)
    if scheme == "parallel" or not replaced or groups == 1 or channels < features:
        assert "L" not in params
        return k
    step = features // min_channels
    return part(interleaved(k, step) if step > 1 else k, "L", 1) + k


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def assert_by_hand(
    draw_variables, scheme: str, channels: int, features: int, min_channels: int
) -> None:
    layer = Pointwise(features, min_channels, NORM, nn.swish, True, scheme=scheme)
    x = normal(3, channels)
    variables = draw_variables(layer, x)
    expected = by_hand(scheme, variables, x, features, min_channels)
    y = jax.jit(layer.apply)(variables, x)
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("scheme", LATER)
@settings(max_examples=5)
@given(
    channels=SIZES,
    features=SIZES,
    min_channels=st.integers(1, 12),
    platform=st.sampled_from(("default", "cpu", "tpu")),
)
def test_a_layer_equals_loops_over_the_channels(
    draw_variables, scheme, channels, features, min_channels, platform
):
    with form(platform):
        assert_by_hand(draw_variables, scheme, channels, features, min_channels)


@pytest.mark.parametrize(
    ("scheme", "channels", "features", "min_channels", "kernels"),
    [
        # 2 groups of 16 of 24 channels: the last 8 inputs are the first channels.
        ("any", 24, 144, 16, {"K": (16, 144)}),
        # 9 groups; 4 filters each, and one more in the first 4. L has 3 groups.
        ("any", 144, 40, 16, {"K": (16, 40), "L": (16, 40)}),
        # As many groups as filters: 10 channels in 4 groups of 3, two of them twice.
        ("any", 10, 4, 2, {"K": (3, 4), "L": (2, 4)}),
        # L is dense, where all filters fit into a group.
        ("any", 96, 16, 16, {"K": (16, 16), "L": (1, 16, 16)}),
        # L's channels are 0, 2, 4, ..., 1, 3, ...: runs of 6 and of 5.
        ("any", 11, 11, 5, {"K": (5, 11), "L": (5, 11)}),
        # Not replaced: neither more than 32 inputs, nor more filters than inputs.
        ("any", 32, 32, 16, {"K": (1, 32, 32)}),
        ("any", 16, 96, 16, {"K": (1, 16, 96)}),
        ("any", 64, 1, 16, {"K": (1, 64, 1)}),
        ("parallel", 64, 32, 16, {"K": (2, 4, 16, 8)}),
        ("parallel", 32, 64, 16, {"K": (2, 2, 16, 32)}),
        ("parallel", 16, 96, 16, {"K": (1, 16, 96)}),
    ],
)
def test_kernels_and_values_of_worked_examples(
    draw_variables, scheme, channels, features, min_channels, kernels
):
    layer = Pointwise(features, min_channels, scheme=scheme)
    x = jax.ShapeDtypeStruct((1, channels), jnp.float32)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    assert {name: of["kernel"].shape for name, of in params.items()} == kernels
    assert_by_hand(draw_variables, scheme, channels, features, min_channels)


@pytest.mark.parametrize(("scheme", "channels"), [("any", 11), ("parallel", 16)])
def test_gradients_equal_numeric_ones(draw_variables, scheme, channels):
    """Those of the forms of other platforms are compared in test_ops.py."""
    layer = Pointwise(8, 3, scheme=scheme, use_bias=True)
    x = normal(2, channels)
    run = jax.jit(layer.apply)
    variables = draw_variables(layer, x)
    check_grads(run, (variables, x), 1, atol=1e-2, rtol=1e-2, eps=1e-2)


@pytest.mark.parametrize(
    ("scheme", "part", "fans"),
    [
        # 42 groups of 16; 168 filters have four in each, 24 are more.
        ("any", slice(0, 168), (16, 168)),
        ("any", slice(168, 192), (16, 24)),
        ("parallel", slice(None), (672 / 32, 192)),
    ],
)
def test_kernels_are_drawn_with_the_fans_of_their_paths(scheme, part, fans):
    layer = Pointwise(192, 16, scheme=scheme)
    variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 672)))
    kernel = variables["params"]["K"]["kernel"][..., part]
    limit = np.sqrt(6 / sum(fans))
    assert 0.97 * limit < np.abs(kernel).max() <= limit


# Entropy 24(9), 2022: the authors' records.
@pytest.mark.parametrize(
    ("min_channels", "classes", "size", "params"),
    [
        (4, 10, 32, 354_818),
        (16, 10, 32, 623_226),
        (12, 2, 200, 524_026),
        (16, 2, 200, 612_978),
    ],
)
def test_efficientnet_has_the_parameters_of_the_authors_records(
    min_channels, classes, size, params
):
    model = gpwjax.create_model(
        "efficientnet_b0", classes, min_channels, small_images=size == 32, scheme="any"
    )
    assert gpwjax.count(model, (size, size, 3)).params == params


@pytest.mark.parametrize("make", [Pointwise, partial(gpwjax.create_model, "mobilenet")])
@pytest.mark.parametrize("value", ["Any", "", None, 3, ["any"]])
def test_a_wrong_scheme_is_named_with_the_allowed_ones(make, value):
    rule = f"scheme must be one of divisible, any, parallel, got {value!r}"
    with pytest.raises(ValueError, match=re.escape(rule)):
        make(10, 16, scheme=value)


def test_the_dense_net_has_no_scheme():
    x = jnp.ones((1, 12))
    layers = [Pointwise(8, scheme=scheme) for scheme in SCHEMES]
    first, *others = (layer.init(jax.random.key(0), x) for layer in layers)
    for other in others:
        chex.assert_trees_all_equal(other, first)


@pytest.fixture(params=LATER)
def small_net(request, shrunk, draw_variables):
    """An EfficientNet of two blocks, and its variables."""
    with shrunk():
        model = gpwjax.create_model(
            "efficientnet_b0", 3, 8, small_images=True, scheme=request.param
        )
        images = np.zeros((1, 16, 16, 3), np.float32)
        yield model, draw_variables(model, images, train=False)


@pytest.fixture
def saved(small_net, tmp_path):
    file = tmp_path / "model.safetensors"
    save(file, *small_net, classes=["cat", "dog", "giraffe"], image_size=16)
    return file


def test_a_weights_file_keeps_the_scheme(saved, small_net):
    classifier = gpwjax.load(saved)
    assert classifier.model == small_net[0]
    chex.assert_trees_all_equal(classifier.variables, small_net[1])


def rewrite(file, change):
    """Changes what a weights file says of its net."""
    with safe_open(file, framework="numpy") as opened:
        about = json.loads(opened.metadata()["gpwjax"])
    change(about["model"])
    save_file(load_file(file), file, metadata={"gpwjax": json.dumps(about)})


def test_a_weights_file_without_a_scheme_is_the_papers(
    shrunk, draw_variables, tmp_path
):
    file = tmp_path / "old.safetensors"
    with shrunk():
        model = gpwjax.create_model("mobilenet", 2, 16)
        images = np.zeros((1, 32, 32, 3), np.float32)
        variables = draw_variables(model, images, train=False)
        save(file, model, variables, classes=["cat", "dog"], image_size=32)
        rewrite(file, lambda settings: settings.pop("scheme"))
        assert gpwjax.load(file).model == model
    assert model.scheme == "divisible"


@pytest.mark.parametrize("value", ["even", 7, None])
def test_a_weights_file_with_a_wrong_scheme_is_refused(saved, value):
    rewrite(saved, lambda model: model.update(scheme=value))
    with pytest.raises(ValueError, match=f"scheme must be .* got {value!r}"):
        gpwjax.load(saved)


@pytest.mark.parametrize("kind", FILES)
def test_exported_files_answer_as_the_net(saved, tmp_path, kind):
    classifier = gpwjax.load(saved)
    difference = export.export(classifier, tmp_path / f"net.{kind}", kind)
    assert difference < 1e-5


@pytest.mark.parametrize("scheme", LATER)
def test_keras_weights_are_for_the_papers_scheme(scheme):
    model = gpwjax.create_model("mobilenet", 10, 16, scheme=scheme)
    with pytest.raises(ValueError, match=f"scheme must be divisible .* {scheme!r}"):
        from_keras(model, {})


def test_summary_names_the_scheme_and_counts_its_layers(capsys):
    arguments = ["efficientnet_b0", "--image-size", "32", "--small-images"]
    assert cli.main(["summary", *arguments, "--scheme", "any"]) == 0
    text = capsys.readouterr().out
    assert "min_channels 16, scheme any, 10 classes" in text
    assert "623,226" in text
    expand = next(line for line in text.splitlines() if "block2/expand/K" in line)
    # 24 channels in 2 groups of 16, at 31 * 31 positions.
    assert expand.split()[1:8] == [
        *("UnevenPointwise", "31x31x24", "->", "31x31x144"),
        *("2", "2,304", "2,214,144"),
    ]


def test_runs_and_their_folders_name_the_scheme():
    config = Config("digits", scheme="any")
    assert config.variant == "16ch-any"
    assert config.folder.name == "digits-mobilenet-16ch-any-seed0"
    assert "--scheme any" in command_of(config)


def test_a_run_of_another_scheme_is_no_row_of_the_paper():
    row = {"data": "cifar10", "min_channels": 16}
    assert paper_row(Config(**row)) is not None
    assert paper_row(Config(**row, scheme="any")) is None


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"scheme": "even"}, "one of divisible, any, parallel, got even"),
        ({"scheme": "any", "min_channels": None}, "left out with --min-channels none"),
    ],
)
def test_a_run_refuses_a_wrong_scheme(settings, rule):
    with pytest.raises(ValueError, match=f"--scheme must be {rule}"):
        Config("digits", **settings)


def test_a_run_does_not_begin_with_a_net_of_another_scheme():
    model = gpwjax.create_model("mobilenet", 2, 16, scheme="any")
    about = {"model": {"name": "mobilenet"}, "classes": ["cat", "dog"]}
    net = gpwjax.Classifier(model, {}, about)
    check_same_net(net, Config("digits", scheme="any"))
    with pytest.raises(RunError, match="--scheme is any there, divisible here"):
        check_same_net(net, Config("digits"))
