"""Several runs side by side as a page."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..evaluate.scores import half_interval
from .curves import total_seconds
from .groups import Groups, group, on_data
from .page import best_epoch, data_name, devices, test_interval
from .paper import rows_of_data
from .plots import Curves, Plot, Series, line_plot, scatter_plot
from .render import Table, duration, percent, render
from .runs import RunFiles

RUNS = (
    *("run", "test accuracy", "95% interval", "validation accuracy", "parameters"),
    *("MACs", "net", "variant", "data", "epochs", "time", "devices"),
)


def comparison_page(runs: Sequence[RunFiles], beside: Path) -> str:
    """The page of several runs.

    Args:
      beside: folder of the page, from which it links to the runs' own reports.
    """
    groups = group(runs)
    names = name_all(runs)
    data = {run.config.data: data_name(run) for run in runs}
    return render(
        "comparison.html",
        title=f"{len(runs)} runs on {', '.join(dict.fromkeys(data.values()))}",
        head=RUNS,
        rows=[
            {"name": name, "link": link(run, beside), "cells": run_cells(run)}
            for name, run in zip(names, runs, strict=True)
        ],
        means=means_table(groups),
        sets=[
            {
                "name": name,
                "plots": plots_of(f"set{number}", on_data(groups, path)),
                "paper": paper_points(path),
            }
            for number, (path, name) in enumerate(data.items())
        ],
    )


def name_all(runs: Sequence[RunFiles]) -> list[str]:
    """The names of the runs' folders, with those above where they are not unique."""
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{run.folder.absolute().parent.name}/{run.name}" for run in runs]


def link(run: RunFiles, beside: Path) -> str | None:
    """From the page to the run's own report, if there is one."""
    file = run.folder / "report.html"
    if not file.is_file():
        return None
    return quote(os.path.relpath(file, beside))


def run_cells(run: RunFiles) -> tuple[str, ...]:
    """The cells of RUNS but the first."""
    config, result = run.config, run.result
    figures = ("not finished", "", percent(best_epoch(run)[1]), "", "")
    if result is not None:
        figures = (
            percent(result["test_accuracy"]),
            " to ".join(map(percent, test_interval(result))),
            percent(result["val_accuracy"]),
            f"{result['params']:,}",
            f"{result['macs']:,}",
        )
    return (
        *figures,
        config.model,
        config.variant,
        data_name(run),
        f"{run.epochs[-1]['epoch']} of {config.epochs}",
        duration(total_seconds(run)),
        devices(result) if result else "",
    )


def means_table(groups: Groups) -> Table:
    """Mean and half of its 95% interval for the configurations with several seeds."""
    rows = []
    for name, runs in groups.items():
        results = [run.result for run in runs if run.result]
        if len(results) > 1:
            test, val = (
                mean_cell([result[key] for result in results])
                for key in ("test_accuracy", "val_accuracy")
            )
            rows.append((name, str(len(results)), test, val))
    head = ("configuration", "seeds", "test accuracy", "validation accuracy")
    caption = "Mean over the seeds ± half of its 95% interval (Student's t)"
    return Table(caption, head, rows)


def mean_cell(values: Sequence[float]) -> str:
    half = half_interval(np.array(values))
    return f"{100 * np.mean(values):.2f} ± {100 * half:.2f}%"


def plots_of(name: str, groups: Groups) -> list[Plot]:
    """Accuracy against parameters and MACs, and the validation's curves."""
    plots = []
    if any(run.result for runs in groups.values() for run in runs):
        plots = [
            cost_plot(f"{name}-params", groups, "params", "params", "parameters"),
            cost_plot(f"{name}-macs", groups, "macs", "paper_flops", "MACs"),
        ]
    return [*plots, validation_plot(f"{name}-curves", groups)]


def cost_plot(name: str, groups: Groups, key: str, paper_key: str, label: str) -> Plot:
    """Test accuracy against what the nets cost, with the paper's nets.

    Args:
      name: unique on the page.
      key, paper_key: of the cost, in result.json and in the paper's rows.
      label: of the cost.
    """
    data = next(iter(groups.values()))[0].config.data
    series = []
    if rows := rows_of_data(data):
        x = [int(row[paper_key]) / 1e6 for row in rows]
        y = [float(row["test_acc"]) for row in rows]
        series.append(Series("the paper's nets", x, y, None, dashed=True))
    for color, (group_name, runs) in enumerate(groups.items()):
        results = [run.result for run in runs if run.result]
        x = [result[key] / 1e6 for result in results]
        y = [100 * result["test_accuracy"] for result in results]
        series.append(Series(group_name, x, y, color))
    title = f"test accuracy (%) by {label}"
    return scatter_plot(name, title, f"millions of {label}", series)


def validation_plot(name: str, groups: Groups) -> Plot:
    """A thin line for each run where there are several of a configuration."""
    series = [
        Series(
            group_name,
            [row["epoch"] for row in run.epochs],
            [row["val_accuracy"] for row in run.epochs],
            color,
            thin=len(runs) > 1,
        )
        for color, (group_name, runs) in enumerate(groups.items())
        for run in runs
    ]
    return line_plot(Curves(name, "validation accuracy", series, (None, 1)))


def paper_points(data: str) -> Table | None:
    """The paper's rows on the data set, for those who cannot see the plots."""
    rows = [
        (
            f"{row['model']} {row['channels_per_group'] or 'dense'}"
            + ("ch" if row["channels_per_group"] else ""),
            row["input"],
            f"{int(row['params']):,}",
            f"{int(row['paper_flops']):,}",
            percent(float(row["test_acc"]) / 100),
        )
        for row in rows_of_data(data)
    ]
    head = ("net", "input, pixels", "parameters", "MACs", "test accuracy")
    caption = "The paper's nets; MACs as TensorFlow's profiler counts them"
    return Table(caption, head, rows) if rows else None
