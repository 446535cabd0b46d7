"""A trained net as a web page: a folder of static files, for any server."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gpwjax.deep_pictures import FULL_RANGE
from gpwjax.explain import grad_cam
from gpwjax.export.files import BOUNDS, PICTURES, in_float32, run_onnx
from gpwjax.export.preparation import add_net_size
from gpwjax.inference import Classifier, as_float, stored_size, value_range

if TYPE_CHECKING:
    from gpwjax.export.calibration import Calibration
    from gpwjax.export.int8 import Agreement

PAGE = Path(__file__).with_name("web_page")  # what all nets have in common
NET, DESCRIPTION, WORKER = "model.onnx", "gpwjax.json", "service-worker.js"
INSTALL = "npm install --ignore-scripts --prefix"  # and the folder
# Largest difference of a map, as a share of the largest value of all maps.
MAP_BOUNDS = {"float32": 1e-3, "bfloat16": 1e-1}


def export_page(
    classifier: Classifier, folder: str | os.PathLike, *, dtype: str = "float32"
) -> tuple[float, float]:
    """Writes a page that shows what a net says of pictures, computed in the browser.

    It needs onnxruntime-web, which INSTALL puts into the folder once.

    Args:
      classifier: as of `load`.
      folder: is made if need be; a page that is there already is replaced, but for
        what was installed.
      dtype: of the weights, as in `export`.

    Returns:
      The largest difference between a probability of the page's net and of the
      classifier, and between a value of their class activation maps, as a share of the
      largest value; on 16 random pictures.

    Raises:
      ValueError: the folder has files, but no page among them, the dtype is another, or
        a difference is too large: then nothing is written.
      ImportError: `onnx` or `onnxruntime` is missing.
      OSError: a file cannot be written.
    """
    if dtype not in BOUNDS:
        raise ValueError(f"dtype must be {' or '.join(BOUNDS)}, got {dtype!r}")
    classifier, folder = in_float32(classifier), Path(folder)
    check_folder(folder)
    with TemporaryDirectory(prefix=".gpwjax-", dir=folder.parent) as unfinished:
        made = Path(unfinished)
        (made / NET).write_bytes(net_bytes(classifier, dtype))
        differences = compare(classifier, made / NET)
        check_differences(differences, dtype)
        finish_page(classifier, made, folder)
    return differences


def export_int8_page(
    classifier: Classifier,
    folder: str | os.PathLike,
    calibration: "Calibration",
    *,
    force: bool = False,
) -> "Agreement":
    """As `export_page`, with a net of int8; its heat maps are those of the rounded
    features.

    Args:
      classifier: as of `load`.
      folder: as of `export_page`.
      calibration: as of `read_calibration`.
      force: as of `export_int8`.

    Returns:
      How its answers agree with those of the net.

    Raises:
      ValueError: the folder has files, but no page among them, or too few answers
        agree.
      ImportError: `onnx` or `onnxruntime` is missing.
      OSError: a file cannot be written.
    """
    from gpwjax.export.int8 import int8_bytes

    classifier, folder = in_float32(classifier), Path(folder)
    check_folder(folder)
    with TemporaryDirectory(prefix=".gpwjax-", dir=folder.parent) as unfinished:
        made = Path(unfinished)
        floats = net_bytes(classifier, "float32")
        (made / NET).write_bytes(floats)
        check_differences(compare(classifier, made / NET), "float32")
        content, agreement = int8_bytes(floats, calibration, as_float, force=force)
        (made / NET).write_bytes(content)
        finish_page(classifier, made, folder)
    return agreement


def finish_page(classifier: Classifier, made: Path, folder: Path) -> None:
    """Adds to a net's file what the page has beside it, and moves all to its folder."""
    about = description(classifier, (made / NET).stat().st_size)
    (made / DESCRIPTION).write_text(json.dumps(about, indent=2))
    for file in PAGE.iterdir():
        shutil.copyfile(file, made / file.name)
    worker = (PAGE / WORKER).read_text("utf-8")
    worker = worker.replace("VERSION_OF_FILES", digest(made))
    (made / WORKER).write_text(worker, "utf-8")
    folder.mkdir(exist_ok=True)
    for file in made.iterdir():
        shutil.move(file, folder / file.name)


