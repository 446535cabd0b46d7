"""ONNX files of int8 answer nearly as the net does, in a fraction of its bytes."""

from pathlib import Path

import jax
import numpy as np
import pytest
from made_nets import GROUPED
from PIL import Image

import gpwjax
from gpwjax import mobilenet_v3
from gpwjax.cli import main
from gpwjax.export import web
from gpwjax.export.calibration import (
    LEAST,
    MOST,
    Calibration,
    evenly,
    label_of,
    read_calibration,
)
from gpwjax.export.files import onnx_bytes, run_onnx

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
compact = pytest.importorskip("gpwjax.export.compact")
int8 = pytest.importorskip("gpwjax.export.int8")

SIZE = 8
CLASSES = [f"class {number}" for number in range(10)]


def classifier_of(net, **metadata) -> gpwjax.Classifier:
    """A net whose answers are not all or nothing, as drawn weights have them."""
    head = net.variables["params"]["head"]
    params = net.variables["params"] | {"head": head | {"kernel": head["kernel"] / 20}}
    settings = {"name": "net", "min_channels": net.model.min_channels}
    about = {"classes": CLASSES, "image_size": SIZE, "model": settings, **metadata}
    return gpwjax.Classifier(net.model, net.variables | {"params": params}, about)


def pictures(count: int = LEAST, size: int = SIZE) -> np.ndarray:
    """Of blurred noise, so that they differ in more than details."""
    rng = np.random.default_rng(count)
    coarse = rng.integers(0, 256, (count, 2, 2, 3), np.uint8)
    fine = rng.integers(0, 64, (count, size, size, 3), np.uint8)
    return coarse.repeat(size // 2, 1).repeat(size // 2, 2) // 2 + fine


def calibration(classifier: gpwjax.Classifier, count: int = 32) -> Calibration:
    """Labels are the net's own answers, but for some that are not known."""
    images = pictures(count)
    labels = classifier.predict(images).argmax(-1)
    labels[:4] = -1
    return Calibration(images, labels)


@pytest.fixture
def unchecked(monkeypatch) -> None:
    """Files of float32 are not compared with the net, which compiles it."""

    def export(classifier, path, file_format, uint8):
        path.write_bytes(onnx_bytes(classifier, "float32", uint8))

    monkeypatch.setattr(int8, "export", export)


some_nets = pytest.mark.parametrize(
    "shallow",
    [
        "efficientnet_b0",
        "mobilenet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in GROUPED
            if name not in ("efficientnet_b0", "mobilenet")
        ),
    ],
    indirect=True,
)
one_net = pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)


@some_nets
def test_the_file_takes_and_gives_what_that_of_float32_does(shallow, tmp_path):
    classifier, file = classifier_of(shallow), tmp_path / "net.onnx"
    used = calibration(classifier)
    found = int8.export_int8(classifier, file, used, force=True)
    model = onnx.load(file)
    floats = onnx.load_from_string(onnx_bytes(classifier, "float32", False))
    for side in ("input", "output"):
        assert getattr(model.graph, side) == getattr(floats.graph, side)
    assert model.ir_version == floats.ir_version
    assert model.opset_import == floats.opset_import
    assert model.metadata_props == floats.metadata_props

    expected = classifier.predict(used.images)
    answers = run_onnx(file, np.float32(used.images) / 255)
    assert found.difference == pytest.approx(np.abs(answers - expected).max(), abs=1e-3)
    assert 0 < found.difference < 0.2
    same = (answers.argmax(-1) == expected.argmax(-1)).mean()
    assert (found.pictures, found.same_class) == (32, pytest.approx(same))
    assert same > 0.8
    before, after = found.accuracy
    assert before == 1
    right = answers.argmax(-1)[4:] == used.labels[4:]
    assert after == pytest.approx(right.mean())


@one_net
def test_products_of_a_processor_without_vnni_are_not_cut_off(shallow, tmp_path):
    """It adds two products of 8 bits in 16 bits."""
    classifier, file = classifier_of(shallow), tmp_path / "net.onnx"
    int8.export_int8(classifier, file, calibration(classifier), force=True)
    graph = onnx.load(file).graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    layers = [node for node in graph.node if node.op_type == "Conv"]
    in_int8 = [n for n in layers if makers[n.input[0]].op_type == "DequantizeLinear"]
    assert in_int8
    for layer in in_int8:
        kernel = arrays[makers[layer.input[1]].input[0]].astype(int)
        assert 2 * 255 * np.abs(kernel).max() < 2**15


