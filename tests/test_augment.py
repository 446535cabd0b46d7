"""Augmentation against the authors' and against exact cases."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train.augment
from train.augment import affine_matrix, as_input, shift_channels
from train.config import Augmentation

augment = jax.jit(train.augment.augment, static_argnums=(2, 3))
warp = jax.jit(train.augment.warp, static_argnums=2)

NONE = {"flip": False, "rotation": 0, "shift": 0, "shear": 0, "zoom": 0}
IDENTITY = {
    "theta": 0.0,
    "row_shift": 0.0,
    "column_shift": 0.0,
    "shear": 0.0,
    "row_zoom": 1.0,
    "column_zoom": 1.0,
}


@pytest.fixture
def images() -> jax.Array:
    return jax.random.uniform(jax.random.key(0), (4, 8, 8, 3))


def test_the_warp_is_keras_preprocessings(shared):
    """The authors' augmentation, each parameter alone and all together."""
    file = shared / "reference" / "augment_keras_preprocessing_1.1.2.npz"
    reference = np.load(file)
    names = [str(name) for name in reference["param_names"]]
    for values, expected in zip(reference["params"], reference["outputs"], strict=True):
        p = dict(zip(names, values, strict=True))
        matrix = affine_matrix(
            theta=np.deg2rad(p["theta_deg"]),
            row_shift=p["tx_rows_px"],
            column_shift=p["ty_cols_px"],
            shear=np.deg2rad(p["shear_deg"]),
            row_zoom=p["zx_rows"],
            column_zoom=p["zy_cols"],
        )
        warped = warp(jnp.asarray(reference["image"]), matrix, 32)
        shifted = np.asarray(shift_channels(warped, p["channel_shift"]))
        if p["flip_horizontal"]:
            shifted = shifted[:, ::-1]
        np.testing.assert_allclose(shifted, expected, atol=1e-5, err_msg=str(p))


def test_a_shift_by_whole_pixels_is_exact_and_repeats_the_border(images):
    image = images[0]
    matrix = affine_matrix(**IDENTITY | {"row_shift": 2.0, "column_shift": -1.0})
    rows = np.clip(np.arange(8) + 2, 0, 7)
    columns = np.clip(np.arange(8) - 1, 0, 7)
    np.testing.assert_array_equal(warp(image, matrix, 8), image[rows][:, columns])


def test_a_quarter_turn_of_a_square_about_its_own_centre():
    """The centre of rotation is half a pixel off that of the pixels, so a turn by 90
    degrees moves pixel (r, c) to (c, h - r) and leaves one border repeated."""
    image = jax.random.uniform(jax.random.key(1), (5, 5, 1))
    turned = warp(image, affine_matrix(**IDENTITY | {"theta": np.pi / 2}), 5)
    source = np.clip(6 - np.arange(5), 0, 4)
    expected = np.asarray(image)[source].transpose(1, 0, 2)
    np.testing.assert_allclose(turned, expected, atol=1e-5)


def test_without_settings_nothing_changes(images):
    key = jax.random.key(0)
    np.testing.assert_array_equal(augment(images, key, Augmentation(**NONE), 8), images)


def test_a_flip_mirrors_about_half_of_the_images_exactly():
    images = jax.random.uniform(jax.random.key(0), (400, 3, 3, 1))
    flipped = augment(
        images, jax.random.key(1), Augmentation(**NONE | {"flip": True}), 3
    )
    same = np.all(np.asarray(flipped == images), axis=(1, 2, 3))
    mirrored = np.all(np.asarray(flipped == images[:, :, ::-1]), axis=(1, 2, 3))
    assert np.all(same ^ mirrored)
    assert 150 < mirrored.sum() < 250


def test_half_of_the_images_are_inverted_exactly():
    images = jax.random.uniform(jax.random.key(0), (400, 3, 3, 1))
    settings = Augmentation(**NONE | {"invert": True})
    changed = augment(images, jax.random.key(1), settings, 3)
    same = np.all(np.asarray(changed == images), axis=(1, 2, 3))
    inverted = np.all(np.asarray(changed == 1 - images), axis=(1, 2, 3))
    assert np.all(same ^ inverted)
    assert 150 < inverted.sum() < 250


