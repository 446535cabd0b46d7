"""One self-describing .safetensors file for a trained net."""

import json
import os
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from gpwjax.models import create_model, list_models

HEADER = "gpwjax"  # the entry of the file's header that describes the net


def save(
    path: str | os.PathLike,
    model: nn.Module,
    variables: Mapping,
    *,
    classes: Sequence[str],
    image_size: int,
    **metadata: Any,
) -> None:
    """Writes a net to one file that `load` reads without knowing anything else.

    Args:
      path: the file, overwritten only once the new one is whole.
      model: a net made by `create_model`.
      variables: {"params": ..., "batch_stats": ...}.
      classes: the names of the classes, in the order of the logits.
      image_size: height and width of the images that the net was trained on.
      **metadata: more about the net, of JSON types. `stored_size` says that images
        were shrunk to that size before they were enlarged to `image_size`, `pad`
        that they got black bars to become squares, `resize` how they were shrunk,
        "bilinear" or "nearest".

    Raises:
      ValueError: the model does not come from `create_model`, the variables are not
        its own, the number of class names is not its number of classes, or a value of
        the metadata is not of a JSON type.
      OSError: the file cannot be written.
    """
    classes = [str(name) for name in classes]
    settings = model_settings(model)
    if len(classes) != settings["classes"]:
        raise ValueError(
            f"classes must name the net's {settings['classes']} classes, got "
            f"{len(classes)} names"
        )
    # In C order, since safetensors writes an array's memory as it lies.
    arrays = {n: np.asarray(a, order="C") for n, a in flatten(variables).items()}
    check_arrays(arrays, model)
    about = {
        "model": settings,
        "classes": classes,
        "image_size": image_size,
        **metadata,
    }
    try:
        # One entry: safetensors writes several in random order.
        header = {HEADER: json.dumps(about)}
    except TypeError as error:
        raise ValueError(f"metadata must be of JSON types: {error}") from error
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(serialize(arrays, metadata=header))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: str | os.PathLike) -> tuple[nn.Module, dict, dict[str, Any]]:
    """Reads a file of `save`: the net, its variables and the metadata.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not a file of `save`, or its arrays are not the net's.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})[HEADER])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = create_model(**about["model"])
        if len(about["classes"]) != model.classes or about["image_size"] < 1:
            raise ValueError("its classes or its image size do not fit the net")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a weights file of gpwjax: {error}") from error
    check_arrays(arrays, model)
    return model, unflatten(arrays), about


def model_settings(model: nn.Module) -> dict[str, Any]:
    """The arguments with which `create_model` makes `model` again.

    Raises:
      ValueError: it makes no such model.
    """
    arguments = [name for name in signature(create_model).parameters if name != "name"]
    if all(hasattr(model, name) for name in arguments):
        settings = {name: getattr(model, name) for name in arguments}
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
    variables = jax.eval_shape(
        lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
    )
    return flatten(variables)


def check_arrays(arrays: Mapping[str, Any], model: nn.Module) -> None:
    """Raises ValueError listing all arrays missing, unknown or of another shape."""
    expected = expected_arrays(model)
    problems = [f"missing: {name}" for name in expected if name not in arrays]
    problems += [f"unknown: {name}" for name in arrays if name not in expected]
    problems += [
        f"{name} is {arrays[name].shape}, must be {expected[name].shape}"
        for name in expected
        if name in arrays and arrays[name].shape != expected[name].shape
    ]
    if problems:
        raise ValueError(
            f"the arrays are not those of this {type(model).__name__}: "
            + "; ".join(problems)
        )
