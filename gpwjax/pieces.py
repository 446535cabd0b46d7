"""Inference in pieces that fit a processor's cache."""

from collections.abc import Callable

import jax

PIXELS = 224 * 224  # of a piece: the maps of a MobileNet's fit a core's cache (tried)


def in_pieces(
    function: Callable[[jax.Array], jax.Array], images: jax.Array
) -> jax.Array:
    """function(images), on a CPU for a few images at a time.

    For programs that run here, on one device, and are not exported: it looks at JAX's
    platform when it is traced.

    Args:
      function: of images (n, H, W, C) of any n -> (n, ...), each by itself.
      images: (N, H, W, C).
    """
    n, height, width, _ = images.shape
    most = max(1, PIXELS // (height * width))
    piece = 1 << (most.bit_length() - 1)
    if jax.default_backend() != "cpu" or n == piece or n % piece:
        return function(images)
    pieces = images.reshape(n // piece, piece, *images.shape[1:])
    y = jax.lax.map(function, pieces)
    return y.reshape(n, *y.shape[2:])
