import copy
import re
import tracemalloc
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpwjax import Classifier, create_model, load, save
from gpwjax.inference import fit
from train.augment import as_input

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def draw_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def shallow_stages(shrunk):
    with shrunk():
        yield


@pytest.fixture(scope="module")
def net(draw_variables):
    model = create_model("mobilenet", 3, small_images=True)
    return model, draw_variables(model, draw_images(1, 8, 8, 3), train=False)


@pytest.fixture(scope="module")
def read_classifier(net, tmp_path_factory):
    def read(**metadata: int) -> Classifier:
        path = tmp_path_factory.mktemp("net") / "net.safetensors"
        save(path, *net, classes=["cat", "dog", "house"], **metadata)
        return load(path)

    return read


@pytest.fixture(scope="module")
def classifier(read_classifier):
    """Of images of 4x4 pixels."""
    return read_classifier(image_size=4)


def test_predict_is_the_softmax_of_the_net_in_batches_of_any_length(net, classifier):
    model, variables = net
    images = draw_images(70, 4, 4, 3)  # a batch of 64, and one of 6
    logits = jax.jit(partial(model.apply, train=False))(variables, images)
    probabilities = classifier.predict(images)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), **CLOSE)


def test_with_mirror_it_is_the_mean_of_both_sides(classifier):
    images = draw_images(5, 4, 4, 3)
    sides = classifier.predict(images), classifier.predict(images[:, :, ::-1])
    mean = classifier.predict(images, mirror=True)
    np.testing.assert_allclose(mean, (sides[0] + sides[1]) / 2, rtol=1e-6)
    np.testing.assert_allclose(
        mean, classifier.predict(images[:, :, ::-1], mirror=True), rtol=1e-6
    )
    assert not np.allclose(*sides, rtol=1e-3)


