"""`python -m train.evaluate`, mostly with a tiny net on the digits."""

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import DIGITS
from PIL import Image

import gpwjax
import train.evaluate.__main__
import train.evaluate.picture
import train.evaluate.program
from train.config import Config
from train.data import Dataset, load_dataset
from train.evaluate.program import data_config
from train.loop import fit
from train.nets import Net, load_net
from train.process.stop import StopRequest

ROOT = Path(__file__).parents[1]
FILES = {
    *("summary.json", "evaluation.png", "classes.csv", "confusion.csv"),
    *("calibration.csv", "predictions.csv"),
}
CIFAR10 = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]


pytestmark = pytest.mark.usefixtures("tiny_runs")


@pytest.fixture(scope="module")
def finished(tiny_runs, tmp_path_factory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = dataclasses.replace(
        DIGITS, run_dir=folder, model="tiny", epochs=2, batch_size=64
    )
    fit(config, StopRequest())
    return folder


@pytest.fixture
def evaluate(monkeypatch, caplog, capsys) -> Callable:
    """Runs the program: status, what it says, and the errors that it writes."""
    # Settings of the process.
    monkeypatch.setattr("train.evaluate.__main__.keep_memory", lambda: None)
    monkeypatch.setattr("gpwjax.devices.use_compilation_cache", lambda: None)

    def run(*args: object) -> tuple[int, str, list[str]]:
        caplog.clear()
        monkeypatch.setattr(sys, "argv", ["train.evaluate", *map(str, args)])
        status = train.evaluate.__main__.main()
        said = [r.getMessage() for r in caplog.records if r.name.startswith("train")]
        errors = capsys.readouterr().err.splitlines()
        return status, "\n".join(said), [e for e in errors if e.startswith("error")]

    return run


class Blank:
    """Stands for a picture that a test does not look at."""

    def savefig(self, *args: object, **kwargs: object) -> None:
        """Writes nothing."""


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Saves the time that the picture takes."""
    monkeypatch.setattr(train.evaluate.picture, "draw", lambda _: Blank())


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DIGITS)


def read_summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def save_again(weights: Path, file: Path, **changes: Any) -> gpwjax.Classifier:
    """Writes the same net with another description."""
    old = gpwjax.load(weights)
    about = {k: v for k, v in old.metadata.items() if k != "model"} | changes
    about = {k: v for k, v in about.items() if v is not None}
    gpwjax.save(file, old.model, old.variables, **about)
    return gpwjax.load(file)


def write_images(folder: Path, images: dict[str, list[np.ndarray]]) -> Path:
    """A folder of images for each class."""
    for name, of in images.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(of):
            Image.fromarray(image).save(folder / name / f"{number:03}.png")
    return folder


@pytest.fixture
def on_a_folder(tmp_path, monkeypatch) -> Path:
    """A folder with the pictures `pets` and a finished run on them, `run`, made there
    by a relative path."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 20, 8, 8, 3), np.uint8)
    write_images(tmp_path / "pets", dict(zip(("cat", "dog"), pictures, strict=True)))
    config = Config("pets", run_dir=Path("run"), model="tiny", image_size=8, epochs=1)
    fit(dataclasses.replace(config, batch_size=8), StopRequest())
    return tmp_path


def test_a_runs_own_data_are_found_from_another_folder(
    evaluate, on_a_folder, monkeypatch, undrawn
):
    (on_a_folder / "elsewhere" / "pets").mkdir(parents=True)  # another one
    monkeypatch.chdir(on_a_folder / "elsewhere")
    status, said, errors = evaluate(on_a_folder / "run")
    assert (status, errors) == (0, [])
    assert "of 8 test images of pets" in said


def test_data_that_moved_are_taken_from_here_or_looked_for_in_vain(
    evaluate, on_a_folder, monkeypatch, undrawn
):
    (on_a_folder / "elsewhere").mkdir()
    (on_a_folder / "pets").rename(on_a_folder / "elsewhere" / "pets")
    status, _, (error,) = evaluate(on_a_folder / "run")
    assert status == 1
    place = on_a_folder / "pets"
    assert error == (
        f"error: the data of {on_a_folder / 'run'} are neither where they were, {place}"
        f", nor in {place}, which their name means from {on_a_folder}: name them with "
        "--data"
    )
    monkeypatch.chdir(on_a_folder / "elsewhere")
    status, said, errors = evaluate(on_a_folder / "run")
    assert (status, errors) == (0, [])
    assert f"taking {on_a_folder / 'elsewhere' / 'pets'}" in said
    status, _, errors = evaluate(on_a_folder / "run", "--data", "pets")
    assert (status, errors) == (0, [])


def test_a_run_has_the_accuracy_that_it_reported(evaluate, finished, digits):
    status, said, errors = evaluate(finished)
    assert (status, errors) == (0, [])
    folder = finished / "evaluation" / "digits-test"
    assert {file.name for file in folder.iterdir()} == FILES
    assert f"everything is in {folder}" in said
    reported = json.loads((finished / "result.json").read_text())
    summary = read_summary(folder)
    assert summary["accuracy"] > 0.3
    assert summary["accuracy"] == pytest.approx(reported["test_accuracy"], rel=1e-6)
    assert summary["cross_entropy"] == pytest.approx(reported["test_loss"], rel=1e-4)
    assert summary["images"] == reported["test_images"] == 359
    assert f"accuracy {summary['accuracy']:.2%} (95% interval " in said
    assert f", {summary['right']} of 359 test images of digits" in said


def test_the_predictions_are_those_of_the_classifier(evaluate, finished, digits):
    evaluate(finished, "--out", finished / "out", "--batch-size", "7")
    rows = read_rows(finished / "out" / "predictions.csv")
    probabilities = gpwjax.load(finished / "model.safetensors").predict(
        np.asarray(digits.images[digits.test])
    )
    assert [int(row["index"]) for row in rows] == digits.test.tolist()
    assert [int(row["true"]) for row in rows] == digits.labels[digits.test].tolist()
    predicted = [int(row["predicted"]) for row in rows]
    assert predicted == probabilities.argmax(-1).tolist()
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows], probabilities.max(-1), rtol=1e-5
    )


