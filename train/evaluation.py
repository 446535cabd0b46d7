"""The order of things in an evaluation of a trained net."""

import argparse
import dataclasses
import logging
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gpwjax
from gpwjax.inference import stored_size, value_range
from train.augment import as_input
from train.config import Config, RunError
from train.data import Dataset, load_dataset
from train.data.names import class_key
from train.progress import progress_bar
from train.run import placements
from train.run_folder import PACKAGES, read_json, read_place
from train.score_report import Report
from train.scores import Answers
from train.step import net_logits
from train.watch import STEPS_AHEAD

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"  # of a run folder


@dataclasses.dataclass(frozen=True)
class Net:
    """A trained net, and how its data set is named and split.

    Attributes:
      file: the weights file.
      run: the folder of the run that made it, if there is one.
      classifier: the content of the file.
      settings: of the run, or what the file says in their place.
    """

    file: Path
    run: Path | None
    classifier: gpwjax.Classifier
    settings: dict[str, Any]

    @property
    def report_folder(self) -> Path:
        """Where reports go if nothing else is said."""
        if self.run is not None:
            return self.run / "evaluation"
        return self.file.with_name(f"{self.file.stem}-evaluation")


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
    logits = compute_logits(net, dataset, indices, config.batch_size, options.mirror)
    answers = Answers(net.classifier.classes, numbers[dataset.labels[indices]], logits)
    about = describe(net, config) | {"mirror": options.mirror}
    report = Report(answers, indices, dataset.name, options.part, about)
    log.info("\n%s\n", report.text())
    report.write(folder)
    log.info("everything is in %s", folder)


def load_net(path: Path) -> Net:
    """Reads a run folder, or a weights file.

    Raises:
      RunError: it is neither.
    """
    run = path if path.is_dir() else None
    # The file of a run is as good as its folder: without the run's seed, images that
    # the net was trained on might be tested.
    if path.name == WEIGHTS and (path.parent / "config.json").is_file():
        run = path.parent
    file = path if run is None else run / WEIGHTS
    if run is not None and not file.is_file():
        raise RunError(
            f"{run} holds no {WEIGHTS}: it is no run folder, or its run is not finished"
        )
    try:
        classifier = gpwjax.load(file)
    except ValueError as error:
        raise RunError(str(error)) from error
    config = {} if run is None else read_json(run / "config.json")
    return Net(file, run, classifier, classifier.metadata | config)


def data_config(net: Net, options: argparse.Namespace) -> Config:
    """The settings with which the data set is loaded: sized as the net has it.

    Raises:
      RunError: no data set is named, or a setting is out of range.
    """
    own = {} if "data" in options else find_own_data(net)
    settings = net.settings | own | vars(options)
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
        return Config(
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


def find_own_data(net: Net) -> dict[str, str]:
    """Where the run's own data are, as the setting data; empty where their name says.

    Raises:
      RunError: they are not there any more.
    """
    place = None if net.run is None else read_place(net.run)
    if place is None:
        return {}
    if Path(place).exists():
        return {"data": place}
    here = Path(str(net.settings.get("data"))).expanduser().absolute()
    if not here.exists():
        raise RunError(
            f"the data of {net.run} are neither where they were, {place}, nor in "
            f"{here}, which their name means from {Path.cwd()}: name them with --data"
        )
    log.warning("the data of %s were in %s: taking %s", net.run, place, here)
    return {"data": str(here)}


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


def compute_logits(
    net: Net,
    dataset: Dataset,
    indices: np.ndarray,
    batch_size: int,
    mirror: bool = False,
) -> np.ndarray:
    """Logits (N, classes) of these images, each batch spread over all devices.

    With `mirror` they are those of the mean of the probabilities of an image and of its
    mirror image.

    Raises:
      RunError: they are not finite.
    """
    devices = jax.device_count()
    replicated, spread = placements()
    variables = jax.device_put(net.classifier.variables, replicated)
    forward = make_forward(net, mirror)
    size = -(-batch_size // devices) * devices  # as many for each device
    batches = []
    with progress_bar("evaluating", len(indices)) as bar:
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            images = dataset.images[np.resize(chosen, size)]  # the last one filled up
            batches.append(forward(variables, jax.device_put(images, spread)))
            if len(batches) > STEPS_AHEAD:
                batches[-STEPS_AHEAD].block_until_ready()
            bar.update(len(chosen))
        logits = np.concatenate(batches)[: len(indices)]
    if not np.isfinite(logits).all():
        raise RunError(
            f"the net of {net.file} answers with numbers that are not finite"
        )
    return logits


def make_forward(net: Net, mirror: bool) -> Callable[[dict, jax.Array], jax.Array]:
    """A jitted function of the net's variables and images (N, h, w, 3) uint8.

    The images are enlarged as `Classifier.predict` does it: first to the size at which
    those of the net's own data set are stored.
    """
    model, about = net.classifier.model, net.classifier.metadata
    precision = net.settings.get("matmul_precision")

    @jax.jit
    def forward(variables: dict, images: jax.Array) -> jax.Array:
        images = as_input(as_input(images, stored_size(about)), about["image_size"])
        with jax.default_matmul_precision(precision):
            net = partial(model.apply, variables, train=False)
            logits = net_logits(net, images).astype(jnp.float32)
            if not mirror:
                return logits
            mirrored = net_logits(net, images[:, :, ::-1]).astype(jnp.float32)
        # Up to a constant, which changes no probability.
        return jnp.logaddexp(*map(jax.nn.log_softmax, (logits, mirrored)))

    return forward


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
