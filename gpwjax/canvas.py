"""Matplotlib without the settings that a person, a project or a notebook made for it.

Whatever is drawn with it imports it from here, and draws inside `own_settings`.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# A notebook's backend keeps matplotlib from being imported where the package that it
# names is missing; pyplot, which is the notebook's, is to find it all the same.
is_first = "matplotlib" not in sys.modules
backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
except (OSError, UnicodeDecodeError):  # of a matplotlibrc: once more, with its own
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        del sys.modules[name]
    package = Path(find_spec("matplotlib").origin).parent
    with contextlib.chdir(package / "mpl-data"):
        import matplotlib
finally:
    if backend is not None:
        os.environ["MPLBACKEND"] = backend
if backend is not None and is_first:
    with contextlib.suppress(ValueError):  # it is missing
        matplotlib.rcParams["backend"] = backend

from matplotlib import font_manager  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.image import AxesImage  # noqa: E402

from gpwjax.captions import escaped  # noqa: E402

__all__ = ["Axes", "AxesImage", "Figure", "drawable", "own_settings"]

FONT = "DejaVu Sans"  # which matplotlib brings
BOXES = "Last Resort"  # how fonts are called that have a box for everything


@contextlib.contextmanager
def own_settings(
    changes: Mapping[str, Any] | None = None, names: Iterable[str] = ()
) -> Iterator[None]:
    """Inside, a figure is drawn and saved with matplotlib's defaults.

    Args:
      changes: other settings.
      names: texts of others, for which installed fonts are looked through.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings = {"text.parse_math": False, "font.family": families(names)}
        matplotlib.rcParams.update(settings | dict(changes or {}))
        yield


def drawable(texts: Iterable[str]) -> list[str]:
    """Texts as they can be drawn with `own_settings(names=texts)`."""
    texts = list(texts)
    glyphs = set().union(*map(glyphs_of, families(texts)))
    return [escaped(text, lambda c: ord(c) in glyphs) for text in texts]


def families(texts: Iterable[str]) -> list[str]:
    """FONT, and installed fonts that have the characters that it lacks."""
    found = [FONT]
    missing = {ord(c) for text in texts for c in text} - glyphs_of(FONT)
    for name in sorted(font_files() if missing else ()):
        if missing & glyphs_of(name):
            found.append(name)
            missing -= glyphs_of(name)
    return found


def font_files() -> dict[str, str]:
    """The files of the upright fonts of usual weight, by their names."""
    return {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if font.style == "normal"
        and font.weight in (400, "normal", "regular")
        and not font.name.startswith(BOXES)
    }


@cache
def glyphs_of(family: str) -> frozenset[int]:
    """The code points of the characters that a font has."""
    try:
        font = font_manager.get_font(font_files()[family])
    # It has pictures, as those of emoji, or is gone since matplotlib listed it.
    except (RuntimeError, OSError):
        return frozenset()
    return frozenset(font.get_charmap())
