"""The nets with which the speed is compared are gpwjax's, in plain Flax."""

from functools import partial

import jax
import numpy as np
import pytest
from made_nets import GROUPED, net_id

import gpwjax
from benchmarks import flax_nets

NETS = [(name, n) for name in flax_nets.NETS for n in (GROUPED[name], None)]
QUICK = [("mobilenet", 16)]
IMAGES = np.random.default_rng(1).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)


def logits(model, variables):
    # Compiles in half the time.
    options = {"xla_backend_optimization_level": 0}
    apply = jax.jit(partial(model.apply, train=False), compiler_options=options)
    # On its way through a dense EfficientNet of drawn weights a float32 rounding error
    # grows to 0.2% of the logits, whichever net computes them.
    with jax.enable_x64(True):
        return np.asarray(apply(*jax.tree.map(np.float64, (variables, IMAGES))))


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(
            net, id=net_id(net), marks=[] if net in QUICK else pytest.mark.slow
        )
        for net in NETS
    ],
)
def test_logits_are_those_of_gpwjax(draw_variables, net):
    ours, plain = (
        package.create_model(net[0], 10, net[1], small_images=True)
        for package in (gpwjax, flax_nets)
    )
    variables = draw_variables(ours, IMAGES, train=False)
    expected = logits(ours, variables)
    found = logits(plain, flax_nets.load_variables(variables))
    largest = abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * largest)
