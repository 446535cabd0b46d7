"""Folders of images, to what is read from them."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpwjax.picture_files import is_visible
from gpwjax.pictures import UnreadableImageError
from train.config import RunError
from train.data import folder
from train.data.names import class_key, plain, split_named
from train.data.source import Source

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs such file names")


def draw(file: Path, grey: int = 0) -> Path:
    """Writes a grey image."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), grey).save(file, "PNG")
    return file


def draw_all(root: Path, *names: str) -> Path:
    for name in names:
        draw(root / name)
    return root


def contents(source: Source) -> dict[str, list[tuple[str, str]]]:
    """Split -> file and class of each of its images, all of which can be read."""
    return {
        split: [
            (source.describe(n), source.classes[source.read(n)[1]]) for n in numbers
        ]
        for split, numbers in source.splits.items()
    }


def unreadable(source: Source) -> dict[str, str]:
    """File -> reason of each image that cannot be read."""
    reasons = {}
    for number in range(source.count):
        try:
            source.read(number)
        except UnreadableImageError as error:
            reasons[source.describe(number)] = str(error)
    return reasons


def test_class_folders_alone_are_one_pool_in_the_order_of_names(tmp_path):
    root = draw_all(tmp_path, "b/2.png", "b/10.png", "a/Z.png", "a/a.png", "B/1.png")
    assert contents(folder.source(root)) == {
        "all": [
            ("B/1.png", "B"),
            ("a/Z.png", "a"),
            ("a/a.png", "a"),
            ("b/10.png", "b"),
            ("b/2.png", "b"),
        ]
    }


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("train", "valid", "test"),
        ("TRAIN", "Validation", "Test"),
    ],
)
def test_splits_are_known_by_the_names_of_their_folders(tmp_path, names):
    files = [f"{split}/{label}/1.png" for split in names for label in "ab"]
    source = folder.source(draw_all(tmp_path, *files))
    assert contents(source) == {
        split: [(f"{name}/a/1.png", "a"), (f"{name}/b/1.png", "b")]
        for split, name in zip(("train", "val", "test"), names, strict=True)
    }


def test_a_class_may_be_missing_or_empty_but_in_train(tmp_path):
    root = draw_all(tmp_path, "train/a/1.png", "train/b/1.png", "test/b/1.png")
    (root / "val" / "a").mkdir(parents=True)
    found = contents(folder.source(root))
    assert found["val"] == []
    assert found["test"] == [("test/b/1.png", "b")]


def test_files_in_nested_folders_belong_to_the_class(tmp_path):
    root = draw_all(tmp_path, "a/x/y/1.png", "a/2.png", "a/test/3.png", "b/1.png")
    files = [("a/2.png", "a"), ("a/test/3.png", "a"), ("a/x/y/1.png", "a")]
    assert contents(folder.source(root)) == {"all": [*files, ("b/1.png", "b")]}


def test_hidden_files_and_litter_are_passed_over(tmp_path):
    root = draw_all(tmp_path, "a/1.png", "b/1.png")
    files = contents(folder.source(root))
    draw_all(
        root,
        *("a/.DS_Store", "a/Thumbs.db", "a/desktop.ini", "a/.cache/1.png"),
        *("a/__MACOSX/1.png", "__MACOSX/a/1.png", ".git/1.png", ".hidden.png"),
    )
    source = folder.source(root)
    assert contents(source) == files
    assert source.skipped == []


def test_every_other_file_of_a_class_is_tried(tmp_path):
    root = draw_all(tmp_path, "a/1.png", "a/picture", "a/picture.txt", "b/1.png")
    (root / "a" / "notes.txt").write_text("no image")
    (root / "a" / "empty.jpg").touch()
    (root / "b" / "dangling.png").symlink_to("nowhere.png")
    source = folder.source(root)
    assert source.splits == {"all": range(7)}
    reasons = unreadable(source)
    assert list(reasons) == ["a/empty.jpg", "a/notes.txt", "b/dangling.png"]
    assert reasons["a/empty.jpg"] == "is empty"
    assert reasons["a/notes.txt"].startswith("is not recognized")
    assert reasons["b/dangling.png"] == "cannot be read: No such file or directory"


