"""Exported files in an onnxruntime of 2023, in an environment of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_nets import GROUPED

import gpwjax
from gpwjax.export import export, web
from gpwjax.export.calibration import Calibration
from gpwjax.export.files import run_onnx

pytest.importorskip("onnx")
export_int8 = pytest.importorskip("gpwjax.export.int8").export_int8
pytestmark = pytest.mark.slow

RUNTIME = "onnxruntime==1.16.3"
# Its arguments: a file, images, and where to save the probabilities.
RUN = """
import sys, numpy, onnxruntime
providers = ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession(sys.argv[1], providers=providers)
images = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], session.run(["probabilities"], {"images": images})[0])
"""
SIZE = 8


@pytest.fixture(scope="module")
def old_python(tmp_path_factory) -> Path:
    """A Python that has the runtime and nothing of ours."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "pip", "install", "-q", RUNTIME, "numpy<2"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{RUNTIME} cannot be installed here: {done.stderr[-300:]}")
    return folder / "bin" / "python"


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8", "uint8", "web"])
@pytest.mark.parametrize("shallow", GROUPED, indirect=True)
def test_it_gives_the_probabilities_of_the_net(old_python, shallow, tmp_path, kind):
    about = {
        "model": {"name": "net", "min_channels": shallow.model.min_channels},
        "classes": [str(number) for number in range(shallow.model.classes)],
        "image_size": SIZE,
    }
    classifier = gpwjax.Classifier(shallow.model, shallow.variables, about)
    pictures = np.random.default_rng(1).random((3, SIZE, SIZE, 3), np.float32)
    expected = None
    file, bound = tmp_path / "model.onnx", 1e-4
    if kind == "web":
        web.export_page(classifier, tmp_path / "page")
        file = tmp_path / "page" / web.NET
    elif kind == "uint8":
        pictures = np.uint8(255 * pictures)[:, :, 1:-2]
        export(classifier, file, "onnx", uint8=True)
    else:
        # Drawn weights answer all or nothing, which no rounding may turn over.
        shallow.variables["params"]["head"]["kernel"] /= 10
        if kind == "int8":
            used = Calibration(np.uint8(255 * pictures), np.full(len(pictures), -1))
            export_int8(classifier, file, used, force=True)
            # As the present runtime, whose test says how near int8 is to float32.
            expected = run_onnx(file, pictures)
        else:
            export(classifier, file, "onnx", dtype=kind)
        bound = bound if kind == "float32" else 5e-2
    np.save(tmp_path / "images.npy", pictures)
    files = file, tmp_path / "images.npy", tmp_path / "found.npy"
    subprocess.run([old_python, "-c", RUN, *files], check=True)
    found = np.load(tmp_path / "found.npy")
    if expected is None:
        expected = classifier.predict(pictures)
    np.testing.assert_allclose(found, expected, atol=bound)
