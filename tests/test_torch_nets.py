from functools import partial

import jax
import numpy as np
import pytest

import gpwjax

torch = pytest.importorskip("torch", reason="PyTorch is not installed: optional")

from benchmarks.torch_nets import NETS, Residual, create_model, load_variables  # noqa: E402


@pytest.fixture
def compare(draw_variables):
    """Compares the logits and the parameters of our net and of PyTorch's."""

    def check(ours, theirs, height, width):
        rng = np.random.default_rng(0)
        images = rng.uniform(size=(2, height, width, 3))
        variables = draw_variables(ours, np.float32(images), train=False)
        load_variables(theirs, variables)
        # In float32 drawn weights magnify what is only rounding.
        with jax.enable_x64(True):
            apply = jax.jit(
                partial(ours.apply, train=False),
                compiler_options={"xla_backend_optimization_level": 0},  # quick
            )
            expected = np.asarray(apply(jax.tree.map(np.float64, variables), images))
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits = theirs.double().eval()(pixels).numpy()
        assert expected.std() > 0.01
        np.testing.assert_allclose(
            logits, expected, rtol=0, atol=1e-12 * np.abs(expected).max()
        )
        trainable = sum(parameter.numel() for parameter in theirs.parameters())
        assert trainable == gpwjax.count(ours, images.shape[1:]).params

    return check


# Odd and even sizes, which are padded differently.
@pytest.mark.parametrize("name", NETS)
def test_dense_nets_are_ours(name, compare):
    nets = (make(name, 10) for make in (gpwjax.create_model, create_model))
    compare(*nets, 33, 34)


@pytest.mark.parametrize("name", NETS)
def test_grouped_nets_for_small_images_are_ours(name, compare):
    nets = (make(name, 10, 12, True) for make in (gpwjax.create_model, create_model))
    compare(*nets, 9, 8)


def test_mobilenet_with_another_pointwise_activation(compare):
    # With one group everywhere ours is dense, with swish.
    ours = gpwjax.create_model("mobilenet", 10, 1024, True)
    swish = torch.nn.functional.silu
    compare(ours, create_model("mobilenet", 10, None, True, swish), 4, 4)


def test_training_drops_layers_by_image():
    net, x = Residual(0.25, layer=torch.nn.Identity()), torch.ones(1000, 2, 3, 3)
    added = net.train()(x) - x
    assert (added == added[:, :1, :1, :1]).all()
    kept = added[:, 0, 0, 0] > 0
    torch.testing.assert_close(added[kept], torch.full_like(added[kept], 4 / 3))
    assert (added[~kept] == 0).all()
    assert 0.7 < kept.float().mean() < 0.8
    assert (net.eval()(x) == 2).all()
