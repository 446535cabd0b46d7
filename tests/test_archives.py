"""The archives of data sets: their digests, how they are unpacked, what is refused."""

import hashlib
import stat
import tarfile
import tempfile
import warnings
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sets import TARS, pack, pack_members

from train.config import RunError
from train.data.prepare import prepare
from train.data.published import archives
from train.data.published.archives import (
    Archive,
    check_digest,
    find_archives,
    sha256,
    unpack,
)

CONTENT = {
    "top.txt": b"at the top",
    "folder/a.bin": bytes(range(256)) * 5000,  # more than one chunk
    "folder/deep/er/empty": b"",
}
ONE = (Archive("one.tar", "http://nowhere/one.tar", None),)
TWO = (*ONE, Archive("two.tar", "http://nowhere/two.tar", None))


def files_in(folder: Path) -> dict[str, bytes]:
    """Path below the folder -> content."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() or file.is_symlink()
    }


def assert_refused(file: Path, message: str) -> None:
    """The archive is refused in one line, and writes nothing beside the target."""
    target = file.parent / "a" / "b" / "target"
    target.mkdir(parents=True)
    before = set(file.parent.rglob("*"))
    with pytest.raises(RunError, match=message) as error:
        unpack(file, target)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    new = set(file.parent.rglob("*")) - before
    assert all(target in path.parents for path in new)
    assert not any(path.is_symlink() for path in new)


def test_in_a_folder_an_archive_may_be_packed_in_another_way(tmp_path):
    archive = Archive("plants.zip", "http://127.0.0.1/plants.zip", None)
    (tmp_path / "plants.tar.gz").write_bytes(b"")
    (tmp_path / "animals.zip").write_bytes(b"")
    assert find_archives([archive], tmp_path, tmp_path) == [tmp_path / "plants.tar.gz"]
    (tmp_path / "plants.zip").write_bytes(b"")
    assert find_archives([archive], tmp_path, tmp_path) == [tmp_path / "plants.zip"]


def test_the_digest_is_sha_256(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "file") == expected
    assert check_digest(tmp_path / "file", expected, ()) == expected
    assert check_digest(tmp_path / "file", None, ()) == expected
    assert check_digest(tmp_path / "file", "0" * 64, ["1" * 64, expected]) == expected


def test_an_archive_with_another_digest_is_not_unpacked(tmp_path, monkeypatch):
    def fail(*args):
        raise AssertionError("unpacked before its digest was checked")

    # The package has a function of the module's name.
    monkeypatch.setattr(import_module("train.data.prepare"), "unpack", fail)
    file = pack(tmp_path / "cifar-10-binary.tar.gz", CONTENT)
    with pytest.raises(RunError) as error:
        prepare("cifar10", tmp_path / "sets", file, ["0" * 64])
    published = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    own = hashlib.sha256(file.read_bytes()).hexdigest()
    for part in (str(file), own, published, f"--archive-digest {own}"):
        assert part in str(error.value)
    assert [*files_in(tmp_path / "sets")] == ["cifar10/.lock"]


@settings(max_examples=30)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_an_archive_with_one_byte_altered_is_refused(place, change):
    with tempfile.TemporaryDirectory() as folder:
        file = pack(Path(folder, "set.tar.gz"), CONTENT)
        content = bytearray(file.read_bytes())
        expected = hashlib.sha256(content).hexdigest()
        content[int(place * len(content))] ^= change
        file.write_bytes(content)
        with pytest.raises(RunError, match="not the archive that it should be"):
            check_digest(file, expected, [])


def test_archives_that_are_given_are_found(tmp_path):
    one, two = (pack(tmp_path / f"{name}.tar", CONTENT) for name in ("one", "two"))
    renamed = pack(tmp_path / "renamed.tar", CONTENT)
    downloads = tmp_path / "downloads"
    assert find_archives(ONE, tmp_path, downloads) == [one]
    assert find_archives(ONE, renamed, downloads) == [renamed]
    assert find_archives(TWO, tmp_path, downloads) == [one, two]
    assert not downloads.exists()


@pytest.mark.parametrize(
    ("wanted", "given_path", "message"),
    [
        (ONE, "", "there is no {}/one.tar: --archive takes one.tar$"),
        (ONE, "no.tar", "there is no {}/no.tar: --archive takes one.tar$"),
        (TWO, "", "there is no {}/one.tar: --archive takes one.tar and two.tar"),
        (TWO, "file", "--archive must be a folder that holds one.tar and two.tar, got"),
        (TWO, "no", "--archive must be a folder that holds one.tar and two.tar, got"),
    ],
)
def test_archives_that_are_not_there_are_named(tmp_path, wanted, given_path, message):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=message.format(tmp_path)):
        find_archives(wanted, tmp_path / given_path, tmp_path / "downloads")


@pytest.mark.parametrize("kind", [*TARS, ".zip"])
def test_unpacked_are_the_files_that_were_packed(tmp_path, kind):
    unpack(pack(tmp_path / f"set{kind}", CONTENT), tmp_path / "unpacked")
    assert files_in(tmp_path / "unpacked") == CONTENT


@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_folders_are_unpacked_and_files_have_no_rights_of_the_archives(tmp_path, kind):
    (tmp_path / "content" / "folder").mkdir(parents=True)
    (tmp_path / "content" / "empty").mkdir()
    file = tmp_path / "content" / "folder" / "file"
    file.write_bytes(b"x")
    file.chmod(0o4777)
    packed = tmp_path / f"set{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted((tmp_path / "content").rglob("*")):
                archive.write(path, path.relative_to(tmp_path / "content"))
    else:
        with tarfile.open(packed, "w") as archive:
            archive.add(tmp_path / "content", ".")
    unpack(packed, tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "empty").is_dir()
    mode = (tmp_path / "unpacked" / "folder" / "file").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_IXUSR)


# Any character but those that no name can have.
part = st.text(
    st.sampled_from(" %20?&=+'\",;\\#*aZä漢\n") | st.characters(codec="utf-8"),
    min_size=1,
    max_size=12,
).filter(lambda text: not {"/", "\0"} & set(text) and text not in (".", ".."))
path = st.lists(part, min_size=1, max_size=3).map("/".join)


@settings(max_examples=40)
@given(st.dictionaries(path, st.binary(max_size=20), max_size=6), st.booleans())
def test_files_of_any_names_are_unpacked(content, as_zip):
    folders = {str(p) for name in content for p in Path(name).parents}
    content = {name: data for name, data in content.items() if name not in folders}
    with tempfile.TemporaryDirectory() as folder:
        file = pack(Path(folder, "set.zip" if as_zip else "set.tar"), content)
        unpack(file, Path(folder, "unpacked"))
        assert files_in(Path(folder, "unpacked")) == content


# {}: the folder of the archive, an absolute path.
OUTSIDE = ["../x", "../../../x", "a/../../x", "a/..", "{}/x", "/{}/x"]


@pytest.mark.parametrize("kind", [".tar", ".zip"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_outside_is_refused(tmp_path, kind, name):
    content = {"good": b"x", name.format(tmp_path): b"bad"}
    file = pack(tmp_path / f"set{kind}", content)
    assert_refused(file, "lies outside of the archive")


@pytest.mark.parametrize("name", ["../x", "{}/x"])
def test_a_folder_outside_is_refused(tmp_path, name):
    info = tarfile.TarInfo(name.format(tmp_path))
    info.type = tarfile.DIRTYPE
    assert_refused(pack_members(tmp_path / "set.tar", [(info, b"")]), "lies outside")


@pytest.mark.parametrize(
    "kind",
    ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE"],
)
def test_links_and_devices_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("bad")
    info.type = getattr(tarfile, kind)
    info.linkname = "good" if kind == "LNKTYPE" else "/etc/passwd"
    members = [(tarfile.TarInfo("good"), b"x"), (info, b"")]
    file = pack_members(tmp_path / "set.tar", members)
    assert_refused(file, "'bad' is a link or device")


def test_a_link_to_a_folder_cannot_be_written_through(tmp_path):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    members = [(link, b""), (tarfile.TarInfo("link/x"), b"bad")]
    assert_refused(pack_members(tmp_path / "set.tar", members), "'link' is a link")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("bad")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert_refused(tmp_path / "set.zip", "'bad' is a link")


@pytest.mark.parametrize("again", ["x/y", "./x/y", "x//y", "x/./y"])
@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_a_name_that_comes_twice_is_refused(tmp_path, kind, again):
    file = tmp_path / f"set{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it comes twice
            archive.writestr("x/y", "first")
            archive.writestr(again, "second")
    else:
        members = [(tarfile.TarInfo("x/y"), b"1"), (tarfile.TarInfo(again), b"2")]
        pack_members(file, members)
    assert_refused(file, "it holds '.*' twice")


@pytest.mark.parametrize("names", [("x", "x/y"), ("x/y", "x")])
def test_a_file_that_is_a_folder_too_is_refused(tmp_path, names):
    file = pack(tmp_path / "set.tar", dict.fromkeys(names, b""))
    assert_refused(file, "x")


@pytest.mark.parametrize("kind", [*TARS, ".zip"])
def test_half_an_archive_is_refused(tmp_path, kind):
    file = pack(tmp_path / f"set{kind}", CONTENT)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert_refused(file, "cannot unpack")


@pytest.mark.parametrize("kind", [".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
def test_an_archive_without_its_last_byte_is_refused(tmp_path, kind):
    file = pack(tmp_path / f"set{kind}", CONTENT)
    file.write_bytes(file.read_bytes()[:-1])
    assert_refused(file, "cannot unpack")


@pytest.mark.parametrize("kind", [".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
def test_a_damaged_archive_is_refused(tmp_path, kind):
    noise = np.random.default_rng(0).bytes(300_000)
    file = pack(tmp_path / f"set{kind}", {"x": noise})
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    file.write_bytes(content)
    assert_refused(file, "cannot unpack")


@pytest.mark.parametrize("content", [b"", b"<html>no archive</html>", bytes(3000)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "set.tar.gz").write_bytes(content)
    if content == bytes(3000):  # a tar archive without files
        unpack(tmp_path / "set.tar.gz", tmp_path)
    else:
        assert_refused(tmp_path / "set.tar.gz", "cannot unpack")


def test_an_encrypted_zip_is_refused(tmp_path):
    file = pack(tmp_path / "set.zip", {"x": b"secret"})
    content = bytearray(file.read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flags] |= 1
    file.write_bytes(content)
    assert_refused(file, "encrypted")


@pytest.mark.parametrize("kind", [".tar.gz", ".zip"])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, kind):
    file = pack(tmp_path / f"set{kind}", {"x": bytes(60), "y": bytes(60)})
    monkeypatch.setattr(archives, "MAX_UNPACKED", 120)
    unpack(file, tmp_path / "room")
    monkeypatch.setattr(archives, "MAX_UNPACKED", 119)
    assert_refused(file, "it is larger than 119 bytes")
    written = files_in(tmp_path / "a")
    assert sum(map(len, written.values())) <= 119
