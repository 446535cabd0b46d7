"""A run that begins with a trained net: what it takes over, and what is new."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import gpwjax
from gpwjax.inference import value_range

from .config import Config, RunError
from .nets import load_given
from .state import split

log = logging.getLogger(__name__)

HEAD = "head"  # the classifier of every net


def load_source(config: Config) -> gpwjax.Classifier:
    """Reads the net of --init.

    Raises:
      RunError: it cannot be read, is another net than the run's, or --freeze does not
        fit it.
    """
    source = load_given("--init", config.init)
    check_same_net(source, config)
    check_freeze(source, config.freeze)
    return source


def sized_as(config: Config, source: gpwjax.Classifier) -> Config:
    """The configuration; what it leaves open of the images is as the net had it."""
    open_settings = {
        "image_size": source.metadata["image_size"],
        "small_images": source.model.small_images,
        "range_16_bit": "{}-{}".format(*value_range(source.metadata)),
    }
    return dataclasses.replace(
        config, **{k: v for k, v in open_settings.items() if getattr(config, k) is None}
    )


def check_same_net(source: gpwjax.Classifier, config: Config) -> None:
    """Raises RunError naming what differs between the nets of the file and the run."""
    model, name = source.model, source.metadata["model"]["name"]
    settings = {
        "model": (name, config.model),
        "min-channels": (model.min_channels, config.min_channels),
    }
    if config.min_channels is not None:
        settings["scheme"] = model.scheme, config.scheme
    if config.small_images is not None:
        settings["small-images"] = model.small_images, config.small_images
    differences = [
        f"--{flag} is {there} there, {here} here"
        for flag, (there, here) in settings.items()
        if there != here
    ]
    if differences:
        raise RunError(
            f"--init {config.init} is another net than this run's: "
            + "; ".join(differences).replace("None", "none")
        )


def check_freeze(source: gpwjax.Classifier, freeze: Sequence[str]) -> None:
    """Raises RunError unless `freeze` names parts of the net, and not all of them."""
    # So that block2 comes before block10.
    parts = sorted(source.variables["params"], key=lambda name: (len(name), name))
    for name in freeze:
        if name not in parts:
            allowed = ", ".join(parts)
            raise RunError(f"--freeze must name some of {allowed}; got {name!r}")
    trained, _ = split(source.variables, freeze)
    if not trained["params"]:
        raise RunError("--freeze must leave a part of the net to train, got all")


def check_head(
    source: gpwjax.Classifier, classes: Sequence[str], freeze: Sequence[str]
) -> str | None:
    """Why the classifier must be a new one; None where it can be taken over.

    Raises:
      RunError: it would be new, and frozen.
    """
    reason = difference(source.classes, classes)
    if reason is not None and HEAD in freeze:
        raise RunError(f"--freeze must leave out {HEAD}, which must be new: {reason}")
    return reason


def difference(there: Sequence[str], here: Sequence[str]) -> str | None:
    """What differs between the classes of the file and of the run; None: nothing."""
    if len(there) != len(here):
        return f"there are {len(there)} classes there, {len(here)} here"
    for number, (old, new) in enumerate(zip(there, here, strict=True)):
        if old != new:
            return f"class {number} is {old!r} there, {new!r} here"
    return None


def take_over(
    source: gpwjax.Classifier, config: Config, classes: Sequence[str]
) -> dict[str, Any]:
    """The variables of the net of --init, without its classifier if that must be new.

    Says what is taken over.

    Args:
      source: as `load_source` gives it.
      config: has an `init`.
      classes: of the data set.

    Raises:
      RunError: the net does not fit the run.
    """
    reason = check_head(source, classes, config.freeze)
    taken, _ = split(source.variables, () if reason is None else (HEAD,))
    log.info("taken over from %s: %s", config.init, size(taken))
    if reason is not None:
        log.info("not taken over: %s, the classifier, since %s", HEAD, reason)
    if config.freeze:
        _, frozen = split(taken, config.freeze)
        log.info("frozen: %s: %s", ", ".join(config.freeze), size(frozen))
    return jax.tree.map(lambda array: np.asarray(array, np.float32), taken)


def size(variables: dict[str, Any]) -> str:
    """How many arrays there are, and parameters in them."""
    arrays = len(jax.tree.leaves(variables))
    params = sum(array.size for array in jax.tree.leaves(variables["params"]))
    return f"{arrays} arrays ({params:,} parameters)"
