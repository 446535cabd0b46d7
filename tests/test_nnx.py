"""The examples of gpwjax/README.md."""

import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gpwjax

DOCUMENT = Path(__file__).parents[1] / "gpwjax/README.md"
LAYER, NET = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def session(tmp_path_factory, shrunk):
    """What the first example defines, and with the shallow net the second."""
    names = {}
    with pytest.MonkeyPatch.context() as patch, shrunk():
        patch.chdir(tmp_path_factory.mktemp("nnx"))
        exec(LAYER, names)
        layer = dict(names)
        exec(NET, names)
        files = ("model.safetensors", "trained.safetensors")
        before, after = (gpwjax.load(file) for file in files)
    return layer, names, before, after


def test_the_layer_learns_and_has_a_mode(session):
    layer, *_ = session
    net, images = layer["net"], layer["images"]
    assert layer["losses"][2] < layer["losses"][0]
    assert layer["logits"].shape == (8, 10)
    np.testing.assert_array_equal(net(images), layer["logits"])
    net.train()
    assert (net(images) != layer["logits"]).any()


def test_the_layer_is_that_of_linen(session):
    layer, *_ = session
    net, x = layer["net"].pointwise.layer, jnp.float32(np.random.rand(3, 64))
    part = net.Pointwise_0
    variables = {
        "params": {
            "K": {"kernel": part["K"]["kernel"][...]},
            "BatchNorm_0": {n: part["BatchNorm_0"][n][...] for n in ("scale", "bias")},
        },
        "batch_stats": {
            "BatchNorm_0": {n: part["BatchNorm_0"][n][...] for n in ("mean", "var")}
        },
    }
    linen = layer["PointwiseInMode"](128, 16)
    nested = {kind: {"Pointwise_0": of} for kind, of in variables.items()}
    expected = linen.apply(nested, x, train=False)
    np.testing.assert_allclose(net(x, train=False), expected, rtol=1e-6)


def test_the_step_of_nnx_is_that_of_linen(session):
    _, names, before, after = session
    model, variables = before.model, before.variables
    images, labels = names["images"], names["labels"]

    @jax.jit
    def step(variables):
        def loss_of(params):
            logits, new = model.apply(
                variables | {"params": params},
                images,
                train=True,
                rngs={"dropout": jax.random.key(0)},  # drops one in a thousand
                mutable=["batch_stats"],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), new

        return jax.value_and_grad(loss_of, has_aux=True)(variables["params"])

    (loss, new), _ = step(variables)
    np.testing.assert_allclose(names["loss"], loss, rtol=1e-2)
    chex.assert_trees_all_close(
        after.variables["batch_stats"], new["batch_stats"], rtol=1e-4, atol=1e-6
    )
    for old, trained in zip(
        jax.tree.leaves(variables["params"]),
        jax.tree.leaves(after.variables["params"]),
        strict=True,
    ):
        assert 0 < np.abs(old - trained).max() <= 1.01e-3  # the first step of Adam
    assert sorted(names["maps"]) == ["stage1", "stem", "top"]
