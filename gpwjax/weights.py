"""One self-describing .safetensors file for a trained net.

Whoever made a file: to read it runs no code of it, and takes memory for the arrays of
the net that its header describes, and for no others.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from gpwjax import __version__
from gpwjax.deep_pictures import FULL_RANGE, is_range
from gpwjax.files import replacing
from gpwjax.models import create_model, list_models
from gpwjax.net import OPTIONS, Net
from gpwjax.ops.platforms import form

HEADER = "gpwjax"  # the entry of the file's header that describes the net
MAX_HEADER = 10_000_000  # bytes; the largest net's with 1000 classes has 0.2 million
MAX_SIZE = 10_000  # pixels; beyond it a single image takes gigabytes
MAX_MESSAGE = 20_000  # characters
# Of arrays, as the file names them and as numpy does.
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# What a file says of its net, as `create_model` takes it, and of what types it is.
SETTINGS = {"name": str} | {
    # JSON has 1.0 as 1.
    field.name: field.type | int if isinstance(1.0, field.type) else field.type
    for field in fields(Net)
    if field.name in OPTIONS and field.name != "dtype"
}
SETTINGS["dtype"] = str | None


class Form(NamedTuple):
    """What is known of an array before its numbers are read."""

    shape: tuple[int, ...]
    dtype: str


def save(
    path: str | os.PathLike,
    model: nn.Module,
    variables: Mapping,
    *,
    classes: Sequence[str],
    image_size: int,
    dtype: str | None = None,
    **metadata: Any,
) -> None:
    """Writes a net to one file that `load` reads without knowing anything else.

    Args:
      path: the file, overwritten only once the new one is whole.
      model: a net made by `create_model`.
      variables: {"params": ..., "batch_stats": ...}.
      classes: the names of the classes, in the order of the logits.
      image_size: height and width of the images that the net was trained on.
      dtype: of the arrays in the file, such as "bfloat16" for half of the bytes (None:
        as they are).
      **metadata: more about the net, of JSON types. `stored_size` says that images
        were shrunk to that size before they were enlarged to `image_size`, `pad`
        that they got black bars to become squares, `resize` how they were shrunk,
        "bilinear" or "nearest", `range_16_bit` which two values of 16-bit pictures were
        black and white.

    Raises:
      ValueError: the model does not come from `create_model`, the variables are not
        its own or not finite, the number of class names is not its number of classes,
        or a value of the metadata is not of a JSON type, or not one that `load` takes.
      OSError: the file cannot be written.
    """
    about = {
        "model": model_settings(model),
        "classes": [str(name) for name in classes],
        "image_size": image_size,
        "version": __version__,
        **metadata,
    }
    try:
        # One entry: safetensors writes several in random order.
        header = {HEADER: json.dumps(about)}
    except TypeError as error:
        raise ValueError(f"metadata must be of JSON types: {error}") from error
    check_metadata(json.loads(header[HEADER]))
    # In C order, since safetensors writes an array's memory as it lies.
    arrays = {n: np.asarray(a, order="C") for n, a in flatten(variables).items()}
    if dtype is not None:
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    check_forms({n: Form(a.shape, a.dtype.name) for n, a in arrays.items()}, model)
    check_finite(arrays)
    with replacing(path) as unfinished:
        unfinished.write_bytes(serialize(arrays, metadata=header))


def read(path: str | os.PathLike) -> tuple[nn.Module, dict, dict[str, Any]]:
    """Reads a file of `save`: the net, its variables and the metadata.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not a file of `save`, or its arrays are not the net's or not
        finite.
    """
    try:
        about = metadata(path)
        model = create_model(**about["model"])
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            # Before they are read, since they may be of any size.
            check_forms({name: stored_form(file, name) for name in names}, model)
            arrays = {name: file.get_tensor(name) for name in names}
        check_finite(arrays)
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a weights file of gpwjax: {one_line(error)}"
        ) from error
    return model, unflatten(arrays), about


def metadata(path: str | os.PathLike) -> dict[str, Any]:
    """What a file of `save` says of its net.

    Raises:
      OSError: it cannot be read.
      ValueError, SafetensorError: it is not a file of `save`.
    """
    check_header(path)
    with safe_open(path, framework="numpy") as file:
        about = json.loads((file.metadata() or {}).get(HEADER, "null"))
    check_metadata(about)
    return about


def check_header(path: str | os.PathLike) -> None:
    """Raises ValueError for a file whose header is too large to be read."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER:
        raise ValueError(f"its header must have at most {MAX_HEADER} bytes, has {size}")


