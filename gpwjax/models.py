"""The nets by name."""

from typing import Any

from gpwjax import efficientnet
from gpwjax.convmixer import ConvMixer
from gpwjax.densenet import DenseNet
from gpwjax.mobilenet import MobileNet
from gpwjax.mobilenet_v3 import MobileNetV3Large
from gpwjax.net import Net

MODELS = {
    "convmixer": ConvMixer,
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


def create_model(name: str, *args: Any, **options: Any) -> Net:
    """Makes a net by its name, dense or grouped.

    `variables = model.init(key, images, train=False)` and `model.apply(variables,
    images, train=False)` take images (N, H, W, 3) of floats in [0, 1] and give logits
    (N, classes). `train=True` needs `rngs={"dropout": key}` and
    `mutable=["batch_stats"]`.

    Args:
      name: one of `list_models()`.
      *args, **options: the attributes of `gpwjax.net.Net`, in their order or by name:
        classes, min_channels, small_images, dtype, batch_norm_momentum, remat, scheme.

    Raises:
      ValueError: the name or the scheme is unknown, or a number is less than 1.
    """
    if name not in MODELS:
        raise ValueError(
            f"model must be one of {', '.join(list_models())}, got {name!r}"
        )
    return MODELS[name](*args, **options)


def list_models() -> list[str]:
    """The names that `create_model` takes, sorted."""
    return sorted(MODELS)
