"""The folder of a web page, and its net."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_nets import GROUPED

import gpwjax
from gpwjax.cli import main
from gpwjax.explain import grad_cam
from gpwjax.export import export, web
from gpwjax.export.files import PICTURES, run_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = 8


def classifier_of(model, variables, **metadata) -> gpwjax.Classifier:
    about = {
        "model": {"name": "net", "min_channels": model.min_channels},
        "classes": [f"class {number}" for number in range(model.classes)],
        "image_size": SIZE,
        **metadata,
    }
    return gpwjax.Classifier(model, variables, about)


def check_maps(classifier: gpwjax.Classifier, file: Path, images: np.ndarray) -> None:
    """The maps of all classes are, but for their scale, `class_activation_map`s."""
    maps = run_onnx(file, images, "maps")
    most = maps.max((1, 2, 3))  # of the image
    assert most.min() > 0
    for number in range(len(classifier.classes)):
        expected = gpwjax.class_activation_map(classifier, images, number)
        scale = maps[..., number].max((1, 2))
        found = maps[..., number] / most[:, None, None]
        expected = expected * (scale / most)[:, None, None]
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("shallow", "grouped"),
    [*((name, True) for name in GROUPED), ("mobilenet_v3_large", False)],
    indirect=["shallow"],
)
def test_the_net_gives_probabilities_and_the_maps_of_all_classes(
    shallow, draw_variables, tmp_path, grouped
):
    model, variables, images = shallow
    if not grouped:
        model = model.clone(min_channels=None)
        variables = draw_variables(model, images, train=False)
    # As many as `export_page` compares, which compiles less.
    images = np.random.default_rng(1).random((PICTURES, SIZE, SIZE, 3), np.float32)
    classifier = classifier_of(model, variables)
    differences = web.export_page(classifier, tmp_path / "page")
    assert max(differences) < 1e-4
    file = tmp_path / "page" / "model.onnx"
    expected = classifier.predict(images)
    np.testing.assert_allclose(run_onnx(file, images), expected, atol=1e-4)
    check_maps(classifier, file, images)


@pytest.mark.parametrize("shallow", ["mobilenet"], indirect=True)
def test_a_net_that_was_trained_in_less_memory(shallow, tmp_path):
    classifier = classifier_of(shallow.model.clone(remat=True), shallow.variables)
    assert max(web.export_page(classifier, tmp_path / "page")) < 1e-4
    assert export(classifier, tmp_path / "net.onnx", "onnx") < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True], ids=["dense", "grouped"])
@pytest.mark.parametrize("name", GROUPED)
def test_whole_nets(draw_variables, tmp_path, monkeypatch, name, grouped):
    monkeypatch.setattr(web, "compare", lambda *_: (0.0, 0.0))
    model = gpwjax.create_model(name, 10, GROUPED[name] if grouped else None)
    images = np.random.default_rng(1).random((PICTURES, 32, 32, 3), np.float32)
    variables = draw_variables(model, images, train=False)
    web.export_page(classifier_of(model, variables, image_size=32), tmp_path / "page")
    maps = run_onnx(tmp_path / "page" / "model.onnx", images, "maps")
    numbers = np.arange(PICTURES, dtype=np.int32) % 10
    found = maps[np.arange(PICTURES), :, :, numbers]
    expected = np.asarray(grad_cam(model, variables, images, numbers))
    most = maps.max((1, 2, 3))
    # Of few pictures drawn weights magnify rounding until nothing else is left: a
    # change of the picture by its last bit does the same.
    assert np.median(np.abs(found - expected).max((1, 2)) / most) < 1e-3


@pytest.fixture
def page(saved_net, tmp_path) -> Path:
    folder = tmp_path / "page"
    web.export_page(saved_net[1], folder)
    return folder


def test_the_net_takes_pictures_of_the_stored_size(saved_net, tmp_path):
    net = saved_net[1]
    about = net.metadata | {"stored_size": 4}
    classifier = gpwjax.Classifier(net.model, net.variables, about)
    web.export_page(classifier, tmp_path / "page")
    images = np.random.default_rng(1).random((PICTURES, 4, 4, 3), np.float32)
    check_maps(classifier, tmp_path / "page" / "model.onnx", images)


def test_the_folder_has_all_that_the_page_asks_for(page):
    names = {file.name for file in page.iterdir()}
    assert names == {"model.onnx", "gpwjax.json", *(f.name for f in web.PAGE.iterdir())}
    kept = (page / "service-worker.js").read_text()
    for name in names - {"package.json", "service-worker.js"}:
        assert f'"{name}"' in kept, name
    about = json.loads((page / "gpwjax.json").read_text())
    assert about["classes"] == ["cat", "dog", "giraffe"]
    facts = dict(about["facts"])
    assert facts["Size"] == f"{(page / 'model.onnx').stat().st_size / 1e6:.2f} MB"
    assert "Test accuracy" not in facts  # which the file does not say


def test_what_the_weights_file_says_is_on_the_page(saved_net):
    net = saved_net[1]
    about = net.metadata | {"test_accuracy": 0.98765, "license": "MIT", "data": 7}
    about["range_16_bit"] = [0, 4095]
    classifier = gpwjax.Classifier(net.model, net.variables, about)
    facts = web.facts(classifier, 1_234_567)
    del facts["Parameters"]
    assert facts == {
        "Net": "mobilenet, dense",
        "Size": "1.23 MB",
        "Test accuracy": "98.8%",
        "16-bit pictures": "0 was black and 4095 white in training; browsers take 0 "
        "and 65535",
        "Licence": "MIT",
    }


def test_another_net_takes_the_place_of_a_page_but_not_of_what_is_installed(
    saved_net, page
):
    installed = page / "node_modules" / "installed.js"
    installed.parent.mkdir()
    installed.touch()
    worker = (page / "service-worker.js").read_text()
    web.export_page(saved_net[1], page)
    assert (page / "service-worker.js").read_text() == worker
    web.export_page(saved_net[1], page, dtype="bfloat16")
    assert (page / "service-worker.js").read_text() != worker  # browsers see it is new
    assert installed.exists()


def test_a_folder_with_other_files_is_refused(saved_net, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="has files, but no page of gpwjax among them"):
        web.export_page(saved_net[1], tmp_path)
    with pytest.raises(ValueError, match=r"thesis\.txt is no folder"):
        web.export_page(saved_net[1], tmp_path / "thesis.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("bounds", ["BOUNDS", "MAP_BOUNDS"])
def test_a_page_that_answers_otherwise_is_not_written(
    saved_net, tmp_path, monkeypatch, bounds
):
    monkeypatch.setitem(getattr(web, bounds), "float32", -1)
    with pytest.raises(ValueError, match="differ from the net's by"):
        web.export_page(saved_net[1], tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_dtype_is_refused(saved_net, tmp_path):
    with pytest.raises(ValueError, match="must be float32 or bfloat16, got 'int8'"):
        web.export_page(saved_net[1], tmp_path, dtype="int8")


class TestCommand:
    def test_it_says_what_to_do_next(self, saved_net, tmp_path, capsys):
        folder = tmp_path / "my page"
        args = ["export", str(saved_net[0]), "--format", "web", "-o", str(folder)]
        assert main(args) == 0
        assert (folder / "index.html").is_file()
        out = capsys.readouterr().out
        assert f"  {web.INSTALL} '{folder}'\n" in out
        assert f"  python -m http.server --directory '{folder}'\n" in out

    def test_a_page_takes_no_uint8_images(self, saved_net, capsys):
        args = ["export", str(saved_net[0]), "--format", "web", "--uint8"]
        assert main(args) == 1
        error = capsys.readouterr().err
        assert error == "error: --uint8 is for files; a page always takes any picture\n"

    def test_a_folder_that_cannot_be_made_is_one_line(self, saved_net, capsys):
        args = ["export", str(saved_net[0]), "--format", "web", "-o", "no/page"]
        assert main(args) == 1
        error = capsys.readouterr().err
        assert error == "error: cannot write no/page: No such file or directory\n"


def test_the_wheel_has_the_page(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    root = Path(__file__).parents[1]
    subprocess.run(
        [*command, "-d", tmp_path], cwd=root, check=True, capture_output=True
    )
    (wheel,) = tmp_path.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    page = {f"gpwjax/export/web_page/{file.name}" for file in web.PAGE.iterdir()}
    assert page <= set(names)
