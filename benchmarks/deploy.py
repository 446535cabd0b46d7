"""Trained nets outside of training: file sizes, and answers a second.

    python -m benchmarks.deploy [NET ...] [--size 224] [--repeats 15]

Exports each net, dense and grouped, and measures the probabilities of 1 and of 8 images
in onnxruntime and in JAX, in turns; and the sizes of the files of `gpwjax.save` and of
both formats of export. Writes results/deploy-DATE-DEVICE.json.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
import onnxruntime

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

BATCHES = (1, 8)
BEFORE = 5  # answers before a measured one, as of a program that is in use
EXPORTS = {"onnx": "float32", "onnx bfloat16": "bfloat16", "stablehlo": "float32"}


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
            session = onnxruntime.InferenceSession(
                Path(folder, "onnx"), providers=["CPUExecutionProvider"]
            )
            for batch in BATCHES:
                some = images[:batch]
                programs[batch] |= {
                    f"onnxruntime {kind}": partial(session.run, None, {"images": some}),
                    f"jax {kind}": partial(classifier.predict, some),
                }
    times = {
        f"{batch} images": interleaved(programs[batch], repeats, BEFORE)
        for batch in BATCHES
    }
    return {"bytes": sizes, "milliseconds": times}


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
    kinds = ("gpwjax.save", *EXPORTS)
    return {kind: (folder / kind).stat().st_size for kind in kinds}


def table(name: str, figures: dict[str, dict]) -> list[str]:
    lines = [name]
    for kind, sizes in figures["bytes"].items():
        text = ", ".join(f"{file} {size:,}" for file, size in sizes.items())
        lines.append(f"  bytes, {kind}: {text}")
    for batch, times in figures["milliseconds"].items():
        lines.append(f"  {batch}")
        for program, t in times.items():
            spread = f"({t['low']:,.1f} to {t['high']:,.1f})"
            lines.append(f"    {program:<22}{t['median']:>9,.1f} ms {spread}")
    return lines


if __name__ == "__main__":
    use_compilation_cache()
    main()
