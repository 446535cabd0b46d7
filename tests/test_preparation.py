"""Preparation inside an exported net, compared with that of the classifier."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from gpwjax import Classifier
from gpwjax.export.files import run_onnx
from gpwjax.export.preparation import add_preparation, prepared

files = pytest.importorskip("gpwjax.export.onnx_file")

SIZE = 9
NETS = {
    "stored at its size": {},
    "stored smaller, padded": {"stored_size": 5, "pad": True},
    "stored smaller, nearest": {"stored_size": 6, "resize": "nearest"},
    "stored larger": {"stored_size": 12},
}
SHAPES = [(9, 9), (5, 5), (12, 12), (1, 1), (2, 7), (7, 4), (20, 31), (43, 18)]


def in_jax(about: dict[str, Any], folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Compiled once, for all sizes."""
    shape = jax.export.symbolic_shape("N, H, W, 3")
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    return jax.export.export(jax.jit(lambda x: prepared(x, about)))(images).call


def in_onnx(about: dict[str, Any], folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    graph = files.Graph()
    pixels = add_preparation(graph, "images", about)
    graph.node("Flatten", pixels, result="probabilities")
    written = files.serialize(
        graph,
        images=("N", "H", "W", 3),
        uint8=True,
        classes=3 * SIZE**2,
        weights="float32",
        metadata="",
    )
    (folder / "preparation.onnx").write_bytes(written)

    def run(images: np.ndarray) -> np.ndarray:
        flat = run_onnx(folder / "preparation.onnx", images)
        return flat.reshape(-1, SIZE, SIZE, 3)

    return run


@pytest.mark.parametrize("program", [in_jax, in_onnx])
@pytest.mark.parametrize("settings", NETS.values(), ids=NETS)
def test_images_of_any_size_are_prepared_as_by_the_classifier(
    settings, program, tmp_path
):
    about = {"image_size": SIZE, "classes": []} | settings
    run = program(about, tmp_path)
    for shape in SHAPES:
        images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
        expected = [Classifier(None, {}, about).prepare(image) for image in images]
        np.testing.assert_allclose(run(images), expected, rtol=0, atol=3e-6)
