"""The nets of the tests: one of each family, and one that compiles in no time."""

import jax
import numpy as np
from flax import linen as nn

from gpwjax import Classifier
from gpwjax.net import Net

# Least input channels of a group of the grouped ones.
GROUPED = {
    "convmixer": 16,
    "densenet_bc_l100": 12,
    "efficientnet_b0": 16,
    "mobilenet": 16,
    "mobilenet_v3_large": 16,
}


def net_id(net: tuple[str, int | None]) -> str:
    name, min_channels = net
    return f"{name}-{'dense' if min_channels is None else 'grouped'}"


class Tiny(Net):
    """One convolution."""

    @nn.compact
    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        x = nn.Conv(32, (5, 5), padding="VALID", dtype=self.dtype)(images)
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, dtype=self.dtype
        )
        return {"top": nn.relu(norm(x)).astype("float32")}


class Fragile(Tiny):
    """Gives NaN for a batch with a black image."""

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        brightness = images.mean((1, 2, 3), keepdims=True)
        return super().__call__(images / brightness, train=train)


def overflowing(classifier: Classifier) -> Classifier:
    """The same net with finite weights whose logits are too large for a float32."""
    variables = jax.tree.map(np.array, classifier.variables)
    kernel = variables["params"]["head"]["kernel"]
    kernel[:] = 3e38
    kernel[:, 1] *= -1
    return Classifier(classifier.model, variables, classifier.metadata)
