"""What all nets have in common, dense and grouped, on images of 8x8 pixels.

Of shallow nets, and as slow tests of whole ones.
"""

import re
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from made_nets import GROUPED, net_id

from gpwjax import Pointwise, create_model
from gpwjax.inverted_residual import InvertedResidual
from gpwjax.mobilenet import MobileNet
from gpwjax.net import channels_last

DENSE = [(name, None) for name in GROUPED]
SEEDS = (*range(12), 0)

# Of the dropout before the classifier, and of the blocks' drop-connect.
RATES = {
    "convmixer": {},
    "densenet_bc_l100": {},
    "efficientnet_b0": {"last_dropout": 0.2}
    | {f"block{b}/Dropout_0": 0.2 * b / 16 for b in (2, 4, 6, 7, 9, 10, 12, 13, 14)},
    "mobilenet": {"dropout": 1e-3},
    "mobilenet_v3_large": {"dropout": 0.2},
}
SHALLOW_RATES = RATES | {
    "efficientnet_b0": {"last_dropout": 0.2, "block1/Dropout_0": 0.2 * 1 / 2}
}


def small_net(name: str, min_channels: int | None, dtype: Any = None) -> nn.Module:
    return create_model(name, 10, min_channels, small_images=True, dtype=dtype)


def shallow_and_whole(nets: list[tuple[str, int | None]]) -> list:
    """Name, least channels of a group, and whether the net is whole."""
    return [
        pytest.param(
            (*net, whole),
            id=f"{'whole-' * whole}{net_id(net)}",
            marks=[pytest.mark.slow] * whole,
        )
        for whole in (False, True)
        for net in nets
    ]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (4, 8, 8, 3)).astype(np.float32)


def paths(tree: Any) -> dict[str, np.ndarray]:
    return flatten_dict(jax.device_get(tree), sep="/")


class Pass(NamedTuple):
    """What a pass in train mode gives."""

    logits: jax.Array
    batch_stats: dict
    gradients: dict  # of the mean square of the logits
    dropouts: dict  # path of each dropout -> its input and its output


