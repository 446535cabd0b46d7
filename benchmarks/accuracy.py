"""The accuracies of finished runs beside the paper's: a table and a picture."""

import csv
import io
import itertools
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.record import RESULTS
from gpwjax.files import write_text
from train.evaluate.scores import half_interval
from train.presets import paper_rows, presets
from train.run_folder import CONFIG, RESULT, is_finished, read_json, read_metrics

COLUMNS = (
    *("preset", "dataset", "model", "channels", "image_size", "epochs", "dtype"),
    *("seed", "test_accuracy", "val_accuracy", "params", "macs", "seconds", "device"),
    *("commit", "jax", "flax"),
)
KEY = ("preset", "dtype", "seed")  # what tells a run from all others
COMMITS = "commits.json"  # of the work folder: run -> the commits that it ran with
HEADINGS = (
    *("row", "parameters", "paper, %", "ours, %", "seeds", "epochs", "card"),
    *("seconds", "commit", "command"),
)

Row = dict[str, str]


def update(work: Path, results: Path = RESULTS) -> list[Row]:
    """Adds the finished runs of a work folder to accuracy.csv and draws accuracy.png.

    Returns:
      All rows of accuracy.csv. Without one nothing is written.
    """
    file = results / "accuracy.csv"
    rows = []
    if file.is_file():
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    merged = {tuple(row[k] for k in KEY): row for row in [*rows, *finished_runs(work)]}
    if not merged:
        return []
    order = list(presets())
    rows = sorted(
        merged.values(),
        key=lambda row: (order.index(row["preset"]), row["dtype"], int(row["seed"])),
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())
    draw(rows, results / "accuracy.png")
    return rows


def finished_runs(work: Path) -> Iterator[Row]:
    """The runs of a work folder that are finished and had the whole recipe of a row."""
    commits = read_json(work / COMMITS) if (work / COMMITS).is_file() else {}
    for name, numbers in commits.items():
        if not is_finished(work / name):
            continue
        config = read_json(work / name / CONFIG)
        if has_whole_recipe(config):
            yield row_of(work / name, config, numbers)


def has_whole_recipe(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a preset, whatever its seed and dtype."""
    if config.get("preset") not in presets():
        return False
    recipe = json.loads(json.dumps(presets()[config["preset"]].to_json()))
    return recipe | config == recipe | {k: config[k] for k in ("seed", "dtype")}


def row_of(folder: Path, config: dict[str, Any], commits: Sequence[str]) -> Row:
    """A row of accuracy.csv, from a run folder.

    Its seconds are the median epoch's times the epochs: what a run says itself lacks
    the beginnings of epochs in which it was stopped.
    """
    preset = presets()[config["preset"]]
    epoch = statistics.median(row["seconds"] for row in read_metrics(folder))
    result = read_json(folder / RESULT)
    row = (
        config
        | result
        | {
            "dataset": preset.data,
            "channels": preset.variant,
            "seconds": round(epoch * preset.epochs),
            "commit": " ".join(commits),
            **result["versions"],
        }
    )
    return {name: str(row[name]) for name in COLUMNS}


def table(rows: Sequence[Row]) -> str:
    """The rows of accuracy.csv as a table in Markdown, one line for all seeds."""
    if not rows:
        return (
            "Nothing has been measured: no run with a row's whole recipe is finished."
        )
    lines = [HEADINGS, ["---"] * len(HEADINGS)]
    lines += [line_of(preset, dtype, runs) for (preset, dtype), runs in by_row(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_row(rows: Iterable[Row]) -> Iterator[tuple[tuple[str, str], list[Row]]]:
    """((preset, dtype), its runs), as accuracy.csv is sorted."""
    groups = itertools.groupby(rows, key=lambda row: (row["preset"], row["dtype"]))
    return ((key, list(runs)) for key, runs in groups)


def line_of(preset: str, dtype: str, runs: Sequence[Row]) -> list[str]:
    """A line of the table: the mean, half of its 95% interval, and the command."""
    mean, half = spread(runs)
    seeds = [int(run["seed"]) for run in runs]
    command = f"gpwjax train --preset {preset}"
    if dtype != presets()[preset].dtype:
        command += f" --dtype {dtype}"
    if seeds == list(range(len(seeds))) and len(seeds) > 1:
        command += f" --seeds {len(seeds)}"
    commits = {c[:7] for run in runs for c in run["commit"].split()}
    paper = paper_row(preset)
    return [
        f"`{preset}`" + (f", {dtype}" if dtype != "float32" else ""),
        f"{int(runs[0]['params']):,}",
        paper["test_acc"] if paper else "",
        f"{mean:.2f}" + (f" ± {half:.2f}" if len(runs) > 1 else ""),
        ", ".join(map(str, seeds)),
        runs[0]["epochs"],
        ", ".join(sorted({run["device"] for run in runs})),
        f"{statistics.mean(int(run['seconds']) for run in runs):,.0f}",
        ", ".join(sorted(commits)),
        f"`{command}`",
    ]


def spread(runs: Sequence[Row]) -> tuple[float, float]:
    """Mean test accuracy and half the width of its 95% interval, percent."""
    values = np.array([100 * float(run["test_accuracy"]) for run in runs])
    return float(values.mean()), half_interval(values)


def paper_row(preset: str) -> Row | None:
    """The paper's row of a preset; of a modern one, that of its net."""
    return paper_rows().get(preset.removeprefix("modern-"))


def draw(rows: Sequence[Row], file: Path) -> None:
    """Test accuracy against parameters for each data set, ours and the paper's."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    figure = Figure(figsize=(8 * len(datasets), 5.5), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    for axes, dataset in zip(panels, datasets, strict=True):
        runs = [row for row in rows if row["dataset"] == dataset]
        draw_dataset(axes, dataset, runs)
    figure.suptitle(
        "filled: ours with the 95% interval, open: the paper's; squares: dense, "
        "circles: grouped, diamonds: modern recipe",
        fontsize=9,
    )
    figure.savefig(file, dpi=120)


def draw_dataset(axes: Axes, dataset: str, rows: Sequence[Row]) -> None:
    colors = {model: f"C{n}" for n, model in enumerate(models_of(dataset))}

    def point(
        preset: str, params: str, mean: float, half: float | None, **style: Any
    ) -> None:
        config = presets()[preset]
        marker = "s" if config.min_channels is None else "o"
        marker = "D" if preset.startswith("modern-") else marker
        style |= {"color": colors[config.model], "marker": marker}
        axes.errorbar(int(params), mean, half, capsize=3, linestyle="none", **style)

    for preset, paper in paper_rows().items():
        if presets()[preset].data == dataset:
            params, mean = paper["params"], float(paper["test_acc"])
            point(preset, params, mean, None, markerfacecolor="none")
            variant = preset.partition(f"{presets()[preset].model}-")[2]
            place = {"xytext": (6, 3), "textcoords": "offset points", "fontsize": 7}
            axes.annotate(variant, (int(params), mean), **place)
    for (preset, _), runs in by_row(rows):
        mean, half = spread(runs)
        point(preset, runs[0]["params"], mean, half if len(runs) > 1 else None)
    for model, color in colors.items():
        axes.plot([], [], "o", color=color, label=model)
    axes.set(
        title=dataset, xscale="log", xlabel="parameters", ylabel="test accuracy, %"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)


def models_of(dataset: str) -> list[str]:
    """Names of the nets that have presets for a data set."""
    models = [config.model for config in presets().values() if config.data == dataset]
    return list(dict.fromkeys(models))
