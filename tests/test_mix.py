"""Mixup, cutmix and label smoothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train.mix
from train.mix import make_targets

mix = jax.jit(train.mix.mix, static_argnums=(2, 3))
KEY = jax.random.key(0)
# Image i is full of the number i, so a mixed one tells what it is made of.
IMAGES = jnp.broadcast_to(jnp.arange(64.0)[:, None, None, None], (64, 16, 16, 1))
OTHERS = np.arange(64)[::-1]


def test_targets_by_hand():
    targets = make_targets(jnp.array([0, 2]), jnp.array([0.75, 0.4]), 4, 0.2)
    # 0.8 of the blended labels, and 0.2 / 4 = 0.05 for each class.
    expected = [[0.65, 0.05, 0.25, 0.05], [0.53, 0.05, 0.37, 0.05]]
    np.testing.assert_allclose(targets, expected, rtol=1e-5)


def test_mixup_blends_images_by_their_share():
    mixed, share = mix(IMAGES, KEY, 0.5, 0.0)
    expected = share * np.arange(64) + (1 - share) * OTHERS
    np.testing.assert_allclose(mixed[:, 3, 3, 0], expected, rtol=1e-4, atol=1e-4)
    assert share.min() < 0.2
    assert share.max() > 0.8


def test_cutmix_pastes_a_box_and_gives_the_area_that_remains():
    mixed, share = mix(IMAGES, KEY, 0.0, 1.0)
    own = np.asarray(mixed == IMAGES)[..., 0]
    np.testing.assert_allclose(own.mean((1, 2)), share, atol=1e-6)
    pasted = np.asarray(mixed)[..., 0] == OTHERS[:, None, None]
    assert np.all(own ^ pasted)
    for box in pasted:  # the pixels of whole rows and columns: a rectangle
        np.testing.assert_array_equal(box, np.outer(box.any(1), box.any(0)))


def test_of_both_a_batch_gets_one():
    kinds = set()
    for number in range(12):
        mixed, _ = mix(IMAGES, jax.random.key(number), 1.0, 1.0)
        whole = np.asarray(mixed) == np.round(np.asarray(mixed))
        kinds.add(bool(whole.all()))
    assert kinds == {True, False}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_mixing_images_and_labels_stay(smoothing):
    mixed, share = mix(IMAGES, KEY, 0.0, 0.0)
    np.testing.assert_array_equal(mixed, IMAGES)
    targets = make_targets(jnp.arange(64) % 3, share, 3, smoothing)
    np.testing.assert_array_equal(targets.argmax(-1), np.arange(64) % 3)
    np.testing.assert_allclose(targets.max(-1), 1 - smoothing * 2 / 3, rtol=1e-6)