def test_a_layer_in_float32_may_have_the_bias_of_one_in_int8(tmp_path):
    """As in a net with its first weights, whose biases are all 0 and stored once."""
    squeezed = mobilenet_v3.Stage(16, 3, 1, True, jax.nn.relu, (2, 2))
    model = mobilenet_v3.MobileNetV3Large(10, 16, small_images=True, stages=[squeezed])
    variables = model.init(jax.random.key(0), np.zeros((1, SIZE, SIZE, 3)), train=False)
    about = {"classes": CLASSES, "image_size": SIZE, "model": {"name": "net"}}
    classifier = gpwjax.Classifier(model, jax.device_get(variables), about)
    used = Calibration(pictures(), np.full(LEAST, -1))
    found = int8.export_int8(classifier, tmp_path / "net.onnx", used, force=True)
    assert found.difference < 0.1


@some_nets
def test_a_compact_file_computes_the_same_bits(shallow, tmp_path):
    classifier = classifier_of(shallow)
    floats = onnx_bytes(classifier, "float32", False)
    images = pictures()
    file = tmp_path / "whole.onnx"
    kinds = int8.PLANS[0].kinds

    def feed(images: np.ndarray) -> np.ndarray:
        return np.float32(images) / 255

    int8.quantize(floats, file, kinds, images, feed)
    whole = onnx.load(file)
    # But for kernels that are computed with in float32, which it rounds.
    small = onnx.ModelProto.FromString(whole.SerializeToString())
    for step in ("derive_bias_scales", "remove_unused", "merge_equal", "shorten_names"):
        getattr(compact, step)(small.graph)
    expected = int8.answers(whole.SerializeToString(), images, feed)
    found = int8.answers(small.SerializeToString(), images, feed)
    np.testing.assert_array_equal(found, expected)
    rounded = compact.compact(whole)
    onnx.checker.check_model(rounded, full_check=True)
    assert rounded.ByteSize() < small.ByteSize() < whole.ByteSize()
    kernels = [t for t in rounded.graph.initializer if len(t.dims) == 4]
    stored = {t.data_type for t in kernels if np.prod(t.dims) >= compact.LEAST}
    assert stored == {onnx.TensorProto.INT8}


def test_a_kernel_is_rounded_for_each_feature():
    kernel = np.random.default_rng(0).normal(size=(5, 3, 2, 2)).astype(np.float32)
    kernel *= 10.0 ** np.arange(-3, 2)[:, None, None, None]
    kernel[2] = 0
    whole, scale = compact.rounded(kernel)
    assert whole.dtype == np.int8
    assert (np.abs(whole * scale - kernel) <= scale / 2 * 1.001).all()
    most = np.abs(whole.astype(int)).max((1, 2, 3))
    assert most.tolist() == [127, 127, 0, 127, 127]


@one_net
def test_maps_are_int8_and_what_is_of_one_pixel_is_not(shallow):
    content = onnx_bytes(classifier_of(shallow), "float32", False)
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    chosen = int8.nodes_to_quantize(model.graph, int8.PLANS[0].kinds)
    convolutions = [n.name for n in model.graph.node if n.op_type == "Conv"]
    assert {*convolutions} - {*chosen} == {"head"}
    without = int8.nodes_to_quantize(model.graph, int8.PLANS[1].kinds)
    swish = {n.name for n in model.graph.node if n.op_type in ("Sigmoid", "Mul")}
    assert swish & {*chosen}
    assert not swish & {*without}


@one_net
def test_uint8_images(shallow, tmp_path, unchecked):
    classifier, file = classifier_of(shallow, stored_size=4), tmp_path / "net.onnx"
    used = Calibration(pictures(32, size=4), np.full(32, -1))
    found = int8.export_int8(classifier, file, used, uint8=True, force=True)
    assert found.accuracy is None
    images = pictures(3, size=30)[:, :20]
    answers = run_onnx(file, images)
    np.testing.assert_allclose(answers, classifier.predict(images), atol=0.2)


@one_net
def test_a_file_that_answers_otherwise_is_refused_with_the_worst_layers(
    shallow, tmp_path, monkeypatch, unchecked
):
    classifier, file = classifier_of(shallow), tmp_path / "net.onnx"
    monkeypatch.setattr(int8, "LEAST_AGREEMENT", 1.01)
    with pytest.raises(ValueError, match=r"pictures get the same class") as refused:
        int8.export_int8(classifier, file, calibration(classifier))
    assert "block" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    int8.export_int8(classifier, file, calibration(classifier), force=True)
    assert file.is_file()


