"""The train step and the evaluation step."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from train.augment import as_input
from train.config import NO_AUGMENTATION, Augmentation, Config
from train.state import Metrics, TrainState
from train.step import EvalSettings, StepSettings, add_answers, eval_step, train_step

AUGMENTATION = Augmentation(rotation=10, shift=0.1)
CONFIG = Config(data="drawn", image_size=8, augmentation=AUGMENTATION)
SETTINGS = StepSettings.of(CONFIG)
step = partial(train_step, settings=SETTINGS)


class TinyNet(nn.Module):
    """A net with all that the step must take care of."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dropout(0.1, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(3)(x)


KEY = jax.random.key(1)
MODEL = TinyNet()
OPTIMIZER = optax.adam(1e-2)


def make_state() -> TrainState:
    variables = MODEL.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    state = TrainState.create(
        apply_fn=MODEL.apply, tx=OPTIMIZER, metrics=Metrics.zero(), **variables
    )
    return state.replace(step=jnp.zeros((), jnp.int32))


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    """Images of 4x4 pixels whose colour tells the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 16).astype(np.int32)
    images = rng.integers(0, 100, (16, 4, 4, 3))
    images[np.arange(16), :, :, labels] += 120
    return images.astype(np.uint8), labels


def test_it_learns_and_counts(batch):
    state = make_state()
    losses = []
    for _ in range(30):
        state, loss = step(state, *batch, jax.random.key(1))
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    assert int(state.step) == 30
    assert state.metrics.images == 30 * 16
    np.testing.assert_allclose(
        state.metrics.means()["loss"], np.mean(losses), rtol=1e-5
    )


def test_it_is_traced_once(batch):
    traced_once = jax.jit(
        chex.assert_max_traces(train_step.__wrapped__, n=1),
        static_argnames="settings",
    )
    chex.clear_trace_counter()
    state = make_state()
    for _ in range(3):
        state, _ = traced_once(state, *batch, jax.random.key(1), settings=SETTINGS)


def test_the_state_is_donated(batch):
    state = make_state()
    kernel = state.params["Conv_0"]["kernel"]
    step(state, *batch, jax.random.key(1))
    assert kernel.is_deleted()


def test_what_is_random_depends_on_key_and_step_alone(batch):
    def after_two(key: int) -> TrainState:
        state = make_state()
        for _ in range(2):
            state, _ = step(state, *batch, jax.random.key(key))
        return state.params

    chex.assert_trees_all_equal(after_two(1), after_two(1))
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(after_two(1), after_two(2))


def test_two_devices_take_the_step_that_one_takes(batch):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    state = jax.device_put(make_state(), NamedSharding(mesh, PartitionSpec()))
    spread = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    two, two_loss = step(state, *spread, jax.random.key(1))
    one, one_loss = step(make_state(), *batch, jax.random.key(1))
    np.testing.assert_allclose(two_loss, one_loss, rtol=1e-6)
    chex.assert_trees_all_close(
        (two.params, two.batch_stats, two.metrics),
        (one.params, one.batch_stats, one.metrics),
        rtol=1e-4,
        atol=1e-5,
    )


def test_evaluation_leaves_out_what_fills_up_the_batch(batch):
    images, labels = batch
    state = make_state()
    logits = MODEL.apply(
        {"params": state.params, "batch_stats": state.batch_stats},
        as_input(jnp.asarray(images), 8),
        train=False,
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    weights = (np.arange(16) < 5).astype(np.float32)
    answers = eval_step(
        MODEL, state.variables, images, None, settings=EvalSettings(4, 8)
    )
    metrics = add_answers(Metrics.zero(), answers, labels, weights)
    right = np.asarray(logits.argmax(-1)) == labels
    assert metrics.images == 5
    assert metrics.correct == right[:5].sum()
    np.testing.assert_allclose(metrics.loss, losses[:5].sum(), rtol=1e-5)
    np.testing.assert_allclose(answers, logits, rtol=1e-5, atol=1e-6)


def test_input_is_enlarged_by_nearest_neighbour():
    image = np.array([[0, 51], [102, 255]], np.uint8)[None, :, :, None]
    expected = np.array([[0, 0.2], [0.4, 1]]).repeat(2, 0).repeat(2, 1)
    actual = as_input(jnp.asarray(image), 4)[0, :, :, 0]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_the_mean_of_the_weights_by_hand(batch):
    """Its decay is (1 + t) / (10 + t) after step t, up to the one that is set."""
    settings = SETTINGS._replace(ema=0.3)
    state = make_state()
    ema = jax.tree.map(jnp.copy, state.variables)
    state = state.replace(ema=ema)
    mean = np.asarray(ema["params"]["Dense_0"]["kernel"])
    for decay in (2 / 11, 3 / 12, 0.3, 0.3):
        state, _ = train_step(state, *batch, KEY, settings=settings)
        kernel = np.asarray(state.params["Dense_0"]["kernel"])
        mean = decay * mean + (1 - decay) * kernel
    tested = state.tested_variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(tested, mean, rtol=1e-4, atol=1e-6)
    assert not np.allclose(tested, kernel, rtol=1e-4, atol=1e-6)


def test_equal_class_weights_change_nothing(batch):
    plain, _ = step(make_state(), *batch, KEY)
    weighted, _ = step(make_state(), *batch, KEY, jnp.ones(3))
    chex.assert_trees_all_close(plain.params, weighted.params, rtol=1e-6)


def test_classes_of_no_weight_teach_nothing(batch):
    """With other labels among them the step is the same."""
    images, labels = batch
    others = np.where(labels == 0, 0, 3 - labels)
    weights = jnp.array([2.0, 0.0, 0.0])
    one, loss = step(make_state(), images, labels, KEY, weights)
    other, _ = step(make_state(), images, others, KEY, weights)
    chex.assert_trees_all_equal(one.params, other.params)
    half, half_loss = step(make_state(), images, labels, KEY, weights / 2)
    np.testing.assert_allclose(loss, 2 * half_loss, rtol=1e-6)


def test_a_mixed_image_has_its_share_of_both_weights(batch):
    """Two images blended with each other: the mean of both, whatever the shares."""
    settings = SETTINGS._replace(mixup=1.0, augmentation=NO_AUGMENTATION)
    images, labels = batch[0][:2], np.array([0, 1], np.int32)
    kept = []
    for weights in ([1.0, 3.0, 0.0], [2.0, 2.0, 0.0]):
        arguments = (images, labels, KEY, jnp.array(weights))
        state, loss = train_step(make_state(), *arguments, settings=settings)
        kept.append((float(loss), float(state.metrics.loss)))
    (loss, plain), (even, same) = kept
    assert plain == same  # what is shown is not weighted
    np.testing.assert_allclose(even, 2 * plain / 2, rtol=1e-6)
    assert loss != even


def test_validation_may_be_augmented(batch):
    answers = partial(eval_step, MODEL, make_state().variables, batch[0])
    plain = answers(None, settings=EvalSettings(4, 8))
    changed = answers(KEY, settings=EvalSettings(4, 8, AUGMENTATION))
    assert not np.allclose(plain, changed)


def test_a_mirrored_answer_is_the_mean_of_both(batch):
    images, _ = batch
    variables = make_state().variables

    def probabilities(images: np.ndarray, **settings: bool) -> jax.Array:
        settings = EvalSettings(4, 8, **settings)
        return jax.nn.softmax(
            eval_step(MODEL, variables, images, None, settings=settings)
        )

    both = probabilities(images) + probabilities(images[:, :, ::-1])
    mirrored = probabilities(images, mirror=True)
    np.testing.assert_allclose(mirrored, both / 2, rtol=1e-5)


def test_images_are_enlarged_by_way_of_the_size_that_the_net_knows(batch):
    """3 pixels to 5 and then to 8 are others than 3 pixels to 8."""
    images = batch[0][:, :3, :3]
    stored = as_input(jnp.asarray(images), 5)
    variables = make_state().variables
    answers = eval_step(MODEL, variables, images, None, settings=EvalSettings(5, 8))
    expected = MODEL.apply(variables, as_input(stored, 8), train=False)
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6)
