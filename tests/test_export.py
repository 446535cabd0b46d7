"""Exported files answer as the net does."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn
from made_nets import GROUPED

import gpwjax
from gpwjax.cli import main
from gpwjax.export import files as exporting
from gpwjax.export.files import export, run_onnx, run_stablehlo
from gpwjax.formats import FILES

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
graphs = pytest.importorskip("gpwjax.export.onnx_graph")
files = pytest.importorskip("gpwjax.export.onnx_file")

SIZE = 8
CLASSES = [f"class {number}" for number in range(10)]
RUN = {"onnx": run_onnx, "stablehlo": run_stablehlo}


one_net = pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)


def classifier_of(net, **metadata) -> gpwjax.Classifier:
    about = {"classes": CLASSES, "image_size": SIZE, **metadata}
    return gpwjax.Classifier(net.model, net.variables, about)


def images(count: int, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.uniform(0, 1, (count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("shallow", "file_format"),
    # StableHLO is JAX's own; whole nets of all families are in the slow test.
    [*((name, "onnx") for name in GROUPED), ("mobilenet", "stablehlo")],
    indirect=["shallow"],
)
def test_any_number_of_images_gets_the_probabilities_of_the_net(
    shallow, tmp_path, file_format
):
    classifier, file = classifier_of(shallow), tmp_path / "net"
    difference = export(classifier, file, file_format)
    assert 0 < difference < 1e-4
    for count in (1, 7):
        expected = classifier.predict(images(count))
        assert np.ptp(expected, axis=1).min() > 0.01  # no net that says nothing
        found = RUN[file_format](file, images(count))
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert [f.name for f in tmp_path.iterdir()] == ["net"]


def first_variables(model: nn.Module) -> dict:
    """Those with which training begins: drawn ones make whole nets that magnify what is
    only rounding."""
    init = jax.jit(partial(model.init, train=False))
    return jax.device_get(init(jax.random.key(0), images(1, 32)))


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True], ids=["dense", "grouped"])
@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("file_format", FILES)
def test_whole_nets(tmp_path, name, grouped, file_format):
    model = gpwjax.create_model(name, 10, GROUPED[name] if grouped else None)
    variables = first_variables(model)
    about = {"classes": CLASSES, "image_size": 32}
    export(gpwjax.Classifier(model, variables, about), tmp_path / "net", file_format)
    # The logits too, which say more than probabilities.
    graph = graphs.Graph()
    logits = graphs.make_graph(model, variables, "images", 32, graph)
    graph.node("Identity", logits, result="probabilities")
    shape = {"images": (None, 32, 32, 3), "classes": 10}
    settings = {"uint8": False, "weights": "float32", "metadata": ""}
    (tmp_path / "logits").write_bytes(files.serialize(graph, **shape, **settings))
    for count in (1, 7):
        expected = np.asarray(model.apply(variables, images(count, 32), train=False))
        found = run_onnx(tmp_path / "logits", images(count, 32))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found / scale, expected / scale, atol=1e-4)


@one_net
def test_a_dense_net(shallow, draw_variables, tmp_path):
    model = shallow.model.clone(min_channels=None)
    variables = draw_variables(model, images(1), train=False)
    dense = shallow._replace(model=model, variables=variables)
    assert export(classifier_of(dense), tmp_path / "net.onnx", "onnx") < 1e-4


@one_net
@pytest.mark.parametrize("file_format", FILES)
def test_uint8_images_of_any_size(shallow, tmp_path, file_format):
    classifier = classifier_of(shallow, stored_size=5)
    export(classifier, tmp_path / "net", file_format, uint8=True)
    for height, width in ((5, 5), (3, 4), (12, 30)):
        pictures = np.uint8(255 * images(3, size=30))[:, :height, :width]
        found = RUN[file_format](tmp_path / "net", pictures)
        np.testing.assert_allclose(found, classifier.predict(pictures), atol=1e-4)


@one_net
@pytest.mark.parametrize("file_format", FILES)
def test_a_net_that_was_trained_in_bfloat16(shallow, tmp_path, file_format):
    model = shallow.model.clone(dtype="bfloat16", remat=True)
    trained = shallow._replace(model=model)
    export(classifier_of(trained), tmp_path / "net", file_format)
    expected = classifier_of(shallow).predict(images(3))
    found = RUN[file_format](tmp_path / "net", images(3))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@one_net
@pytest.mark.parametrize("file_format", FILES)
def test_bfloat16_weights_take_half_of_the_bytes(shallow, tmp_path, file_format):
    shallow.variables["params"]["head"]["kernel"] /= 10  # else they are nearly 0 or 1
    classifier, sizes = classifier_of(shallow), {}
    for dtype in ("float32", "bfloat16"):
        file = tmp_path / dtype
        difference = export(classifier, file, file_format, dtype=dtype)
        sizes[dtype] = file.stat().st_size
    assert 1e-5 < difference < 5e-2
    weights = sum(x.nbytes for x in jax.tree.leaves(shallow.variables["params"]))
    assert sizes["float32"] - sizes["bfloat16"] > 0.4 * weights


@one_net
def test_an_onnx_file_has_the_metadata(shallow, tmp_path):
    classifier = classifier_of(shallow, data="drawn")
    export(classifier, tmp_path / "net.onnx", "onnx")
    (entry,) = onnx.load(tmp_path / "net.onnx").metadata_props
    assert (entry.key, json.loads(entry.value)) == ("gpwjax", classifier.metadata)


@one_net
@pytest.mark.parametrize("uint8", [False, True])
def test_an_onnx_file_asks_for_no_newer_runtime_than_of_2021(shallow, tmp_path, uint8):
    export(classifier_of(shallow), tmp_path / "net.onnx", "onnx", uint8=uint8)
    model = onnx.load(tmp_path / "net.onnx")
    (opset,) = model.opset_import
    assert (model.ir_version, opset.version) <= (7, 14)  # of onnxruntime 1.8


@one_net
def test_batch_norm_is_part_of_the_convolution_before_it(shallow):
    graph = graphs.Graph()
    graphs.make_graph(shallow.model, shallow.variables, "images", SIZE, graph)
    kinds = {node.op_type for node in graph.nodes}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds
    # Only of two values: K + L.
    sums = [node for node in graph.nodes if node.op_type == "Add"]
    assert not any(name in graph.constants for node in sums for name in node.input)


@pytest.mark.parametrize(
    ("shallow", "kind"),
    [("mobilenet", "Clip"), ("mobilenet_v3_large", "HardSwish")],
    indirect=["shallow"],
)
def test_an_activation_is_one_node(shallow, kind):
    graph = graphs.Graph()
    graphs.make_graph(shallow.model, shallow.variables, "images", SIZE, graph)
    kinds = {node.op_type for node in graph.nodes}
    assert kind in kinds
    assert not kinds & {"Max", "Min"}


@one_net
def test_a_file_that_answers_otherwise_is_not_written(shallow, tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_text("the one before")
    monkeypatch.setitem(exporting.BOUNDS, "float32", 1e-12)
    with pytest.raises(ValueError, match="probabilities differ from the net's by"):
        export(classifier_of(shallow), tmp_path / "net.onnx", "onnx")
    assert (tmp_path / "net.onnx").read_text() == "the one before"
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


@one_net
@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"file_format": "tflite"}, "file_format must be stablehlo or onnx, got 'tfl"),
        ({"file_format": "onnx", "dtype": "int8"}, "dtype must be float32 or bfloat16"),
    ],
)
def test_what_cannot_be_written_is_refused(shallow, tmp_path, settings, rule):
    with pytest.raises(ValueError, match=rule):
        export(classifier_of(shallow), tmp_path / "net", **settings)


def test_an_operation_without_translation_is_named():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return jax.numpy.sin(x)

    with pytest.raises(
        NotImplementedError, match="no translation of the operation sin"
    ):
        graphs.make_graph(Net(), {}, "images", SIZE, graphs.Graph())


class TestCommand:
    @pytest.fixture
    def weights(self, shallow, tmp_path) -> Path:
        file = tmp_path / "run" / "model.safetensors"
        file.parent.mkdir()
        settings = {"classes": CLASSES, "image_size": SIZE}
        gpwjax.save(file, shallow.model, shallow.variables, **settings)
        return file

    @one_net
    def test_it_writes_beside_the_weights_and_says_how_well_they_agree(
        self, weights, capsys
    ):
        assert main(["export", str(weights.parent), "--format", "onnx"]) == 0
        file = weights.with_suffix(".onnx")
        out = capsys.readouterr().out
        assert out.startswith(f"{file}: {file.stat().st_size:,} bytes, for images (N, ")
        assert 0 < float(out.split()[-1]) < 1e-4
        expected = gpwjax.load(weights).predict(images(2))
        np.testing.assert_allclose(run_onnx(file, images(2)), expected, atol=1e-4)

    @one_net
    def test_a_file_that_cannot_be_written_is_one_line(self, weights, capsys):
        args = ["export", str(weights), "--format", "onnx", "-o", "no/net.onnx"]
        assert main(args) == 1
        error = capsys.readouterr().err
        assert error == "error: cannot write no/net.onnx: No such file or directory\n"
