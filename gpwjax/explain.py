"""Where in an image a net sees a class: class activation maps.

Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning Deep Features for Discriminative
Localization, arXiv 1512.04150 (CAM); Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra:
Grad-CAM, arXiv 1610.02391.
"""

import io
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from PIL import Image, ImageDraw

from gpwjax import captions
from gpwjax.files import write_bytes
from gpwjax.inference import NOT_FINITE, Classifier, NotFiniteError, fit, in_batches

CELL = 256  # height and width of a drawn image, pixels
ONE_CELL = "one cell, which shows no place"
CAPTION = 52  # height of the two lines above it, pixels
# Matplotlib's viridis at nine equal steps: perceptually uniform.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 45, 123),
        (59, 82, 139),
        (44, 114, 142),
        (33, 145, 140),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)


def class_activation_map(
    classifier: Classifier,
    images: np.ndarray | Iterable[np.ndarray],
    class_index: int | Sequence[int] | None = None,
) -> np.ndarray:
    """How much each place of an image speaks for a class: (N, h, w) float32 in [0, 1].

    By Grad-CAM (Selvaraju et al., section 3) at the net's last feature map, of h x w
    pixels: its channels are summed, each weighted by the mean gradient of the class's
    logit. What speaks against the class is 0 and the largest value of an image 1; where
    nothing speaks for the class all is 0. The logit is taken less the mean of all
    logits (ours, not the papers'): what they have in common changes no probability, yet
    would rule the map.

    For a net that ends in global pooling and one linear layer, all but MobileNet V3, it
    is the positive part of the class activation map of Zhou et al., section 2.

    Args:
      images: N >= 1 images as `Classifier.predict` takes them.
      class_index: the number of the class, one for all images or one for each; None:
        the class that the net finds most probable.

    Raises:
      ValueError: there are no images, one is not (H, W, 3) or of another dtype, or a
        class index is not a number of the net's classes.
      NotFiniteError: the net's numbers for an image are not finite.
    """
    images = list(images)
    if not images:
        raise ValueError("images must be at least one, got none")
    if class_index is None:
        class_index = classifier.predict(images).argmax(-1)
    classes = as_class_indices(class_index, len(images), len(classifier.classes))
    prepared = np.stack([classifier.prepare(image) for image in images])
    run = partial(grad_cam, classifier.model, classifier.variables)
    evidence = in_batches(run, prepared, classes)
    for number in np.flatnonzero(~np.isfinite(evidence).all((1, 2))):
        raise NotFiniteError(f"image {number} {NOT_FINITE}")
    most = evidence.max((1, 2), keepdims=True)
    return evidence / np.where(most > 0, most, 1)


def as_class_indices(class_index: Any, images: int, classes: int) -> np.ndarray:
    """A class index, or one for each image, as (N,) int32.

    Raises:
      ValueError: they are not that.
    """
    indices = np.asarray(class_index)
    if indices.shape not in ((), (images,)) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"class_index must be an integer or {images} of them, one for each image, "
            f"got {class_index!r}"
        )
    if indices.min() < 0 or indices.max() >= classes:
        raise ValueError(
            f"class_index must be from 0 to {classes - 1}, got {class_index!r}"
        )
    return np.broadcast_to(indices, images).astype(np.int32)


@partial(jax.jit, static_argnames="model")
def grad_cam(
    model: nn.Module, variables: dict, images: jax.Array, classes: jax.Array
) -> jax.Array:
    """Images (N, H, W, 3) and class indices (N,) -> maps (N, h, w), at least 0."""
    maps = model.apply(variables, images, train=False, method="features")

    def class_logits(top: jax.Array) -> jax.Array:
        """The sum of the images' logits, of which each depends on its image alone."""
        logits = model.apply(variables, top, train=False, method="classify")
        return (logits[jnp.arange(len(classes)), classes] - logits.mean(-1)).sum()

    top = maps["top"].astype(jnp.float32)
    weights = jax.grad(class_logits)(top).mean((1, 2), keepdims=True)
    return nn.relu((weights * top).sum(-1))


def draw(
    classifier: Classifier,
    image: np.ndarray,
    title: str,
    class_index: int | None = None,
) -> Image.Image:
    """An image as the net sees it, and its class activation map over it; above them the
    class with its probability, and the title. A map of one cell is not drawn.

    Args:
      image: as one of those that `Classifier.predict` takes.
      class_index: as in `class_activation_map`.

    Raises:
      NotFiniteError: the net's numbers for the image are not finite.
    """
    (probabilities,) = classifier.predict([image])
    if not np.isfinite(probabilities).all():
        raise NotFiniteError(f"the image {NOT_FINITE}")
    number = int(probabilities.argmax()) if class_index is None else class_index
    (heat,) = class_activation_map(classifier, [image], number)
    seen = fit(classifier.prepare(image), CELL)
    row = Image.new("RGB", (2 * CELL, CAPTION + CELL), "white")
    row.paste(as_picture(seen), (0, CAPTION))
    if heat.size > 1:
        row.paste(as_picture((seen + colour(heat)) / 2), (CELL, CAPTION))
    else:  # it would be one colour, as if the class were seen everywhere
        place = (CELL + 8, CAPTION + CELL // 2)
        captions.write(ImageDraw.Draw(row), place, ONE_CELL, 16, CELL - 16)
    caption = f"{classifier.classes[number]} {probabilities[number]:.1%}"
    for line, text in enumerate((caption, title)):
        place = (4, 6 + line * (CAPTION // 2 - 4))
        captions.write(ImageDraw.Draw(row), place, text, 16, 2 * CELL - 8)
    return row


def size_of_a_map(classifier: Classifier) -> str | None:
    """What is to be said of a net that sees its images as one cell, so that maps show
    no place; None of another net."""
    size = classifier.metadata["image_size"]
    if cells(classifier, size) > 1:
        return None
    larger = 2 * size
    while cells(classifier, larger) == 1:
        larger *= 2
    return (
        f"the net sees images of {size}x{size} pixels as {ONE_CELL}; trained at "
        f"{larger}x{larger} pixels it would see {cells(classifier, larger)} cells"
    )


def cells(classifier: Classifier, size: int) -> int:
    """Cells of the last feature map for images of size x size pixels."""
    features = partial(classifier.model.apply, train=False, method="features")
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    _, height, width, _ = jax.eval_shape(features, classifier.variables, images)[
        "top"
    ].shape
    return height * width


def colour(heat: np.ndarray) -> np.ndarray:
    """A map (h, w) of values in [0, 1] as colours (CELL, CELL, 3) in [0, 1]."""
    smooth = Image.fromarray(heat).resize((CELL, CELL), Image.Resampling.BILINEAR)
    steps = np.linspace(0, 1, len(VIRIDIS))
    channels = [np.interp(smooth, steps, channel) for channel in VIRIDIS.T]
    return np.stack(channels, -1) / 255


def as_picture(image: np.ndarray) -> Image.Image:
    """An image (H, W, 3) of floats in [0, 1]."""
    return Image.fromarray(np.round(255 * image).astype(np.uint8))


def write(rows: Sequence[Image.Image], file: Path) -> None:
    """Writes pictures of one size, one below the other, to a .png file.

    Raises:
      OSError: it cannot be written.
    """
    width, height = rows[0].size
    whole = Image.new("RGB", (width, height * len(rows)))
    for number, row in enumerate(rows):
        whole.paste(row, (0, number * height))
    picture = io.BytesIO()  # so that a file is whole or as it was
    whole.save(picture, "PNG")
    write_bytes(file, picture.getvalue())
