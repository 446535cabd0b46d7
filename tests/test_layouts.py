"""Folders and tables as people have them: understood, or refused with what to do."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from train.config import RunError
from train.data import folder, table
from train.data.names import split_named
from train.data.source import Source

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def draw_all(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(root / name, "PNG")
    return root


def with_classes(*folders: str) -> list[str]:
    """A picture of each of two classes in each of the folders."""
    return [f"{name}/{label}/1.png" for name in folders for label in ("cat", "dog")]


def files(source: Source) -> dict[str, list[str]]:
    return {
        s: [source.describe(n) for n in numbers] for s, numbers in source.splits.items()
    }


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            "train Training training_set Train_Set trainset TrainData images_train",
        ),
        ("train", "train_images 01_train train2017 TRAIN trn ｔｒａｉｎ Train-Split"),
        ("val", "val valid validation dev eval val2017 Validation_set evaluation"),
        ("test", "test Testing test_set testset Test-Images tst holdout hold_out"),
        (None, "trains planes testify tested invalid devil data set images 2017 cat"),
        (None, "training_shoes test_things seg_train train_val"),
    ],
)
def test_the_name_of_a_folder_means_a_split_or_none(split, names):
    assert {name: split_named(name) for name in names.split()} == dict.fromkeys(
        names.split(), split
    )
    assert {split_named(f" {name.replace('_', ' ')} ") for name in names.split()} == {
        split
    }


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("Training", "Testing", "test"),
        ("training_set", "test_set", "test"),
        ("seg_train", "seg_test", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("Train ", "Test ", "test"),
        ("train", "dev", "val"),
        ("train", "eval", "val"),
        ("images_train", "images_val", "val"),
        ("chest xray (train)", "chest xray (valid)", "val"),
        ("dataset/train", "dataset/test", "test"),
        ("a/b/train2017", "a/b/val2017", "val"),
    ],
)
def test_splits_are_understood_and_told_by_their_folders_own_names(
    tmp_path, caplog, train, other, split
):
    caplog.set_level("INFO", "train")
    root = draw_all(tmp_path / "set", *with_classes(train, other))
    source = folder.source(root)
    assert source.classes == ("cat", "dog")
    assert files(source) == {"train": with_classes(train), split: with_classes(other)}
    (line,) = caplog.messages
    assert line.startswith(
        f"set: {train!r} for training with a part of it for validati"
    )
    assert f"{other!r}" in line
    assert line.endswith("for the test; 2 classes")


def test_three_splits_and_none_are_told_too(tmp_path, caplog):
    caplog.set_level("INFO", "train")
    folder.source(draw_all(tmp_path / "a", *with_classes("Train", "dev", "Testing")))
    folder.source(draw_all(tmp_path / "b", *with_classes("Train")))
    folder.source(draw_all(tmp_path / "c", *with_classes(".")))
    folder.source(draw_all(tmp_path / "d", *with_classes("all/images")))
    pool = "so the images are split into training, validation and test; 2 classes"
    assert caplog.messages == [
        "a: 'Train' for training, 'dev' for validation, 'Testing' for the test; "
        "2 classes",
        f"b: 'Train', no other split, {pool}",
        f"c: no folders of splits, {pool}",
        f"d: no folders of splits in 'all/images', {pool}",
    ]


def test_classes_whose_names_speak_of_training_and_tests_are_classes(tmp_path):
    names = ("planes", "sandals", "test things", "training shoes", "trains")
    source = folder.source(draw_all(tmp_path, *(f"{name}/1.png" for name in names)))
    assert source.classes == names
    assert [*source.splits] == ["all"]


def test_what_is_no_split_beside_splits_is_left_out_and_named(tmp_path):
    root = draw_all(tmp_path, *with_classes("seg_train", "seg_test"), "seg_pred/1.png")
    assert folder.source(root).skipped == [("seg_pred", "is in no split")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["cat/train/1", "cat/test/1", "dog/train/1", "dog/test/1"],
            r"all folders in ",
        ),
        (
            with_classes("part1", "part2"),
            r"\('part1', 'part2'\) hold .*\('cat', 'dog'\)",
        ),
        (
            ["cat/train/1", "dog/train/1"],
            r"'train'\): one of the two seem to be splits",
        ),
        (
            ["train/a/x/1", "train/a/y/1", "train/b/x/1", "train/b/y/1"],
            "seem to be spl",
        ),
        (with_classes("train", "unseen"), "unseen holds folders of the classes' names"),
        (
            with_classes("train", "test", "more/more"),
            "more holds folders of the classes",
        ),
        (
            [*with_classes("train"), "bus/1.png"],
            "beside it pictures in 'bus', which is",
        ),
        (["invalid/1", "valid/1"], "has 'valid' but no folder train.*one is a class"),
        (with_classes("train1", "train2"), "two train folders: 'train1', 'train2'"),
        (
            with_classes("x_train", "x_test", "y_train", "y_test"),
            "of several sets: 'x_",
        ),
        (
            [*with_classes("train"), "val/dog /1", "val/ Ox/1"],
            "not: ' Ox'. .* 'cat', 'd",
        ),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, names, message):
    with pytest.raises(RunError, match=message) as error:
        folder.source(draw_all(tmp_path, *names))
    assert "\n" not in str(error.value)


def test_class_folders_that_differ_in_spelling_alone_are_matched_and_shown(
    tmp_path, caplog
):
    root = draw_all(
        tmp_path,
        *(f"train/{NFC}/1.png", "train/Tea/1.png", "train/tea /2.png"),
        *(f"val/{NFD}/1.png", "val/ TEA/1.png"),
    )
    source = folder.source(root)
    assert source.classes == ("Tea", NFC)
    assert [source.read(number)[1] for number in range(5)] == [0, 1, 0, 0, 1]
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert line == (
        "taken for one class each, since only case, blanks or Unicode form differ: "
        r"' TEA', 'Tea', 'tea ' / 'cafe\u0301', 'caf\xe9'"
    )


def test_letters_of_either_case_are_classes_of_their_own(tmp_path, caplog):
    """Of handwriting, say."""
    source = folder.source(draw_all(tmp_path, "a/1.png", "A/1.png", "b/1.png"))
    assert source.classes == ("A", "a", "b")
    assert caplog.text == ""


def write(file: Path, *rows: str) -> Path:
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def test_labels_and_splits_of_a_table_are_matched_as_those_of_folders(tmp_path, caplog):
    draw_all(tmp_path, *(f"{number}.png" for number in range(6)))
    file = write(
        tmp_path / "table.csv",
        *("path, label, split", "0.png, cat,Training", "1.png,cat,trainset"),
        *(
            "2.png,Dog,train",
            "3.png,dog, dev",
            f"4.png,{NFC},train",
            f"5.png,{NFD},eval",
        ),
    )
    source = table.source(file)
    assert source.classes == ("Dog", NFC, "cat")
    assert files(source) == {
        "train": ["0.png", "1.png", "2.png", "4.png"],
        "val": ["3.png", "5.png"],
    }
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert line.endswith("Unicode form differ: 'Dog', 'dog'")


def test_paths_of_a_table_find_files_that_are_spelled_otherwise(tmp_path):
    names = (f"{NFD}/1.png", "Tea /2.PNG", "Ox/3.png")
    draw_all(tmp_path, *names)
    rows = (f"{NFC}/1.png,a", "tea/2.png,b", " OX/3.png,b")
    source = table.source(write(tmp_path / "table.csv", "path,label", *rows))
    assert [source.read(number)[1] for number in range(3)] == [0, 1, 1]


def test_a_path_that_could_be_several_files_is_none(tmp_path):
    draw_all(tmp_path, "Tea.png", "tEA.png", "cat.png")
    rows = ("TEA.png,a", "cat.png,b")
    source = table.source(write(tmp_path / "table.csv", "path,label", *rows))
    with pytest.raises(Exception, match="No such file"):
        source.read(0)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (r"files\cat\1.png", r"It is there as files/cat/1.png: write / in place of \\"),
        (r"D:\pets\1.png", r"Paths are written with / in place of \\"),
        ("cat/1.png", "Paths begin at the table's folder, not at .*/files"),
        ("nowhere.png", "Paths begin at the table's folder"),
    ],
)
def test_a_table_of_no_file_says_what_was_probably_meant(
    tmp_path, monkeypatch, path, hint
):
    draw_all(tmp_path, "files/cat/1.png")
    monkeypatch.chdir(tmp_path / "files")
    file = write(tmp_path / "table.csv", "path,label", f"{path},cat", "none.png,dog")
    with pytest.raises(RunError, match=hint) as error:
        table.source(file)
    reason = (
        f"line 2: names no file that is there, nor does any other line: {tmp_path}/"
    )
    assert f"{reason}{path}: No such file or directory" in str(error.value)
