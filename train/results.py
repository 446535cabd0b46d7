"""What comes of the epochs and of the whole run: its tables, net and result.json."""

import json
import logging
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import jax

import gpwjax
from gpwjax.files import write_text
from gpwjax.summary import stage_costs

from .config import RunError
from .evaluate.answers import Answers
from .evaluate.files import write_answers
from .evaluate.scores import class_table, mean, summary
from .evaluate.tables import write_table
from .evaluate.testing import answers_to
from .origin import PACKAGES, about_net
from .process.hosts import is_first
from .run import Run
from .run_folder import COSTS, RESULT, WEIGHTS

log = logging.getLogger(__name__)


def epoch_row(
    run: Run,
    epoch: int,
    trained: dict[str, float],
    validated: dict[str, float],
    rate: float,
    seconds: float,
) -> dict[str, Any]:
    """A row of metrics.csv.

    Args:
      epoch: counted from 0.
      trained, validated: mean loss and accuracy.
      rate: images in a second of training.
      seconds: of the epoch.
    """
    step = (epoch + 1) * run.steps_per_epoch
    return {
        "epoch": epoch + 1,
        "step": step,
        "lr": round_off(run.schedule(step - 1)),
        **{f"train_{name}": round_off(x) for name, x in trained.items()},
        **{f"val_{name}": round_off(x) for name, x in validated.items()},
        "images_per_second": round(rate, 1),
        "seconds": round(seconds, 3),
    }


def round_off(x: jax.typing.ArrayLike) -> float:
    """A float32 without the digits that it does not have."""
    return float(f"{float(x):.7g}")


def log_epoch(row: dict[str, Any], epochs: int) -> None:
    log.info(
        "epoch %d/%d: loss %.4f, accuracy %.2f%%, in validation %.4f, %.2f%%; "
        "learning rate %.2g, %s images/s",
        row["epoch"],
        epochs,
        row["train_loss"],
        100 * row["train_accuracy"],
        row["val_loss"],
        100 * row["val_accuracy"],
        row["lr"],
        f"{row['images_per_second']:,.0f}",
    )


def test_and_write(
    run: Run, variables: dict, rows: Sequence[dict[str, Any]], best: dict[str, float]
) -> dict[str, Any]:
    """Tests the net of the best epoch and writes all files of a finished run but its
    pictures; result.json, which marks it so, last. Of several hosts the first writes.

    Args:
      variables: of the net.
      rows: of metrics.csv.
      best: the row of the best epoch.

    Returns:
      The content of result.json.

    Raises:
      RunError: an answer to a test image, or a weight, is not finite.
    """
    data, epoch = run.dataset, int(best["epoch"])
    log.info("testing the net of epoch %d, the best in validation", epoch)
    net = net_of(run, variables)
    called = f"the net of epoch {epoch}, the best in validation,"
    tested = partial(
        answers_to,
        dataset=data,
        indices=data.test,
        batch_size=run.config.batch_size,
    )
    answers = tested(net, called)
    result = result_of(run, answers, rows, best)
    if run.teacher is not None:
        result["teacher_accuracy"] = float(
            tested(run.teacher, "--teacher").right.mean()
        )
    if is_first():
        save_net(run, net, result)
        write_costs(run)
        write_answers(run.folder, answers)
        text = json.dumps(result, indent=2, allow_nan=False)
        write_text(run.folder / RESULT, text)
    return result


def net_of(run: Run, variables: dict) -> gpwjax.Classifier:
    """A run's net as its weights file has it."""
    about = {"image_size": run.config.image_size, "license": run.config.license}
    return gpwjax.Classifier(run.model, variables, about_net(run.dataset) | about)


def result_of(
    run: Run,
    answers: Answers,
    rows: Sequence[dict[str, Any]],
    best: dict[str, float],
) -> dict[str, Any]:
    """The content of result.json; arguments as of `test_and_write`."""
    tested, classes = summary(answers), class_table(answers)
    result = {
        "test_accuracy": tested["accuracy"],
        "test_loss": tested["cross_entropy"],
        "test_images": tested["images"],
        "val_accuracy": best["val_accuracy"],
        "best_epoch": int(best["epoch"]),
        "params": run.counts.params,
        "macs": run.counts.macs,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "versions": {name: version(name) for name in ("gpwjax", *PACKAGES)},
        "seed": run.config.seed,
        "balanced_accuracy": mean(row["recall"] for row in classes),
        "lowest_recall": lowest_recall(classes),
    }
    if run.class_weights is not None:
        weights = zip(run.dataset.classes, run.class_weights.tolist(), strict=True)
        result["class_weights"] = dict(weights)
    return result


def lowest_recall(classes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The class with the lowest share of right answers, and that share."""
    tested = [row for row in classes if row["recall"] is not None]
    worst = min(tested, key=lambda row: row["recall"])
    return {worst["class"]: worst["recall"]}


def save_net(run: Run, net: gpwjax.Classifier, result: dict[str, Any]) -> None:
    """Writes the weights file.

    Raises:
      RunError: a weight is not finite.
    """
    names = ("test_accuracy", "test_images", "params", "macs")
    found = {name: result[name] for name in names}
    try:
        gpwjax.save(
            run.folder / WEIGHTS, net.model, net.variables, **net.metadata, **found
        )
    except ValueError as error:
        raise RunError(f"cannot save the net: {error}") from error


def write_costs(run: Run) -> None:
    """Writes costs.csv: what each stage costs, and what it would in the dense net."""
    model, stages = run.model, stage_costs(run.model, run.counts)
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
    write_table(run.folder / COSTS, table)
