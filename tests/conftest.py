"""Settings and fixtures that all tests share."""

import os
import tempfile

from train_processes import xla_flags

# Read when jax starts: two devices, for the tests of several.
os.environ.setdefault("XLA_FLAGS", xla_flags(devices=2))
# One cache of compiled programs for all tests and the processes that they start.
CACHE = tempfile.TemporaryDirectory(prefix="gpwjax-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import contextlib  # noqa: E402
import gc  # noqa: E402
import logging  # noqa: E402
import math  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from functools import cache, partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from flax import linen as nn  # noqa: E402
from hypothesis import settings  # noqa: E402
from made_nets import GROUPED, Tiny  # noqa: E402

from gpwjax import (  # noqa: E402
    convmixer,
    create_model,
    densenet,
    efficientnet,
    load,
    mobilenet,
    mobilenet_v3,
    save,
)
from gpwjax.models import MODELS  # noqa: E402
from gpwjax.ops.batch_norm import BatchNorm  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")

# JAX keeps millions of objects and few of them are garbage: to look for it as often as
# Python does by default takes an eighth of the time.
gc.set_threshold(50_000)

# A first example compiles, so no deadline.
settings.register_profile("gpwjax", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("gpwjax")


@pytest.fixture(autouse=True)
def level_of_logging() -> Iterator[None]:
    """Ends with the test the level that a program sets for its whole process."""
    yield
    logging.getLogger("train").setLevel(logging.NOTSET)


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


class Net(NamedTuple):
    model: nn.Module
    variables: dict
    images: np.ndarray


# One stage of two blocks; DenseNet has two stages. In EfficientNet and MobileNet V3 the
# blocks have squeeze-and-excitation.
SHALLOW = {
    "convmixer": (convmixer.Stage(2, 32, 5),),
    "densenet_bc_l100": (densenet.Stage(2), densenet.Stage(1)),
    "efficientnet_b0": efficientnet.STAGES[1:2],
    "mobilenet": mobilenet.STAGES[1:2],
    "mobilenet_v3_large": mobilenet_v3.STAGES[4:5],
}


@pytest.fixture(scope="session")
def shrunk() -> Callable[[], contextlib.AbstractContextManager]:
    """Inside it nets are made with two or three blocks: whole ones compile long."""

    @contextlib.contextmanager
    def shrink() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, stages in SHALLOW.items():
                patch.setitem(MODELS, name, partial(MODELS[name], stages=stages))
            yield

    return shrink


@pytest.fixture(scope="session")
def shallow_nets(shrunk, draw_variables) -> Callable[[str], Net]:
    """The nets of `shallow` by their names."""

    @cache
    def make(name: str) -> Net:
        with shrunk():
            model = create_model(name, 10, GROUPED[name], small_images=True)
        images = np.random.default_rng(1).uniform(0, 1, (4, 8, 8, 3))
        images = images.astype(np.float32)
        return Net(model, draw_variables(model, images, train=False), images)

    return make


@pytest.fixture(params=GROUPED)
def shallow(request, shrunk, shallow_nets) -> Iterator[Net]:
    """A grouped net of two or three blocks."""
    with shrunk():
        yield shallow_nets(request.param)


@pytest.fixture(scope="module")
def saved_net(shrunk, draw_variables, tmp_path_factory) -> Iterator[tuple[Path, Any]]:
    """A net for the classes cat, dog and giraffe and images of 8x8 pixels: its weights
    file, and its `Classifier`."""
    with shrunk():
        model = create_model("mobilenet", 3, small_images=True)
        images = np.zeros((1, 8, 8, 3), np.float32)
        variables = draw_variables(model, images, train=False)
        file = tmp_path_factory.mktemp("run") / "model.safetensors"
        save(file, model, variables, classes=["cat", "dog", "giraffe"], image_size=8)
        yield file, load(file)


@pytest.fixture(scope="session")
def map_shapes() -> Callable[..., dict[str, tuple[int, int, int]]]:
    """The shapes of a net's feature maps for an image of some height and width."""

    def shapes(net: nn.Module, height: int, width: int) -> dict:
        images = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
        init = partial(net.init_with_output, train=False, method="features")
        maps, _ = jax.eval_shape(init, jax.random.key(0), images)
        return {name: x.shape[1:] for name, x in maps.items()}

    return shapes


@pytest.fixture(scope="session")
def modules_of() -> Callable[[nn.Module], dict[str, tuple[nn.Module, dict]]]:
    """Path of each of a net's modules -> the module, name and shape of its arrays."""

    @cache
    def modules(net: nn.Module) -> dict:
        found = {}

        def record(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
            output = call(*args, **kwargs)
            module = context.module
            if context.method_name == "__call__":
                arrays = module.variables.get("params", {}).items()
                shapes = {n: a.shape for n, a in arrays if not isinstance(a, dict)}
                found["/".join(module.path)] = module, shapes
            return output

        images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
        with nn.intercept_methods(record):
            jax.eval_shape(partial(net.init, train=False), jax.random.key(0), images)
        return found

    return modules


@pytest.fixture(scope="session")
def kernel_spread(modules_of) -> Callable[[nn.Module, str], tuple[float, float]]:
    """Standard deviation and largest size of a kernel that a net's layer draws."""

    def spread(net: nn.Module, path: str) -> tuple[float, float]:
        module, shapes = modules_of(net)[path]
        init = jax.jit(
            partial(module.kernel_init, shape=shapes["kernel"]),
            compiler_options={"xla_backend_optimization_level": 0},  # 6 times quicker
        )
        kernel = np.asarray(init(jax.random.key(0)))
        return kernel.std(), np.abs(kernel).max()

    return spread


@pytest.fixture(scope="session")
def norms_of(modules_of) -> Callable[[nn.Module], dict[str, BatchNorm]]:
    """A net's batch normalisations by their path."""
    return lambda net: {
        path: module
        for path, (module, _) in modules_of(net).items()
        if isinstance(module, BatchNorm)
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        yield started
        started.close()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def tiny_runs(tmp_path_factory) -> Iterator[None]:
    """Whole runs of the net `tiny` in the tests' process, with a cache of their own."""
    import train.loop  # most tests need no training program

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", Tiny)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(signal, "signal", lambda *_: None)  # as pytest has them
        patch.setattr(train.loop, "draw_missing", lambda *_: None)  # nobody looks
        yield
