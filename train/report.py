"""What a run leaves behind: result.json, the weights file and the pictures."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

import gpwjax
from gpwjax import explain
from train.config import RunError
from train.hosts import is_first
from train.run import Run
from train.run_folder import PACKAGES, write_text
from train.step import TrainState

HEATMAPS = 12  # images of heatmaps.png
MAX_NUMBERS = 40  # classes up to which a confusion matrix shows its numbers


def write_report(
    run: Run,
    model: nn.Module,
    counts: gpwjax.Counts,
    state: TrainState,
    rows: Sequence[dict[str, Any]],
    best: dict[str, float],
    test: dict[str, float],
    predicted: np.ndarray,
) -> dict[str, Any]:
    """Writes all files of a finished run; result.json, which marks it so, last.

    Of several hosts the first one writes.

    Args:
      counts: of the model.
      state: of the best epoch, the one that was tested.
      rows: of metrics.csv.
      best: the row of the best epoch.
      test: loss and accuracy on the test images.
      predicted: (N,) the class predicted for each test image.

    Returns:
      The content of result.json.
    """
    config, data = run.config, run.dataset
    result = {
        "test_accuracy": test["accuracy"],
        "test_loss": test["loss"],
        "test_images": len(data.test),
        "val_accuracy": best["val_accuracy"],
        "best_epoch": int(best["epoch"]),
        "params": counts.params,
        "macs": counts.macs,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "versions": {name: version(name) for name in PACKAGES},
        "seed": config.seed,
    }
    if not is_first():
        return result
    save_net(run, model, state.tested_variables, result)
    draw_heatmaps(run, run.folder / "heatmaps.png")
    plot_curves(rows, result["best_epoch"], run.folder / "curves.png")
    plot_confusion(
        data.labels[data.test], predicted, data.classes, run.folder / "confusion.png"
    )
    write_text(run.folder / "result.json", json.dumps(result, indent=2))
    return result


def save_net(
    run: Run, model: nn.Module, variables: dict, result: dict[str, Any]
) -> None:
    """Writes the weights file.

    Raises:
      RunError: a weight is not finite.
    """
    data = run.dataset
    try:
        gpwjax.save(
            run.folder / "model.safetensors",
            model,
            variables,
            classes=data.classes,
            image_size=run.config.image_size,
            stored_size=data.stored_size,
            pad=data.pad,
            resize=data.resize,
            data=data.name,
            license="Apache-2.0",
            **{name: result[name] for name in ("test_accuracy", "params", "macs")},
        )
    except ValueError as error:
        raise RunError(f"cannot save the net: {error}") from error


def draw_heatmaps(run: Run, file: Path) -> None:
    """Where in the first test images the net sees the class that it finds."""
    data = run.dataset
    classifier = gpwjax.load(run.folder / "model.safetensors")
    drawn = [
        explain.draw(
            classifier,
            np.asarray(data.images[index]),
            f"true class: {data.classes[data.labels[index]]}",
        )
        for index in data.test[:HEATMAPS]
    ]
    explain.write(drawn, file)


def plot_curves(rows: Sequence[dict[str, Any]], best_epoch: int, file: Path) -> None:
    """Loss, accuracy and learning rate of each epoch."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in rows]

    def plot(axes: Axes, name: str, label: str, **style: Any) -> None:
        marker = "o" if len(rows) < 3 else ""
        values = [row[name] for row in rows]
        axes.plot(epochs, values, marker=marker, label=label, **style)

    for split, label in (("train", "training"), ("val", "validation")):
        plot(loss, f"{split}_loss", label)
        plot(accuracy, f"{split}_accuracy", label)
    plot(rate, "lr", "learning rate", color="tab:gray")
    loss.set(title="cross-entropy", ylim=(0, None))
    accuracy.set(title="accuracy", ylim=(None, 1))
    rate.set(title="learning rate", ylim=(0, None))
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    for axes in (loss, accuracy):
        axes.axvline(best_epoch, color="tab:gray", linestyle=":", label="best epoch")
        axes.legend()
    figure.savefig(file, dpi=120)


def plot_confusion(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], file: Path
) -> None:
    """How many test images of each class (row) were taken for each class (column)."""
    from sklearn.metrics import confusion_matrix

    matrix = confusion_matrix(labels, predicted, labels=range(len(classes)))
    size = confusion_inches(len(classes))
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    picture = draw_confusion(axes, matrix, classes)
    figure.colorbar(picture, label="share of the true class")
    axes.set_title(f"{np.trace(matrix)} of {matrix.sum()} test images right")
    figure.savefig(file, dpi=120)


def confusion_inches(classes: int) -> float:
    """Height and width in which a confusion matrix can be read."""
    return min(20, 2.5 + 0.42 * classes)


def draw_confusion(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> AxesImage:
    """Draws a confusion matrix (true, predicted), each row as shares of its sum."""
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    picture = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    # As large as the row of a class, up to 9 points.
    font = min(9, 60 * confusion_inches(len(classes)) / len(classes))
    # A name with two dollar signs is no formula.
    style = {"fontsize": font, "parse_math": False}
    axes.set_xticks(range(len(classes)), classes, rotation=90, **style)
    axes.set_yticks(range(len(classes)), classes, **style)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= MAX_NUMBERS:
        for row, column in np.argwhere(matrix > 0):
            axes.text(
                column,
                row,
                matrix[row, column],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.5 else "black",
            )
    return picture
