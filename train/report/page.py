"""The report of one run as a page."""

from typing import Any

from ..config import flatten
from ..data.remarks import shown_weights
from ..evaluate.scores import wilson_interval
from ..validation import best_row
from .answers import (
    classes_table,
    confusion_matrix,
    confusion_table,
    missing,
    mistakes,
)
from .command import command_of
from .costs import costs
from .curves import (
    curves,
    epoch_table,
    speed_plot,
    speed_table,
    total_seconds,
)
from .paper import PaperRow, paper_curves, paper_notes, paper_row
from .plots import line_plot
from .render import Table, duration, percent, render
from .runs import RunFiles


def run_page(run: RunFiles) -> str:
    """The report of a run, finished or not."""
    row = paper_row(run.config)
    return render(
        "run.html",
        title=f"{run.name}: {run.config.model} {run.config.variant} on "
        f"{data_name(run)}",
        lead=lead(run),
        summary=summary_table(run),
        paper=row and paper_table(run, row),
        paper_notes=paper_notes(run.config, row) if row else [],
        command=command_of(run.config),
        origin=origin_table(run),
        plots=[line_plot(one) for one in curves(run.epochs, paper_curves(row))],
        epochs=epoch_table(run),
        missing=missing(run),
        confusion=confusion_matrix(run),
        confusions=confusion_table(run),
        classes=classes_table(run),
        mistakes=list(mistakes(run)),
        costs=costs(run),
        speed=speed_table(run),
        speed_plot=speed_plot(run),
        versions=versions_table(run),
        settings=settings_table(run),
    )


def data_name(run: RunFiles) -> str:
    """The name of the data set, without the folders in which it was."""
    return run.config.data.rstrip("/").rpartition("/")[2]


def lead(run: RunFiles) -> str:
    """What the run comes down to."""
    about = run.result or run.origin
    on = f", on {devices(about)}" if "device" in about else ""
    if run.result is None:
        last = run.epochs[-1]
        return (
            f"Not finished: {last['epoch']} of {run.config.epochs} epochs{on}. "
            f"{percent(last['val_accuracy'])} of the validation images are right; the "
            "test comes at the end."
        )
    total = run.result["test_images"]
    low, high = test_interval(run.result)
    return (
        f"{percent(run.result['test_accuracy'])} of {total:,} test images are right "
        f"(95% interval {percent(low)} to {percent(high)}){on}."
    )


def test_interval(result: dict[str, Any]) -> tuple[float, float]:
    """The 95% interval of the test accuracy."""
    total = result["test_images"]
    return wilson_interval(round(result["test_accuracy"] * total), total)


def devices(result: dict[str, Any]) -> str:
    return f"{result['device']} × {result['device_count']}"


def best_epoch(run: RunFiles) -> tuple[int, float]:
    """Number and validation accuracy of the epoch that was, or would be, tested."""
    if run.result:
        return run.result["best_epoch"], run.result["val_accuracy"]
    best = best_row(run.epochs, run.config.first_best)
    return best["epoch"], best["val_accuracy"]


def summary_table(run: RunFiles) -> Table:
    config, result = run.config, run.result
    epoch, accuracy = best_epoch(run)
    rows = [
        ("data set", data_name(run)),
        ("net", f"{config.model} {config.variant}"),
        ("recipe", config.preset or config.recipe),
        ("images", f"{config.image_size}×{config.image_size} pixels"),
        ("epochs", f"{run.epochs[-1]['epoch']} of {config.epochs}"),
        ("best epoch in validation", str(epoch)),
        ("validation accuracy then", percent(accuracy)),
    ]
    if result:
        rows += [
            ("test accuracy", percent(result["test_accuracy"])),
            *taught(run),
            *balanced(result),
            ("cross-entropy of the test", f"{result['test_loss']:.4f}"),
            ("parameters", f"{result['params']:,}"),
            ("multiply-accumulates an image", f"{result['macs']:,}"),
            ("devices", devices(result)),
        ]
    rows.append(("time for all epochs", duration(total_seconds(run))))
    return Table("The run in short", ("what", "this run"), rows, facts=True)


def paper_table(run: RunFiles, row: PaperRow) -> Table:
    """The run beside the paper's row of the same net and data."""
    result = run.result
    rows = [
        ("test accuracy", percent(result["test_accuracy"]) if result else "not yet"),
        ("parameters", f"{result['params']:,}" if result else "not yet"),
        ("multiply-accumulates", f"{result['macs']:,}" if result else "not yet"),
        ("epochs", str(run.epochs[-1]["epoch"])),
    ]
    paper = (
        percent(float(row["test_acc"]) / 100),
        f"{int(row['params']):,}",
        f"{int(row['paper_flops']):,} (by TensorFlow's profiler)",
        row["epochs"],
    )
    rows = [(*ours, theirs) for ours, theirs in zip(rows, paper, strict=True)]
    return Table("Beside the paper", ("what", "this run", "paper"), rows, facts=True)


def origin_table(run: RunFiles) -> Table:
    """What must be the same to get the same."""
    origin, result = run.origin, run.result or {}
    rows = [
        ("digest of the data", str(origin.get("data", "not recorded"))),
        ("commit of the code", str(origin.get("commit", "not recorded"))),
        ("digest of the code", str(origin.get("code", "not recorded"))),
        ("seed", str(run.config.seed)),
    ]
    if result:
        rows.append(("devices", devices(result)))
    return Table("What must be the same", ("what", "value"), rows, facts=True)


def taught(run: RunFiles) -> list[tuple[str, str]]:
    """Rows of the summary for a net that had a teacher."""
    if "teacher_accuracy" not in run.result:
        return []
    return [
        ("teacher", str(run.config.teacher)),
        ("test accuracy of the teacher", percent(run.result["teacher_accuracy"])),
    ]


def balanced(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of the summary, where the run's code has recorded it."""
    rows = []
    if "balanced_accuracy" in result:
        rows.append(("balanced accuracy", percent(result["balanced_accuracy"])))
    if "class_weights" in result:
        weights = shown_weights(result["class_weights"])
        rows.append(("weights of the classes in the loss", weights))
    return rows


def versions_table(run: RunFiles) -> Table:
    """When the run began, and when it ended if that differs."""
    begun = run.origin.get("versions") or {}
    ended = (run.result or {}).get("versions", begun)
    rows = [
        (name, *(str(of.get(name, "not recorded")) for of in (begun, ended)))
        for name in {**ended, **begun}
    ]
    head = ("package", "at the beginning", "at the end")
    return Table("Versions", head, rows, facts=True)


def settings_table(run: RunFiles) -> Table:
    settings = flatten(run.config.to_json())
    rows = [(name, str(value)) for name, value in settings.items()]
    return Table("All settings", ("setting", "value"), rows, facts=True)
