"""The order of things in an evaluation of a trained net."""

import argparse
import logging
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from gpwjax.inference import stored_size, value_range

from ..config import Config, RunError
from ..data import Dataset, load_dataset
from ..data.names import class_key
from ..nets import Net, load_net
from ..origin import PACKAGES, with_own_data
from .evaluation import Evaluation
from .testing import answers_to

log = logging.getLogger(__name__)


def evaluate(options: argparse.Namespace) -> None:
    """Tests a net, says how good it is, and writes the report.

    Args:
      options: as of `train.evaluate.read_args`.

    Raises:
      RunError: the net, the data set or the part does not exist, or they do not go
        together.
      OSError: the report cannot be written.
    """
    net = load_net(options.net)
    config = data_config(net, options)
    dataset = load_dataset(config)
    indices = choose_part(dataset, options.part)
    numbers = match_classes(net.classifier.classes, dataset)
    folder = options.out or net.report_folder / f"{dataset.name}-{options.part}"
    folder.mkdir(parents=True, exist_ok=True)  # now, so that it cannot fail later
    with jax.default_matmul_precision(net.settings.get("matmul_precision")):
        answers = answers_to(
            net.classifier,
            f"the net of {net.file}",
            dataset,
            indices,
            of_all_devices(config.batch_size),
            numbers,
            options.mirror,
        )
    about = describe(net, config) | {"mirror": options.mirror}
    evaluation = Evaluation(answers, dataset.name, options.part, about)
    log.info("\n%s\n", evaluation.text())
    evaluation.write(folder)
    log.info("everything is in %s", folder)


def data_config(net: Net, options: argparse.Namespace) -> Config:
    """The settings with which the data set is loaded: sized as the net has it.

    Raises:
      RunError: no data set is named, or a setting is out of range.
    """
    settings = net.settings | vars(options)
    if "data" not in settings:
        raise RunError(f"{net.file} does not name its data set: name one with --data")
    kinds = {"data": str, "seed": int, "split": str}
    chosen = {name: settings[name] for name in kinds if name in settings}
    for name, value in chosen.items():
        if not isinstance(value, kinds[name]):
            raise RunError(
                f"{name} in {net.file} must be of type {kinds[name].__name__}, got "
                f"{value!r:.200}"
            )
    about = net.classifier.metadata
    try:
        config = Config(
            data_dir=options.data_dir,
            image_size=stored_size(about),
            pad=about.get("pad", False),
            resize=about.get("resize", "bilinear"),
            range_16_bit="{}-{}".format(*value_range(about)),
            batch_size=options.batch_size,
            **chosen,
        )
    except ValueError as error:
        raise RunError(str(error)) from error
    if "data" in options or net.run is None:
        return config
    return with_own_data(net.run, config)


def choose_part(dataset: Dataset, part: str) -> np.ndarray:
    """Indices of the images of a part; "all" has those of all parts.

    Raises:
      RunError: there are none.
    """
    parts = ("train", "val", "test") if part == "all" else (part,)
    indices = np.concatenate([getattr(dataset, name) for name in parts])
    if not len(indices):
        raise RunError(f"{dataset.name} has no image for --part {part}")
    return np.sort(indices)


def match_classes(known: Sequence[str], dataset: Dataset) -> np.ndarray:
    """For each class of the data set its number among those that the net knows.

    Names that differ only in Unicode form, case or outer blanks are the same.

    Raises:
      RunError: the net does not know one.
    """
    alike = {class_key(name): name for name in known}
    names = [n if n in known else alike.get(class_key(n)) for n in dataset.classes]
    unknown = [n for n, same in zip(dataset.classes, names, strict=True) if not same]
    if unknown:
        raise RunError(
            f"the net does not know {len(unknown)} of the {len(dataset.classes)} "
            f"classes of {dataset.name}: {', '.join(map(repr, unknown))}. It knows "
            + textwrap.shorten(", ".join(map(repr, known)), 200, placeholder=" ...")
        )
    if len(known) > len(dataset.classes):
        log.info(
            "%s has %d of the %d classes that the net knows",
            dataset.name,
            len(dataset.classes),
            len(known),
        )
    return np.array([known.index(name) for name in names])


def of_all_devices(batch_size: int) -> int:
    """The batch size, or the next one that gives each device as many images."""
    devices = jax.device_count()
    return -(-batch_size // devices) * devices


def describe(net: Net, config: Config) -> dict[str, Any]:
    """How the answers came about."""
    about = net.classifier.metadata
    return {
        "weights": str(net.file),
        "model": about["model"],
        "image_size": about["image_size"],
        "stored_size": stored_size(about),
        **{k: getattr(config, k) for k in ("pad", "resize", "seed", "split")},
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "versions": {name: version(name) for name in PACKAGES},
    }