def test_brightness_is_a_factor_up_to_white():
    """In grey images of 0.8, whose pixels would be 0.4 to 1.2."""
    images = jnp.full((400, 2, 2, 3), 0.8)
    settings = Augmentation(**NONE | {"brightness": 0.5})
    changed = np.asarray(augment(images, jax.random.key(1), settings, 2))
    assert np.ptp(changed, axis=(1, 2, 3)).max() == 0  # one factor of an image
    factors = changed[:, 0, 0, 0] / 0.8
    assert 0.5 <= factors.min() < 0.53
    # A quarter of the factors is 1.25 to 1.5, for which there is white.
    assert 70 < (changed[:, 0, 0, 0] == 1).sum() < 130
    assert 70 < (factors < 0.75).sum() < 130


@pytest.mark.parametrize(
    "setting", [{"rotation": 20}, {"shift": 0.3}, {"shear": 9}, {"zoom": 0.3}]
)
def test_each_setting_changes_equal_images_differently(setting, images):
    equal = jnp.broadcast_to(images[:1], images.shape)
    changed = augment(equal, jax.random.key(0), Augmentation(**NONE | setting), 8)
    assert changed.shape == images.shape
    assert len(np.unique(np.asarray(changed).reshape(4, -1), axis=0)) == 4
    assert images[0].min() <= changed.min()
    assert changed.max() <= images[0].max()


def test_the_key_decides(images):
    settings = Augmentation()
    first = augment(images, jax.random.key(5), settings, 8)
    np.testing.assert_array_equal(
        first, augment(images, jax.random.key(5), settings, 8)
    )
    assert not np.array_equal(first, augment(images, jax.random.key(6), settings, 8))


@pytest.mark.parametrize(("stored", "size"), [(32, 224), (8, 20), (5, 12), (7, 7)])
def test_enlarging_inside_the_warp_is_enlarging_before_it(stored, size):
    image = jax.random.uniform(jax.random.key(0), (stored, stored, 3))
    changes = {"theta": 0.3, "row_shift": 2.3, "column_zoom": 0.8, "shear": 0.01}
    matrix = affine_matrix(**IDENTITY | changes)
    enlarged = as_input(image[None], size)[0]
    inside = warp(image, matrix, size)
    np.testing.assert_allclose(inside, warp(enlarged, matrix, size), atol=1e-6)


@pytest.mark.parametrize(("stored", "size"), [(32, 224), (8, 20), (7, 7)])
def test_pixels_by_products_are_those_by_index(stored, size):
    image = jax.random.uniform(jax.random.key(0), (stored, stored, 3))
    row, column = jax.random.uniform(
        jax.random.key(1), (2, size, size), minval=-3.0, maxval=size + 3.0
    )
    near = [train.augment.neighbours(x, size, stored) for x in (row, column)]
    by_index, by_products = (
        jax.jit(form)(image, *near)
        for form in (train.augment.pixels_by_index, train.augment.pixels_by_products)
    )
    np.testing.assert_allclose(by_products, by_index, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("stored", "gathers"), [(8, False), (65, True)])
def test_on_a_tpu_small_images_are_warped_without_gathers(stored, gathers):
    images = jax.ShapeDtypeStruct((2, stored, stored, 3), jnp.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = augment.trace(images, key, Augmentation(), 16)
    program = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert ("stablehlo.gather" in program) == gathers


def test_no_enlarged_image_is_read_in_the_compiled_program():
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    lowered = augment.lower(images, key, Augmentation(), 56)
    program = lowered.compile().as_text()
    operands = re.findall(r"gather\(f32\[([\d,]+)\]|gather\(%?([\w.]+)", program)
    assert operands
    shapes = dict(re.findall(r"%?([\w.]+) = f32\[([\d,]+)\]", program))
    for shape, name in operands:
        assert "56" not in (shape or shapes.get(name, "")).split(",")
