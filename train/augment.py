"""Random affine changes of images, on the device, inside the step.

As keras-preprocessing 1.1.2 does them, which the paper used (Section 4): the matrix
rotation * shift * shear * zoom takes coordinates (row, column) of the result, relative
to the centre h / 2 + 0.5, to those of the image, so a zoom of z magnifies by 1 / z.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from gpwjax.nearest import nearest_pixel
from gpwjax.ops.platforms import operation_of, unfused

from .config import Augmentation

# Height and width up to which a TPU's warp is a product with all pixels: a batch of 256
# from 32 to 224 takes 25 million cycles by the compiler's estimate, about four times as
# many from 64, and pixels read one by one more than 97 million.
SMALL_IMAGE = 64

# Of positions on an axis: two pairs of indices of pixels, and their weights.
Neighbours = list[tuple[jax.Array, jax.Array]]


def augment(
    images: jax.Array, key: jax.Array, settings: Augmentation, image_size: int
) -> jax.Array:
    """Enlarges images to the size that the net sees, and changes each at random.

    Args:
      images: (N, h, w, C) uint8, or floats.
      key: what is random depends on it alone.
      settings: how large the changes may be.
      image_size: height and width of the result.

    Returns:
      (N, image_size, image_size, C) floats in [0, 1].
    """
    if not any(dataclasses.astuple(settings)):
        return as_input(images, image_size)
    keys = jax.random.split(key, len(images))
    change = partial(random_change, settings=settings, image_size=image_size)
    # XLA:CPU would compute it inside of the loops of the net's first layer.
    return unfused(
        lambda keys, images: jax.vmap(change)(images, keys), keys, to_floats(images)
    )


def as_input(images: jax.Array, image_size: int) -> jax.Array:
    """Images (N, h, w, C) as floats in [0, 1] of the size that the net sees.

    Enlarged by nearest neighbour, as the paper enlarges CIFAR's images.
    """
    shape = (images.shape[0], image_size, image_size, images.shape[-1])
    return jax.image.resize(to_floats(images), shape, "nearest")


def to_floats(images: jax.Array) -> jax.Array:
    """uint8 as floats in [0, 1]; floats as they are."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return jnp.asarray(images)


def random_change(
    image: jax.Array, key: jax.Array, settings: Augmentation, image_size: int
) -> jax.Array:
    """An image (h, w, C) of another size, rotated, shifted, sheared, zoomed, brighter
    or darker, inverted and flipped, all at random."""
    warp_key, flip_key, channel_key, factor_key, invert_key = jax.random.split(key, 5)
    theta, shear, rows, columns, row_zoom, column_zoom = jax.random.uniform(
        warp_key, (6,), minval=-1.0
    )
    matrix = affine_matrix(
        theta=jnp.deg2rad(theta * settings.rotation),
        row_shift=rows * settings.shift * image_size,
        column_shift=columns * settings.shift * image_size,
        shear=jnp.deg2rad(shear * settings.shear),
        row_zoom=1 + row_zoom * settings.zoom,
        column_zoom=1 + column_zoom * settings.zoom,
    )
    image = warp(image, matrix, image_size)
    if settings.channel_shift:
        change = jax.random.uniform(channel_key, minval=-1.0) * settings.channel_shift
        image = shift_channels(image, change)
    if settings.brightness:
        change = jax.random.uniform(factor_key, minval=-1.0) * settings.brightness
        image = jnp.minimum(image * (1 + change), 1)
    if settings.invert:
        image = jnp.where(jax.random.bernoulli(invert_key), 1 - image, image)
    if settings.flip:
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    return image


def shift_channels(image: jax.Array, change: jax.Array) -> jax.Array:
    """Adds a number to all values of an image, within its own range of values."""
    return jnp.clip(image + change, image.min(), image.max())


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


def warp(image: jax.Array, matrix: jax.Array, image_size: int) -> jax.Array:
    """Enlarges an image and moves its pixels by a matrix of `affine_matrix`.

    Bilinear between the pixels of the image (h, w, C) enlarged by nearest neighbour to
    (image_size, image_size, C); what lies outside is the nearest pixel of its border.
    The enlarged image is never made: its pixels are read where they come from.
    """
    centre = image_size / 2 + 0.5
    row, column = jnp.meshgrid(*2 * [jnp.arange(image_size) - centre], indexing="ij")
    # Written out: a matrix product may be rounded to bfloat16 on GPUs and TPUs.
    rows = matrix[0, 0] * row + matrix[0, 1] * column + matrix[0, 2] + centre
    columns = matrix[1, 0] * row + matrix[1, 1] * column + matrix[1, 2] + centre
    height, width = image.shape[:2]
    near_rows = neighbours(rows, image_size, height)
    near_columns = neighbours(columns, image_size, width)
    return pixels_between(image, near_rows, near_columns)


def pixels_by_index(
    image: jax.Array, near_rows: Neighbours, near_columns: Neighbours
) -> jax.Array:
    """The weighted sum of four pixels of an image (h, w, C) for each of (H, W)."""
    result = 0.0
    for r, row_weight in near_rows:
        for c, column_weight in near_columns:
            result += (row_weight * column_weight)[..., None] * image[r, c]
    return result


def pixels_by_products(
    image: jax.Array, near_rows: Neighbours, near_columns: Neighbours
) -> jax.Array:
    """As `pixels_by_index`, but of a small image the weighted sum of all its pixels,
    most of them with a weight of 0: a TPU is slow at reading single pixels."""
    height, width, _ = image.shape
    if height * width > SMALL_IMAGE**2:
        return pixels_by_index(image, near_rows, near_columns)
    of_columns = jnp.einsum(
        "hwc,wyx->chyx",
        image,
        weights(near_columns, width),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.moveaxis((of_columns * weights(near_rows, height)).sum(1), 0, -1)


pixels_between = operation_of({"default": pixels_by_index, "tpu": pixels_by_products})


def weights(near: Neighbours, size: int) -> jax.Array:
    """Of each pixel of an axis, (size, H, W), from the two that `neighbours` gives."""
    pixels = jnp.arange(size)[:, None, None]
    return sum(jnp.where(pixels == index, weight, 0) for index, weight in near)


def neighbours(positions: jax.Array, enlarged: int, size: int) -> Neighbours:
    """The two pixels of an axis between which each position lies, and their weights.

    Args:
      positions: on the axis enlarged by nearest neighbour to `enlarged` pixels.
      enlarged: that number of pixels.
      size: the number of pixels that it was enlarged from.

    Returns:
      Two pairs: indices of pixels from 0 to size - 1, and weights from 0 to 1.
    """
    positions = jnp.clip(positions, 0, enlarged - 1)
    before = jnp.floor(positions)
    share = positions - before

    def source(pixels: jax.Array) -> jax.Array:
        pixels = jnp.minimum(pixels.astype(jnp.int32), enlarged - 1)
        return nearest_pixel(pixels, size, enlarged)

    return [(source(before), 1 - share), (source(before + 1), share)]