@one_net
def test_the_worst_layer_is_that_of_the_largest_outlier(shallow, tmp_path):
    classifier = classifier_of(shallow)
    floats = onnx.load_from_string(onnx_bytes(classifier, "float32", False))
    name = next(n.input[2] for n in floats.graph.node if n.name == "block1/pointwise/K")
    (bias,) = (t for t in floats.graph.initializer if t.name == name)
    values = np.array(onnx.numpy_helper.to_array(bias))
    values[3] = 1e4
    bias.CopyFrom(onnx.numpy_helper.from_array(values, name))
    images, file = pictures(), tmp_path / "net.onnx"

    def feed(images: np.ndarray) -> np.ndarray:
        return np.float32(images) / 255

    content = floats.SerializeToString()
    int8.quantize(content, file, int8.PLANS[0].kinds, images, feed)
    assert int8.worst_layers(content, file, images, feed)[0] == "block1/pointwise/K"


@one_net
def test_of_two_plans_that_is_taken_that_agrees_more(
    shallow, tmp_path, monkeypatch, unchecked
):
    classifier, tried = classifier_of(shallow), []

    def quantize(floats, file, kinds, images, feed):
        tried.append(kinds)
        file.write_bytes(floats)

    agreements: list[float] = []

    def compare(expected, found, labels, plan):
        return int8.Agreement(len(labels), agreements.pop(0), None, plan, 0.1)

    monkeypatch.setattr(int8, "quantize", quantize)
    monkeypatch.setattr(int8, "compare", compare)
    used = calibration(classifier)
    first, second = int8.PLANS
    for shares, plan, count in (
        ([0.95, 0.961], second, 2),
        ([0.95, 0.959], first, 2),  # a slower one must gain a point
        ([0.99], first, 1),
    ):
        agreements, tried = shares, []
        found = int8.export_int8(classifier, tmp_path / "net.onnx", used)
        assert found.plan == plan.name
        assert len(tried) == count


@one_net
def test_a_page_of_int8_has_heat_maps(shallow, tmp_path):
    classifier = classifier_of(shallow)
    used = calibration(classifier)
    found = web.export_int8_page(classifier, tmp_path / "page", used, force=True)
    assert found.same_class > 0.8
    web.export_page(classifier, tmp_path / "other")
    images = np.float32(used.images) / 255
    maps, expected = (
        run_onnx(tmp_path / page / web.NET, images, "maps")
        for page in ("page", "other")
    )
    assert np.abs(maps - expected).max() < 0.2 * expected.max()


