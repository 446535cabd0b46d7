"""Names in pictures: of any length, and in any script."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from unicodedata import category

from PIL import ImageDraw, ImageFont

LONGEST = 60  # characters of a name that is drawn in full


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name of at most so many characters, by leaving out its middle."""
    if len(name) <= longest:
        return name
    end = longest // 3
    return f"{name[: longest - end - 1]}…{name[-end:]}"


def escaped(text: str, has_glyph: Callable[[str], bool]) -> str:
    """A text with the characters that a font lacks as in Python, \\u732b, which tells
    them from each other as boxes would not; so are the ends of lines, and all that
    controls a terminal."""
    return "".join(
        c
        if category(c) != "Cc" and has_glyph(c)
        else c.encode("unicode_escape").decode()
        for c in text
    )


def drawable(text: str) -> str:
    """A text as `write` can draw it."""
    return escaped(text, has_glyph)


def write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, width: int
) -> None:
    """Draws a line of text in black, smaller or shortened where it is too long.

    Args:
      place: of its upper left corner, pixels.
      size: of the font, pixels, at most.
      width: pixels, which it does not exceed.
    """
    text = drawable(text)
    while size > 10 and draw.textlength(text, font(size)) > width:
        size -= 1
    longest = len(text)
    while draw.textlength(shortened(text, longest), font(size)) > width:
        longest -= 1
    draw.text(place, shortened(text, longest), "black", font(size))


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font where it is installed: Pillow's has hardly more than
    ASCII."""
    matplotlib = find_spec("matplotlib")
    if matplotlib is not None:
        folder = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf"
        if (folder / "DejaVuSans.ttf").is_file():
            return ImageFont.truetype(folder / "DejaVuSans.ttf", size)
    return ImageFont.load_default(size)


@cache
def has_glyph(character: str) -> bool:
    """Whether the font has a character: else it draws what it draws for none."""
    drawn, none = (bytes(font(16).getmask(c)) for c in (character, "\U0010ffff"))
    return drawn != none
