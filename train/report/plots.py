"""Plots as SVG inside a page, in the page's own colours and font."""

import dataclasses
import io
import math
import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from gpwjax.canvas import Axes, Figure, own_settings

# Stand for colours that the page's style sheet has, one for light and one for dark.
INK, GRID = "#010101", "#020202"
SERIES = ("#030301", "#030302", "#030303", "#030304", "#030305", "#030306")
VARIABLES = {INK: "currentColor", GRID: "var(--line)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(SERIES, 1)
}
PICTURE = ("tab:blue", "tab:orange", "tab:gray")  # in their place, in a picture
SETTINGS = {
    "svg.fonttype": "none",  # text is text
    "svg.hashsalt": "gpwjax",  # the same ids each time
    "path.simplify": True,
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
}
SIZE = (4.6, 2.7)  # inches; a point is a pixel where the plot is 331 pixels wide


@dataclasses.dataclass(frozen=True)
class Series:
    """A line, or points, of a plot.

    Attributes:
      label: in the legend.
      x, y: of its points.
      color: number from 0 of its colour; None: that of the text.
      dashed: dashes, or hollow points.
      thin: for one of many.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    color: int | None = 0
    dashed: bool = False
    thin: bool = False

    @property
    def ink(self) -> str:
        return INK if self.color is None else SERIES[self.color % len(SERIES)]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A plot and what belongs to it on the page.

    Attributes:
      title: its heading.
      svg: the picture, with a description.
      legend: (label, variable of the colour, shape) of each series; the shape is
        line, dashed, dot or hollow.
    """

    title: str
    svg: Markup
    legend: list[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Lines over epochs.

    Attributes:
      name: unique on a page.
      title: their heading.
      series: the lines.
      ylim: lowest and highest value that is shown; None: as the lines have it.
    """

    name: str
    title: str
    series: Sequence[Series]
    ylim: tuple[float | None, float | None] = (None, None)

    def draw(self, axes: Axes, inks: Sequence[str] = SERIES) -> None:
        """Draws the lines, in these colours."""
        for one in self.series:
            axes.plot(
                one.x,
                one.y,
                color=inks[one.color % len(inks)],
                linestyle=(0, (4, 2)) if one.dashed else "-",
                linewidth=0.9 if one.thin else 1.6,
                marker="o" if len(one.x) < 3 else "",
                markersize=3,
                label=one.label,
            )
        axes.set(ylim=self.ylim)
        axes.xaxis.get_major_locator().set_params(integer=True)


def line_plot(curves: Curves) -> Plot:
    """Lines over epochs, for a page."""
    with own_settings(SETTINGS):
        figure, axes = make_axes("epoch")
        curves.draw(axes)
        lines = "; ".join(map(in_words, curves.series))
        svg = to_svg(figure, curves.name, f"{curves.title} over epoch: {lines}")
        return Plot(curves.title, svg, legend(curves.series, ("line", "dashed")))


def line_picture(panels: Sequence[Curves], best_epoch: int) -> Figure:
    """The same as a picture, one panel beside the other; inside `own_settings`."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, curves in zip(figure.subplots(1, len(panels)), panels, strict=True):
        curves.draw(axes, PICTURE)
        axes.axvline(best_epoch, color="tab:gray", linestyle=":", label="best epoch")
        axes.set(title=curves.title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def scatter_plot(name: str, title: str, x_label: str, series: Sequence[Series]) -> Plot:
    """Points, hollow ones below the others; `name` is unique on the page."""
    with own_settings(SETTINGS):
        figure, axes = make_axes(x_label)
        for one in series:
            axes.scatter(
                one.x,
                one.y,
                s=30,
                facecolors="none" if one.dashed else one.ink,
                edgecolors=one.ink,
                zorder=2 if one.dashed else 3,
            )
        axes.set(xlim=(0, None))
        points = "; ".join(
            f"{one.label} {y:.2f} at {x:.4g}"
            for one in series
            for x, y in zip(one.x, one.y, strict=True)
        )
        description = f"{title}, at {x_label}: {points}"
        shapes = legend(series, ("dot", "hollow"))
        return Plot(title, to_svg(figure, name, description), shapes)


def make_axes(x_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    # Fixed, since to find the best takes a tenth of a second.
    figure.subplots_adjust(left=0.16, right=0.98, top=0.96, bottom=0.17)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label)
    return figure, axes


def in_words(series: Series) -> str:
    """What a line shows."""
    y = [value for value in series.y if math.isfinite(value)]
    if not y:
        return f"{series.label} without numbers"
    return (
        f"{series.label} from {y[0]:.4g} to {y[-1]:.4g}, lowest {min(y):.4g}, "
        f"highest {max(y):.4g}"
    )


def legend(
    series: Sequence[Series], shapes: tuple[str, str]
) -> list[tuple[str, str, str]]:
    """Each label once; the second of the shapes is that of the dashed ones."""
    entries = [(one.label, VARIABLES[one.ink], shapes[one.dashed]) for one in series]
    return list(dict.fromkeys(entries))


def to_svg(figure: Figure, name: str, description: str) -> Markup:
    """A figure as an element of HTML, with ids that begin with the name."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)  # repeats all texts
    text = text.replace("xlink:href", "href")
    text = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{name}-", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    label = f'<svg role="img" aria-label="{escape(description)}"'
    return Markup(label + text.removeprefix("<svg"))
