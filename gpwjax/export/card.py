"""A model card from what a weights file says, in the form that model hubs read: a head
in YAML, then Markdown."""

import json
from pathlib import Path
from typing import Any

import jax

from gpwjax.counts import count
from gpwjax.deep_pictures import FULL_RANGE
from gpwjax.inference import Classifier, stored_size, value_range
from gpwjax.intervals import wilson_interval
from gpwjax.summary import describe
from gpwjax.weights import one_line

PAPER = (
    "Schuler et al., Grouped Pointwise Convolutions Reduce Parameters in "
    "Convolutional Neural Networks, Mendel 28(1), 2022, doi:10.13164/mendel.2022.1.023"
)
TASK = "image-classification"
MOST_CLASSES = 100  # whose names are listed


def card(classifier: Classifier, file: Path, licence: str | None = None) -> str:
    """The card of a net.

    Args:
      classifier: as of `load`.
      file: its weights file, after which the net is named.
      licence: of the weights (None: what the file says).

    Returns:
      Markdown with a head in YAML, each of whose values is JSON too.
    """
    about = classifier.metadata
    licence = licence or text_of(about, "license")
    # A file of a run has the same name in all of them.
    name = file.stem if file.stem != "model" else file.absolute().parent.name
    parts = [
        yaml_head(head(classifier, name, licence)),
        f"# {name}\n",
        paragraph_of_net(classifier),
        section("Trained on", trained_on(about)),
        section("Accuracy", accuracy_lines(about)),
        section("Cost", cost_lines(classifier)),
        section("Licence", [licence or "The weights file states none."]),
        section("Limits", limits(classifier)),
        section("Use", [usage(file)]),
    ]
    if isinstance(about.get("card"), dict):
        lines = [f"- {key}: {one_text(value)}" for key, value in about["card"].items()]
        parts.append(section("As published", lines))
    return "\n".join(parts)


def head(classifier: Classifier, name: str, licence: str | None) -> dict[str, Any]:
    """What hubs read. Their names of licences are those of SPDX in small letters."""
    about = classifier.metadata
    found: dict[str, Any] = {"library_name": "gpwjax", "pipeline_tag": TASK}
    if licence is not None and licence.replace(" ", "") == licence:
        found["license"] = licence.lower()
    elif licence is not None:
        found |= {"license": "other", "license_name": licence}
    net = about["model"]["name"]
    found["tags"] = [TASK, "jax", "flax", "grouped-pointwise-convolution", net]
    data = text_of(about, "data")
    if data is not None:
        found["datasets"] = [data]
    found["metrics"] = ["accuracy"]
    accuracy = about.get("test_accuracy")
    if data is not None and isinstance(accuracy, float):
        result = {
            "task": {"type": TASK},
            "dataset": {"name": data, "type": data, "split": "test"},
            "metrics": [{"type": "accuracy", "value": accuracy}],
        }
        found["model-index"] = [{"name": name, "results": [result]}]
    return found


def yaml_head(entries: dict[str, Any]) -> str:
    lines = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in entries.items()
    ]
    return "\n".join(["---", *lines, "---\n"])


def section(title: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}", *lines, ""])


def paragraph_of_net(classifier: Classifier) -> str:
    names = [one_text(name) for name in classifier.classes]
    shown = ", ".join(names[:MOST_CLASSES])
    more = f" and {len(names) - MOST_CLASSES:,} more" * (len(names) > MOST_CLASSES)
    channels = classifier.metadata["model"]["min_channels"]
    kind = "" if channels is None else f" Its pointwise convolutions follow {PAPER}."
    return (
        f"{describe(classifier.model)}. It names one of {len(names):,} classes: "
        f"{shown}{more}.{kind}\n"
    )


def trained_on(about: dict[str, Any]) -> list[str]:
    """The data and how their pictures were prepared."""
    size, stored = about["image_size"], stored_size(about)
    shape = "black bars made them squares" if about.get("pad") else "cut to squares"
    lines = [
        f"- data set: {text_of(about, 'data') or 'the weights file names none'}",
        f"- pictures: {shape}, shrunk to {stored}x{stored} pixels "
        f"({about.get('resize', 'bilinear')})",
    ]
    if size != stored:
        lines.append(f"- enlarged to {size}x{size} pixels by nearest neighbour")
    if value_range(about) != FULL_RANGE:
        low, high = value_range(about)
        lines.append(f"- 16-bit pictures: {low} is black, {high} white")
    return lines


def accuracy_lines(about: dict[str, Any]) -> list[str]:
    accuracy, images = about.get("test_accuracy"), about.get("test_images")
    if not isinstance(accuracy, float):
        return ["The weights file states none."]
    if type(images) is not int or images < 1:
        return [f"{accuracy:.2%} of the test images, whose number is not stated"]
    low, high = wilson_interval(round(accuracy * images), images)
    return [
        f"{accuracy:.2%} of {images:,} test images (95% interval {low:.1%} to "
        f"{high:.1%}, of the choice of images; other seeds differ too)"
    ]


def cost_lines(classifier: Classifier) -> list[str]:
    size = classifier.metadata["image_size"]
    parameters = sum(x.size for x in jax.tree.leaves(classifier.variables["params"]))
    macs = count(classifier.model, (size, size, 3)).macs
    return [
        f"- parameters: {parameters:,}",
        f"- multiply-accumulates: {macs:,} an image of {size}x{size} pixels",
    ]


def limits(classifier: Classifier) -> list[str]:
    return [
        f"- Any picture gets one of the {len(classifier.classes):,} classes, also one "
        "that shows none of them.",
        "- Accuracy is of pictures like those of the data set; of others it is not "
        "known, nor whether all groups of people, places or cameras fare alike.",
        "- Probabilities are those of the softmax, not calibrated.",
        "- The data set may have a licence of its own.",
    ]


def usage(file: Path) -> str:
    return (
        "```python\n"
        "import gpwjax\n"
        f"net = gpwjax.load({file.name!r})\n"
        "net.predict(images)  # (N, H, W, 3) uint8 -> (N, classes) probabilities\n"
        "```"
    )


def text_of(about: dict[str, Any], name: str) -> str | None:
    """An entry of the metadata, where it is a text."""
    value = about.get(name)
    return one_text(value) if isinstance(value, str) else None


def one_text(value: object) -> str:
    """A text of any origin in one line."""
    return one_line(Exception(str(value)))
