"""From templates and values to HTML."""

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

# Read now, so that those of other code are not taken at the end of a long run.
FILES = {
    file.name: file.read_text(encoding="utf-8")
    for file in Path(__file__).parent.iterdir()
    if file.suffix in (".html", ".css")
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of each row is its heading.

    Attributes:
      caption: what the table shows.
      head: headings of the columns.
      rows: of cells.
      facts: whether the cells are what the row's heading names, not columns of
        numbers.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    facts: bool = False


@cache
def environment() -> jinja2.Environment:
    """The templates; whatever is put into them is text, not HTML."""
    return jinja2.Environment(
        loader=jinja2.DictLoader(FILES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """A whole page."""
    style = FILES["style.css"]
    return environment().get_template(template).render(style=style, **values)


def percent(share: float) -> str:
    return f"{share:.2%}"


def duration(seconds: float) -> str:
    """3.4 s, 5 min 12 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def number(value: float) -> str:
    """With the digits that matter, and commas between thousands."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
