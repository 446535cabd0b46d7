"""A set is prepared from a trusted archive, by one process, and whole or not at all."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from made_sets import csv_of, digest_of, draw, encode, pack, prepare_made

from train.config import Config, RunError
from train.data import find_source, load_dataset, prepared, split
from train.data.prepare import prepare
from train.data.published import archives

NAME = "cropped_plantdoc"
ROOT = Path(__file__).parents[1]
BOX = (8, 8, "leaf", 0, 0, 8, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    """A cache folder for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_plantdoc(file: Path, count: int = 3) -> Path:
    """Writes an archive whose photographs have a leaf each; the last is of the test."""
    names = [f"{number}.jpg" for number in range(count)]
    files = {f"TRAIN/{n}": encode(draw(8, 8, i)) for i, n in enumerate(names)}
    files[f"TEST/{names[-1]}"] = files.pop(f"TRAIN/{names[-1]}")
    files["train_labels.csv"] = csv_of([(name, *BOX) for name in names[:-1]])
    files["test_labels.csv"] = csv_of([(names[-1], *BOX)])
    return pack(file, files)


@pytest.fixture
def archive(tmp_path) -> Path:
    return write_plantdoc(tmp_path / "plantdoc.zip")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_data_set_that_is_not_prepared_is_prepared_from_its_archive(
    tmp_path, archive
):
    source = find_source(Config(NAME, data_dir=tmp_path / "sets", archive=archive))
    assert source.splits == {"train": range(2), "test": range(2, 3)}
    folder = tmp_path / "sets" / NAME
    assert names_in(folder) == {"1.0.0", ".lock", "archives.json"}
    assert archive.is_file()


def test_a_prepared_data_set_is_used_as_it_is(tmp_path, archive, monkeypatch):
    folder = prepare(NAME, tmp_path / "sets", archive)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}

    def fail(*args):
        raise AssertionError("prepared again")

    monkeypatch.setattr("train.data.prepare", fail)
    config = Config(NAME, data_dir=tmp_path / "sets", archive=tmp_path / "nowhere")
    assert find_source(config).count == 3
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_what_was_downloaded_is_removed_when_the_set_is_prepared(
    tmp_path, archive, monkeypatch
):
    def download(wanted: archives.Archive, folder: Path) -> Path:
        folder.mkdir(parents=True)
        return Path(shutil.copy(archive, folder / wanted.file))

    monkeypatch.setattr(archives, "download", download)
    prepare(NAME, tmp_path / "sets")
    assert prepared.is_prepared(NAME, tmp_path / "sets")
    files = {path.name for path in (tmp_path / "sets").rglob("*")}
    assert "plantdoc.zip" not in files


def test_a_download_that_is_refused_is_removed(tmp_path):
    file = tmp_path / "sets" / "downloads" / NAME / "plantdoc.zip"
    file.parent.mkdir(parents=True)
    pack(file, {"x": b""})
    with pytest.raises(RunError, match="holds no train_labels.csv"):
        prepare(NAME, tmp_path / "sets")
    assert not file.exists()


def test_the_first_archive_is_trusted_and_recorded(tmp_path, archive, caplog):
    caplog.set_level("INFO", "train")
    prepare(NAME, tmp_path / "sets", archive)
    record = tmp_path / "sets" / NAME / "archives.json"
    assert json.loads(record.read_text()) == {"plantdoc.zip": digest_of(archive)}
    assert f"{digest_of(archive)}, recorded in {record}" in caplog.text


def test_another_archive_than_the_first_is_refused_unless_it_is_accepted(
    tmp_path, archive
):
    other = write_plantdoc(tmp_path / "other.zip", count=4)
    folder = prepare(NAME, tmp_path / "sets", archive)
    shutil.rmtree(folder)
    with pytest.raises(RunError) as error:
        prepare(NAME, tmp_path / "sets", other)
    for part in (digest_of(archive), f"--archive-digest {digest_of(other)}"):
        assert part in str(error.value)
    assert not prepared.is_prepared(NAME, tmp_path / "sets")
    assert prepare_made(NAME, tmp_path / "sets", other).count == 4
    shutil.rmtree(folder)
    with pytest.raises(RunError, match="is not the archive that it should be"):
        prepare(NAME, tmp_path / "sets", archive)


