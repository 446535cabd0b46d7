"""What a net of one's own takes: a class, and a line in `MODELS`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpwjax import count, create_model, load, save
from gpwjax.mobilenet import Block, Stage
from gpwjax.models import MODELS
from gpwjax.net import OPTIONS, Layers, Net, Place
from gpwjax.ops.activations import relu


class Fifth(Net):
    """A stem and two stages of MobileNet's blocks."""

    stages: tuple[Stage, ...] = (Stage(1, 32, 2), Stage(2, 64, 1))
    block = Block

    def apply_stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        x = layers.conv(16, self.strides[0], name="stem")(x)
        return relu(layers.norm(name="stem_norm")(x))

    def settings(self, place: Place) -> dict:
        return {"features": place.stage.features, "stride": place.stride}


@pytest.fixture(autouse=True)
def fifth(monkeypatch) -> None:
    monkeypatch.setitem(MODELS, "fifth", Fifth)


def shapes(model: Net, method: str = "__call__") -> dict | jax.ShapeDtypeStruct:
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), np.float32)
    run = partial(model.init_with_output, train=True, method=method)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(run, keys, images)[0]


def test_it_has_logits_and_maps_and_all_options():
    model = create_model("fifth", 7, 8)
    assert shapes(model).shape == (2, 7)
    maps = {name: x.shape for name, x in shapes(model, "features").items()}
    assert maps == {
        "stem": (2, 8, 8, 16),
        "stage1": (2, 4, 4, 32),
        "stage2": (2, 4, 4, 64),
        "top": (2, 4, 4, 64),
    }
    small = model.clone(small_images=True)
    assert shapes(small, "features")["top"].shape == (2, 16, 16, 64)
    half = shapes(model.clone(dtype=jnp.bfloat16), "features")
    assert {x.dtype for x in half.values()} == {jnp.dtype(jnp.bfloat16)}
    assert count(model, (16, 16, 3)) == count(model.clone(remat=True), (16, 16, 3))
    dense = count(model.clone(min_channels=None), (16, 16, 3))
    assert count(model, (16, 16, 3)).params < dense.params


def test_it_is_saved_with_all_options(tmp_path, draw_variables):
    settings = {"classes": 2, "min_channels": 8, "small_images": True}
    settings |= {"dtype": "bfloat16", "batch_norm_momentum": 0.5, "remat": True}
    settings |= {"scheme": "any"}
    assert settings.keys() == set(OPTIONS)
    model = create_model("fifth", **settings)
    images = np.zeros((1, 16, 16, 3), np.float32)
    variables = draw_variables(model, images, train=False)
    save(tmp_path / "net", model, variables, classes=["a", "b"], image_size=16)
    found = load(tmp_path / "net")
    assert found.model == model
    assert found.metadata["model"] == {"name": "fifth"} | settings


def test_a_net_with_a_table_of_its_own_cannot_be_saved(tmp_path):
    model = create_model("fifth", 2, stages=Fifth.stages[:1])
    with pytest.raises(ValueError, match="only models of create_model can be saved"):
        save(tmp_path / "net", model, {}, classes=["a", "b"], image_size=16)