def train_pass(
    model: nn.Module, variables: dict, images: jax.Array, key: jax.Array
) -> Pass:
    def loss(params):
        dropouts = {}

        def record(call, args, kwargs, context):
            output = call(*args, **kwargs)
            if isinstance(context.module, nn.Dropout):
                dropouts["/".join(context.module.path)] = args[0], output
            return output

        with nn.intercept_methods(record):
            logits, updated = model.apply(
                variables | {"params": params},
                images,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
        return (logits**2).mean(), (logits, updated["batch_stats"], dropouts)

    gradients, (logits, stats, dropouts) = jax.grad(loss, has_aux=True)(
        variables["params"]
    )
    return Pass(logits, stats, gradients, dropouts)


class Training(NamedTuple):
    rates: dict[str, float]
    variables: dict
    passes: list[Pass]  # of each seed


@pytest.fixture(
    scope="module", params=shallow_and_whole([*GROUPED.items(), ("mobilenet", None)])
)
def training(request, shrunk, draw_variables, images) -> Training:
    name, min_channels, whole = request.param
    with nullcontext() if whole else shrunk():
        model = small_net(name, min_channels)
        run = jax.jit(partial(train_pass, model))
        variables = draw_variables(model, images, train=False)
        passes = [run(variables, images, jax.random.key(seed)) for seed in SEEDS]
    rates = RATES if whole else SHALLOW_RATES
    return Training(rates[name], variables, jax.device_get(passes))


def test_training_moves_all_batch_statistics(training):
    before = paths(training.variables["batch_stats"])
    after = paths(training.passes[0].batch_stats)
    assert before.keys() == after.keys()
    for path, old in before.items():
        # A few may be in place: the decay is 0.999 in MobileNet V3.
        assert (after[path] != old).mean() > 0.9, path


def test_training_gives_each_parameter_a_gradient(training):
    result = training.passes[0]
    gradients = paths(result.gradients)
    assert gradients.keys() == paths(training.variables["params"]).keys()
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    vanishing = {p for p, gradient in gradients.items() if abs(gradient).max() < 1e-5}
    assert vanishing == {p for p in gradients if is_cancelled(p, result)}


def is_cancelled(path: str, result: Pass) -> bool:
    """Whether a parameter adds the same to a channel of all pixels of all images, and
    the batch norms after it take just that away.

    So does the offset of a projection, unless some of the images drop their block.
    """
    if path == "stem/bias":  # DenseNet's; ConvMixer's is before GELU
        return "stem_norm" not in result.gradients
    projection = re.fullmatch(r"(block\d+)/project/BatchNorm_\d/bias", path)
    if not projection:
        return False
    drop = f"{projection[1]}/Dropout_0"
    if drop not in result.dropouts:
        return True
    kept = result.dropouts[drop][1] != 0  # whole images
    return kept.all() or not kept.any()


def test_dropout_and_drop_connect_have_the_rates_of_the_paper(training):
    draws = [each.dropouts for each in training.passes]
    acting = {
        path
        for path in draws[0]
        if any((before != after).any() for before, after in (d[path] for d in draws))
    }
    assert acting == training.rates.keys()
    for path, rate in training.rates.items():
        before, after = (np.stack([d[path][i] for d in draws]) for i in (0, 1))
        kept = after != 0
        expected = np.where(kept, before / (1 - rate), 0)
        np.testing.assert_allclose(after, expected, rtol=1e-6)
        assert_rate(kept[before != 0], 1 - rate)


def assert_rate(happened: np.ndarray, rate: float) -> None:
    """Within four standard errors."""
    error = (rate * (1 - rate) / happened.size) ** 0.5
    assert abs(happened.mean() - rate) <= 4 * error


def test_logits_depend_on_the_key_where_there_is_dropout(training):
    one, *others, same = (each.logits for each in training.passes)
    np.testing.assert_array_equal(one, same)
    assert (one != np.stack(others)).any() == bool(training.rates)


def test_drop_connect_drops_a_block_for_whole_images(draw_variables):
    rate, layers = 0.3, MobileNet(10).layers(train=False)
    block = InvertedResidual(
        layers,
        features=4,
        expanded=8,
        kernel_size=3,
        stride=1,
        activation=nn.swish,
        drop_rate=rate,
    )
    images = np.random.default_rng(0).normal(size=(4, 10_000, 3, 3)).astype(np.float32)
    variables = draw_variables(block, images)
    training = jax.jit(block.clone(layers=replace(layers, train=True)).apply)
    dropping = training(variables, images, rngs={"dropout": jax.random.key(1)})
    added = jax.jit(block.apply)(variables, images) - images
    kept = (dropping != images).any((0, 2, 3), keepdims=True)
    expected = images + np.where(kept, added / (1 - rate), 0)
    np.testing.assert_allclose(dropping, expected, rtol=0, atol=1e-4)
    assert_rate(kept, 1 - rate)


class Inference(NamedTuple):
    name: str
    variables: dict
    run: Any  # images -> logits, maps


@pytest.fixture(scope="module", params=shallow_and_whole([*GROUPED.items()]))
def inference(request, shrunk, draw_variables, images) -> Inference:
    name, min_channels, whole = request.param
    with nullcontext() if whole else shrunk():
        model = small_net(name, min_channels)

    def run(images):
        logits, state = model.apply(
            variables,
            images,
            train=False,
            capture_intermediates=lambda _, method: method == "features",
        )
        return logits, state["intermediates"]["features"][0]

    variables = draw_variables(model, images, train=False)
    return Inference(name, variables, jax.jit(run).lower(images).compile())


def test_inference_takes_each_image_for_itself(inference, images):
    changed = np.concatenate([images[:1], 1 - images[1:]])
    (logits, _), (other, _) = (inference.run(x) for x in (images, changed))
    np.testing.assert_allclose(other[0], logits[0], rtol=1e-4)
    assert (other[1:] != logits[1:]).all()


def test_logits_are_the_head_of_the_mean_of_the_top_map(inference, images):
    logits, maps = inference.run(images)
    mean = np.asarray(maps["top"]).mean((1, 2))
    params = inference.variables["params"]
    if "hidden" in params:  # MobileNet V3's pointwise layer after the pooling
        layer = Pointwise(1280, 16, activation=nn.hard_swish, use_bias=True, axis=-1)
        mean = jax.jit(layer.apply)({"params": params["hidden"]}, mean)
    expected = mean @ params["head"]["kernel"] + params["head"]["bias"]
    largest = abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * largest)