class TestCalibration:
    def test_pictures_at_any_depth_and_their_classes(self, shallow_nets, tmp_path):
        classifier = classifier_of(shallow_nets("mobilenet"))
        for number, image in enumerate(pictures(20, size=30)):
            places = ("class 3", "deep/CLASS 4/deeper", "class 5/class 6", "others")
            folder = tmp_path / places[number % 4]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
        (tmp_path / "others" / "broken.png").write_bytes(b"no picture")
        found = read_calibration(str(tmp_path), classifier)
        assert found.images.shape == (20, SIZE, SIZE, 3)
        assert found.images.dtype == np.uint8
        assert sorted(found.labels) == [-1] * 5 + [3] * 5 + [4] * 5 + [6] * 5
        picture = gpwjax.pictures.read_image(tmp_path / "class 3" / "0.png")
        expected = np.round(255 * classifier.prepare(picture))
        np.testing.assert_array_equal(found.images[found.labels == 3][0], expected)

    def test_too_few_pictures(self, shallow_nets, tmp_path):
        classifier = classifier_of(shallow_nets("mobilenet"))
        for number, image in enumerate(pictures(3)):
            Image.fromarray(image).save(tmp_path / f"{number}.png")
        with pytest.raises(ValueError, match=f"at least {LEAST} pictures .* has 3"):
            read_calibration(tmp_path, classifier)

    def test_a_data_set_by_name(self, shallow_nets, tmp_path, monkeypatch):
        pytest.importorskip("sklearn")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        digits = [str(number) for number in reversed(range(10))]
        classifier = classifier_of(shallow_nets("mobilenet"), classes=digits)
        found = read_calibration("digits", classifier)
        assert found.images.shape[1:] == (8, 8, 3)
        counts = np.bincount(found.labels, minlength=10)
        assert counts.min() > 10
        from train.config import Config
        from train.data import load_dataset

        data = load_dataset(Config("digits", image_size=8))
        zeros = data.images[data.val][data.labels[data.val] == 0]
        np.testing.assert_array_equal(found.images[found.labels == 9], zeros)

    def test_no_such_data_set(self, shallow_nets):
        classifier = classifier_of(shallow_nets("mobilenet"))
        with pytest.raises(ValueError, match="calibration: there is no data set 'nix'"):
            read_calibration("nix", classifier)

    def test_of_many_some_evenly(self):
        found = list(evenly(range(10 * MOST)))
        assert (len(found), found[0], found[-1]) == (MOST, 0, 10 * MOST - 1)
        assert set(np.diff(found)) <= {10, 11}
        assert list(evenly(range(3))) == [0, 1, 2]

    def test_the_nearest_folder_tells_the_class(self):
        assert label_of(Path("a/b/c.png"), ["A", "b"]) == 1
        assert label_of(Path("a/c.png"), ["A", "b"]) == 0
        assert label_of(Path("a.png"), ["a.png", "a"]) == -1


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        folder = tmp_path / "pictures"
        for number, image in enumerate(pictures(LEAST)):
            place = folder / ("cat" if number % 2 else "dog")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number}.png")
        return folder

    def test_it_says_how_well_both_agree(self, saved_net, folder, tmp_path, capsys):
        file = tmp_path / "net.onnx"
        args = ["export", str(saved_net[0]), "--format", "onnx", "--dtype", "int8"]
        args += ["--calibrate", str(folder), "-o", str(file), "--force"]
        assert main(args) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{file}: {file.stat().st_size:,} bytes, for images (N, ")
        assert f"; of {LEAST} pictures " in out
        assert "the right one (of the net " in out

    @pytest.mark.parametrize(
        ("args", "rule"),
        [
            (["--dtype", "int8"], "--dtype int8 needs --calibrate"),
            (["--calibrate", "x"], "--calibrate is of --dtype int8"),
            (["--force"], "--force is of --dtype int8"),
            (["--license", "MIT"], "--license is of --format card"),
            (["--dtype", "int8", "--calibrate", "nix"], "there is no data set 'nix'"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, saved_net, args, rule, capsys):
        assert main(["export", str(saved_net[0]), "--format", "onnx", *args]) == 1
        (error,) = capsys.readouterr().err.splitlines()
        assert error.startswith("error: ")
        assert rule in error

    def test_stablehlo_has_no_int8(self, saved_net, capsys):
        args = ["export", str(saved_net[0]), "--format", "stablehlo", "--dtype", "int8"]
        assert main(args) == 1
        assert "int8 is of onnx and web, not of stablehlo" in capsys.readouterr().err


@pytest.mark.slow
def test_the_authors_net_loses_at_most_a_point_in_40_percent_of_the_bytes(
    shared, tmp_path
):
    """All 10,000 test images of CIFAR-10; ranges are of training images."""
    import tensorflow_datasets as tfds

    model = gpwjax.create_model("mobilenet", 10, 16)
    net = shared / "reference/authors_kmobilenet_16ch_cifar10.hdf5"
    about = {"classes": CLASSES, "image_size": 224, "stored_size": 32}
    classifier = gpwjax.Classifier(model, gpwjax.from_keras(model, net), about)
    builder = tfds.builder_from_directory(shared / "data/tfds/cifar10/3.0.2")

    def examples(split: str, count: int) -> Calibration:
        source = builder.as_data_source(split)
        chosen = [source[number] for number in range(count)]
        images = np.stack([example["image"] for example in chosen])
        return Calibration(images, np.array([example["label"] for example in chosen]))

    file = tmp_path / "net.onnx"
    int8.export_int8(classifier, file, examples("train", 1000))
    assert file.stat().st_size <= 400_000
    test = examples("test", 10_000)

    def feed(images: np.ndarray) -> np.ndarray:
        return np.stack([classifier.prepare(image) for image in images])

    found = int8.answers(file.read_bytes(), test.images, feed)
    accuracy = (found.argmax(-1) == test.labels).mean()
    assert accuracy >= 0.8981 - 0.01
