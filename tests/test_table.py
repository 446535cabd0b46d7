"""CSV files that list images, to what is read from them."""

import csv
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpwjax.pictures import UnreadableImageError
from train.config import RunError
from train.data import table
from train.data.names import class_key
from train.data.source import Source


def draw(file: Path, grey: int = 0) -> Path:
    """Writes a grey image."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), grey).save(file, "PNG")
    return file


def write(folder: Path, text: str | bytes) -> Path:
    """Writes the table."""
    content = text.encode() if isinstance(text, str) else text
    (folder / "images.csv").write_bytes(content)
    return folder / "images.csv"


def contents(source: Source) -> dict[str, list[tuple[str, str]]]:
    """Split -> path and class of each of its images, all of which can be read."""
    return {
        split: [
            (source.describe(n), source.classes[source.read(n)[1]]) for n in numbers
        ]
        for split, numbers in source.splits.items()
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with images of grey values 1 to 4: 1.png, ..."""
    for grey in (1, 2, 3, 4):
        draw(tmp_path / f"{grey}.png", grey)
    return tmp_path


def test_a_table_without_splits_is_one_pool(folder):
    draw(folder / "deep" / "er" / "5.png", 5)
    elsewhere = draw(folder / "elsewhere" / "6.png", 6)
    text = f"path,label\n1.png,dog\ndeep/er/5.png,cat\n{elsewhere},dog\n"
    source = table.source(write(folder, text))
    assert source.name == "images"
    assert source.classes == ("cat", "dog")
    assert source.size is None
    assert source.splits == {"all": range(3)}
    for number, (grey, label) in enumerate(((1, 1), (5, 0), (6, 1))):
        image, read_label = source.read(number)
        np.testing.assert_array_equal(image, np.full((2, 2, 3), grey))
        assert read_label == label
    paths = [source.describe(number) for number in range(3)]
    assert paths == ["1.png", "deep/er/5.png", str(elsewhere)]


def test_paths_do_not_depend_on_the_working_folder(folder, monkeypatch):
    write(folder, "path,label\n1.png,a\n")
    monkeypatch.chdir(folder.parent)
    source = table.source(Path(folder.name, "images.csv"))
    assert contents(source) == {"all": [("1.png", "a")]}


@pytest.mark.parametrize("val", ["val", "valid", "validation", "VAL"])
def test_splits_are_kept_the_training_split_first(folder, val):
    text = (
        f"path,label,split\n1.png,a,test\n2.png,b,train\n3.png,a,{val}\n4.png,a,train"
    )
    assert contents(table.source(write(folder, text))) == {
        "train": [("2.png", "b"), ("4.png", "a")],
        "val": [("3.png", "a")],
        "test": [("1.png", "a")],
    }


def test_an_empty_column_of_splits_is_none(folder):
    source = table.source(write(folder, "path,label,split\n1.png,a,\n2.png,b,\n"))
    assert source.splits == {"all": range(2)}


@pytest.mark.parametrize(
    "text",
    [
        "path,label\r\n1.png,a\r\n2.png,b\r\n",
        "path,label\r1.png,a\r2.png,b",
        "\ufeffpath,label\n1.png,a\n2.png,b\n",
        "\n\npath,label\n\n1.png,a\n\n2.png,b\n\n\n",
        "label,path\na,1.png\nb,2.png\n",
        "id,label,width,path,\n7,a,2,1.png,x\n8,b,2,2.png,y\n",
        '"path","label"\n"1.png","a"\n"2.png","b"\n',
    ],
)
def test_forms_of_a_table(folder, text):
    source = table.source(write(folder, text))
    assert contents(source) == {"all": [("1.png", "a"), ("2.png", "b")]}


# A file's name may hold all but these; Windows' rules are not looked at here.
paths = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"))
    .filter(lambda name: name not in ("", ".", ".."))
    .filter(lambda name: len(name.encode()) < 256)
    .filter(lambda name: name != "images.csv")
)
labels = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)
ODD = ["a,b", 'quo"te', "new\nline", "c\r\nd", " ", "é", "e\u0301", "-", "=1", "'"]


@settings(max_examples=40)
@given(
    st.dictionaries(
        paths | st.sampled_from(ODD),
        labels | st.sampled_from(ODD).filter(str.strip),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_paths_and_labels_may_have_any_characters(rows, line_end, encoding):
    text = io.StringIO()
    # Before Python 3.13 a writer leaves a lone \r unquoted.
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("path", "label"), *rows.items()])
    with tempfile.TemporaryDirectory() as place:
        for path in rows:
            draw(Path(place, path))
        source = table.source(write(Path(place), text.getvalue().encode(encoding)))
        found = contents(source)["all"]
        assert [path for path, _ in found] == [*rows]
        keys = [class_key(label) for label in rows.values()]
        assert [class_key(label) for _, label in found] == keys
        assert len(source.classes) == len(set(keys))


def test_images_that_are_missing_are_skipped_with_the_reason(folder):
    text = 'path,label\n1.png,a\nnowhere.png,b\n"a\0b",a\n.,a\n'
    source = table.source(write(folder, text))
    assert source.read(0)[1] == 0
    reasons = []
    for number in (1, 2, 3):
        with pytest.raises(UnreadableImageError) as error:
            source.read(number)
        reasons.append(str(error.value))
    assert reasons[0] == "cannot be read: No such file or directory"
    assert "null byte" in reasons[1]
    assert reasons[2] == "is not a regular file"


