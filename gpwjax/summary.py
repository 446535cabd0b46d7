"""Tables and a picture of what a net costs, and of what its groups save."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flax import linen as nn

from gpwjax.counts import Counts, LayerCount, count
from gpwjax.files import write_bytes
from gpwjax.models import create_model
from gpwjax.net import stage_of_block
from gpwjax.schemes import PAPERS

if TYPE_CHECKING:
    from gpwjax.canvas import Axes, Figure

# Of Okabe and Ito's palette, whose colours colour-blind people can tell apart.
COLORS = {"dense": "#0072B2", "grouped": "#E69F00"}
UNITS = ((10**9, "billions"), (10**6, "millions"), (10**3, "thousands"))


class Cost(NamedTuple):
    """Trainable parameters, and multiply-accumulates for one image."""

    params: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """A net's counts, beside those of the dense net.

    Attributes:
      name: of the net, one of `list_models()`.
      model: the net.
      image_size: height and width of the images, pixels.
      counts: of the net.
      dense: of the same net with `min_channels=None`; None where the net is that one.
    """

    name: str
    model: nn.Module
    image_size: int
    counts: Counts
    dense: Counts | None


def summarize(
    name: str,
    classes: int = 10,
    min_channels: int | None = 16,
    image_size: int = 224,
    small_images: bool = False,
    scheme: str = PAPERS,
) -> Summary:
    """Counts a net, and the dense one where it is grouped.

    Args:
      name, classes, min_channels, small_images, scheme: as in `create_model`.
      image_size: height and width of the images, pixels.

    Raises:
      ValueError: the name or the scheme is unknown, a number is less than 1, or the
        images are too small for the net.
    """
    model = create_model(name, classes, min_channels, small_images, scheme=scheme)
    image_shape = (image_size, image_size, 3)
    dense = None
    if min_channels is not None:
        dense = count(model.clone(min_channels=None), image_shape)
    return Summary(name, model, image_size, count(model, image_shape), dense)


def describe(model: nn.Module) -> str:
    """The class and the size of a net, in a few words."""
    blocks = model.blocks_per_stage
    text = f"{type(model).__name__}, {sum(blocks)} blocks in {len(blocks)} stages"
    width = getattr(model, "width", 1)
    return text if width == 1 else f"{text}, {width} times as wide"


def report(summary: Summary) -> str:
    """A heading, a table of the layers and a table of the stages."""
    return "\n\n".join([heading(summary), layer_table(summary), stage_table(summary)])


def heading(summary: Summary) -> str:
    """The net and its settings, in a line."""
    model, size = summary.model, summary.image_size
    channels = "none (dense)" if model.min_channels is None else model.min_channels
    settings = [
        f"min_channels {channels}",
        *[f"scheme {model.scheme}"] * model.has_later_scheme,
        f"{model.classes} classes",
        f"images of {size}x{size} pixels",
        *["small_images"] * model.small_images,
    ]
    return f"{summary.name}: {', '.join(settings)}"


def layer_table(summary: Summary) -> str:
    """What each layer costs; for a grouped net also what it saves."""
    counts, dense = summary.counts, summary.dense
    header = ["layer", "kind", "input", "-> output", "groups", "parameters", "MACs"]
    rows = [
        [
            layer.name,
            layer.kind,
            "x".join(map(str, layer.input_shape)),
            "-> " + "x".join(map(str, layer.output_shape)),
            layer.groups,
            layer.params,
            layer.macs,
        ]
        for layer in counts.layers
    ]
    total = ["total", "", "", "", "", counts.params, counts.macs]
    if dense is not None:
        header += ["params saved", "MACs saved"]
        for row, saved in zip(rows, savings(counts.layers, dense.layers), strict=True):
            row += saved
        total += [dense.params - counts.params, dense.macs - counts.macs]
    return table([header, *rows, total], left=("layer", "kind", "-> output"))


def savings(
    layers: Sequence[LayerCount], dense_layers: Sequence[LayerCount]
) -> list[Cost]:
    """What each layer saves: the cost of the dense net's layer of that name, less its.

    L and its norm are in no dense net, so their saving is negative. All layers of a
    dense net are in the grouped one, so that the savings add up to the net's.
    """
    dense = {layer.name: Cost(layer.params, layer.macs) for layer in dense_layers}
    before = [dense.get(layer.name, Cost(0, 0)) for layer in layers]
    return [
        Cost(params - layer.params, macs - layer.macs)
        for layer, (params, macs) in zip(layers, before, strict=True)
    ]


def stage_table(summary: Summary) -> str:
    """What the stages and the whole net cost; for a grouped net beside the dense."""
    counts, dense = summary.counts, summary.dense
    stages = stage_costs(summary.model, counts)
    total, statistics = "total", "with running statistics"
    if dense is None:
        rows: list[list] = [["stage", "parameters", "MACs"]]
        rows += [[stage, *cost] for stage, cost in stages.items()]
        rows += [[total, counts.params, counts.macs]]
        rows += [[statistics, counts.params_total, ""]]
        return table(rows, left=("stage",))
    saving = ["grouped", "saved"]
    rows = [["stage", "parameters: dense", *saving, "MACs: dense", *saving]]
    dense_stages = stage_costs(summary.model, dense)
    for stage, cost in stages.items():
        params, macs = map(comparison, dense_stages[stage], cost)
        rows.append([stage, *params, *macs])
    params = comparison(dense.params, counts.params)
    rows.append([total, *params, *comparison(dense.macs, counts.macs)])
    params_total = comparison(dense.params_total, counts.params_total)
    rows.append([statistics, *params_total, "", "", ""])
    return table(rows, left=("stage",))


def comparison(dense: int, grouped: int) -> tuple[int, int, str]:
    """Both, and how much of the dense one is saved, in percent."""
    return dense, grouped, f"{100 * (1 - grouped / dense):z.1f}%"


def stage_costs(model: nn.Module, counts: Counts) -> dict[str, Cost]:
    """The cost of the stem, of each stage and of the head; together the net's."""
    numbers = range(1, len(model.blocks_per_stage) + 1)
    stages = ["stem", *(f"stage {number}" for number in numbers), "head"]
    layers: dict[str, list[LayerCount]] = {stage: [] for stage in stages}
    for layer in counts.layers:
        layers[stage_of_layer(layer.name, model)].append(layer)
    return {
        stage: Cost(sum(layer.params for layer in of), sum(layer.macs for layer in of))
        for stage, of in layers.items()
    }