def stored_form(file: safe_open, name: str) -> Form:
    """The form of an array in an open file."""
    array = file.get_slice(name)
    dtype = array.get_dtype()
    return Form(tuple(array.get_shape()), DTYPES.get(dtype, dtype))


def check_metadata(about: Any) -> None:
    """Raises ValueError naming an entry that `save` does not write, or not so."""
    settings = about.get("model") if isinstance(about, dict) else None
    if not isinstance(settings, dict):
        raise ValueError(f"model must be the settings of a net, got {settings!r:.200}")
    for name, value in settings.items():
        kind = SETTINGS.get(name, object)
        if not isinstance(value, kind):
            kind = getattr(kind, "__name__", kind)
            raise ValueError(f"{name} must be of type {kind}, got {value!r:.200}")
    classes = about.get("classes")
    if not isinstance(classes, list) or not all(isinstance(n, str) for n in classes):
        raise ValueError(f"classes must be a list of names, got {classes!r:.200}")
    if len(classes) != settings.get("classes"):
        raise ValueError(
            f"classes must name the net's {settings.get('classes')} classes, got "
            f"{len(classes)} names"
        )
    size = about.get("image_size")
    stored_size = about.get("stored_size", size)
    for name, value in (("image_size", size), ("stored_size", stored_size)):
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise ValueError(
                f"{name} must be an integer from 1 to {MAX_SIZE}, got {value!r:.200}"
            )
    values = about.get("range_16_bit", list(FULL_RANGE))
    if not is_range(values):
        raise ValueError(
            f"range_16_bit must be two rising integers from 0 to {FULL_RANGE[1]}, got "
            f"{values!r:.200}"
        )
    for name, value, choices in (
        ("dtype", settings.get("dtype"), (None, "float32", "bfloat16", "float16")),
        ("pad", about.get("pad", False), (False, True)),
        ("resize", about.get("resize", "bilinear"), ("bilinear", "nearest")),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {value!r:.200}")


def model_settings(model: nn.Module) -> dict[str, Any]:
    """The arguments with which `create_model` makes `model` again.

    Raises:
      ValueError: it makes no such model.
    """
    if isinstance(model, Net):
        settings = {name: getattr(model, name) for name in OPTIONS}
        for name in list_models():
            if create_model(name, **settings) == model:
                dtype = None if model.dtype is None else jnp.dtype(model.dtype).name
                return {"name": name, **settings, "dtype": dtype}
    raise ValueError(
        f"only models of create_model can be saved, got {type(model).__name__}"
    )


def flatten(variables: Mapping) -> dict[str, Any]:
    """{"params": {"head": {"kernel": a}}} -> {"params/head/kernel": a}."""
    return flatten_dict(variables, sep="/")


def unflatten(arrays: Mapping[str, Any]) -> dict:
    """The inverse of `flatten`."""
    return unflatten_dict(dict(arrays), sep="/")


def expected_arrays(model: nn.Module) -> dict[str, jax.ShapeDtypeStruct]:
    """Name (as in `flatten`) -> shape and dtype of each of the model's arrays."""
    # Parameters do not depend on the image size; any that the nets take will do.
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with form("default"):  # one of all is traced, for their shapes are the same
        variables = jax.eval_shape(
            lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
        )
    return flatten(variables)


def check_forms(forms: Mapping[str, Form], model: nn.Module) -> None:
    """Raises ValueError listing all arrays missing, unknown or of another form."""
    expected = expected_arrays(model)
    problems = [f"missing: {name}" for name in expected if name not in forms]
    problems += [f"unknown: {name}" for name in forms if name not in expected]
    for name in [name for name in expected if name in forms]:
        shape, dtype = forms[name]
        if shape != expected[name].shape:
            problems.append(f"{name} is {shape}, must be {expected[name].shape}")
        if dtype not in DTYPES.values():
            allowed = ", ".join(DTYPES.values())
            problems.append(f"{name} is of {dtype}, must be of one of {allowed}")
    if problems:
        raise mismatch(model, problems)


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError listing all arrays with a number that is not finite."""
    names = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if names:
        raise ValueError(f"numbers are not finite in {', '.join(names)}")


def mismatch(model: nn.Module, problems: Iterable[str]) -> ValueError:
    """The error that arrays are not those of a model."""
    return ValueError(
        f"the arrays are not those of this {type(model).__name__}: "
        + "; ".join(problems)
    )


def one_line(error: Exception) -> str:
    """What an error says of a file: names in it may have any length and characters."""
    text = "".join(c if c.isprintable() else "?" for c in str(error))
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} ..."