def test_images_beside_the_class_folders_are_listed(tmp_path):
    root = draw_all(tmp_path / "pool", "a/1.png", "class.png/1.png", "lost.JPG")
    (root / "README.md").write_text("no image")
    (root / "lost.JPG").rename(root / "lost")
    (root / "broken.jpg").write_text("no image, but by its name")
    source = folder.source(root)
    assert source.skipped == [
        ("broken.jpg", "is in no class folder"),
        ("lost", "is in no class folder"),
    ]
    assert source.count == 2

    root = draw_all(
        tmp_path / "split",
        *("train/a/1.png", "train/b/1.png", "train/lost.png", "test/a/1.png"),
        *("test/lost.png", "overview.png", "masks/1.png"),
    )
    source = folder.source(root)
    assert source.skipped == [
        ("train/lost.png", "is in no class folder"),
        ("test/lost.png", "is in no class folder"),
        ("masks", "is in no split"),
        ("overview.png", "is in no split"),
    ]
    assert source.count == 3


def test_links_to_files_and_class_folders_are_followed(tmp_path):
    elsewhere = draw_all(tmp_path / "elsewhere", "x/1.png", "y.png")
    root = draw_all(tmp_path / "root", "b/1.png")
    (root / "a").symlink_to(elsewhere / "x")
    (root / "b" / "2.png").symlink_to(elsewhere / "y.png")
    assert contents(folder.source(root)) == {
        "all": [("a/1.png", "a"), ("b/1.png", "b"), ("b/2.png", "b")]
    }


def test_links_to_folders_in_a_class_are_listed_not_followed(tmp_path):
    root = draw_all(tmp_path / "root", "a/1.png", "b/1.png")
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "here").symlink_to(".")
    source = folder.source(root)
    assert source.splits == {"all": range(4)}
    reason = "is not a regular file"
    assert unreadable(source) == {"a/up": reason, "b/here": reason}


def test_a_class_folder_that_leads_in_a_circle_ends(tmp_path):
    root = draw_all(tmp_path / "root", "a/1.png")
    (root / "circle").symlink_to(root)
    source = folder.source(root)
    files = [source.describe(number) for number in range(source.count)]
    assert files == ["a/1.png", "circle/a/1.png", "circle/circle"]


names = (
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1
    )
    .filter(is_visible)
    .filter(lambda name: len(name.encode()) < 256)
    .filter(lambda name: split_named(name) is None)
)
ODD = [" ", "-rf", 'quo"te', "a,b", "new\nline", "é", "e\u0301", "a\\b", "~", "*", "😀"]
ODD += ["trains", "training shoes", "test things"]


@only_linux
@settings(max_examples=40)
@given(
    st.lists(names | st.sampled_from(ODD), min_size=1, max_size=5, unique_by=class_key)
)
def test_classes_may_have_any_name(folders):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folders.sort(key=plain)
        for grey, name in enumerate(folders):
            draw(root / name / "1.png", grey)
        source = folder.source(root)
        assert source.classes == tuple(map(plain, folders))
        for number in range(source.count):
            image, label = source.read(number)
            assert image[0, 0, 0] == label
            assert source.describe(number) == f"{folders[label]}/1.png"


@only_linux
def test_names_that_are_no_utf_8_can_be_written(tmp_path):
    root = tmp_path / os.fsdecode(b"s\xff")
    draw_all(root, os.fsdecode(b"caf\xe9/\xfe.png"), "b/1.png")
    source = folder.source(root)
    assert source.name == r"s\xff"
    assert source.classes == ("b", r"caf\xe9")
    assert source.describe(1) == r"caf\xe9/\xfe.png"
    assert source.read(1)[1] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda root: draw(root / "a" / "3.png"),
        lambda root: (root / "a" / "1.png").unlink(),
        lambda root: (root / "a" / "1.png").rename(root / "a" / "0.png"),
        lambda root: (root / "a" / "1.png").rename(root / "b" / "1.png"),
        lambda root: (root / "a" / "1.png").replace(root / "a" / "2.png"),
        lambda root: os.utime(root / "a" / "1.png", ns=(0, 1)),
        lambda root: (root / "a" / "1.png").chmod(0o600),
        lambda root: (root / "a" / "1.png").write_bytes(b""),
        lambda root: (root / "b" / "gone.png").unlink(),
    ],
)
def test_the_digest_follows_every_change_of_a_file(tmp_path, change):
    root = draw_all(tmp_path, "a/1.png", "a/2.png", "b/2.png")
    (root / "b" / "gone.png").symlink_to("nowhere.png")
    for number, file in enumerate(root.glob("*/?.png")):
        file.chmod(0o644)
        os.utime(file, ns=(0, 1_000 * number))
    digest = folder.source(root).digest
    assert folder.source(root).digest == digest
    change(root)
    assert folder.source(root).digest != digest