def check_folder(folder: Path) -> None:
    """Raises ValueError for a folder with files of others."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not (folder / DESCRIPTION).is_file()
    ):
        raise ValueError(f"{folder} has files, but no page of gpwjax among them")


def digest(folder: Path) -> str:
    """Of a folder's files, so that browsers know when to forget those before."""
    total = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        total.update(file.read_bytes())
    return total.hexdigest()


def net_bytes(classifier: Classifier, dtype: str) -> bytes:
    """The page's ONNX file.

    It takes `images` (N, size, size, 3) of the stored size, floats in [0, 1], and gives
    `probabilities` (N, classes) and `maps` (N, h, w, classes), at least 0: for each
    class what `class_activation_map` scales to a maximum of 1.
    """
    # Here, since only this needs the package.
    from gpwjax.export.onnx_file import Graph, serialize
    from gpwjax.export.onnx_graph import make_graph_with_maps

    graph, about = Graph(), classifier.metadata
    images = add_net_size(graph, "images", about)
    net = classifier.model, classifier.variables
    logits = make_graph_with_maps(*net, images, about["image_size"], graph)
    graph.node("Softmax", logits, axis=-1, result="probabilities")
    return serialize(
        graph,
        images=("N", stored_size(about), stored_size(about), 3),
        uint8=False,
        classes=len(classifier.classes),
        maps=True,
        weights=dtype,
        metadata=json.dumps(about),
    )


def compare(classifier: Classifier, file: Path) -> tuple[float, float]:
    """The differences that `export_page` returns."""
    size = stored_size(classifier.metadata)
    pictures = np.random.default_rng(0).random((PICTURES, size, size, 3), np.float32)
    found, maps = (run_onnx(file, pictures, x) for x in ("probabilities", "maps"))
    difference = np.abs(found - classifier.predict(pictures)).max()
    # The gradient of one class for each picture: of all it takes long.
    classes = np.arange(PICTURES, dtype=np.int32) % len(classifier.classes)
    prepared = np.stack([classifier.prepare(picture) for picture in pictures])
    expected = grad_cam(classifier.model, classifier.variables, prepared, classes)
    maps_difference = np.abs(maps[np.arange(PICTURES), :, :, classes] - expected).max()
    return float(difference), float(maps_difference / (expected.max() or 1))


def check_differences(differences: tuple[float, float], dtype: str) -> None:
    """Raises ValueError for a difference that is too large or not a number."""
    bounds = BOUNDS[dtype], MAP_BOUNDS[dtype]
    names = "probabilities", "heat maps"
    for name, difference, bound in zip(names, differences, bounds, strict=True):
        if not difference <= bound:
            raise ValueError(
                f"the page's {name} differ from the net's by {difference:.2g}, more "
                f"than {bound:.2g}: it was not written"
            )


def description(classifier: Classifier, size: int) -> dict[str, Any]:
    """What the page has to know of a net whose file has `size` bytes."""
    about = classifier.metadata
    return {
        "classes": classifier.classes,
        "size": stored_size(about),
        "pad": about.get("pad", False),
        "resize": about.get("resize", "bilinear"),
        "facts": list(facts(classifier, size).items()),
    }


def facts(classifier: Classifier, size: int) -> dict[str, str]:
    """What the page says of a net whose file has `size` bytes."""
    about, model = classifier.metadata, classifier.metadata["model"]
    channels = model["min_channels"]
    kind = "dense" if channels is None else f"min_channels {channels}"
    if classifier.model.has_later_scheme:
        kind += f", scheme {classifier.model.scheme}"
    parameters = jax.tree.leaves(classifier.variables["params"])
    found = {
        "Net": f"{model['name']}, {kind}",
        "Parameters": f"{sum(x.size for x in parameters):,}",
        "Size": f"{size / 1e6:.2f} MB",
    }
    if isinstance(about.get("test_accuracy"), float):
        found["Test accuracy"] = f"{about['test_accuracy']:.1%}"
    if (values := value_range(about)) != FULL_RANGE:
        found["16-bit pictures"] = (
            "{} was black and {} white in training; browsers take 0 and 65535"
        ).format(*values)
    texts = {"Trained on": about.get("data"), "Licence": about.get("license")}
    return found | {name: t for name, t in texts.items() if isinstance(t, str)}
