"""The test of a net: a run's own and that of `evaluate`."""

from collections.abc import Iterator

import jax
import numpy as np

import gpwjax
from gpwjax.inference import stored_size

from ..batches import evaluation_batches, few_ahead, placements
from ..config import RunError
from ..data import Dataset
from ..process.hosts import gathered
from ..process.progress import progress_bar
from ..step import EvalSettings, eval_step
from .answers import Answers


def answers_to(
    net: gpwjax.Classifier,
    called: str,
    dataset: Dataset,
    indices: np.ndarray,
    batch_size: int,
    numbers: np.ndarray | None = None,
    mirror: bool = False,
) -> Answers:
    """What a net answers to images of a data set, each batch spread over all devices.

    Args:
      called: how the net is named in an error.
      indices: of the images.
      numbers: for each class of the data set its number among those of the net; None:
        they are the same.
      mirror: as of `EvalSettings`.

    Raises:
      RunError: an answer is not finite.
    """
    about = net.metadata
    settings = EvalSettings(stored_size(about), about["image_size"], mirror=mirror)
    replicated, _ = placements()
    variables = jax.device_put(net.variables, replicated)

    def batches() -> Iterator[jax.Array]:
        for (images, _), _ in evaluation_batches(dataset, indices, batch_size):
            yield eval_step(net.model, variables, images, None, settings=settings)

    parts = []
    with progress_bar("testing", len(indices)) as bar:
        for logits in few_ahead(batches()):
            parts.append(logits)
            bar.update(min(batch_size, len(indices) - bar.n))
        logits = np.concatenate([gathered(part) for part in parts])[: len(indices)]
    if not np.isfinite(logits).all():
        raise RunError(f"{called} answers with numbers that are not finite")
    labels = np.asarray(dataset.labels[indices])
    return Answers.of(
        net.classes,
        labels if numbers is None else numbers[labels],
        logits,
        indices,
        [dataset.describe(int(index)) for index in indices],
    )
