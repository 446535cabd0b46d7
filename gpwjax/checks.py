"""Checks of what a person passes in."""

import operator

import jax
import jax.numpy as jnp


def check_positive(name: str, value: int) -> int:
    """Returns `value` as an int, or raises ValueError if it is not an integer >= 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return number


def check_images(images: jax.Array, min_size: int) -> None:
    """Raises ValueError unless `images` is (N, H, W, C) of floats, H, W >= min_size."""
    if images.ndim != 4:
        raise ValueError(f"images must be (N, H, W, C), got shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images must be floats in [0, 1], got dtype {images.dtype}")
    height, width = images.shape[1:3]
    if min(height, width) < min_size:
        raise ValueError(
            f"images must be at least {min_size}x{min_size} pixels for this net, got "
            f"{height}x{width}"
        )