def test_rows_sum_to_1(classifier):
    probabilities = classifier.predict(draw_images(6, 4, 4, 3))
    assert probabilities.shape == (6, 3)
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_bytes_are_floats_times_255(classifier):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(
        classifier.predict(images), classifier.predict(images / 255), **CLOSE
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_floats_of_any_precision_are_taken(classifier, dtype):
    images = draw_images(6, 4, 4, 3).astype(np.float16)  # exact in all of them
    np.testing.assert_allclose(
        classifier.predict(images.astype(dtype)),
        classifier.predict(images.astype(np.float32)),
        **CLOSE,
    )


def test_images_of_several_sizes_are_each_fitted(classifier):
    shapes = [(4, 4, 3), (8, 8, 3), (2, 2, 3), (4, 9, 3), (11, 5, 3)]
    images = [draw_images(*shape) for shape in shapes]
    fitted = np.stack([fit(image, 4) for image in images])
    expected = classifier.predict(fitted)
    np.testing.assert_allclose(classifier.predict(images), expected, **CLOSE)
    # Any iterable will do.
    np.testing.assert_allclose(classifier.predict(iter(images)), expected, **CLOSE)


def test_images_are_shrunk_to_the_stored_size_and_then_enlarged(read_classifier):
    classifier = read_classifier(image_size=8, stored_size=4)
    images = draw_images(6, 12, 12, 3)
    prepared = [fit(x, 4).repeat(2, axis=0).repeat(2, axis=1) for x in images]
    np.testing.assert_allclose(
        classifier.predict(images),
        read_classifier(image_size=8).predict(prepared),
        **CLOSE,
    )


def test_images_are_padded_for_a_net_that_was_trained_on_padded_ones(
    read_classifier, classifier
):
    images = [draw_images(4, 8, 3), draw_images(8, 2, 3), draw_images(4, 4, 3)] * 2
    bars = [((2, 2), (0, 0)), ((0, 0), (3, 3)), ((0, 0), (0, 0))] * 2
    padded = [np.pad(x, (*b, (0, 0))) for x, b in zip(images, bars, strict=True)]
    expected = classifier.predict(padded)  # squares, which it only shrinks
    assert not np.allclose(classifier.predict(images), expected, **CLOSE)
    padding = copy.copy(classifier)  # compiled already
    padding.metadata = read_classifier(image_size=4, pad=True).metadata
    np.testing.assert_allclose(padding.predict(images), expected, **CLOSE)


@pytest.mark.parametrize("images", [[], np.zeros((0, 4, 4, 3))], ids=["list", "array"])
def test_no_images_have_no_rows(classifier, images):
    assert classifier.predict(images).shape == (0, 3)


@pytest.mark.parametrize(
    ("shape", "dtype", "rule"),
    [
        ((1, 4, 4), float, "an image must be (H, W, 3), got shape (4, 4)"),
        ((1, 4, 4, 1), float, "an image must be (H, W, 3), got shape (4, 4, 1)"),
        ((1, 4, 4, 4), np.uint8, "an image must be (H, W, 3), got shape (4, 4, 4)"),
        ((4, 4, 3), float, "an image must be (H, W, 3), got shape (4, 3)"),
        ((1, 0, 4, 3), float, "an image must be (H, W, 3), got shape (0, 4, 3)"),
        ((1, 1, 4, 4, 3), float, "must be (H, W, 3), got shape (1, 4, 4, 3)"),
        ((1, 4, 4, 3), int, "an image must be uint8 or floats, got dtype int64"),
        ((1, 4, 4, 3), bool, "an image must be uint8 or floats, got dtype bool"),
        ((1, 4, 4, 3), complex, "must be uint8 or floats, got dtype complex128"),
    ],
)
def test_predict_refuses(classifier, shape, dtype, rule):
    with pytest.raises(ValueError, match=re.escape(rule)):
        classifier.predict(np.zeros(shape, dtype))


def test_an_image_of_the_nets_size_stays_as_it_is():
    image = draw_images(5, 5, 3)
    np.testing.assert_array_equal(fit(image, 5), image)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (4, 8, slice(0, 4), slice(2, 6)),
        (8, 4, slice(2, 6), slice(0, 4)),
        (4, 7, slice(0, 4), slice(1, 5)),
        (9, 4, slice(2, 6), slice(0, 4)),
    ],
)
def test_an_oblong_image_gives_the_square_in_its_middle(height, width, rows, columns):
    image = draw_images(height, width, 3)
    np.testing.assert_array_equal(fit(image, 4), image[rows, columns])


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (4, 8, (2, 2), (0, 0)),
        (8, 4, (0, 0), (2, 2)),
        (3, 8, (2, 3), (0, 0)),
        (8, 7, (0, 0), (0, 1)),
        (8, 8, (0, 0), (0, 0)),
    ],
)
def test_a_padded_image_is_whole_between_black_bars(height, width, rows, columns):
    image = draw_images(height, width, 3)
    padded = np.pad(image, (rows, columns, (0, 0)))
    np.testing.assert_array_equal(fit(image, 8, pad=True), padded)
    # First the bars, then the size.
    np.testing.assert_array_equal(fit(image, 5, pad=True), fit(padded, 5))
    np.testing.assert_array_equal(fit(image, 16, pad=True), fit(padded, 16))


def test_a_small_image_repeats_its_pixels():
    image = draw_images(2, 2, 3)
    repeated = image.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(fit(image, 4), repeated)


@given(side=st.integers(1, 8), more=st.integers(1, 20))
def test_a_small_image_is_enlarged_to_any_size_by_nearest_neighbour(side, more):
    image = draw_images(side, side, 3)
    size = side + more
    # The centre of pixel i is at (i + 1/2) / size; of two nearest the second counts.
    nearest = [(2 * i + 1) * side // (2 * size) for i in range(size)]
    np.testing.assert_array_equal(fit(image, size), image[nearest][:, nearest])


@pytest.mark.parametrize(("side", "size"), [(32, 48), (5, 8), (32, 224), (96, 224)])
def test_a_small_image_is_enlarged_as_in_training(side, size):
    image = draw_images(side, side, 3)
    np.testing.assert_array_equal(fit(image, size), as_input(image[None], size)[0])


@settings(max_examples=10)
@given(size=st.integers(1, 6), more=st.integers(1, 8))
def test_a_large_image_is_shrunk_as_by_jaxs_antialiased_bilinear_filter(size, more):
    image = draw_images(size + more, size + more, 3)
    expected = jax.image.resize(image, (size, size, 3), "linear", antialias=True)
    np.testing.assert_allclose(fit(image, size), expected, atol=1e-5)


def test_a_large_image_is_brought_to_its_size_a_channel_at_a_time():
    image = np.zeros((2000, 3000, 3), np.uint8)
    tracemalloc.start()
    fit(image, 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * 4 * 2000**2  # bytes; as floats, the square has 48 million
