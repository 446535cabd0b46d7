"""What a finished run writes first: the weights file, tables and result.json."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from flax import linen as nn

import gpwjax
from gpwjax.summary import stage_costs
from train.config import RunError
from train.hosts import is_first
from train.predictions import Predictions
from train.run import Run
from train.run_folder import PACKAGES, write_text
from train.scores import class_table, mean
from train.step import Predicted, TrainState
from train.tables import write_table


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
    """Writes all files of a finished run but its pictures; result.json, which marks it
    so, last.

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
    answers = predictions_of(run, predicted)
    classes = class_table(answers)
    result["balanced_accuracy"] = mean(row["recall"] for row in classes)
    result["lowest_recall"] = lowest_recall(classes)
    if run.class_weights is not None:
        weights = zip(data.classes, run.class_weights.tolist(), strict=True)
        result["class_weights"] = dict(weights)
    if not is_first():
        return result
    save_net(run, model, state.tested_variables, result)
    write_costs(run, model, counts)
    answers.write(folder)
    write_text(folder / "result.json", json.dumps(result, indent=2, allow_nan=False))
    return result


def lowest_recall(classes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The class with the lowest share of right answers, and that share."""
    tested = [row for row in classes if row["recall"] is not None]
    worst = min(tested, key=lambda row: row["recall"])
    return {worst["class"]: worst["recall"]}


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
            range_16_bit=data.values,
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
