"""Finding the picture files that a person means. Reading them: test_images.py."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpwjax.picture_files import files_below, find_pictures
from gpwjax.pictures import UnreadableImageError, read_image


def touch(folder: Path, *names: str) -> list[Path]:
    files = [folder / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return files


def test_a_folder_stands_for_the_files_below_it_whatever_their_names(tmp_path):
    """As in training, where the content decides what a picture is."""
    files = touch(tmp_path, "b.png", "a/z.jpg", "a/b/c.WEBP", "noext", "d.jpg_large")
    files += touch(tmp_path, "c.mpo", "photo.heic", "a/notes.txt")
    touch(tmp_path, "a/.hidden.png", ".cache/a.png", "a/Thumbs.db", "__MACOSX/1.png")
    assert find_pictures([tmp_path]) == sorted(files)
    assert files_below(tmp_path) == sorted(files)


def test_files_are_kept_in_their_order_whatever_their_names(tmp_path):
    (inside,) = touch(tmp_path, "folder/a.png")
    files = [tmp_path / "z", tmp_path / "missing.png", inside.parent, tmp_path / "z"]
    found = find_pictures(files)
    assert found == [files[0], files[1], inside, files[3]]


def test_a_link_to_a_folder_is_named_and_not_followed(tmp_path):
    (file,) = touch(tmp_path, "a.png")
    link = tmp_path / "circle"
    link.symlink_to(tmp_path, target_is_directory=True)
    assert find_pictures([tmp_path]) == [file, link]
    with pytest.raises(UnreadableImageError, match="is not a regular file"):
        read_image(link)


def test_a_folder_without_files_is_refused(tmp_path):
    touch(tmp_path, ".hidden.png")
    with pytest.raises(
        ValueError, match=re.escape(f"WEBP, GIF, BMP, TIFF, PPM) in {tmp_path}")
    ):
        find_pictures([tmp_path])


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        find_pictures([tmp_path])


def test_a_picture_is_read_as_it_is_seen_and_a_broken_one_is_an_error(tmp_path):
    pixels = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8  # the first row is on the left, the first column at the bottom
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), pixels[:, ::-1].swapaxes(0, 1)
    )
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(UnreadableImageError, match="^(is|cannot) "):
        read_image(tmp_path / "b.png")
