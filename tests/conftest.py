"""Settings and fixtures that all tests share."""

import os

# Two devices on a CPU, for the tests of several devices: read when jax starts.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import math  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from flax import linen as nn  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")

# A first example compiles, so no deadline.
settings.register_profile("gpwjax", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("gpwjax")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and data, which is not in the repository."""
    beside = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("GPWJAX_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} of references and data (GPWJAX_SHARED)")
    return folder


@pytest.fixture(scope="session")
def draw_variables() -> Callable[..., dict]:
    """Draws a module's variables: quicker than `init`, and no array is constant."""

    def draw(module: nn.Module, *args: Any, **kwargs: Any) -> dict:
        rng = np.random.default_rng(0)

        def array(path: tuple, like: jax.ShapeDtypeStruct) -> np.ndarray:
            name = path[-1].key
            if name in ("scale", "var"):
                drawn = rng.uniform(0.5, 1.5, like.shape)
            else:
                deviation = 0.1
                if name == "kernel":
                    # So that small changes of an image neither fade nor explode on
                    # the way through a MobileNet (tried).
                    axes = -4 if like.ndim == 4 else -2  # of the inputs of a feature
                    deviation = math.sqrt(3 / math.prod(like.shape[axes:-1]))
                drawn = rng.normal(0, deviation, like.shape)
            return drawn.astype(like.dtype)

        init = partial(module.init, **kwargs)
        shapes = jax.eval_shape(init, jax.random.key(0), *args)
        return jax.tree_util.tree_map_with_path(array, shapes)

    return draw
