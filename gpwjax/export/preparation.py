"""`Classifier.prepare` as part of an exported net, for uint8 images of any size.

The size of an image is known only when the net runs, so resizing is a product with a
matrix: row i holds the share of each old pixel in the new pixel i, as `fit` of
`gpwjax.inference` has them.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gpwjax.inference import stored_size
from gpwjax.nearest import nearest_pixels

if TYPE_CHECKING:
    from gpwjax.export.onnx_file import Graph


def prepared(images: jax.Array, about: dict[str, Any]) -> jax.Array:
    """The images as the net sees them.

    Args:
      images: (N, H, W, 3) uint8; N, H and W may be symbolic.
      about: metadata of the net.

    Returns:
      (N, image_size, image_size, 3) float32 in [0, 1].
    """
    size, stored = about["image_size"], stored_size(about)
    x = square(images, about.get("pad", False)).astype(jnp.float32) / 255
    x = resized(x, stored, smooth=about.get("resize", "bilinear") == "bilinear")
    if size < stored:
        return resized(x, size, smooth=True)
    near = nearest_pixels(stored, size)
    return x[:, near][:, :, near]


def square(images: jax.Array, pad: bool) -> jax.Array:
    """The largest square in the middle, or with black bars the smallest around."""
    height, width = images.shape[1:3]
    if pad:
        side = jax.core.max_dim(height, width)
        bars = [((side - n) // 2, side - n - (side - n) // 2) for n in (height, width)]
        return jnp.pad(images, [(0, 0), *bars, (0, 0)])
    side = jax.core.min_dim(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def resized(x: jax.Array, size: int, smooth: bool) -> jax.Array:
    """Squares (N, side, side, 3) -> (N, size, size, 3)."""
    side = x.shape[1]
    scale = jnp.asarray(side, jnp.float32) / size
    near = nearest_pixels(side, size)
    matrix = (jnp.arange(side) == near[:, None]).astype(jnp.float32)
    if smooth:
        distance = jnp.arange(side) + 0.5 - scale * (jnp.arange(size)[:, None] + 0.5)
        shares = jnp.maximum(0, 1 - jnp.abs(distance) / scale)
        shares /= shares.sum(1, keepdims=True)
        matrix = jnp.where(scale > 1, shares, matrix)
    with jax.default_matmul_precision("highest"):
        return jnp.einsum("ih,nhwc,jw->nijc", matrix, x, matrix)


def add_preparation(graph: "Graph", images: str, about: dict[str, Any]) -> str:
    """As `prepared`, as nodes of an ONNX graph; the name of their result."""
    height_and_width = graph.node(
        "Gather", graph.node("Shape", images), graph.constant(np.int64([1, 2]))
    )
    kind = "ReduceMax" if about.get("pad", False) else "ReduceMin"
    side = graph.node(kind, height_and_width, keepdims=1)
    x = add_square(graph, graph.float32(images), height_and_width, side)
    x = graph.node("Div", x, graph.number(255))
    smooth = about.get("resize", "bilinear") == "bilinear"
    x = add_resizing(graph, x, side, stored_size(about), smooth)
    return add_net_size(graph, x, about)


def add_square(graph: "Graph", images: str, height_and_width: str, side: str) -> str:
    """As `square`: to this side, by adding zeros or, fewer than none, taking away."""
    none, two = (graph.constant(np.int64([n])) for n in (0, 2))
    missing = graph.node("Sub", side, height_and_width)
    before = graph.node("Div", missing, two)  # towards 0
    after = graph.node("Sub", missing, before)
    bars = graph.node("Concat", none, before, none, none, after, none, axis=0)
    return graph.node("Pad", images, bars)


def add_net_size(graph: "Graph", images: str, about: dict[str, Any]) -> str:
    """Images of the stored size -> (N, image_size, image_size, 3)."""
    size, stored = about["image_size"], stored_size(about)
    if size < stored:
        side = graph.constant(np.int64([stored]))
        return add_resizing(graph, images, side, size, smooth=True)
    if size == stored:
        return images
    near = graph.constant(nearest_pixels(stored, size))
    rows = graph.node("Gather", images, near, axis=1)
    return graph.node("Gather", rows, near, axis=2)


def add_resizing(graph: "Graph", x: str, side: str, size: int, smooth: bool) -> str:
    """As `resized`; `side` names a tensor (1,) int64."""
    x = graph.node("Transpose", x, perm=[0, 3, 1, 2])
    matrix = resize_matrix(graph, side, size, smooth)
    columns = graph.node("Transpose", matrix, perm=[1, 0])
    x = graph.node("MatMul", graph.node("MatMul", matrix, x), columns)
    return graph.node("Transpose", x, perm=[0, 2, 3, 1])


def resize_matrix(graph: "Graph", side: str, size: int, smooth: bool) -> str:
    """The matrix (size, side) of `resized`; `side` as for `add_resizing`."""

    def constant(array: np.ndarray) -> str:
        return graph.constant(array[:, None])

    numbers = np.arange(size)
    zero, one = (graph.constant(np.int64(n)) for n in (0, 1))
    places = graph.node("Range", zero, graph.node("Squeeze", side), one)
    doubled = graph.node("Mul", constant(2 * numbers + 1), side)
    near = graph.node("Div", doubled, graph.constant(np.int64(2 * size)))
    matrix = graph.float32(graph.node("Equal", places, near))
    if not smooth:
        return matrix
    scale = graph.node("Div", graph.float32(side), graph.number(size))
    centers = graph.node("Mul", constant(np.float32(numbers + 0.5)), scale)
    middles = graph.node("Add", graph.float32(places), graph.number(0.5))
    distance = graph.node("Abs", graph.node("Sub", middles, centers))
    share = graph.node("Div", distance, scale)
    shares = graph.node("Relu", graph.node("Sub", graph.number(1), share))
    columns = graph.constant(np.int64([1]))
    shares = graph.node("Div", shares, graph.node("ReduceSum", shares, columns))
    shrunk = graph.node("Greater", side, graph.constant(np.int64(size)))
    return graph.node("Where", shrunk, shares, matrix)
