"""From a trained net to a file that other programs run: StableHLO and ONNX."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gpwjax.inference import Classifier
from gpwjax.weights import replacing

FORMATS = ("stablehlo", "onnx")
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
# Largest difference of a probability from what the classifier answers. Weights in
# bfloat16 are rounded by up to 0.4%.
BOUNDS = {"float32": 1e-4, "bfloat16": 5e-2}
PICTURES = 16  # on which both are compared


def export(
    classifier: Classifier,
    path: str | os.PathLike,
    file_format: str,
    *,
    dtype: str = "float32",
    uint8: bool = False,
) -> float:
    """Writes a net as one file, reads it back, runs it, and compares.

    The file takes images (N, size, size, 3) of any N, floats in [0, 1], and gives
    probabilities (N, classes). A StableHLO file is what `jax.export.deserialize` reads;
    an ONNX file names its tensors `images` and `probabilities` and has the classifier's
    metadata, the names of the classes among it, as JSON under the key `gpwjax`.

    Args:
      classifier: as of `load`.
      path: the file, overwritten only by one that answers as the classifier does.
      file_format: "stablehlo" or "onnx"; the latter needs the extra `export`.
      dtype: of the weights in the file, "float32" or "bfloat16"; they are computed with
        in float32.
      uint8: whether the file takes uint8 images instead, of the size at which the net's
        own were stored (`stored_size` of the metadata, else `image_size`).

    Returns:
      The largest difference between a probability of the file and of the classifier,
      on 16 random pictures.

    Raises:
      ValueError: the format or dtype is another, or the difference is too large: then
        there is no file.
      ImportError: `onnx` or `onnxruntime` is missing.
      OSError: the file cannot be written.
    """
    for name, value, allowed in (
        ("file_format", file_format, FORMATS),
        ("dtype", dtype, tuple(BOUNDS)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be {' or '.join(allowed)}, got {value!r}")
    serialize, run = {
        "stablehlo": (stablehlo_bytes, run_stablehlo),
        "onnx": (onnx_bytes, run_onnx),
    }[file_format]
    with replacing(path) as unfinished:
        unfinished.write_bytes(serialize(classifier, dtype, uint8))
        difference = compare(classifier, unfinished, run, uint8)
        if not difference <= BOUNDS[dtype]:
            raise ValueError(
                f"the {file_format} file's probabilities differ from the net's by "
                f"{difference:.2g}, more than {BOUNDS[dtype]:.2g}: it was not written"
            )
    return difference


def compare(
    classifier: Classifier,
    file: Path,
    run: Callable[[Path, np.ndarray], np.ndarray],
    uint8: bool,
) -> float:
    """The largest difference of a probability, on random pictures."""
    size = input_size(classifier, uint8)
    shape = (PICTURES, size, size, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if uint8:
        expected = classifier.predict(pictures)
    else:
        pictures = np.float32(pictures) / 255
        # Not `predict`, which would shrink them to the stored size first.
        expected = classifier.probabilities(pictures)
    return float(np.abs(run(file, pictures) - expected).max())


def input_size(classifier: Classifier, uint8: bool) -> int:
    """Height and width of the images that a file takes."""
    about = classifier.metadata
    size = about["image_size"]
    return about.get("stored_size", size) if uint8 else size


def nearest_pixels(size: int, enlarged: int) -> np.ndarray:
    """For each row of an enlarged image the row of the smaller one that is nearest."""
    return (2 * np.arange(enlarged) + 1) * size // (2 * enlarged)


def stablehlo_bytes(classifier: Classifier, dtype: str, uint8: bool) -> bytes:
    model = classifier.model.clone(dtype=None)
    weights = jax.tree.map(lambda x: jnp.asarray(x, dtype), classifier.variables)
    size, image_size = input_size(classifier, uint8), classifier.metadata["image_size"]
    near = nearest_pixels(size, image_size)

    def probabilities(images: jax.Array) -> jax.Array:
        if uint8:
            images = images[:, near][:, :, near].astype(jnp.float32) / 255
        variables = jax.tree.map(lambda x: x.astype(jnp.float32), weights)
        return jax.nn.softmax(model.apply(variables, images, train=False))

    shape = jax.export.symbolic_shape(f"N, {size}, {size}, 3")
    images = jax.ShapeDtypeStruct(shape, jnp.uint8 if uint8 else jnp.float32)
    export = jax.export.export(jax.jit(probabilities), platforms=PLATFORMS)
    return bytes(export(images).serialize())


def run_stablehlo(file: Path, images: np.ndarray) -> np.ndarray:
    exported = jax.export.deserialize(bytearray(file.read_bytes()))
    return np.asarray(exported.call(images))


def onnx_bytes(classifier: Classifier, dtype: str, uint8: bool) -> bytes:
    # Here, since only this needs the package.
    from gpwjax.onnx_file import Graph, serialize
    from gpwjax.onnx_graph import make_graph

    graph, images = Graph(), "images"
    size, image_size = input_size(classifier, uint8), classifier.metadata["image_size"]
    if uint8:
        images = graph.node("Div", graph.float32(images), graph.number(255))
        if size != image_size:
            near = graph.constant(nearest_pixels(size, image_size))
            for axis in (1, 2):
                images = graph.node("Gather", images, near, axis=axis)
    # Without `remat`, which hides the layers.
    model = classifier.model.clone(dtype=None, remat=False)
    logits = make_graph(model, classifier.variables, images, image_size, graph)
    graph.node("Softmax", logits, axis=-1, result="probabilities")
    return serialize(
        graph,
        images=(None, size, size, 3),
        uint8=uint8,
        classes=len(classifier.classes),
        weights=dtype,
        metadata=json.dumps(classifier.metadata),
    )


def run_onnx(
    file: Path, images: np.ndarray, output: str = "probabilities"
) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run([output], {"images": images})[0]
