"""Puts the best of some finished runs among the trained nets of the package.

    python -m benchmarks.publish NAME RUN [RUN ...]

The runs differ by their seeds. The best is the one with the highest accuracy in
validation, and of equals that with the lowest loss there: the test has no say. Its
weights go to gpwjax/trained/NAME.safetensors, with a card of what they are.
"""

import argparse
import sys
from pathlib import Path

import gpwjax
from benchmarks.record import device_name
from gpwjax import trained
from train.config import RunError
from train.evaluate.scores import wilson_interval
from train.recipes import described
from train.report.command import command_of
from train.report.runs import RunFiles, read_run
from train.validation import best_row, quality

MOST_BYTES = 1_500_000  # of a file, since all are in the wheel
# What the data are, and their licence as those say who have them.
DATA = {
    "digits": "scikit-learn's digits, 1,797 images of 8x8 pixels; E. Alpaydin and "
    "C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository, 1998; licence there: CC BY 4.0",
    "cifar10": "CIFAR-10, 60,000 images of 32x32 pixels; A. Krizhevsky: Learning "
    "Multiple Layers of Features from Tiny Images, 2009; no licence is stated",
}


def main() -> int:
    """Runs the program; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the trained net")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders")
    options = parser.parse_args()
    try:
        runs = [read_run(folder) for folder in options.runs]
        best = max(runs, key=lambda run: quality(best_of(run)))
        net = gpwjax.load(best.folder)
        about = net.metadata | {"card": card(best, runs)}
        del about["model"], about["version"]
        file = Path(trained.__file__).with_name(f"{options.name}.safetensors")
        gpwjax.save(file, net.model, net.variables, **about)
    except (RunError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = file.stat().st_size
    print(f"{file}: {size:,} bytes of at most {MOST_BYTES:,}")
    return int(size > MOST_BYTES)


def best_of(run: RunFiles) -> dict[str, float]:
    """The row of the epoch whose net a run tested."""
    return best_row(run.epochs, run.config.first_best)


def card(run: RunFiles, runs: list[RunFiles]) -> dict[str, str]:
    """What is to be said of the net of a run, the best of some."""
    config, result = run.config, run.result
    images, accuracy = result["test_images"], result["test_accuracy"]
    low, high = wilson_interval(round(accuracy * images), images)
    seeds = ", ".join(str(other.config.seed) for other in runs)
    return {
        "net": f"{config.model} {config.variant}, {result['params']:,} parameters, "
        f"{result['macs']:,} multiply-accumulates an image of {config.image_size}x"
        f"{config.image_size} pixels",
        "data": DATA[config.data],
        "accuracy": f"{accuracy:.2%} of {images:,} test images (95% interval "
        f"{low:.1%} to {high:.1%})",
        "validation": f"{best_of(run)['val_accuracy']:.2%}, the best of the seeds "
        f"{seeds}",
        "training": described(config),
        "command": command_of(config),
        "commit": run.origin["commit"],
        "time": f"{result['seconds'] / 60:.1f} minutes, {device_name()}",
    }


if __name__ == "__main__":
    sys.exit(main())