def test_nothing_is_left_but_the_set(tmp_path, archive, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    prepare(NAME, tmp_path / "sets", archive)
    assert names_in(temporary) == set()
    assert names_in(tmp_path / "sets") == {NAME}
    assert names_in(tmp_path / "sets" / NAME) == {"1.0.0", ".lock", "archives.json"}


@pytest.mark.parametrize("content", [{}, {"x": b""}], ids=["no archive", "another"])
def test_an_archive_that_is_not_the_right_one_is_not_recorded(
    tmp_path, archive, content
):
    wrong = tmp_path / "wrong.zip"
    pack(wrong, content) if content else wrong.write_bytes(b"<html>")
    with pytest.raises(RunError):
        prepare(NAME, tmp_path / "sets", wrong)
    assert names_in(tmp_path / "sets" / NAME) == {".lock"}
    prepare(NAME, tmp_path / "sets", archive)


def test_a_preparation_that_fails_leaves_nothing(tmp_path, archive, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.data.published.plantdoc.cut", fail)
        with pytest.raises(KeyboardInterrupt):
            prepare(NAME, tmp_path / "sets", archive)
    assert names_in(tmp_path / "sets" / NAME) == {".lock"}
    prepare(NAME, tmp_path / "sets", archive)


def test_a_data_folder_that_cannot_be_made_is_an_error(tmp_path, archive):
    (tmp_path / "sets").write_text("a file")
    message = f"cannot prepare {NAME} in {tmp_path}/sets: "
    with pytest.raises(RunError, match=message):
        prepare(NAME, tmp_path / "sets", archive)


def test_a_second_process_is_refused_until_the_first_ends_or_is_killed(
    tmp_path, archive
):
    folder = tmp_path / "sets" / NAME
    folder.mkdir(parents=True)
    program = (
        "import fcntl, sys\n"
        "lock = open(sys.argv[1], 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, folder / ".lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout.readline() == b"locked\n"
        with pytest.raises(RunError, match=f"another process is preparing {folder}"):
            prepare(NAME, tmp_path / "sets", archive)
        assert names_in(folder) == {".lock"}
        first.kill()
    prepare(NAME, tmp_path / "sets", archive)


def test_a_second_preparation_is_refused_during_the_first(
    tmp_path, archive, monkeypatch
):
    """The lock of the test above is that of a preparation."""
    module = import_module("train.data.prepare")  # the package has such a function
    build = module.build

    def build_twice(*args):
        with pytest.raises(RunError, match="another process is preparing"):
            prepare(NAME, tmp_path / "sets", archive)
        return build(*args)

    monkeypatch.setattr(module, "build", build_twice)
    prepare(NAME, tmp_path / "sets", archive)
    assert prepared.is_prepared(NAME, tmp_path / "sets")


def run_killed(archive: Path, folder: Path, first: int, every: int) -> list[dict]:
    script = Path(__file__).with_name("killed_preparations.py")
    process = subprocess.run(
        [sys.executable, script, archive, folder, str(first), str(every)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


def assert_whole_or_not_there(found: list[dict], at_least: int) -> None:
    """Whenever a preparation is killed, the set is whole or not there, and the next
    preparation makes it whole and leaves nothing else."""
    *killed, undisturbed = found
    assert len(killed) >= at_least
    assert undisturbed["killed"] == 0
    assert len(undisturbed["before"]) == 3
    for entry in found:
        assert entry["status"] == 0, entry
        assert entry["after"] == undisturbed["before"]
        assert entry["before"] in (None, undisturbed["before"])
        assert entry["files"] == [".lock", "1.0.0", "archives.json"]
    for entry in killed:
        assert entry["killed"] == -signal.SIGKILL
    # Kills before and after the set appears are among them.
    assert killed[0]["before"] is None


def test_a_preparation_that_is_killed_leaves_nothing_that_is_taken_for_whole(
    tmp_path, archive
):
    found = run_killed(archive, tmp_path, first=12, every=14)
    assert_whole_or_not_there(found, at_least=2)


@pytest.mark.slow
def test_a_preparation_may_be_killed_at_any_step(tmp_path, archive):
    found = run_killed(archive, tmp_path, first=1, every=1)
    assert_whole_or_not_there(found, at_least=30)
    assert found[-2]["before"] is not None


@pytest.mark.parametrize("name", ["incomplete.ABC_1.0.0", "incomplete.xyz"])
def test_an_unfinished_folder_is_no_prepared_set(tmp_path, archive, name):
    folder = prepare(NAME, tmp_path / "sets", archive)
    folder.rename(folder.with_name(name))
    assert not prepared.is_prepared(NAME, tmp_path / "sets")
    assert prepared.list_prepared(tmp_path / "sets") == []


def test_the_data_folder_may_have_any_name(tmp_path, archive):
    prepare(NAME, tmp_path / "incomplete.sets", archive)
    assert prepared.list_prepared(tmp_path / "incomplete.sets") == [NAME]


def test_the_highest_version_is_used(tmp_path, archive):
    folder = prepare(NAME, tmp_path / "sets", archive)
    newest = Path(shutil.copytree(folder, folder.with_name("1.10.0")))
    shutil.copytree(folder, folder.with_name("1.9.0"))
    assert prepared.newest_version(folder.parent) == newest


@pytest.mark.parametrize(
    ("change", "message"),
    [({"fileFormat": "tfrecord"}, "tfrecord"), ({"fileFormat": None}, "tfrecord")],
)
def test_tfds_other_file_format_is_refused(tmp_path, archive, change, message):
    folder = prepare(NAME, tmp_path / "sets", archive)
    file = folder / "dataset_info.json"
    info = json.loads(file.read_text()) | change
    file.write_text(json.dumps({k: v for k, v in info.items() if v is not None}))
    with pytest.raises(
        RunError, match=f"{folder} is prepared as {message}: prepare it"
    ):
        load_dataset(Config(NAME, data_dir=tmp_path / "sets"))


def test_the_papers_split_and_the_clean_one(tmp_path):
    """20 photographs for training and 1 for the test, with a leaf each."""
    archive = write_plantdoc(tmp_path / "plantdoc.zip", count=21)
    config = Config(NAME, data_dir=tmp_path / "sets", archive=archive)
    source = find_source(config)
    labels = np.zeros(source.count, int)
    clean = split(source, labels, config)
    assert [len(part) for part in clean] == [18, 2, 1]
    paper = split(source, labels, dataclasses.replace(config, split="paper"))
    assert [len(part) for part in paper] == [
        13,
        3,
        5,
    ]  # from int(.65 * 21), int(.8 * 21)
    other = dataclasses.replace(source, name="pets")
    with pytest.raises(RunError, match="--split paper is of cropped_plantdoc, not pet"):
        split(other, labels, dataclasses.replace(config, split="paper"))
