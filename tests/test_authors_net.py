"""The authors' trained kMobileNet (16 channels a group) on CIFAR-10's test images, and
the gradients of all nets at the paper's image sizes."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from gpwjax import create_model, from_keras


@pytest.fixture(scope="module")
def cifar10(shared) -> Any:
    """The 10,000 test images: a sequence of dictionaries."""
    builder = tfds.builder_from_directory(shared / "data/tfds/cifar10/3.0.2")
    return builder.as_data_source("test")


def stored_probabilities(shared: Path, examples: list[dict]) -> np.ndarray:
    """The authors' probabilities (N, 10), of float32. Row i is the image test_i."""
    rows = [int(example["id"].removeprefix(b"test_")) for example in examples]
    assert len(set(rows)) == len(examples)
    name = "reference/authors_kmobilenet_16ch_cifar10_test_probs.npy"
    return np.load(shared / name)[rows]


def probabilities(shared: Path, examples: list[dict], dtype: Any) -> np.ndarray:
    """Ours (N, 10), of images enlarged to 224x224 by nearest neighbour."""
    model = create_model("mobilenet", 10, 16, dtype=dtype)
    net = shared / "reference/authors_kmobilenet_16ch_cifar10.hdf5"
    variables = from_keras(model, net)

    # Quicker to run than what tests/conftest.py asks for, which is quick to compile.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
    def run(images):
        images = (images / jnp.float32(255)).repeat(7, axis=1).repeat(7, axis=2)
        return jax.nn.softmax(model.apply(variables, images, train=False))

    images = np.stack([example["image"] for example in examples])
    return np.concatenate([run(batch) for batch in np.split(images, len(images) // 50)])


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_probabilities_are_the_authors(shared, cifar10, count):
    """And of all images together the accuracy is the paper's, 89.81%."""
    examples = [cifar10[i] for i in range(count)]
    ours = probabilities(shared, examples, None)
    stored = stored_probabilities(shared, examples)
    np.testing.assert_allclose(ours, stored, rtol=0, atol=1e-3)
    if count == 10_000:
        right = ours.argmax(-1) == [example["label"] for example in examples]
        assert (right.sum(), len(cifar10)) == (8981, 10_000)


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_bfloat16_gives_the_answers_of_float32(shared, cifar10, count):
    examples = [cifar10[i] for i in range(count)]
    half = probabilities(shared, examples, jnp.bfloat16)
    full = stored_probabilities(shared, examples)
    assert (half.argmax(-1) == full.argmax(-1)).mean() >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("name", "min_channels", "size"),
    [
        ("densenet_bc_l100", 12, 32),
        ("efficientnet_b0", 16, 32),
        ("efficientnet_b0", 16, 224),
        ("mobilenet", 16, 224),
        ("mobilenet_v3_large", 16, 224),
    ],
)
def test_gradients_are_finite_at_the_image_sizes_of_the_paper(
    draw_variables, name, min_channels, size, grouped
):
    small = name == "efficientnet_b0" and size == 32
    model = create_model(name, 10, min_channels if grouped else None, small)
    images = np.random.default_rng(1).uniform(0, 1, (2, size, size, 3))
    images = images.astype(np.float32)
    variables = draw_variables(model, images, train=False)

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    @jax.grad
    def gradients(params):
        logits, _ = model.apply(
            variables | {"params": params},
            images,
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    for gradient in jax.tree.leaves(gradients(variables["params"])):
        assert jnp.isfinite(gradient).all()
