"""Trained nets outside of training: file sizes, and answers a second.

    python -m benchmarks.deploy [NET ...] [--size 224] [--repeats 15]

Exports each net, dense and grouped, and measures the probabilities of 1 and of 8 images
in onnxruntime, of float32 and of int8, in OpenVINO and in JAX, in turns; and the sizes
of the files of `gpwjax.save` and of `gpwjax export`. Writes
results/deploy-DATE-DEVICE.json, which says whether the processor has instructions for
int8 (VNNI).
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import openvino

import gpwjax
from benchmarks.programs import (
    CHANNELS,
    CLASSES,
    example_batch,
    first_variables,
    our_net,
)
from benchmarks.record import add
from benchmarks.timing import interleaved
from gpwjax.compilation import use_compilation_cache
from gpwjax.export import export
from gpwjax.export.calibration import LEAST, Calibration
from gpwjax.export.int8 import export_int8

BATCHES = (1, 8)
BEFORE = 5  # answers before a measured one, as of a program that is in use
EXPORTS = {"onnx": "float32", "onnx bfloat16": "bfloat16", "stablehlo": "float32"}
INT8 = "onnx int8"
Answers = Callable[[np.ndarray], object]  # of images (N, size, size, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", metavar="NET", default=list(CHANNELS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for name in options.nets:
        figures = measure(name, options.size, options.repeats)
        print("\n".join(table(name, figures)), flush=True)
        file = add("deploy", f"{name} {options.size} px", figures)
    print(f"written to {file}")


def measure(name: str, size: int, repeats: int) -> dict[str, dict]:
    """File sizes in bytes, and times by batch size."""
    images, _ = example_batch(max(BATCHES), size)
    programs = {batch: {} for batch in BATCHES}
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, channels in (("grouped", CHANNELS[name]), ("dense", None)):
            classifier = untrained(name, channels, images)
            sizes[kind] = file_sizes(classifier, Path(folder))
            onnx = Path(folder, "onnx")
            runtimes = {
                "onnxruntime": of_onnxruntime(onnx),
                "onnxruntime int8": of_onnxruntime(Path(folder, INT8)),
                "openvino": of_openvino(onnx),
                "jax": classifier.predict,
            }
            for batch in BATCHES:
                programs[batch] |= {
                    f"{runtime} {kind}": partial(answers, images[:batch])
                    for runtime, answers in runtimes.items()
                }
    times = {
        f"{batch} images": interleaved(programs[batch], repeats, BEFORE)
        for batch in BATCHES
    }
    return {"vnni": has_vnni(), "bytes": sizes, "milliseconds": times}


def of_onnxruntime(file: Path) -> Answers:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})


def of_openvino(file: Path) -> Answers:
    settings = {"PERFORMANCE_HINT": "LATENCY"}  # all cores for one request
    compiled = openvino.Core().compile_model(file, "CPU", settings)
    return lambda images: compiled({"images": images})


def has_vnni() -> bool | None:
    """Whether the processor adds products of int8 in one step; None: not known."""
    about = Path("/proc/cpuinfo")
    return "vnni" in about.read_text() if about.is_file() else None


def untrained(name: str, channels: int | None, images: np.ndarray) -> gpwjax.Classifier:
    """A net with its first weights."""
    model = our_net(name, channels)
    variables = jax.device_get(first_variables(model, images))
    classes = [f"class {number}" for number in range(CLASSES)]
    about = {"classes": classes, "image_size": images.shape[1]}
    return gpwjax.Classifier(model, variables, about)


def file_sizes(classifier: gpwjax.Classifier, folder: Path) -> dict[str, int]:
    """Bytes of each kind of file, which is left in the folder under its name."""
    gpwjax.save(
        folder / "gpwjax.save",
        classifier.model,
        classifier.variables,
        classes=classifier.classes,
        image_size=classifier.metadata["image_size"],
    )
    for kind, dtype in EXPORTS.items():
        export(classifier, folder / kind, kind.split()[0], dtype=dtype)
    # Of untrained nets only sizes and times say something.
    size = classifier.metadata["image_size"]
    drawn = np.random.default_rng(0).integers(0, 256, (LEAST, size, size, 3), np.uint8)
    used = Calibration(drawn, np.full(LEAST, -1))
    export_int8(classifier, folder / INT8, used, force=True)
    kinds = ("gpwjax.save", *EXPORTS, INT8)
    return {kind: (folder / kind).stat().st_size for kind in kinds}


def table(name: str, figures: dict[str, dict]) -> list[str]:
    lines = [f"{name}; VNNI: {figures['vnni']}"]
    for kind, sizes in figures["bytes"].items():
        text = ", ".join(f"{file} {size:,}" for file, size in sizes.items())
        lines.append(f"  bytes, {kind}: {text}")
    for batch, times in figures["milliseconds"].items():
        lines.append(f"  {batch}")
        for program, t in times.items():
            spread = f"({t['low']:,.1f} to {t['high']:,.1f})"
            lines.append(f"    {program:<26}{t['median']:>9,.1f} ms {spread}")
    return lines


if __name__ == "__main__":
    use_compilation_cache()
    main()