def test_the_tables_fit_the_summary(evaluate, finished):
    evaluate(finished, "--out", finished / "tables")
    folder = finished / "tables"
    summary = read_summary(folder)
    confusion = read_rows(folder / "confusion.csv")
    classes = read_rows(folder / "classes.csv")
    calibration = read_rows(folder / "calibration.csv")
    names = [str(n) for n in range(10)]
    assert [row["true"] for row in confusion] == names
    assert [row["class"] for row in classes] == names
    assert sum(int(row[row["true"]]) for row in confusion) == summary["right"]
    for counts, of_class in zip(confusion, classes, strict=True):
        images = int(of_class["images"])
        assert sum(int(counts[name]) for name in names) == images
        recall = int(counts[counts["true"]]) / images
        assert float(of_class["recall"]) == pytest.approx(recall, abs=1e-6)
    assert sum(int(row["images"]) for row in calibration) == summary["images"]
    with Image.open(folder / "evaluation.png") as picture:
        assert 1000 < picture.width < 3500


def test_with_mirror_the_mean_of_both_sides_is_tested(
    finished, evaluate, undrawn, digits, tmp_path
):
    net = gpwjax.load(finished / "model.safetensors")
    images = np.asarray(digits.images[digits.test])
    mean = (net.predict(images) + net.predict(images[:, :, ::-1])) / 2
    right = mean.argmax(1) == digits.labels[digits.test]
    status, _, _ = evaluate(finished, "--mirror", "--out", tmp_path)
    assert status == 0
    summary = read_summary(tmp_path)
    assert summary["mirror"] is True
    assert summary["accuracy"] == pytest.approx(right.mean(), abs=1e-9)
    assert summary["mean_confidence"] == pytest.approx(mean.max(1).mean(), rel=1e-4)
    recalls = [right[digits.labels[digits.test] == n].mean() for n in range(10)]
    assert summary["balanced_accuracy"] == pytest.approx(np.mean(recalls))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("part", "images", "what"),
    [
        ("train", 1258, "training images of"),
        ("val", 180, "validation images of"),
        ("all", 1797, "images of"),
    ],
)
def test_other_parts_can_be_tested(evaluate, finished, part, images, what):
    status, said, _ = evaluate(finished, "--part", part)
    assert status == 0
    summary = read_summary(finished / "evaluation" / f"digits-{part}")
    assert (summary["images"], summary["part"]) == (images, part)
    assert f" of {images:,} {what} digits" in said
    if part == "val":
        reported = json.loads((finished / "result.json").read_text())["val_accuracy"]
        assert summary["accuracy"] == pytest.approx(reported, rel=1e-6)


