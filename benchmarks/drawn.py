"""How many drawn digits a net names right, light on dark and dark on light.

    python -m benchmarks.drawn NET [NET ...]

A NET is a weights file, a run folder or the name of a trained net, of the digits. The
digits are drawn as lines by pens of several widths and set in fonts of matplotlib, at
several heights in the picture; written to results/drawn-DATE-DEVICE.json.
"""

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

import gpwjax
from benchmarks.record import add

SIZE = 256  # of a picture, pixels
HEIGHTS = (0.6, 0.7, 0.8, 0.9)  # of a digit, as shares of the picture's
PENS = (0.06, 0.1, 0.14)  # widths, as shares of the picture's
FONTS = (
    *("DejaVu Sans", "DejaVu Sans:bold", "DejaVu Sans:italic", "DejaVu Sans Mono"),
    *("DejaVu Serif", "STIXGeneral", "cmr10"),
)
# The corners of each digit's lines, (x, y) in tenths of the picture's size, which is 8
# of them high.
LINES = {
    0: ["51 32 25 38 59 78 85 72 51"],
    1: ["32 51 59"],
    2: ["33 41 61 73 64 29 89"],
    3: ["32 51 72 73 54 76 77 59 38"],
    4: ["51 26 86", "64 69"],
    5: ["71 31 35 54 65 77 59 38"],
    6: ["61 42 36 38 59 78 76 55 36"],
    7: ["21 71 49"],
    8: ["54 33 32 51 72 73 54 36 38 59 78 76 54"],
    9: ["73 55 34 32 51 72 73 66 59"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="+", metavar="NET")
    options, cases = parser.parse_args(), drawn()
    for net in options.nets:
        figures = {}
        classifier = gpwjax.load(net)
        for case, drawings in cases.items():
            digits = np.arange(len(drawings)) % 10
            for ground, images in (("dark", drawings), ("light", 255 - drawings)):
                right = classifier.predict(images).argmax(1) == digits
                figures[f"{case}, on {ground}"] = round(float(right.mean()), 4)
        file = add("drawn", net, figures)
        print(net, *(f"{v:7.1%} {case}" for case, v in figures.items()), sep="\n")
    print(f"written to {file}")


def drawn() -> dict[str, np.ndarray]:
    """Pictures (N, SIZE, SIZE, 3) uint8 of the digits 0 to 9 in turn, light on dark, by
    how they are drawn."""
    cases = {"fonts": [ten_of(font_digit, *how) for how in product(HEIGHTS, FONTS)]}
    for pen in PENS:
        cases[f"pen {pen:g}"] = [ten_of(pen_digit, height, pen) for height in HEIGHTS]
    return {case: np.concatenate(pictures) for case, pictures in cases.items()}


def ten_of(draw_digit: Callable, *how: Any) -> np.ndarray:
    """Ten pictures (10, SIZE, SIZE, 3), of the digits 0 to 9 drawn by a function."""
    images = []
    for digit in range(10):
        image = Image.new("RGB", (SIZE, SIZE))
        draw_digit(ImageDraw.Draw(image), digit, *how)
        images.append(np.asarray(image))
    return np.stack(images)


def pen_digit(draw: ImageDraw.ImageDraw, digit: int, height: float, pen: float) -> None:
    """A digit as lines with round ends."""
    scale, radius = SIZE * height / 8, SIZE * pen / 2
    for line in LINES[digit]:
        corners = [[SIZE / 2 + scale * (int(c) - 5) for c in xy] for xy in line.split()]
        draw.line([*map(tuple, corners)], "white", round(2 * radius), joint="curve")
        for corner in corners:
            draw.circle(corner, radius, "white")


def font_digit(draw: ImageDraw.ImageDraw, digit: int, height: float, name: str) -> None:
    """A digit of a font, in the middle of the picture."""
    font = ImageFont.truetype(font_manager.findfont(name), SIZE)
    _, top, _, bottom = font.getbbox(str(digit))
    font = font.font_variant(size=round(SIZE * SIZE * height / (bottom - top)))
    left, top, right, bottom = font.getbbox(str(digit))
    place = ((SIZE - left - right) / 2, (SIZE - top - bottom) / 2)
    draw.text(place, str(digit), "white", font)


if __name__ == "__main__":
    main()
