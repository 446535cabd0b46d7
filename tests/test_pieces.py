from functools import partial

import jax
import numpy as np
import pytest

from gpwjax.pieces import in_pieces


@pytest.mark.parametrize(
    ("images", "size", "piece"),
    [
        (3, 224, 1),
        (3, 300, 1),
        (8, 112, 4),
        (64, 32, 32),
        (32, 32, 32),  # one piece
        (60, 32, 60),  # no number of pieces
    ],
)
def test_pieces_have_about_as_many_pixels_as_an_image_of_224(images, size, piece):
    seen = []

    def count(x: jax.Array) -> jax.Array:
        seen.append(len(x))
        return x.sum((1, 2, 3))

    x = jax.ShapeDtypeStruct((images, size, size, 3), np.float32)
    assert jax.eval_shape(partial(in_pieces, count), x).shape == (images,)
    assert set(seen) == {piece}


def test_each_image_has_its_own_answer():
    x = np.random.default_rng(0).normal(size=(6, 230, 224, 3)).astype(np.float32)
    y = jax.jit(partial(in_pieces, lambda x: x.max((1, 2))))(x)
    np.testing.assert_array_equal(y, x.max((1, 2)))


@pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)
def test_a_net_answers_as_without(shallow, monkeypatch):
    monkeypatch.setattr("gpwjax.pieces.PIXELS", 2 * 8 * 8)
    net = partial(shallow.model.apply, shallow.variables, train=False)
    whole, in_two = (
        jax.jit(net)(shallow.images),
        jax.jit(partial(in_pieces, net))(shallow.images),
    )
    np.testing.assert_allclose(in_two, whole, rtol=1e-5, atol=1e-6)
