"""The optimizer and the cycle of the learning rate against the paper's constants."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.config import Config
from train.optimizer import learning_rate, make_optimizer, make_schedule

# 0.001 * (1 + 0.5 e) for e < 7, then 0.004 * 0.85 ** (e - 7).
CYCLE = [
    *(0.001, 0.0015, 0.002, 0.0025, 0.003, 0.0035, 0.004),
    *(0.004, 0.0034, 0.00289, 0.0024565, 0.002088025, 0.00177482125),
    *(0.0015085980625, 0.001282308353, 0.0010899621, 0.000926467785, 0.000787497617),
    *(0.000669372975, 0.000568967029, 0.000483621974, 0.000411078678, 0.000349416876),
    *(0.000297004345, 0.000252453693),
]


def test_the_cycle_is_the_papers_and_repeats():
    np.testing.assert_allclose(learning_rate(np.arange(50)), CYCLE * 2, rtol=1e-6)


def test_a_cycle_of_another_length_is_stretched():
    # Epoch 2k of a cycle of 50 is epoch k of the paper's, and 60 is 10.
    np.testing.assert_allclose(
        learning_rate(np.arange(0, 50, 2), cycle_epochs=50), CYCLE, rtol=1e-5
    )
    assert learning_rate(60, cycle_epochs=50) == learning_rate(10, cycle_epochs=50)
    np.testing.assert_allclose(learning_rate(13, cycle_epochs=50), 4e-3, rtol=1e-6)


def test_the_rate_scales_the_cycle():
    np.testing.assert_allclose(learning_rate(6, lr=0.1), 0.4, rtol=1e-6)


def updates(config: Config, gradients: np.ndarray, steps_per_epoch: int) -> np.ndarray:
    """What the optimizer adds to one parameter, step by step."""
    optimizer = make_optimizer(config, make_schedule(config, steps_per_epoch))
    parameter = jnp.ones(())
    state = optimizer.init(parameter)
    values = [parameter]
    for gradient in gradients:
        change, state = optimizer.update(jnp.float32(gradient), state, parameter)
        parameter = optax.apply_updates(parameter, change)
        values.append(parameter)
    return np.diff(values)


@pytest.mark.parametrize("scale", [1.0, 1e-7])
def test_rmsprop_by_hand(scale):
    """30 steps in float64; tiny gradients tell where epsilon stands."""
    gradients = np.random.default_rng(0).normal(0, scale, 30)
    mean_square, expected = 0.0, []
    for step, gradient in enumerate(gradients):
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        rate = CYCLE[step // 4]
        expected.append(-rate * gradient / (np.sqrt(mean_square) + 1e-7))
    actual = updates(Config(data="any"), gradients, steps_per_epoch=4)
    np.testing.assert_allclose(actual, expected, atol=2e-7)


def test_adam_takes_a_first_step_of_the_learning_rate():
    config = Config(data="any", optimizer="adam", lr=0.01)
    np.testing.assert_allclose(updates(config, np.array([0.3]), 1), -0.01, rtol=1e-4)


def test_the_cosine_rises_from_0_and_falls_to_0():
    config = Config("any", schedule="cosine", lr=0.1, epochs=6, warmup_epochs=2)
    rates = np.array(
        [make_schedule(config, 5)(step) for step in (0, 9, 10, 20, 29, 30)]
    )
    last = 0.05 * (1 + np.cos(np.pi * 19 / 20))
    np.testing.assert_allclose(rates, [0, 0.09, 0.1, 0.05, last, 0], atol=1e-7)


def test_without_warm_up_the_cosine_begins_at_the_rate():
    config = Config("any", schedule="cosine", lr=0.1, epochs=2)
    assert make_schedule(config, 5)(0) == np.float32(0.1)


def test_gradients_are_clipped_to_the_norm_of_all_together():
    settings = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 1.0}
    config = Config("any", clip_norm=1.0, schedule="cosine", **settings)
    optimizer = make_optimizer(config, make_schedule(config, 1))
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    change, _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose((change["a"], change["b"]), [[-0.6], [-0.8]], rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_kernels_decay_and_scales_do_not(optimizer):
    config = Config(
        "any", optimizer=optimizer, weight_decay=0.5, lr=0.1, schedule="cosine"
    )
    transform = make_optimizer(config, make_schedule(config, 1))
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    change, _ = transform.update(zero, transform.init(params), params)
    assert np.all(np.asarray(change["scale"]) == 0)
    # Nesterov: the gradient, and 0.9 of the momentum that it makes.
    expected = -0.05 if optimizer == "adamw" else -0.05 * 1.9
    np.testing.assert_allclose(change["kernel"], np.full((2, 2), expected), rtol=1e-5)
