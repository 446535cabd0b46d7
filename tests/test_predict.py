"""gpwjax predict: from picture files to lines."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_nets import overflowing
from PIL import Image

from gpwjax import Classifier, load, predict
from gpwjax.cli import main
from gpwjax.picture_files import find_pictures
from gpwjax.pictures import read_image
from train.data import folder

CLASSES = ["cat", "dog", "giraffe"]


@pytest.fixture(scope="module")
def weights(saved_net) -> Path:
    return saved_net[0]


@pytest.fixture(scope="module")
def classifier(saved_net) -> Classifier:
    return saved_net[1]


@pytest.fixture
def program(classifier, weights, monkeypatch) -> None:
    """Quick: the net is compiled already. And it leaves the user's cache alone."""
    monkeypatch.setattr("gpwjax.commands.start_jax", lambda: None)
    files = {weights: classifier}
    monkeypatch.setattr("gpwjax.load", lambda path: files.get(path) or load(path))


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    """Five files, of which the second and the last are no pictures."""
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number in (0, 2, 3):
        pixels = rng.integers(0, 256, (8 + number, 8, 3), np.uint8)
        Image.fromarray(pixels).save(files[number])
    files[1].write_text("no picture")
    files[4].touch()
    return files


def predictions(classifier: Classifier, file: Path) -> dict[str, float]:
    (probabilities,) = classifier.predict([read_image(file)])
    return dict(zip(classifier.classes, probabilities, strict=True))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_each_file_has_its_answer(classifier, pictures, monkeypatch, batch_size):
    monkeypatch.setattr(predict, "BATCH_SIZE", batch_size)
    answers = list(predict.answers(classifier, pictures, top=3))
    assert [answer.path for answer in answers] == pictures
    for answer in answers:
        if answer.path in (pictures[1], pictures[4]):
            assert answer.predictions == []
        else:
            assert answer.error is None
            expected = predictions(classifier, answer.path)
            assert dict(answer.predictions) == pytest.approx(expected, rel=1e-4)
    assert answers[1].error.startswith("is not recognized as JPEG")
    assert answers[4].error == "is empty"


def test_the_most_probable_come_first_and_no_more_than_top(classifier):
    rows = np.array([[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]], np.float32)
    assert predict.best(classifier, rows[0], 2) == [("dog", 0.5), ("cat", 0.25)]
    assert predict.best(classifier, rows[1], 3) == [
        ("giraffe", 0.7),
        ("dog", 0.2),
        ("cat", 0.1),
    ]


def test_only_a_batch_is_read_before_its_answers(classifier, pictures, monkeypatch):
    read = []
    monkeypatch.setattr(predict, "BATCH_SIZE", 2)
    monkeypatch.setattr(
        predict, "read_image", lambda f, **_: read.append(f) or read_image(f)
    )
    answers = predict.answers(classifier, pictures, top=1)
    next(answers)
    assert read == pictures[:2]
    assert len(list(answers)) == 4
    assert read == pictures


@pytest.mark.parametrize(
    ("batch_size", "terminal", "shown"),
    [(2, True, True), (2, False, False), (5, True, False)],
)
def test_a_bar_for_more_than_a_batch_on_a_terminal(
    classifier, pictures, monkeypatch, capsys, batch_size, terminal, shown
):
    monkeypatch.setattr(predict, "BATCH_SIZE", batch_size)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    list(predict.answers(classifier, pictures, top=1))
    out, err = capsys.readouterr()
    assert out == ""
    assert ("5/5" in err) == shown
    assert shown or err == ""


ANSWERS = [
    predict.Answer(Path("a, b.png"), [("cat", 0.9), ("giraffe", 0.1)], None),
    predict.Answer(Path("c.png"), [], "is empty"),
    predict.Answer(Path("d.png"), [("giraffe", 1.0)], None),
]


def test_text_is_aligned_and_has_bars():
    assert (
        "\n".join(predict.as_text(ANSWERS, width=7))
        == """\
a, b.png
  cat       90.00%  ##################
  giraffe   10.00%  ##
d.png
  giraffe  100.00%  ####################"""
    )


