"""Pictures depend on nobody's settings of matplotlib, and on no name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image, ImageDraw

from gpwjax import canvas, captions
from train.evaluate import figures

LONG = ["Tomato leaf with yellow curl virus " + "x" * 20, "Corn (maize) leaf " * 2]
DRAW = """
from pathlib import Path
import numpy as np
from gpwjax.canvas import Figure
from gpwjax.canvas import own_settings
from train.evaluate.figures import plot_confusion, save
from train.report.plots import Curves, Series, line_picture, line_plot

curves = Curves("a", "b", [Series("c", [1, 2], [3, 4])])
with own_settings():
    save(line_picture([curves] * 2, 1), Path("curves.png"))
plot_confusion(np.eye(2, dtype=int), ["Ba$$in", "US$_vs_A$"], Path("confusion.png"))
plot = line_plot(curves)
Path("plot.svg").write_text(plot.svg)
"""


def draw_in(folder: Path, **settings: str) -> list[bytes]:
    """Pictures that a process with these environment variables draws in a folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRAW],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | settings,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    names = ("curves.png", "confusion.png", "plot.svg")
    return [(folder / name).read_bytes() for name in names]


def test_neither_a_notebooks_backend_nor_a_matplotlibrc_changes_a_picture(tmp_path):
    for name in ("plain", "set"):
        (tmp_path / name).mkdir()
    (tmp_path / "set" / "matplotlibrc").write_text(
        "text.usetex: True\nfont.size: 30\naxes.facecolor: red\nsavefig.dpi: 10\n"
    )
    plain = draw_in(tmp_path / "plain")
    backend = "module://matplotlib_inline.backend_inline"
    assert draw_in(tmp_path / "set", MPLBACKEND=backend) == plain


def test_a_matplotlibrc_that_cannot_be_read_is_left_out(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes("font.size: 30  # größer".encode("latin-1"))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from gpwjax.canvas import matplotlib as m\n"
            "import os; print(m.rcParams['font.size'], os.getcwd())",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"10.0 {tmp_path}\n", done.stderr


def test_settings_of_others_are_as_they_were_after_drawing():
    with canvas.matplotlib.rc_context({"font.size": 30}):
        with canvas.own_settings():
            assert canvas.matplotlib.rcParams["font.size"] == 10
        assert canvas.matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("classes", [LONG, [f"{n} {LONG[0]}" for n in range(30)]])
def test_long_names_of_classes_are_drawn_in_full(classes, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, file: drawn.append(figure))
    matrix = np.eye(len(classes), dtype=int)
    figures.plot_confusion(matrix, classes, tmp_path / "a.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        box = label.get_window_extent()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    assert [label.get_text() for label in axes.get_yticklabels()] == classes
    # The matrix is as large as that of short names.
    side = axes.get_window_extent().width / figure.dpi
    assert side > 0.6 * figures.matrix_inches(len(classes))


def test_names_of_any_length_are_shortened_in_their_middle():
    assert captions.shortened("a" * 60) == "a" * 60
    text = captions.shortened("begin" + "x" * 200 + "end")
    assert len(text) == 60
    assert text.startswith("beginx")
    assert text.endswith("xend")
    assert "…" in text


def font_with(character: str, file: Path) -> None:
    """Writes a font of one letter, a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 500), (500, 500), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({ord(character): "square"})
    font.setupGlyf({".notdef": square, "square": square})
    font.setupHorizontalMetrics(dict.fromkeys((".notdef", "square"), (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "One Letter", "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(file)


def test_characters_that_no_font_has_are_told_apart(tmp_path, monkeypatch):
    """A warning would be an error here."""
    known = [f for f in font_manager.fontManager.ttflist if f.name == canvas.FONT]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", known)
    names = ["café Ж λ", "\U00020000 a", "\U00020001\n\x1b"]
    expected = ["café Ж λ", r"\U00020000 a", r"\U00020001\n\x1b"]
    assert figures.drawn_names(names) == expected
    figures.plot_confusion(np.eye(3, dtype=int), names, tmp_path / "a.png")


def test_a_font_that_is_gone_since_matplotlib_listed_it_is_left_out(
    tmp_path, monkeypatch
):
    known = [f for f in font_manager.fontManager.ttflist if f.name == canvas.FONT]
    gone = font_manager.FontEntry(str(tmp_path / "gone.ttf"), "Gone", weight=400)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*known, gone])
    assert figures.drawn_names(["\U00020002"]) == [r"\U00020002"]


def test_an_installed_font_is_used_where_matplotlibs_lacks_a_character(
    tmp_path, monkeypatch
):
    font_with("\U00020000", tmp_path / "one.ttf")
    entry = font_manager.ttfFontProperty(font_manager.get_font(tmp_path / "one.ttf"))
    fonts = [f for f in font_manager.fontManager.ttflist if f.name == canvas.FONT]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*fonts, entry])
    names = ["\U00020000 a", "\U00020001 a"]
    assert canvas.families(names) == [canvas.FONT, "One Letter"]
    assert figures.drawn_names(names) == ["\U00020000 a", r"\U00020001 a"]
    figures.plot_confusion(np.eye(2, dtype=int), names, tmp_path / "a.png")


@pytest.mark.parametrize("text", ["cat", LONG[0], "w" * 300])
def test_a_caption_is_as_wide_as_there_is_room(text):
    picture = Image.new("L", (400, 40), "white")
    captions.write(ImageDraw.Draw(picture), (4, 4), text, 16, 300)
    columns = np.flatnonzero((np.asarray(picture) < 255).any(0))
    assert columns[0] >= 3
    assert columns[-1] <= 305
    if text != "cat":
        assert columns[-1] > 250


@pytest.mark.parametrize("has_matplotlib", [True, False])
def test_a_caption_has_no_boxes(monkeypatch, has_matplotlib):
    if not has_matplotlib:
        monkeypatch.setattr(captions, "find_spec", lambda name: None)
    captions.font.cache_clear()
    captions.has_glyph.cache_clear()
    expected = "café \\u732b \\n" if has_matplotlib else "caf\\xe9 \\u732b \\n"
    assert captions.drawable("café 猫 \n") == expected
    captions.font.cache_clear()
    captions.has_glyph.cache_clear()
