"""Random affine changes of images, on the device, inside the step.

As keras-preprocessing 1.1.2 does them, which the paper used (Section 4): the matrix
rotation * shift * shear * zoom takes coordinates (row, column) of the result, relative
to the centre h / 2 + 0.5, to those of the image, so a zoom of z magnifies by 1 / z.
"""

from functools import partial

import jax
import jax.numpy as jnp

from train.config import Augmentation


def augment(images: jax.Array, key: jax.Array, settings: Augmentation) -> jax.Array:
    """Changes each image of (N, H, W, C) floats in its own random way."""
    warp_key, flip_key = jax.random.split(key)
    if settings.rotation or settings.shift or settings.shear or settings.zoom:
        keys = jax.random.split(warp_key, len(images))
        images = jax.vmap(partial(random_warp, settings=settings))(images, keys)
    if settings.flip:
        flip = jax.random.bernoulli(flip_key, shape=(len(images), 1, 1, 1))
        images = jnp.where(flip, images[:, :, ::-1], images)
    return images


def random_warp(image: jax.Array, key: jax.Array, settings: Augmentation) -> jax.Array:
    """Rotates, shifts, shears and zooms an image (H, W, C) at random."""
    theta, shear, rows, columns, row_zoom, column_zoom = jax.random.uniform(
        key, (6,), minval=-1.0
    )
    height, width = image.shape[:2]
    matrix = affine_matrix(
        theta=jnp.deg2rad(theta * settings.rotation),
        row_shift=rows * settings.shift * height,
        column_shift=columns * settings.shift * width,
        shear=jnp.deg2rad(shear * settings.shear),
        row_zoom=1 + row_zoom * settings.zoom,
        column_zoom=1 + column_zoom * settings.zoom,
    )
    return warp(image, matrix)


def affine_matrix(
    *,
    theta: jax.Array,
    row_shift: jax.Array,
    column_shift: jax.Array,
    shear: jax.Array,
    row_zoom: jax.Array,
    column_zoom: jax.Array,
) -> jax.Array:
    """The 3x3 matrix from (row, column, 1) of the result to (row, column, 1) of the
    image. Angles in radians, shifts in pixels."""
    cos, sin = jnp.cos(theta), jnp.sin(theta)
    rotation = jnp.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    shift = jnp.array([[1, 0, row_shift], [0, 1, column_shift], [0, 0, 1]])
    shearing = jnp.array([[1, -jnp.sin(shear), 0], [0, jnp.cos(shear), 0], [0, 0, 1]])
    zoom = jnp.array([[row_zoom, 0, 0], [0, column_zoom, 0], [0, 0, 1]])
    return jnp.linalg.multi_dot(
        [rotation, shift, shearing, zoom], precision=jax.lax.Precision.HIGHEST
    )


def warp(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """Moves the pixels of an image (H, W, C) by a matrix of `affine_matrix`.

    Bilinear; what lies outside of the image is the nearest pixel of its border.
    """
    height, width = image.shape[:2]
    row_centre, column_centre = height / 2 + 0.5, width / 2 + 0.5
    row, column = jnp.meshgrid(
        jnp.arange(height) - row_centre,
        jnp.arange(width) - column_centre,
        indexing="ij",
    )
    # Written out: a matrix product may be rounded to bfloat16 on GPUs and TPUs.
    source = [
        matrix[0, 0] * row + matrix[0, 1] * column + matrix[0, 2] + row_centre,
        matrix[1, 0] * row + matrix[1, 1] * column + matrix[1, 2] + column_centre,
    ]
    sample = partial(
        jax.scipy.ndimage.map_coordinates, coordinates=source, order=1, mode="nearest"
    )
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)
