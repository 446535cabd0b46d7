"""From a trained net to a file that other programs run: StableHLO and ONNX."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gpwjax.export.preparation import add_preparation, prepared
from gpwjax.files import replacing
from gpwjax.formats import FILES
from gpwjax.inference import Classifier

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
    probabilities (N, classes), computed in float32. A StableHLO file is what
    `jax.export.deserialize` reads; an ONNX file names its tensors `images` and
    `probabilities` and has the classifier's metadata, the names of the classes among
    it, as JSON under the key `gpwjax`.

    Args:
      classifier: as of `load`.
      path: the file, overwritten only by one that answers as the classifier does.
      file_format: "stablehlo" or "onnx"; the latter needs the extra `export`.
      dtype: of the weights in the file, "float32" or "bfloat16"; they are computed with
        in float32. `gpwjax.export.int8` writes int8.
      uint8: whether the file takes uint8 images (N, H, W, 3) of any size instead, and
        prepares them as `Classifier.prepare` does.

    Returns:
      The largest difference between a probability of the file and of the classifier
      computing in float32, on 16 random pictures.

    Raises:
      ValueError: the format or dtype is another, or the difference is too large: then
        there is no file.
      ImportError: `onnx` or `onnxruntime` is missing.
      OSError: the file cannot be written.
    """
    for name, value, allowed in (
        ("file_format", file_format, FILES),
        ("dtype", dtype, tuple(BOUNDS)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be {' or '.join(allowed)}, got {value!r}")
    serialize, run = {
        "stablehlo": (stablehlo_bytes, run_stablehlo),
        "onnx": (onnx_bytes, run_onnx),
    }[file_format]
    classifier = in_float32(classifier)
    with replacing(path) as unfinished:
        unfinished.write_bytes(serialize(classifier, dtype, uint8))
        difference = compare(classifier, unfinished, run, uint8)
        if not difference <= BOUNDS[dtype]:
            raise ValueError(
                f"the {file_format} file's probabilities differ from the net's by "
                f"{difference:.2g}, more than {BOUNDS[dtype]:.2g}: it was not written"
            )
    return difference


def in_float32(classifier: Classifier) -> Classifier:
    """The same net without what only its training needed: another dtype and remat."""
    model = classifier.model.clone(dtype=None, remat=False)
    return Classifier(model, classifier.variables, classifier.metadata)


def compare(
    classifier: Classifier,
    file: Path,
    run: Callable[[Path, np.ndarray], np.ndarray],
    uint8: bool,
) -> float:
    """The largest difference of a probability, on random pictures."""
    size, rng = classifier.metadata["image_size"], np.random.default_rng(0)
    if uint8:
        shape = PICTURES, size + 1, 2 * size, 3
        pictures = rng.integers(0, 256, shape, np.uint8)
        expected = classifier.predict(pictures)
    else:
        pictures = rng.random((PICTURES, size, size, 3), np.float32)
        # Not `predict`, which would shrink them to the stored size first.
        expected = classifier.probabilities(pictures)
    return float(np.abs(run(file, pictures) - expected).max())


def stablehlo_bytes(classifier: Classifier, dtype: str, uint8: bool) -> bytes:
    model, about = classifier.model, classifier.metadata
    weights = jax.tree.map(lambda x: jnp.asarray(x, dtype), classifier.variables)

    def probabilities(images: jax.Array) -> jax.Array:
        if uint8:
            images = prepared(images, about)
        variables = jax.tree.map(lambda x: x.astype(jnp.float32), weights)
        return jax.nn.softmax(model.apply(variables, images, train=False))

    size = about["image_size"]
    shape = "N, H, W, 3" if uint8 else f"N, {size}, {size}, 3"
    shape = jax.export.symbolic_shape(shape)
    images = jax.ShapeDtypeStruct(shape, jnp.uint8 if uint8 else jnp.float32)
    export = jax.export.export(jax.jit(probabilities), platforms=PLATFORMS)
    return bytes(export(images).serialize())


def run_stablehlo(file: Path, images: np.ndarray) -> np.ndarray:
    exported = jax.export.deserialize(bytearray(file.read_bytes()))
    return np.asarray(exported.call(images))


def onnx_bytes(classifier: Classifier, dtype: str, uint8: bool) -> bytes:
    # Here, since only this needs the package.
    from gpwjax.export.onnx_file import Graph, serialize
    from gpwjax.export.onnx_graph import make_graph

    graph, images, about = Graph(), "images", classifier.metadata
    size = about["image_size"]
    if uint8:
        images = add_preparation(graph, images, about)
    logits = make_graph(classifier.model, classifier.variables, images, size, graph)
    graph.node("Softmax", logits, axis=-1, result="probabilities")
    return serialize(
        graph,
        images=("N", "H", "W", 3) if uint8 else ("N", size, size, 3),
        uint8=uint8,
        classes=len(classifier.classes),
        weights=dtype,
        metadata=json.dumps(about),
    )


def run_onnx(
    file: Path, images: np.ndarray, output: str = "probabilities"
) -> np.ndarray:
    import onnxruntime

    content = file.read_bytes()  # since the file's name may be no text
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run([output], {"images": images})[0]