def stage_of_layer(name: str, model: nn.Module) -> str:
    """block0/pointwise/K -> stage 1. What follows the last stage is the head."""
    part = name.split("/")[0]
    if part.startswith("block"):
        return f"stage {stage_of_block(part, model)[0]}"
    if part.startswith("transition"):
        return part.replace("transition", "stage ")
    return "stem" if part in ("stem", "stem_norm") else "head"


def table(rows: Sequence[Sequence[str | int]], left: Sequence[str]) -> str:
    """Aligned columns, those headed by a name in `left` at their left.

    The first row is the header.
    """
    cells = [[f"{c:,}" if isinstance(c, int) else c for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = [str.ljust if name in left else str.rjust for name in cells[0]]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            put(cell, width)
            for put, cell, width in zip(align, row, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def check_picture(file: Path) -> None:
    """Raises ValueError where `write_picture` cannot succeed: no matplotlib, a format
    that it does not know, or no such folder."""
    try:
        from gpwjax.canvas import Figure
    except ModuleNotFoundError as error:
        raise ValueError(
            "a picture needs matplotlib: pip install gpwjax[train]"
        ) from error
    formats = sorted(Figure().canvas.get_supported_filetypes())
    if file.suffix[1:].lower() not in formats:
        raise ValueError(
            f"a picture's name must end in one of .{', .'.join(formats)}; got {file}"
        )
    if not file.parent.is_dir():
        raise ValueError(f"cannot write {file}: there is no folder {file.parent}")


def write_picture(summary: Summary, file: Path) -> None:
    """Draws the stages' costs into a file of any format that matplotlib knows.

    Raises:
      OSError: the file cannot be written.
      RuntimeError: the format needs a program that is missing: .pgf needs LaTeX.
    """
    from gpwjax.canvas import own_settings

    # Drawn in memory first: where that fails, a file of that name stays as it was.
    picture = io.BytesIO()
    with own_settings():
        draw(summary).savefig(picture, format=file.suffix[1:], dpi=120)
    write_bytes(file, picture.getvalue())


def draw(summary: Summary) -> "Figure":
    """Bars of the parameters and of the MACs of each stage."""
    from gpwjax.canvas import Figure

    model, counts, dense = summary.model, summary.counts, summary.dense
    nets = {"dense": counts} if dense is None else {"dense": dense, "grouped": counts}
    stages = {net: stage_costs(model, of) for net, of in nets.items()}
    names = [name.removeprefix("stage ") for name in stages["dense"]]
    figure = Figure(figsize=(12, 5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    figure.suptitle(heading(summary), fontsize=14)
    panels = figure.subplots(1, 2)
    for axes, i, label in zip(panels, (0, 1), ("parameters", "MACs"), strict=True):
        draw_bars(
            axes,
            {
                net: [cost[i] for cost in costs.values()]
                for net, costs in stages.items()
            },
            label,
        )
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("stage", fontsize=12)
    # One for both panels, and outside, where it hides no bar.
    bars = panels[0].get_legend_handles_labels()
    figure.legend(*bars, loc="outside lower center", ncols=2, fontsize=12)
    return figure


def draw_bars(axes: "Axes", values: dict[str, list[int]], label: str) -> None:
    """Bars of {"dense": value of each stage, "grouped": ...}, side by side."""
    most = max(map(max, values.values()))
    unit, unit_name = next((u for u in UNITS if most >= u[0]), UNITS[-1])
    width = 0.8 / len(values)
    for i, (net, of) in enumerate(values.items()):
        shift = (i - (len(values) - 1) / 2) * width
        axes.bar(
            [stage + shift for stage in range(len(of))],
            [value / unit for value in of],
            width,
            label=net,
            color=COLORS[net],
            zorder=2,  # above the grid
        )
    totals = {net: sum(of) for net, of in values.items()}
    title = ", ".join(f"{total:,} {net}" for net, total in totals.items())
    if len(totals) > 1:
        title += f", {comparison(*totals.values())[2]} saved"
    axes.set_title(f"{label}: {title}", fontsize=11)
    axes.set_ylabel(f"{label} ({unit_name})", fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(axis="y", alpha=0.3)
