"""The cache of decoded images: what a crash or a full disk leaves of it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.config import Config
from train.data import Dataset, cache, load_dataset

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0)}


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """A folder of two classes of ten pictures, and a cache for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, colour in COLOURS.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.new("RGB", (12, 10), colour)
            image.save(tmp_path / "set" / name / f"{number}.png")
    return tmp_path / "set"


def load(folder: Path) -> Dataset:
    return load_dataset(Config(data=str(folder), image_size=8, batch_size=2))


def assert_whole(data: Dataset) -> None:
    for image, label in zip(data.images, data.labels, strict=True):
        assert (image == COLOURS[data.classes[label]]).all()


def cut_to(share: float):
    return lambda file: os.truncate(file, int(share * file.stat().st_size))


DAMAGES = {
    "empty": cut_to(0),
    "cut": cut_to(0.7),
    "missing": Path.unlink,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "of another kind": lambda file: file.write_bytes(b"\x80\4" + file.read_bytes()),
    "of another type": lambda file: (
        file.write_text('{"skipped": [], "warnings": 5}')
        if file.suffix == ".json"
        else np.save(file, np.load(file).astype(float))
    ),
    "of no class": lambda file: (
        np.save(file, np.load(file) + 7)
        if file.name == "labels.npy"
        else file.write_bytes(b"\xff")
    ),
    "of another set": lambda file: (
        file.write_text('{"skipped": 1}')
        if file.suffix == ".json"
        else np.save(file, np.zeros(3, np.uint8))
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["about.json", "labels.npy", "images.npy"])
def test_a_damaged_cache_is_made_again(pictures, name, damage, caplog):
    load(pictures)
    (folder,) = cache.cache_dir().iterdir()
    DAMAGES[damage](folder / name)
    assert_whole(load(pictures))
    (message,) = [m for m in caplog.messages if "the cache of images" in m]
    assert str(folder) in message
    assert list(cache.cache_dir().iterdir()) == [folder]
    caplog.clear()
    assert_whole(load(pictures))
    assert not caplog.messages


def test_what_was_said_of_a_picture_is_said_in_each_run(pictures, caplog):
    """Here that it is nearly black."""
    dark = Image.fromarray(np.full((8, 8), 200, np.uint16))
    for number in range(3):
        dark.save(pictures / "red" / f"dark{number}.tif")
    for _ in range(2):
        caplog.clear()
        load(pictures)
        (message,) = [m for m in caplog.messages if "dark" in m]
        assert "has values from 200 to 200 of 65535, 8 of its 16 bits" in message


def test_all_is_on_the_disk_before_the_folder_has_its_name(pictures, monkeypatch):
    done = []
    rename = Path.rename
    monkeypatch.setattr(cache, "sync", lambda path: done.append(path.name))
    monkeypatch.setattr(
        Path, "rename", lambda old, new: (done.append("rename"), rename(old, new))
    )
    load(pictures)
    (folder,) = cache.cache_dir().iterdir()
    *files, parent, renamed, top = done
    assert sorted(files) == ["about.json", "images.npy", "labels.npy"]
    assert parent.startswith(f"{folder.name}.unfinished")
    assert (renamed, top) == ("rename", "arrays")


@pytest.mark.parametrize("has_fallocate", [True, False])
def test_a_mapped_file_has_its_room_on_the_disk(tmp_path, monkeypatch, has_fallocate):
    if not has_fallocate:
        monkeypatch.delattr(os, "posix_fallocate")
    array = cache.map_new(tmp_path / "a.npy", (3, 1000, 1000, 3))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes
    array[-1] = 7
    array.flush()
    read = np.load(tmp_path / "a.npy")
    assert read.shape == array.shape
    np.testing.assert_array_equal(read.max((1, 2, 3)), [0, 0, 7])


@pytest.mark.parametrize("program", ["train.data", "train"])
def test_a_full_disk_is_one_line_and_leaves_nothing(pictures, small_disk, program):
    given = [pictures] if program == "train.data" else ["--data", pictures]
    finished = subprocess.run(
        [sys.executable, "-m", program, *given, "--image-size", "1000"],
        cwd=small_disk.parent,
        env=os.environ
        | {
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "XDG_CACHE_HOME": str(small_disk),
            "JAX_COMPILATION_CACHE_DIR": str(small_disk.parent / "xla"),
        },
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1, finished
    (line,) = finished.stderr.splitlines()[-1:]
    assert line.startswith(f"error: cannot use the cache of images {small_disk}/gpwjax")
    assert "No space left on device: the images take 60 MB" in line
    assert "Traceback" not in finished.stderr
    assert not list((small_disk / "gpwjax" / "arrays").iterdir())
