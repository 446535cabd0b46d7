"""The nets that come with the package: their files, their names, and what they can."""

import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import gpwjax
from benchmarks.drawn import pen_digit, ten_of
from gpwjax import trained
from gpwjax.cli import main
from train.config import Config
from train.data import find_source
from train.nets import load_net

NAMES = list(trained.files())
NAME = "digits-mobilenet-16ch"


def test_there_is_one_and_their_files_are_small():
    sizes = {name: file.stat().st_size for name, file in trained.files().items()}
    assert NAME in sizes
    assert max(sizes.values()) <= 1_500_000
    assert sum(sizes.values()) <= 4_000_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("most", [400, pytest.param(None, marks=pytest.mark.slow)])
def test_a_trained_net_is_as_good_as_its_card_says(name, most, request):
    """On all test images, or on so many of them."""
    net = gpwjax.load(name)
    about = net.metadata
    place = None
    if about["data"] != "digits":  # which scikit-learn has
        place = request.getfixturevalue("shared") / "data" / "tfds"
    source = find_source(Config(about["data"], data_dir=place))
    test = source.splits["test"]
    images, labels = zip(*map(source.read, test[:most]), strict=True)
    accuracy = (net.predict(images).argmax(1) == labels).mean()
    said = about["test_accuracy"]
    # Rounding is another on each machine: one image may change sides.
    tolerance = 1.01 / len(labels)
    if len(labels) < len(test):
        tolerance += 3 * math.sqrt(said * (1 - said) / len(labels))
    assert accuracy == pytest.approx(said, abs=tolerance)


@pytest.mark.parametrize("ground", ["dark", "light"])
def test_the_net_of_the_digits_knows_drawn_ones(ground):
    """Drawn as a person would, by a pen of a tenth of the picture."""
    pictures = np.concatenate([ten_of(pen_digit, height, 0.1) for height in (0.8, 0.9)])
    if ground == "light":
        pictures = 255 - pictures
    digits = np.arange(20) % 10
    assert (gpwjax.load(NAME).predict(pictures).argmax(1) == digits).sum() >= 17


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_net_has_a_card(name):
    about = gpwjax.load(name).metadata
    card = about["card"]
    assert card["accuracy"].startswith(f"{about['test_accuracy']:.2%} of ")
    assert re.fullmatch("[0-9a-f]{40}", card["commit"])
    assert card["command"].startswith("gpwjax train")
    assert "licence" in card["data"]


def test_the_list_shows_each_with_its_card(capsys):
    assert main(["list", "--trained"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if not line.startswith(" ")] == NAMES
    for name in NAMES:
        for text in gpwjax.load(name).metadata["card"].values():
            assert text in out


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty folder, the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_another(file: Path) -> list[str]:
    """Writes a file that is not the package's; its classes."""
    net = gpwjax.load(NAME)
    classes = list("abcdefghij")
    gpwjax.save(file, net.model, net.variables, classes=classes, image_size=32)
    return classes


def test_a_file_of_a_name_goes_first(elsewhere):
    assert trained.find(NAME).parent == Path(trained.__file__).parent
    classes = save_another(elsewhere / "net.safetensors")
    (elsewhere / "net.safetensors").rename(NAME)
    assert gpwjax.load(NAME).classes == classes


def test_a_run_folder_of_a_name_goes_first(elsewhere):
    classes = save_another(elsewhere / "model.safetensors")
    Path(NAME).mkdir()
    with pytest.raises(FileNotFoundError, match=f"no weights file {NAME}"):
        gpwjax.load(NAME)
    (elsewhere / "model.safetensors").rename(Path(NAME, "model.safetensors"))
    assert gpwjax.load(NAME).classes == classes


@pytest.mark.parametrize("name", ["digits", f"./x/{NAME}", f"{NAME}.safetensors", ""])
def test_an_unknown_name_is_one_error_with_the_known_ones(elsewhere, name):
    known = re.escape(", ".join(NAMES))
    with pytest.raises(FileNotFoundError, match=f"no weights file .*{known}"):
        trained.find(name)


def test_a_run_can_begin_with_one(elsewhere):
    net = load_net(Path(NAME))
    assert net.run is None
    assert net.report_folder == Path(f"{NAME}-evaluation")  # not in the package
    jax.tree.map(
        np.testing.assert_array_equal,
        net.classifier.variables,
        gpwjax.load(NAME).variables,
    )


def test_what_is_exported_of_one_is_in_the_working_directory(elsewhere):
    assert main(["export", NAME, "--format", "card"]) == 0
    (file,) = elsewhere.iterdir()
    assert file.stem == NAME