def test_top_map_is_the_last_stage_where_nothing_is_after_it(inference, images):
    _, maps = inference.run(images)
    last = maps[max(maps.keys() - {"stem", "top"})]
    nothing = inference.name in ("convmixer", "mobilenet")
    assert np.array_equal(last, maps["top"]) == nothing


class StageClassifier(nn.Module):
    """A net on the first stage of another one."""

    backbone: nn.Module

    @nn.compact
    def __call__(self, images, *, train):
        maps = self.backbone.features(images, train=train)
        return nn.Dense(3)(maps["stage1"].mean((1, 2)))


def test_a_net_inside_another_has_no_classifier(shallow):
    init = partial(StageClassifier(shallow.model).init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), shallow.images)["params"]
    assert params.keys() == {"backbone", "Dense_0"}
    assert {"stem", "block0"} <= params["backbone"].keys()
    assert not {"head", "hidden"} & params["backbone"].keys()


def test_gradients_flow_into_a_net_inside_another(draw_variables, images):
    net = small_net("mobilenet", 16)
    model = StageClassifier(net.clone(stages=net.stages[:2]))
    variables = draw_variables(model, images, train=False)

    def loss(params):
        logits, _ = model.apply(
            variables | {"params": params}, images, train=True, mutable=["batch_stats"]
        )
        return (logits**2).mean()

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    reached = {path for path, gradient in paths(gradients).items() if gradient.any()}
    before_the_end_of_stage1 = re.compile(r"Dense_0/.*|backbone/(stem|block0).*")
    assert reached == set(filter(before_the_end_of_stage1.fullmatch, paths(gradients)))
    assert reached < paths(gradients).keys()


class Half(NamedTuple):
    """Shapes and dtypes of what a bfloat16 net gives."""

    name: str
    logits: jax.ShapeDtypeStruct
    variables: dict


@pytest.fixture(scope="module", params=shallow_and_whole([*GROUPED.items(), *DENSE]))
def half(request, shrunk, images) -> Half:
    name, min_channels, whole = request.param
    with nullcontext() if whole else shrunk():
        model = small_net(name, min_channels, jnp.bfloat16)
    init = partial(
        model.init_with_output,
        train=True,
        mutable=["params", "batch_stats", "intermediates"],
        capture_intermediates=True,
    )
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return Half(name, *jax.eval_shape(init, keys, images))


def test_bfloat16_keeps_parameters_statistics_and_logits_float32(half):
    float32 = half.logits, half.variables["params"], half.variables["batch_stats"]
    assert {leaf.dtype for leaf in jax.tree.leaves(float32)} == {jnp.dtype("float32")}


def test_bfloat16_is_the_dtype_of_all_layers_before_the_pooling(half):
    outputs = flatten_dict(half.variables["intermediates"], sep="/")
    others = {
        path.removesuffix("__call__").rstrip("/")
        for path, (output,) in outputs.items()
        if output.dtype != jnp.bfloat16
    }
    dropout = "last_dropout" if half.name == "efficientnet_b0" else "dropout"
    assert others == {"", "head", dropout}


@pytest.mark.parametrize("shallow", ["densenet_bc_l100", "mobilenet"], indirect=True)
def test_bfloat16_leaves_the_statistics_of_batch_norm_float32(shallow):
    net, variables, images = shallow
    # Without momentum the new statistics are the batch's.
    model = net.clone(dtype=jnp.bfloat16, batch_norm_momentum=0.0)

    # What the norm gets is to be rounded to bfloat16, which XLA may else leave out.
    @partial(jax.jit, compiler_options={"xla_allow_excess_precision": False})
    def run(images):
        _, state = model.apply(
            variables,
            images,
            train=True,
            method="features",
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: module.name == "stem",
        )
        stats = state["batch_stats"]
        # jit leaves out all that comes after the first norm.
        first = stats["stem_norm"] if "stem_norm" in stats else stats["block0"]["norm"]
        return channels_last(state["intermediates"]["stem"]["__call__"][0]), first

    stem, stats = run(images)
    assert stem.dtype == jnp.bfloat16
    stem = np.asarray(stem, np.float64)
    assert stats["mean"].dtype == stats["var"].dtype == jnp.float32
    np.testing.assert_allclose(
        stats["mean"], stem.mean((0, 1, 2)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(stats["var"], stem.var((0, 1, 2)), rtol=1e-5)
