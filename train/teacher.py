"""A trained net that a smaller one learns from beside the labels.

G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network, 2015,
https://arxiv.org/abs/1503.02531, Section 2.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

import gpwjax

from .augment import as_input
from .batches import placements
from .config import Config, RunError
from .nets import load_given
from .transfer import difference


class Teacher(struct.PyTreeNode):
    """A net whose softened answers are learned.

    Attributes:
      variables: of the net, as trained.
      model: the net.
      image_size: height and width of the images that it sees, pixels.
      weight: share of the loss that the answers are; the labels are the rest.
      temperature: by which logits are divided: the higher, the more the answers say of
        classes that are less probable.
    """

    variables: Any
    model: nn.Module = struct.field(pytree_node=False)
    image_size: int = struct.field(pytree_node=False)
    weight: float = struct.field(pytree_node=False)
    temperature: float = struct.field(pytree_node=False)

    @classmethod
    def of(cls, net: gpwjax.Classifier, weight: float, temperature: float) -> "Teacher":
        """A trained net as a teacher, whole on each device."""
        whole, _ = placements()
        variables = jax.tree.map(lambda x: np.asarray(x, np.float32), net.variables)
        return cls(
            jax.device_put(variables, whole),
            net.model,
            net.metadata["image_size"],
            weight,
            temperature,
        )

    def answers(self, images: jax.Array) -> jax.Array:
        """Softened probabilities (N, classes) of images (N, H, W, 3) as the student
        sees them."""
        images = resized(images, self.image_size)
        logits = self.model.apply(self.variables, images, train=False)
        return jax.nn.softmax(logits.astype(jnp.float32) / self.temperature)

    def blended(
        self, losses: jax.Array, logits: jax.Array, answers: jax.Array
    ) -> jax.Array:
        """Losses (N,) of the labels, with the cross-entropy to the softened answers.

        That is scaled by the temperature squared, so that its gradient does not depend
        on the temperature.
        """
        softened = optax.softmax_cross_entropy(logits / self.temperature, answers)
        scaled = self.temperature**2 * softened
        return (1 - self.weight) * losses + self.weight * scaled


def resized(images: jax.Array, size: int) -> jax.Array:
    """Images (N, H, W, 3) as a net of another image size sees them: enlarged by nearest
    neighbour, or shrunk by an antialiased bilinear filter."""
    count, height, _, channels = images.shape
    if size >= height:
        return as_input(images, size)
    return jax.image.resize(images, (count, size, size, channels), "linear")


def load_teacher(config: Config, classes: Sequence[str]) -> gpwjax.Classifier:
    """The net of `--teacher`.

    Raises:
      RunError: it cannot be read, or its classes are not those of the data set.
    """
    net = load_given("--teacher", config.teacher)
    if reason := difference(net.classes, classes):
        raise RunError(f"--teacher {config.teacher} has other classes: {reason}")
    return net
