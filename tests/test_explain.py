"""Class activation maps, and their drawing."""

import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from made_nets import overflowing
from PIL import Image

from gpwjax import (
    Classifier,
    class_activation_map,
    explain,
)
from gpwjax.cli import main
from gpwjax.ops.pooling import global_average
from gpwjax.pictures import read_image

CLASSES = ["cat", "dog", "giraffe"]


def as_classifier(net) -> Classifier:
    names = [f"class{number}" for number in range(net.model.classes)]
    return Classifier(net.model, net.variables, {"classes": names, "image_size": 8})


def answer_to_means(net, means: np.ndarray) -> jax.Array:
    """The logits (N, classes) to the means (N, C) of the last feature map."""
    if not hasattr(net, "hidden"):
        return net.head(means)
    return net.head(net.hidden(means))


def test_it_is_the_map_weighted_by_what_each_channels_mean_does_to_the_class(shallow):
    """Zhou et al.'s map: in all nets but MobileNet V3 the weights are the head's."""
    model, variables, images = shallow
    apply = jax.jit(partial(model.apply, train=False, method="features"))
    top = np.asarray(apply(variables, images)["top"], np.float64)
    means = global_average(jnp.asarray(top, jnp.float32))
    logits = model.apply(variables, means, method=answer_to_means)
    # Of one image the most probable class, of the next the second, ...: of the least
    # probable ones maps may be 0.
    classes = np.argsort(-logits)[range(4), range(4)]

    @jax.jit
    @jax.vmap
    def slopes(means):
        to_logits = partial(model.apply, variables, method=answer_to_means)
        return jax.jacobian(lambda x: to_logits(x[None])[0])(means)

    weights = np.asarray(slopes(means), np.float64)
    if model.__class__.__name__ != "MobileNetV3Large":
        kernel = variables["params"]["head"]["kernel"]
        np.testing.assert_allclose(weights, [kernel.T] * 4, rtol=1e-5)
    weights = weights[range(4), classes] - weights.mean(1)
    expected = np.einsum("nhwc,nc->nhw", top, weights).clip(0)
    most = expected.max((1, 2), keepdims=True)
    assert (most > 0).sum() >= 2
    expected /= np.where(most > 0, most, 1)
    maps = class_activation_map(as_classifier(shallow), images, classes)
    np.testing.assert_allclose(maps, expected, atol=1e-4)


@pytest.fixture(scope="module")
def classifier(saved_net) -> Classifier:
    return saved_net[1]


def draw_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)


def test_maps_are_from_0_to_1_and_reach_1(classifier):
    maps = class_activation_map(classifier, draw_images(3, 8, 8, 3))
    assert maps.dtype == np.float32
    assert maps.shape[0] == 3
    assert maps.ndim == 3
    assert maps.min() >= 0
    np.testing.assert_array_equal(maps.max((1, 2)), 1)


def test_the_class_is_the_predicted_one_unless_it_is_named(classifier):
    images = draw_images(4, 8, 8, 3)
    predicted = classifier.predict(images).argmax(-1)
    maps = class_activation_map(classifier, images)
    np.testing.assert_array_equal(
        maps, class_activation_map(classifier, images, predicted)
    )
    other = (predicted + 1) % 3
    assert (class_activation_map(classifier, images, other) != maps).any((1, 2)).all()
    np.testing.assert_array_equal(
        class_activation_map(classifier, images, 2),
        class_activation_map(classifier, images, [2, 2, 2, 2]),
    )


def test_images_of_any_size_and_number_are_brought_to_the_nets(classifier, monkeypatch):
    images = [draw_images(8, 11, 3), draw_images(4, 4, 3), draw_images(8, 8, 3)]
    fitted = np.stack([classifier.prepare(image) for image in images])
    expected = class_activation_map(classifier, fitted, 1)
    monkeypatch.setattr("gpwjax.inference.BATCH_SIZE", 2)
    maps = class_activation_map(classifier, iter(images), 1)
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_what_all_logits_have_in_common_does_not_matter(classifier):
    """It changes no probability."""
    params = classifier.variables["params"]
    kernel, bias = params["head"]["kernel"], params["head"]["bias"]
    common = np.random.default_rng(1).normal(0, 1, (len(kernel), 1))
    head = {"kernel": (kernel + common).astype(np.float32), "bias": bias + 3}
    variables = classifier.variables | {"params": params | {"head": head}}
    other = Classifier(classifier.model, variables, classifier.metadata)
    images = draw_images(2, 8, 8, 3)
    np.testing.assert_allclose(
        class_activation_map(other, images, 0),
        class_activation_map(classifier, images, 0),
        atol=1e-4,
    )


def test_where_nothing_speaks_for_the_class_the_map_is_0(classifier):
    params = classifier.variables["params"]
    head = jax.tree.map(np.zeros_like, params["head"])
    variables = classifier.variables | {"params": params | {"head": head}}
    blind = Classifier(classifier.model, variables, classifier.metadata)
    assert not class_activation_map(blind, draw_images(2, 8, 8, 3)).any()


@pytest.mark.parametrize(
    ("class_index", "rule"),
    [
        (3, "class_index must be from 0 to 2, got 3"),
        ([0, -1], "class_index must be from 0 to 2, got [0, -1]"),
        ([0, 1, 2], "an integer or 2 of them, one for each image, got [0, 1, 2]"),
        (0.0, "an integer or 2 of them, one for each image, got 0.0"),
        ("cat", "an integer or 2 of them, one for each image, got 'cat'"),
        ([[0, 1]], "an integer or 2 of them, one for each image, got [[0, 1]]"),
    ],
)
def test_a_class_that_is_none_is_refused(classifier, class_index, rule):
    with pytest.raises(ValueError, match=re.escape(rule)):
        class_activation_map(classifier, draw_images(2, 8, 8, 3), class_index)


