"""ConvMixer on CIFAR-10, dense and grouped, by the same settings.

    python -m benchmarks.convmixer VARIANT ... --work FOLDER --data-dir path/to/tfds

A VARIANT is dense, 32ch or 16ch. Runs `python -m train` for each, in FOLDER/VARIANT,
where a run that was stopped goes on, and adds its figures to
results/convmixer-DATE-DEVICE.json. A run takes about an hour on two cores.
"""

import argparse
from pathlib import Path

from benchmarks.record import add
from benchmarks.runs import FIGURES, figures_of_run

VARIANTS = ("dense", "32ch", "16ch")
# Of the recipe modern with what suits 8 epochs: milder augmentation, quicker warmup.
ARGUMENTS = (
    *("--dtype", "float32", "--epochs", 8, "--batch-size", 64),
    *("--lr", 0.004, "--warmup-epochs", 1, "--ema", 0.999),
    *("--mixup", 0.0, "--cutmix", 0.0, "--rotation", 5.0, "--zoom", 0.1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", choices=VARIANTS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    options = parser.parse_args()
    for variant in options.variants:
        preset = f"modern-cifar10-convmixer-{variant}"
        figures = figures_of_run(
            *(options.work / variant, "--preset", preset, *ARGUMENTS),
            *("--data-dir", options.data_dir),
            names=(*FIGURES, "best_epoch"),
        )
        file = add("convmixer", variant, figures)
        print(f"{variant}: {figures['test_accuracy']:.2%}; written to {file}")


if __name__ == "__main__":
    main()
