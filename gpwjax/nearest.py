"""Which pixel is the nearest, where an image gets another size: the one rule of all
programs, whose training, answers and exported files must agree."""

from typing import Any

import numpy as np


def nearest_pixel(pixel: Any, side: int, size: int) -> Any:
    """The number of the one of `side` old pixels whose middle is nearest to that of a
    new pixel, of which there are `size`: integers or arrays of them, from 0.

    Between two at the same distance it is the later one, as in `jax.image.resize`,
    whereas pillow's choice depends on its rounding.
    """
    return (2 * pixel + 1) * side // (2 * size)


def nearest_pixels(side: Any, size: int) -> Any:
    """(size,) the nearest of `side` old pixels for each new one."""
    return nearest_pixel(np.arange(size), side, size)