@pytest.mark.usefixtures("undrawn")
def test_a_weights_file_needs_no_run_and_no_order_of_the_classes(
    evaluate, finished, tmp_path
):
    classifier = gpwjax.load(finished / "model.safetensors")
    order = np.random.default_rng(0).permutation(10)
    head = classifier.variables["params"]["head"]
    for name in head:
        head[name] = head[name][..., order]
    gpwjax.save(
        tmp_path / "net.safetensors",
        classifier.model,
        classifier.variables,
        classes=[classifier.classes[number] for number in order],
        image_size=8,
    )
    status, _, _ = evaluate(tmp_path / "net.safetensors", "--data", "digits")
    assert status == 0
    ours = read_summary(tmp_path / "net-evaluation" / "digits-test")
    evaluate(finished, "--out", tmp_path / "run")
    of_run = read_summary(tmp_path / "run")
    for name in ("right", "top5_accuracy", "mean_f1", "calibration_error"):
        assert ours[name] == pytest.approx(of_run[name], rel=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_a_data_set_may_have_some_of_the_classes(evaluate, finished, digits, tmp_path):
    images = {
        name: list(digits.images[digits.labels == int(name)][:20]) for name in "73"
    }
    folder = write_images(tmp_path / "some", images)
    args = ("--data", folder, "--part", "all", "--out", tmp_path / "out")
    status, said, _ = evaluate(finished, *args)
    assert status == 0
    assert "some has 2 of the 10 classes that the net knows" in said
    summary = read_summary(tmp_path / "out")
    classifier = gpwjax.load(finished / "model.safetensors")
    right = sum(
        (classifier.predict(images[name]).argmax(-1) == int(name)).sum()
        for name in images
    )
    assert (summary["right"], summary["images"]) == (right, 40)


def test_a_class_that_the_net_does_not_know_is_named(evaluate, finished, tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    names = ("0", "ten", "eleven")
    folder = write_images(tmp_path / "more", {name: [image] * 9 for name in names})
    status, _, errors = evaluate(finished, "--data", folder)
    assert status == 1
    assert errors == [
        "error: the net does not know 2 of the 3 classes of more: 'eleven', 'ten'. It "
        "knows '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'"
    ]


@pytest.mark.usefixtures("undrawn")
def test_small_images_are_enlarged_as_the_classifier_does_it(
    evaluate, finished, digits, tmp_path
):
    """First to the size at which those of the net's own data set would be stored."""
    about = {"image_size": 18, "stored_size": 9}  # not the same as from 8 to 18
    net = tmp_path / "net.safetensors"
    classifier = save_again(finished / "model.safetensors", net, **about)
    args = ("--part", "val", "--out", tmp_path)
    assert evaluate(net, *args)[0] == 0
    theirs = classifier.predict(np.asarray(digits.images[digits.val])).max(-1)
    np.testing.assert_allclose(probabilities_in(tmp_path), theirs, rtol=1e-5)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("resize", ["bilinear", "nearest"])
@pytest.mark.parametrize("pad", [False, True])
def test_large_images_are_shrunk_as_the_classifier_does_it(
    evaluate, finished, tmp_path, pad, resize
):
    rng = np.random.default_rng(0)
    sizes = ((16, 9), (20, 30), (24, 24))
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    data = write_images(tmp_path / "noise", {"4": images})
    net = tmp_path / "net.safetensors"
    about = {"pad": pad, "resize": resize}
    classifier = save_again(finished / "model.safetensors", net, **about)
    args = ("--data", data, "--part", "all", "--out", tmp_path)
    assert evaluate(net, *args)[0] == 0
    theirs = classifier.predict(images).max(-1)
    # Stored as uint8.
    np.testing.assert_allclose(probabilities_in(tmp_path), theirs, rtol=0, atol=1e-3)


def probabilities_in(folder: Path) -> list[float]:
    """The confidences of a report."""
    return [float(row["probability"]) for row in read_rows(folder / "predictions.csv")]


def read_config(settings: dict[str, Any], *args: str) -> Config:
    about = {"classes": ["a"], "image_size": 8}
    net = Net(Path("f"), None, gpwjax.Classifier(None, {}, about), about | settings)
    return data_config(net, train.evaluate.__main__.read_args(["net", *args]))


def test_the_split_is_that_of_the_run_unless_another_is_asked_for():
    run = {"data": "leaves", "seed": 5, "split": "paper"}
    config = read_config(run)
    assert (config.data, config.seed, config.split) == ("leaves", 5, "paper")
    config = read_config(run, "--seed=0", "--split=clean", "--data=trees")
    assert (config.data, config.seed, config.split) == ("trees", 0, "clean")
    config = read_config({"data": "leaves"})
    assert (config.seed, config.split) == (Config("leaves").seed, "clean")


def test_the_weights_file_of_a_run_is_as_good_as_its_folder(finished):
    by_file = load_net(finished / "model.safetensors")
    by_folder = load_net(finished)
    assert by_file.settings == by_folder.settings
    assert by_file.report_folder == by_folder.report_folder


def empty_folder(finished: Path, folder: Path) -> list[object]:
    (folder / "begun").mkdir()
    return [folder / "begun"]


def text_file(finished: Path, folder: Path) -> list[object]:
    (folder / "net.safetensors").write_text("no weights")
    return [folder / "net.safetensors"]


def unnamed_data(finished: Path, folder: Path) -> list[object]:
    net = folder / "net.safetensors"
    save_again(finished / "model.safetensors", net, data=None)
    return [net]


def empty_part(finished: Path, folder: Path) -> list[object]:
    image = np.zeros((8, 8, 3), np.uint8)
    return [finished, "--data", write_images(folder / "few", {"0": [image]})]


def report_that_is_a_file(finished: Path, folder: Path) -> list[object]:
    (folder / "out").write_text("")
    return [finished, "--out", folder / "out"]


def wrong_seed(finished: Path, folder: Path) -> list[object]:
    net = gpwjax.load(finished / "model.safetensors")
    file, about = folder / "net.safetensors", {"data": "digits", "seed": "x"}
    about |= {"classes": net.classes, "image_size": 8}
    gpwjax.save(file, net.model, net.variables, **about)
    return [file]


def broken_net(finished: Path, folder: Path) -> list[object]:
    net = gpwjax.load(finished / "model.safetensors")
    net.variables["params"]["head"]["kernel"] += np.float32(3e38)  # overflows
    file = folder / "net.safetensors"
    gpwjax.save(file, net.model, net.variables, classes=net.classes, image_size=8)
    return [file, "--data", "digits"]


@pytest.mark.parametrize(
    ("make_args", "message"),
    [
        (lambda *_: ["no/net"], "no weights file no/net"),
        (empty_folder, r"\S+/begun is no run folder: it holds no model.safetensors"),
        (text_file, r"\S+/net.safetensors is not a weights file of gpwjax"),
        (unnamed_data, r"\S+ does not name its data set: name one with --data"),
        (empty_part, "few has no image for --part test"),
        (report_that_is_a_file, r".*File exists: '\S+/out'"),
        (wrong_seed, r"seed in \S+ must be of type int, got 'x'"),
        (broken_net, r"the net of \S+ answers with numbers that are not finite"),
        (lambda run, _: [run, "--batch-size", 0], "--batch-size must be at least 1"),
        (lambda run, _: [run, "--data", "no"], "there is no data set 'no'"),
        (lambda run, _: [run, "--split", "paper"], "--split paper is of cropped_plant"),
    ],
)
def test_an_error_is_one_line(evaluate, finished, tmp_path, make_args, message):
    status, _, errors = evaluate(*make_args(finished, tmp_path))
    assert status == 1
    assert len(errors) == 1
    assert re.match(f"error: {message}", errors[0])


@pytest.mark.parametrize("args", [[], ["net", "--part", "tset"], ["net", "--seed=a"]])
def test_wrong_arguments_end_it_with_status_2(evaluate, args):
    with pytest.raises(SystemExit) as end:
        evaluate(*args)
    assert end.value.code == 2


def test_ctrl_c_ends_it_quietly(evaluate, finished, monkeypatch):
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train.evaluate.program, "answers_to", interrupted)
    assert evaluate(finished)[::2] == (130, [])


def test_as_a_program_of_its_own(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "train.evaluate", tmp_path],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {tmp_path} is no run folder")
    assert len(process.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_authors_net_has_the_accuracy_of_the_paper(evaluate, shared, tmp_path):
    model = gpwjax.create_model("mobilenet", 10, 16)
    net = shared / "reference/authors_kmobilenet_16ch_cifar10.hdf5"
    file = tmp_path / "authors.safetensors"
    gpwjax.save(
        file,
        model,
        gpwjax.from_keras(model, net),
        classes=CIFAR10,
        image_size=224,
        stored_size=32,
    )
    data = ("--data", "cifar10", "--data-dir", shared / "data/tfds")
    status, said, _ = evaluate(file, *data)
    assert status == 0
    assert "accuracy 89.81% (95% interval 89.20% to 90.39%), 8,981 of 10,000" in said
    rows = read_rows(tmp_path / "authors-evaluation/cifar10-test/predictions.csv")
    assert len(rows) == 10_000
