"""What a finished run writes: result.json, the weights file, tables and pictures."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from PIL import Image

import gpwjax
from gpwjax import explain
from gpwjax.summary import stage_costs
from train.config import RunError
from train.figures import plot_confusion, plot_curves
from train.hosts import is_first
from train.predictions import Predictions
from train.report.build import build_report
from train.run import Run
from train.run_folder import PACKAGES, write_text
from train.step import Predicted, TrainState
from train.tables import write_table

HEATMAPS = 12  # images of heatmaps.png
MISTAKES = 12  # pictures of the most confident mistakes, at most


def write_results(
    run: Run,
    model: nn.Module,
    counts: gpwjax.Counts,
    state: TrainState,
    rows: Sequence[dict[str, Any]],
    best: dict[str, float],
    test: dict[str, float],
    predicted: Predicted,
) -> dict[str, Any]:
    """Writes all files of a finished run; result.json, which marks it so, last.

    Of several hosts the first one writes.

    Args:
      counts: of the model.
      state: of the best epoch, the one that was tested.
      rows: of metrics.csv.
      best: the row of the best epoch.
      test: loss and accuracy on the test images.
      predicted: for each test image.

    Returns:
      The content of result.json.

    Raises:
      RunError: the loss on the test images, or a weight, is not finite.
    """
    config, data, folder = run.config, run.dataset, run.folder
    check_finite(test, int(best["epoch"]))
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
        "versions": {name: version(name) for name in ("gpwjax", *PACKAGES)},
        "seed": config.seed,
    }
    if not is_first():
        return result
    save_net(run, model, state.tested_variables, result)
    write_costs(run, model, counts)
    answers = predictions_of(run, predicted)
    answers.write(folder)
    draw_heatmaps(run, answers)
    plot_curves(rows, result["best_epoch"], folder / "curves.png")
    plot_confusion(answers.confusion, data.classes, folder / "confusion.png")
    build_report(folder, result)
    write_text(folder / "result.json", json.dumps(result, indent=2, allow_nan=False))
    return result


def check_finite(test: dict[str, float], epoch: int) -> None:
    """Raises RunError where a net's loss on the test images is not finite."""
    if not np.isfinite([*test.values()]).all():
        raise RunError(
            f"the net of epoch {epoch}, the best in validation, answers test images "
            f"with numbers that are not finite, loss {test['loss']}: there is no result"
        )


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


def write_costs(run: Run, model: nn.Module, counts: gpwjax.Counts) -> None:
    """Writes costs.csv: what each stage costs, and what it would in the dense net."""
    stages = stage_costs(model, counts)
    dense = stages
    if model.min_channels is not None:
        size = run.config.image_size
        dense_model = model.clone(min_channels=None)
        dense = stage_costs(model, gpwjax.count(dense_model, (size, size, 3)))
    table = [
        {
            "stage": stage,
            **cost._asdict(),
            **{f"dense_{name}": n for name, n in dense[stage]._asdict().items()},
        }
        for stage, cost in stages.items()
    ]
    write_table(run.folder / "costs.csv", table)


def predictions_of(run: Run, predicted: Predicted) -> Predictions:
    """What was predicted for the test images, with their names and classes."""
    data = run.dataset
    return Predictions(
        data.classes,
        np.asarray(data.labels[data.test]),
        predicted.classes,
        predicted.confidence,
        data.test,
        [data.describe(int(index)) for index in data.test],
    )


def draw_heatmaps(run: Run, answers: Predictions) -> None:
    """Where the net sees the class that it finds: in test images from the first to the
    last, which may be in the order of their classes, and in those that it got wrong
    with the highest probability."""
    data = run.dataset
    classifier = gpwjax.load(run.folder / "model.safetensors")

    def draw(number: int) -> Image.Image:
        title = f"true class: {data.classes[answers.labels[number]]}"
        return explain.draw(
            classifier, np.asarray(data.images[answers.indices[number]]), title
        )

    numbers = np.linspace(0, len(data.test) - 1, HEATMAPS).astype(int)
    drawn = [draw(number) for number in np.unique(numbers)]
    explain.write(drawn, run.folder / "heatmaps.png")
    folder = run.folder / "mistakes"
    folder.mkdir(exist_ok=True)
    for number in answers.mistakes[:MISTAKES]:
        picture = draw(number)
        below = (0, explain.CAPTION, *picture.size)  # the report says it in words
        file = folder / f"{answers.indices[number]}.webp"
        picture.crop(below).save(file, quality=80)