def test_repeated_rows_are_left_out_and_listed(folder):
    text = "path,label\n1.png,a\n2.png,b\n./1.png,a\n1.png,a\n"
    source = table.source(write(folder, text))
    assert contents(source) == {"all": [("1.png", "a"), ("2.png", "b")]}
    assert source.skipped == [
        ("./1.png", "line 4 repeats line 2"),
        ("1.png", "line 5 repeats line 2"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: must name the columns path and label, .*, got \[\]$"),
        ("\n\nfile,label\n1,a\n", r"line 3: .* got \['file', 'label'\]$"),
        ("path;label\n1;a\n", r"line 1: .* separated by commas, got \['path;label'\]$"),
        ("path,label,path\n1,a,2\n", "line 1: .*each once"),
        ("path,label,split,split\n1,a,,\n", "line 1: .*each once"),
        ("path,label\n\n", "line 1: must be followed by a row for each image$"),
        ("path,label\n1,a\n,b\n", r"line 3: the path is empty: \['', 'b'\]$"),
        ("path,label\n1,a\n2,\n", r"line 3: the label is empty: \['2', ''\]$"),
        ('path,label\n"1\n2",a\n3,\n', "line 4: the label is empty"),
        ("path,label\n1,a\n2\n", r"line 3: has 1 values for 2 columns .*: \['2'\]$"),
        ("path,label\n1,2,a\n", r"line 2: has 3 values for 2 .*\['1', '2', 'a'\]$"),
        ("path,label,split\n1,a,far\n", "line 2: the split must be .* 'far'$"),
        (
            "path,label,split\n1,a,train\n2,a,\n3,a,\n",
            "line 3: has no split, other lines have one: '2'$",
        ),
        (
            "path,label,split\n1,a,\n2,a,test\n",
            "line 2: has no split, other lines have one: '1'$",
        ),
        (
            "path,label,split\n1,a,val\n2,a,test\n",
            "no row of split train, only of val, ",
        ),
        ("path,label\n1,a\n2,b\n1,b\n", "line 4: '1' has label 'b', on line 2 'a'$"),
        (
            "path,label,split\n1,a,train\n1,a,test\n",
            "line 3: '1' has split 'test', on line 2 'train'$",
        ),
        ('path,label\n1,a\n"2,a\n3,b\n', "line 3: unexpected end of data$"),
        ('path,label\n1,"a"b\n', "line 2: ',' expected after '\"'$"),
        (b"path,label\n1,a\n\xe9,b\n", r"line 3: must be UTF-8, got b'\\xe9'$"),
        (b"\xef\xbb\xbfpath,label\n1,\xe9\n", r"line 2: must be UTF-8, got b'\\xe9'$"),
        ("path,label\n1,a\n".encode("utf-16"), "line 1: must be UTF-8"),
    ],
)
def test_a_wrong_table_is_refused_naming_line_and_value(tmp_path, text, message):
    file = write(tmp_path, text)
    with pytest.raises(RunError, match=message) as error:
        table.source(file)
    assert str(error.value).startswith(f"{file} ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 130_000,
        "," * 1_000_000,
        f"path,label\n{',' * 1_000_000}",
        f"path,label\n1,{'a' * 200_000}",
        f"path,label\n1,a\n1,{'b' * 130_000}",
        f"path,label,split\n1,a,{'b' * 130_000}",
        f"path,label,split\n{'a' * 130_000},a,\n1,a,train",
        'path,label\n"' + "a\n" * 1_000_000,
    ],
)
def test_the_message_is_short_whatever_the_table(tmp_path, text):
    with pytest.raises(RunError, match="line [1-3]: ") as error:
        table.source(write(tmp_path, text))
    assert len(str(error.value)) < 1000


def test_a_huge_table_is_refused_before_it_is_read(tmp_path):
    file = write(tmp_path, "path,label\n")
    os.truncate(file, 2**33)  # zeros, which take no room on the disk
    message = "images.csv is too large: 8589934592 bytes, at most 100000000$"
    with pytest.raises(RunError, match=message):
        table.source(file)


def test_a_table_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RunError, match="cannot read .*nowhere.csv: No such file"):
        table.source(tmp_path / "nowhere.csv")
    with pytest.raises(RunError, match="cannot read .*: Is a directory"):
        table.source(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write(folder, "path,label\n1.png,b\n2.png,a\nnew.png,a\n"),
        lambda folder: write(folder, "path,label\n2.png,b\n1.png,a\nnew.png,a\n"),
        lambda folder: draw(folder / "new.png"),
        lambda folder: (folder / "1.png").unlink(),
        lambda folder: os.utime(folder / "1.png", ns=(0, 1)),
        lambda folder: (folder / "1.png").write_bytes(b""),
    ],
)
def test_the_digest_follows_the_table_and_its_images(folder, change):
    file = write(folder, "path,label\n1.png,a\n2.png,b\nnew.png,a\n")
    digest = table.source(file).digest
    os.utime(file, ns=(0, 0))
    draw(folder / "3.png", 77)  # not in the table
    assert table.source(file).digest == digest
    change(folder)
    assert table.source(file).digest != digest