def test_csv_has_a_row_for_each_picture_and_class():
    rows = list(csv.reader("\n".join(predict.as_csv(ANSWERS)).splitlines()))
    assert rows == [
        ["path", "rank", "class", "probability"],
        ["a, b.png", "1", "cat", "0.9"],
        ["a, b.png", "2", "giraffe", "0.1"],
        ["d.png", "1", "giraffe", "1.0"],
    ]


def test_json_is_one_array_with_the_errors():
    assert json.loads("\n".join(predict.as_json(ANSWERS))) == [
        {
            "path": "a, b.png",
            "predictions": [
                {"class": "cat", "probability": 0.9},
                {"class": "giraffe", "probability": 0.1},
            ],
        },
        {"path": "c.png", "error": "is empty"},
        {"path": "d.png", "predictions": [{"class": "giraffe", "probability": 1.0}]},
    ]


def run(capsys: Any, *args: str | Path) -> tuple[int, str, list[str]]:
    """Status, stdout and the lines of stderr of `gpwjax predict`."""
    status = main(["predict", *map(str, args)])
    out, err = capsys.readouterr()
    return status, out, err.splitlines()


def test_a_folder_is_answered_and_what_cannot_be_read_is_told(
    program, capsys, weights, pictures
):
    status, out, errors = run(
        capsys, weights, pictures[0].parent, "--csv", "--top", "1"
    )
    assert status == 0
    _, *rows = csv.reader(out.splitlines())
    assert [row[0] for row in rows] == [str(pictures[i]) for i in (0, 2, 3)]
    assert [line.split(" is ")[0] for line in errors] == [
        f"left out: {pictures[1]}",
        f"left out: {pictures[4]}",
    ]


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_of_a_folder_each_file_is_answered_or_named(
    program, capsys, weights, tmp_path, form
):
    """By its content, as training reads it, whatever its name."""
    there = tmp_path / "folder"
    there.mkdir()
    pictures = ["a.jpg", "c.mpo", "d.jpg_large", "noext"]
    for name in pictures:
        Image.new("RGB", (8, 8)).save(there / name, "JPEG")
    (there / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (there / "notes.txt").write_text("no picture")
    (there / "Thumbs.db").touch()
    (there / "all").symlink_to(tmp_path)
    status, out, errors = run(capsys, weights, there, "--top", "1", *form)
    assert status == 0
    not_read = ["all", "notes.txt", "photo.heic"]
    assert [line.split(" is not ")[0] for line in errors] == [
        f"left out: {there / name}" for name in not_read
    ]
    if form == ["--json"]:
        answers = {Path(entry["path"]).name: entry for entry in json.loads(out)}
        assert sorted(answers) == sorted(pictures + not_read)
        assert [n for n in answers if "predictions" in answers[n]] == pictures
    else:
        assert [name for name in pictures if str(there / name) in out] == pictures
        assert not any(str(there / name) in out for name in not_read)


def test_training_and_predicting_look_at_the_same_files(tmp_path):
    names = ("a/a", "a/b.jpg_large", "a/c.heic", "a/.d", "a/e/f", "b/Thumbs.db", "b/g")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    source = folder.source(tmp_path)
    trained = [tmp_path / source.describe(number) for number in range(source.count)]
    assert find_pictures([tmp_path]) == trained
    assert len(trained) == 5


def test_a_run_folder_stands_for_its_weights(program, capsys, weights, pictures):
    status, out, _ = run(capsys, weights.parent, pictures[0])
    assert status == 0
    name, *lines = out.splitlines()
    assert name == str(pictures[0])
    # All three classes, since there are no five.
    assert sorted(line.split()[0] for line in lines) == CLASSES


def test_mirror_answers_for_both_sides(program, capsys, classifier, weights, pictures):
    _, out, _ = run(capsys, weights, pictures[0], "--mirror", "--json")
    (answer,) = json.loads(out)
    image = read_image(pictures[0])
    mean = classifier.predict([image, image[:, ::-1]]).mean(0)
    expected = dict(zip(classifier.classes, mean, strict=True))
    for said in answer["predictions"]:
        assert said["probability"] == pytest.approx(expected[said["class"]], rel=1e-4)


def test_where_nothing_can_be_read_it_fails_and_json_says_why(
    program, capsys, weights, pictures
):
    status, out, errors = run(capsys, weights, pictures[1], "no.png", "--json")
    assert status == 1
    assert [entry["error"].split(" ")[0] for entry in json.loads(out)] == [
        "is",
        "cannot",
    ]
    assert errors[-1] == "error: no picture could be read"
    assert len(errors) == 3


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_answers_that_are_not_numbers_are_refused(
    program, capsys, classifier, weights, pictures, monkeypatch, form
):
    monkeypatch.setattr("gpwjax.load", lambda path: overflowing(classifier))
    status, out, errors = run(capsys, weights, *pictures[:3], *form)
    assert status == 1
    assert errors[0] == f"left out: {pictures[0]} {predict.NOT_FINITE}"
    assert errors[-1] == "error: the net answers with numbers that are not finite"
    assert len(errors) == 4
    assert "nan" not in out.lower()
    if form == ["--json"]:
        reasons = [entry["error"] for entry in json.loads(out)]
        assert reasons[0] == reasons[2] == predict.NOT_FINITE


def test_one_answer_of_many_that_is_not_finite_is_left_out(classifier, pictures):
    class Odd(Classifier):
        def predict(self, images, mirror=False):
            rows = super().predict(images, mirror)
            rows[1, 0] = np.nan
            return rows

    odd = Odd(classifier.model, classifier.variables, classifier.metadata)
    answers = list(predict.answers(odd, pictures, top=1))
    assert [a.error for a in answers if a.error == predict.NOT_FINITE] == [
        predict.NOT_FINITE
    ]
    assert answers[2].predictions == []
    assert np.isfinite(answers[0].predictions[0][1])


def test_json_never_has_a_bare_nan():
    answers = [predict.Answer(Path("a.png"), [("cat", float("nan"))], None)]
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(predict.as_json(answers))


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_name_that_is_no_text_is_shown(program, capsys, weights, pictures):
    file = pictures[0].rename(
        os.fsdecode(os.fsencode(pictures[0].parent) + b"/\xff.png")
    )
    status, out, _ = run(capsys, weights, file)
    assert status == 0
    assert out.splitlines()[0].endswith(r"/\udcff.png")


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["WEIGHTS", "0.png", "--top", "4"], "--top must be at most 3, the number of"),
        (["no.safetensors", "0.png"], "no weights file no.safetensors"),
        (["folder", "0.png"], f"no weights file {Path('folder/model.safetensors')}"),
        (["0.png", "0.png"], "0.png is not a weights file of gpwjax"),
        (["WEIGHTS", "0.png", "folder"], "there is no picture (JPEG, PNG, "),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    program, capsys, weights, pictures, monkeypatch, args, reason
):
    folder = pictures[0].parent
    monkeypatch.chdir(folder)
    (folder / "folder").mkdir()
    status, out, (line,) = run(
        capsys, *(weights if arg == "WEIGHTS" else arg for arg in args)
    )
    assert (status, out) == (1, "")
    assert line.startswith(f"error: {reason}")


def test_a_folder_that_cannot_be_listed_is_one_line(
    program, capsys, weights, tmp_path, monkeypatch
):
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", "secret")

    monkeypatch.setattr(os, "scandir", refuse)
    error = "error: cannot list secret: Permission denied"
    assert run(capsys, weights, tmp_path) == (1, "", [error])


@pytest.mark.parametrize("args", [[], ["WEIGHTS"], ["w", "a.png", "--json", "--csv"]])
def test_wrong_arguments_end_it_with_status_2(capsys, args):
    with pytest.raises(SystemExit) as end:
        main(["predict", *args])
    assert end.value.code == 2


def test_ctrl_c_ends_it_with_status_130(
    program, capsys, weights, pictures, monkeypatch
):
    def interrupt(file: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "read_image", interrupt)
    assert run(capsys, weights, pictures[0]) == (130, "", [])