def test_the_same_files_at_another_place_have_the_same_digest(tmp_path):
    digests = set()
    for place in ("one", "two"):
        root = draw_all(tmp_path / place, "a/1.png", "b/1.png")
        for file in root.glob("*/*.png"):
            os.utime(file, ns=(0, 0))
        digests.add(folder.source(root).digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "must hold one folder of images for each class"),
        (["1.png", "2.png"], "--data FILE.csv, with the columns path,label"),
        (["train/1.png"], "train must hold one folder of images for each class"),
        (["a/.hidden", "b/1.png"], "class folder 'a' in .* is empty"),
        (["a/Thumbs.db", "b/1.png"], "class folder 'a' in .* is empty"),
        (["train/a/.hidden", "train/b/1.png"], "class folder 'a' in .*train is empty"),
        (["test/a/1.png"], "has 'test' but no folder train"),
        (["cat/1.png", "test/1.png"], "where one is a class, put all class folders in"),
        (["cat/1.png", "train/1.png"], "where one is a class, put all class folders i"),
        (["val/a/1", "valid/a/1"], "has two val folders: 'val', 'valid'"),
        (["train/a/1", "val/b/1"], "val has classes that the training .* not: 'b'"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(tmp_path, files, message):
    with pytest.raises(RunError, match=message) as error:
        folder.source(draw_all(tmp_path, *files))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_classes_named_as_splits_are_classes_in_a_folder_train(tmp_path):
    """The way out that the error names. CIFAR-100, for one, has a class train."""
    root = draw_all(tmp_path, "train/train/1.png", "train/test/1.png", "train/a/1.png")
    source = folder.source(root)
    assert source.classes == ("a", "test", "train")
    assert source.splits == {"train": range(3)}  # to be split as one pool


@pytest.mark.parametrize("denied", [".", "train", "train/a", "train/a/x", "test/b"])
def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, denied):
    root = draw_all(tmp_path, "train/a/x/1.png", "train/b/1.png", "test/b/1.png")

    def refusing(function):
        def call(path):
            if Path(path) == root / denied:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path)

        return call

    # What pathlib and os.walk list folders with.
    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with pytest.raises(RunError, match="cannot list .*: .*Permission denied") as error:
        folder.source(root)
    assert str(root / denied) in str(error.value)


@pytest.mark.slow
def test_a_folder_too_deep_to_be_listed_is_named(tmp_path, monkeypatch):
    root = draw_all(tmp_path / "root", "a/1.png")
    monkeypatch.chdir(root / "a")
    for _ in range(1100):  # longer than a path may be
        os.mkdir("abc")
        os.chdir("abc")
    try:
        with pytest.raises(RunError, match=f"cannot list the images in {root}: "):
            folder.source(root)
    finally:
        for _ in range(1100):  # shutil cannot remove it
            os.chdir("..")
            os.rmdir("abc")


def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    files = [
        f"{label}/{deep}{n}.png" for label in "abc" for deep in ("", "x/") for n in "12"
    ]
    root = draw_all(tmp_path, *files, "1.png", "2.png")
    source = folder.source(root)
    expected = contents(source), source.skipped
    iterdir, walk = Path.iterdir, os.walk

    def walk_backwards(*args, **kwargs):
        for parent, folders, files in walk(*args, **kwargs):
            folders.sort(reverse=True)
            yield parent, folders, sorted(files, reverse=True)

    monkeypatch.setattr(Path, "iterdir", lambda f: sorted(iterdir(f), reverse=True))
    monkeypatch.setattr(os, "walk", walk_backwards)
    source = folder.source(root)
    assert (contents(source), source.skipped) == expected
    assert [name for name, _ in source.skipped] == ["1.png", "2.png"]


def test_images_are_read_with_their_labels(tmp_path):
    for label, grey in (("dark", 10), ("light", 200)):
        draw(tmp_path / label / "1.png", grey)
    source = folder.source(tmp_path)
    for number, grey in enumerate((10, 200)):
        image, label = source.read(number)
        np.testing.assert_array_equal(image, np.full((2, 2, 3), grey))
        assert label == number
    assert source.name == tmp_path.name
    assert source.size is None