def test_no_images_are_refused(classifier):
    with pytest.raises(ValueError, match="images must be at least one, got none"):
        class_activation_map(classifier, [])


def test_the_colours_are_viridis():
    heat = np.linspace(0, 1, explain.CELL, dtype=np.float32)
    colours = explain.colour(np.tile(heat, (explain.CELL, 1)))
    np.testing.assert_allclose(
        colours[0], matplotlib.colormaps["viridis"](heat)[:, :3], atol=0.08
    )
    np.testing.assert_allclose(colours[-1, [0, -1]], explain.VIRIDIS[[0, -1]] / 255)


def test_a_row_is_a_caption_the_image_and_the_map_over_it(classifier):
    image = np.full((8, 8, 3), 51, np.uint8)
    row = np.asarray(explain.draw(classifier, image, "a.png", 1))
    caption, below = np.split(row, [explain.CAPTION])
    left, right = np.split(below, 2, axis=1)
    assert left.shape == right.shape == (explain.CELL, explain.CELL, 3)
    assert (left == 51).all()
    (heat,) = class_activation_map(classifier, [image], 1)
    over = 255 * (0.2 + explain.colour(heat)) / 2
    np.testing.assert_allclose(right, over, atol=0.51)
    assert caption.min() == 0  # black on white
    assert caption.max() == 255
    other = explain.draw(classifier, image, "a.png", 2)
    assert (np.asarray(other)[: explain.CAPTION] != caption).any()


def test_a_map_of_one_cell_is_not_drawn_as_a_class_that_is_everywhere(
    saved_net, shrunk
):
    _, net = saved_net
    small = Classifier(net.model, net.variables, net.metadata | {"image_size": 1})
    with shrunk():
        assert explain.cells(net, 1) == 1
        assert explain.cells(net, 8) > 1
        assert explain.size_of_a_map(net) is None
        note = explain.size_of_a_map(small)
        row = np.asarray(explain.draw(small, np.full((4, 4, 3), 51, np.uint8), "a", 1))
    size = next(size for size in (2, 4, 8) if explain.cells(net, size) > 1)
    assert note.startswith(
        "the net sees images of 1x1 pixels as one cell, which shows "
    )
    assert f"trained at {size}x{size} pixels it would see " in note
    right = row[explain.CAPTION :, explain.CELL :]
    assert (right == right[..., :1]).all()  # no colour: black on white
    assert (right == 255).mean() > 0.9
    assert right.min() < 100


@pytest.fixture
def program(saved_net, monkeypatch, tmp_path) -> list[str]:
    """`gpwjax explain WEIGHTS`, in a folder with pictures; quick, as test_predict's."""
    weights, classifier = saved_net
    monkeypatch.setattr("gpwjax.commands.start_jax", lambda: None)
    monkeypatch.setattr("gpwjax.load", lambda path: classifier)
    monkeypatch.chdir(tmp_path)
    for name, size in (("a.png", (8, 8)), ("b.jpg", (300, 20))):
        Image.new("RGB", size, "red").save(name)
    Path("broken.png").touch()
    return ["explain", str(weights)]


def test_the_drawing_has_a_row_for_each_picture_that_can_be_read(
    program, capsys, classifier
):
    images = ["b.jpg", "broken.png", "a.png"]
    assert main([*program, *images, "--class", "dog", "-o", "out.png"]) == 0
    error = "left out: broken.png is empty\n"
    assert capsys.readouterr() == ("The picture is in out.png\n", error)
    with Image.open("out.png") as drawing:
        height = 2 * (explain.CAPTION + explain.CELL)
        assert drawing.size == (2 * explain.CELL, height)
        rows = np.split(np.asarray(drawing), 2)
    expected = explain.draw(classifier, read_image(Path("a.png")), "a.png", 1)
    np.testing.assert_array_equal(rows[1], expected)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["a.png", "--class", "girafe"], "got 'girafe'; did you mean 'giraffe'?"),
        (["a.png", "--class", "house"], "got 'house'; 'cat', 'dog', 'giraffe'"),
        (["a.png", "-o", "out.jpg"], "a drawing's name must end in .png, got out.jpg"),
        (["a.png", "-o", "no/out.png"], "there is no folder no"),
        (["a.png", "-o", "folder.png"], "cannot write folder.png: Is a directory"),
        (["broken.png"], "no picture could be read"),
        (["a.png"] * 101, "at most 100 pictures fit into a drawing, got 101"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(program, capsys, args, reason):
    Path("folder.png").mkdir()
    assert main([*program, "-o", "out.png", *args]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err.splitlines()[-1]
    assert not Path("out.png").exists()


def test_a_map_that_is_not_finite_is_refused(program, classifier, capsys, monkeypatch):
    net = overflowing(classifier)
    with pytest.raises(ValueError, match="image 0 gets numbers from the net that are "):
        class_activation_map(net, draw_images(1, 8, 8, 3), 0)
    monkeypatch.setattr("gpwjax.load", lambda path: net)
    assert main([*program, "-o", "out.png", "a.png", "broken.png"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "left out: a.png gets numbers from the net that are not finite",
        "left out: broken.png is empty",
        "error: the net answers with numbers that are not finite",
    ]
    assert not Path("out.png").exists()


def test_it_must_be_told_where_to_draw(capsys):
    with pytest.raises(SystemExit) as end:
        main(["explain", "model.safetensors", "a.png"])
    assert end.value.code == 2
    assert "-o/--output" in capsys.readouterr().err
