"""The nets by name."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from gpwjax import efficientnet
from gpwjax.densenet import DenseNet
from gpwjax.mobilenet import MobileNet
from gpwjax.mobilenet_v3 import MobileNetV3Large
from gpwjax.pointwise import check_positive

MODELS = {
    "densenet_bc_l100": DenseNet,
    "efficientnet_b0": efficientnet.EfficientNetB0,
    "efficientnet_b1": efficientnet.EfficientNetB1,
    "efficientnet_b2": efficientnet.EfficientNetB2,
    "efficientnet_b3": efficientnet.EfficientNetB3,
    "efficientnet_b4": efficientnet.EfficientNetB4,
    "efficientnet_b5": efficientnet.EfficientNetB5,
    "efficientnet_b6": efficientnet.EfficientNetB6,
    "efficientnet_b7": efficientnet.EfficientNetB7,
    "mobilenet": MobileNet,
    "mobilenet_v3_large": MobileNetV3Large,
}


def create_model(
    name: str,
    classes: int,
    min_channels: int | None = None,
    small_images: bool = False,
    dtype: Any = None,
    batch_norm_momentum: float | None = None,
    remat: bool = False,
) -> nn.Module:
    """Makes a net by its name, dense or grouped.

    `variables = model.init(key, images, train=False)` and `model.apply(variables,
    images, train=False)` take images (N, H, W, 3) of floats in [0, 1] and give logits
    (N, classes). `train=True` needs `rngs={"dropout": key}` and
    `mutable=["batch_stats"]`.

    Args:
      name: one of `list_models()`.
      classes: number of classes.
      min_channels: least number of input channels of a group in the pointwise
        convolutions; None: the dense net.
      small_images: stride 1 in the first three layers of stride 2.
      dtype: dtype of the computation, for example jnp.bfloat16; None: float32.
      batch_norm_momentum: decay of the running batch statistics; None: the paper's.
      remat: whether training saves memory: computes each block again for its gradient.

    Raises:
      ValueError: the name is unknown, or a number is less than 1.
    """
    if name not in MODELS:
        raise ValueError(
            f"model must be one of {', '.join(list_models())}, got {name!r}"
        )
    check_positive("classes", classes)
    if min_channels is not None:
        check_positive("min_channels", min_channels)
    return MODELS[name](
        classes=classes,
        min_channels=min_channels,
        small_images=small_images,
        # One form of each dtype, so that equal settings give equal nets.
        dtype=None if dtype is None else jnp.dtype(dtype),
        batch_norm_momentum=batch_norm_momentum,
        remat=remat,
    )


def list_models() -> list[str]:
    """The names that `create_model` takes, sorted."""
    return sorted(MODELS)
