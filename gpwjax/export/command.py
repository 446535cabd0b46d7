"""What `gpwjax export` writes, and what there is to say of it."""

import argparse
import shlex
from pathlib import Path

from gpwjax import export
from gpwjax.export import web
from gpwjax.export.calibration import read_calibration
from gpwjax.export.card import card
from gpwjax.files import write_text
from gpwjax.inference import Classifier


def check(options: argparse.Namespace) -> None:
    """Raises ValueError where options do not go together."""
    if options.format == "web" and options.uint8:
        raise ValueError("--uint8 is for files; a page always takes any picture")
    if options.dtype == "int8" and options.format not in ("onnx", "web"):
        raise ValueError(f"--dtype int8 is of onnx and web, not of {options.format}")
    if options.dtype == "int8" and options.calibrate is None:
        raise ValueError(
            "--dtype int8 needs --calibrate, a folder of pictures or a data set"
        )
    for name, given in (("calibrate", options.calibrate), ("force", options.force)):
        if given and options.dtype != "int8":
            raise ValueError(f"--{name} is of --dtype int8")
    if options.license is not None and options.format != "card":
        raise ValueError("--license is of --format card")


def write(classifier: Classifier, file: Path, options: argparse.Namespace) -> str:
    """Writes a net in another format; what there is to say of it.

    Args:
      classifier: the net.
      file: the file or folder to write.
      options: as `check` takes them.

    Raises:
      ValueError: it answers otherwise than the net, or there are no pictures to
        calibrate by.
      ImportError: a package is missing.
      OSError: the file cannot be written, or the pictures cannot be listed.
    """
    if options.format == "card":
        write_text(file, card(classifier, options.weights, options.license))
        return f"{file}: a model card"
    if options.dtype == "int8":
        return write_int8(classifier, file, options)
    if options.format == "web":
        difference, _ = web.export_page(classifier, file, dtype=options.dtype)
        said = f"{file}: a page"
    else:
        difference = export.export(
            classifier, file, options.format, dtype=options.dtype, uint8=options.uint8
        )
        said = about_file(classifier, file, options.uint8)
    said += (
        f"; on {export.PICTURES} pictures its probabilities differ from the net's by "
        f"at most {difference:.1g}"
    )
    return f"{said}\n{to_see(file)}" if options.format == "web" else said


def write_int8(classifier: Classifier, file: Path, options: argparse.Namespace) -> str:
    """As `write`, of int8."""
    # Here, since only this needs the packages.
    from gpwjax.export.int8 import export_int8

    calibration = read_calibration(options.calibrate, classifier)
    settings = {"force": options.force}
    if options.format == "web":
        found = web.export_int8_page(classifier, file, calibration, **settings)
        said = f"{file}: a page"
    else:
        settings["uint8"] = options.uint8
        found = export_int8(classifier, file, calibration, **settings)
        said = about_file(classifier, file, options.uint8)
    said += (
        f", {found.plan}; of {found.pictures:,} pictures {found.same_class:.1%} get "
        "the class that the net gives them"
    )
    if found.accuracy is not None:
        before, after = found.accuracy
        said += f", and {after:.2%} the right one (of the net {before:.2%})"
    return f"{said}\n{to_see(file)}" if options.format == "web" else said


def about_file(classifier: Classifier, file: Path, uint8: bool) -> str:
    size = classifier.metadata["image_size"]
    images = f"(N, {size}, {size}, 3) of floats in [0, 1]"
    if uint8:
        images = "(N, H, W, 3) of uint8"
    return f"{file}: {file.stat().st_size:,} bytes, for images {images}"


def to_see(folder: Path) -> str:
    """How a page is looked at."""
    quoted = shlex.quote(str(folder))
    return (
        f"What runs the net in a browser comes once with\n"
        f"  {web.INSTALL} {quoted}\n"
        f"and the page is at http://localhost:8000 with\n"
        f"  python -m http.server --directory {quoted}"
    )
