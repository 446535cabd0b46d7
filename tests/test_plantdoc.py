"""Cropped-PlantDoc, from made archives with the quirks of the official one."""

import csv
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_sets import csv_of, draw, encode, pack, prepare_made
from PIL import Image

from train.config import Config, RunError
from train.data import find_source
from train.data import split as split_of
from train.data.published.plantdoc import Box, read_boxes

NAME = "cropped_plantdoc"
HEIGHT, WIDTH = 16, 20
Row = Sequence[object]


def row(file_name: str, *corners: object, label: str = "leaf") -> Row:
    return (file_name, WIDTH, HEIGHT, label, *corners)


WHOLE = (0, 0, WIDTH, HEIGHT)


def write(
    file: Path,
    train: Sequence[Row],
    test: Sequence[Row],
    pictures: Mapping[str, bytes],
    top: str = "",
) -> Path:
    """Writes an archive; pictures: path below the folder `top` -> content."""
    files = {"train_labels.csv": csv_of(train), "test_labels.csv": csv_of(test)}
    files |= {"TRAIN/.keep": b"", "TEST/.keep": b"", **pictures}
    return pack(file, {f"{top}{name}": data for name, data in files.items()})


def write_one(tmp_path: Path, *rows: Row, **pictures: bytes) -> Path:
    """An archive whose training photographs are NAME.jpg; its test has one crop."""
    photographs = {f"TRAIN/{name}.jpg": data for name, data in pictures.items()}
    photographs["TEST/test.jpg"] = encode(draw(HEIGHT, WIDTH, 99))
    test = [row("test.jpg", *WHOLE)]
    return write(tmp_path / "plantdoc.tar.gz", rows, test, photographs)


def crops(data_dir: Path, split: str) -> list[dict]:
    """The examples of a split as TFDS reads them, without their order."""
    builder = tfds.builder_from_directory(data_dir / NAME / "1.0.0")
    return [*builder.as_data_source(split)]


# In the file of boxes and in the archive: names are partly written as in an address.
NAMES = {
    "plain.jpg": "plain.jpg",
    "TOMATO%20LATE%20BLIGHT.jpg": "TOMATO%20LATE%20BLIGHT.jpg",
    "Carolina%2BCherry%29.jpg": "Carolina%2BCherry%29.jpg",
    "ArticleImage.aspx?imgid=4987.jpg": "ArticleImage.aspx?imgid=4987.jpg",
    "a?k=6&m=1&s=612x612&h=x-y=.jpg": "a?k=6&m=1&s=612x612&h=x-y=.jpg",
    "quote\"s and 's, and commas.jpg": "quote\"s and 's, and commas.jpg",
    "plus+plus.jpg": "plus+plus.jpg",
    "Blätter-漢.jpg": "Blätter-漢.jpg",
    "decoded%20in%2Cthe%20archive.jpg": "decoded in,the archive.jpg",
    "decoded in the%table.jpg": "decoded%20in%20the%25table.jpg",
    " spaces around.jpg ": "spaces around.jpg",
}


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("top", ["", "PlantDoc-Object-Detection-Dataset-master/"])
def test_photographs_of_all_names_are_found(tmp_path, kind, top):
    pixels = {name: draw(HEIGHT, WIDTH, i) for i, name in enumerate(NAMES)}
    pictures = {
        f"{part}/{NAMES[name]}": encode(image)
        for part in ("TRAIN", "TEST")
        for name, image in pixels.items()
    }
    rows = [row(name, 3, 2, 15, 11) for name in NAMES]
    archive = write(tmp_path / f"plantdoc{kind}", rows, rows, pictures, top)
    source = prepare_made(NAME, tmp_path / "sets", archive)
    assert source.skipped == []
    for split in ("train", "test"):
        found = {
            crop["file_name"].decode(): crop for crop in crops(tmp_path / "sets", split)
        }
        assert sorted(found) == sorted(name.strip() for name in NAMES)
        for name, image in pixels.items():
            crop = found[name.strip()]
            np.testing.assert_array_equal(crop["image"], image[2:11, 3:15])
            digest = hashlib.sha256(encode(image)).hexdigest()
            assert crop["photograph"].decode() == digest


def test_the_file_of_exactly_that_name_is_taken(tmp_path):
    one, other = draw(HEIGHT, WIDTH, 0), draw(HEIGHT, WIDTH, 1)
    pictures = {"a b": encode(one), "a%20b": encode(other)}
    rows = [row("a b.jpg", *WHOLE), row("a%20b.jpg", *WHOLE)]
    prepare_made(NAME, tmp_path / "sets", write_one(tmp_path, *rows, **pictures))
    found = {c["file_name"]: c["image"] for c in crops(tmp_path / "sets", "train")}
    np.testing.assert_array_equal(found[b"a b.jpg"], one)
    np.testing.assert_array_equal(found[b"a%20b.jpg"], other)


@pytest.mark.parametrize(
    ("corners", "seen"),
    [
        ((3, 2, 15, 11), np.s_[2:11, 3:15]),
        ((0, 0, WIDTH, HEIGHT), np.s_[:, :]),
        ((-5, 2, 7, 40), np.s_[2:, :7]),
        ((12, -9, 99, 5), np.s_[:5, 12:]),
        ((-9, -9, 99, 99), np.s_[:, :]),
        ((4, 4, 5, 5), np.s_[4:5, 4:5]),
        (("3.0", "2.4", "15.4", "10.6"), np.s_[2:11, 3:15]),
    ],
)
def test_a_crop_is_what_lies_in_the_box(tmp_path, corners, seen):
    photograph = draw(HEIGHT, WIDTH, 0)
    archive = write_one(tmp_path, row("x.jpg", *corners), x=encode(photograph))
    source = prepare_made(NAME, tmp_path / "sets", archive)
    (crop,) = crops(tmp_path / "sets", "train")
    np.testing.assert_array_equal(crop["image"], photograph[seen])
    image, label = source.read(0)  # what training reads
    np.testing.assert_array_equal(image, photograph[seen])
    assert (source.classes, label) == (("leaf",), 0)


@pytest.mark.parametrize("size", [(0, 0), (HEIGHT, WIDTH), (5, 5), ("", "")])
def test_a_box_counts_whatever_size_the_table_gives_the_photograph(tmp_path, size):
    photograph = draw(HEIGHT, WIDTH, 0)
    rows = ("x.jpg", *size, "leaf", 3, 2, 15, 11)
    prepare_made(
        NAME, tmp_path / "sets", write_one(tmp_path, rows, x=encode(photograph))
    )
    (crop,) = crops(tmp_path / "sets", "train")
    np.testing.assert_array_equal(crop["image"], photograph[2:11, 3:15])


@pytest.mark.parametrize(
    "corners",
    [
        (5, 2, 5, 11),  # empty
        (3, 7, 15, 7),
        (15, 2, 3, 11),  # inverted
        (3, 11, 15, 2),
        (20, 0, 30, 16),  # outside
        (0, 16, 20, 30),
        (-9, 0, 0, 16),
        (0, -9, 20, 0),
    ],
)
def test_a_box_without_a_pixel_is_left_out_and_listed(tmp_path, corners):
    rows = [row("x.jpg", *WHOLE), row("x.jpg", *corners)]
    archive = write_one(tmp_path, *rows, x=encode(draw(HEIGHT, WIDTH, 0)))
    source = prepare_made(NAME, tmp_path / "sets", archive)
    assert source.splits["train"] == range(1)
    reason = f"nothing of the picture lies in the box {', '.join(map(str, corners))}"
    assert source.skipped == [("train_labels.csv line 3: x.jpg", reason)]


def test_pictures_that_are_missing_or_broken_are_listed(tmp_path):
    names = ("missing.jpg", "broken.jpg", "x.jpg", "missing.jpg")
    rows = [row(name, *WHOLE) for name in names]
    pictures = {"x": encode(draw(HEIGHT, WIDTH, 0)), "broken": b"no picture"}
    source = prepare_made(
        NAME, tmp_path / "sets", write_one(tmp_path, *rows, **pictures)
    )
    assert source.splits == {"train": range(1), "test": range(1, 2)}
    assert sorted(what for what, _ in source.skipped) == [
        "train_labels.csv line 2: missing.jpg",
        "train_labels.csv line 3: broken.jpg",
        "train_labels.csv line 5: missing.jpg",
    ]
    assert dict(source.skipped)["train_labels.csv line 2: missing.jpg"] == (
        "the archive does not hold the picture"
    )


def test_a_photograph_is_cut_as_it_is_stored(tmp_path):
    """Not turned as its EXIF data say: the boxes know nothing of that."""
    photograph = draw(HEIGHT, WIDTH, 0)
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(photograph).save(stream, "PNG", exif=exif)
    archive = write_one(tmp_path, row("x.jpg", 1, 2, 9, 8), x=stream.getvalue())
    prepare_made(NAME, tmp_path / "sets", archive)
    (crop,) = crops(tmp_path / "sets", "train")
    np.testing.assert_array_equal(crop["image"], photograph[2:8, 1:9])


def test_a_photograph_is_known_by_its_content(tmp_path):
    same, other = (encode(draw(HEIGHT, WIDTH, seed)) for seed in (0, 1))
    pictures = {"TRAIN/x.jpg": same, "TRAIN/y.jpg": other, "TEST/z.jpg": same}
    train = [row("x.jpg", *WHOLE), row("x.jpg", 0, 0, 5, 5), row("y.jpg", *WHOLE)]
    archive = write(tmp_path / "set.zip", train, [row("z.jpg", *WHOLE)], pictures)
    source = prepare_made(NAME, tmp_path / "sets", archive)
    of = source.photographs()
    assert sorted(of[:3]) == sorted([of[3], of[3], hashlib.sha256(other).hexdigest()])
    assert of[3] == hashlib.sha256(same).hexdigest()


def test_names_of_classes_are_sorted_and_of_both_tables(tmp_path):
    pixels = {label: draw(HEIGHT, WIDTH, i) for i, label in enumerate("cabd")}
    train = [row(f"{name}.jpg", *WHOLE, label=f" {name}  leaf") for name in "cab"]
    pictures = {f"TRAIN/{name}.jpg": encode(pixels[name]) for name in "cab"}
    pictures["TEST/d.jpg"] = encode(pixels["d"])
    test = [row("d.jpg", *WHOLE, label="d\nleaf")]
    archive = write(tmp_path / "plantdoc.zip", train, test, pictures)
    source = prepare_made(NAME, tmp_path / "sets", archive)
    assert source.classes == ("a leaf", "b leaf", "c leaf", "d leaf")
    for number in range(4):
        image, label = source.read(number)
        np.testing.assert_array_equal(image, pixels["abcd"[label]])


HEADER = b"filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column class, filename, xmax, xmin, ymax, ymin"),
        (HEADER.replace(b"class", b"label"), "has no column class"),
        (
            HEADER + b"x.jpg,9,9,leaf,1,2,3\n",
            "line 2: a box must be four numbers, got ",
        ),
        (HEADER + b"x.jpg,9,9,leaf,1,2,3,nan\n", "four numbers, got 1, 2, 3, nan"),
        (HEADER + b"x.jpg,9,9,leaf,1,2,3,inf\n", "four numbers, got 1, 2, 3, inf"),
        (HEADER + b"x.jpg,9,9,leaf,1,2,3,four\n", "four numbers, got 1, 2, 3, four"),
        (
            HEADER + b"x.jpg,9,9,leaf,1,2,3,4\nx.jpg,9,9, ,1,2,3,4\n",
            "line 3 has no class",
        ),
        (HEADER + b"\xff.jpg,9,9,leaf,1,2,3,4\n", "is no CSV file in UTF-8: "),
        (HEADER + b"x" * 200_000 + b",9,9,leaf,1,2,3,4\n", "is no CSV file in UTF-8: "),
        (HEADER, f"the archive of {NAME} holds no train image$"),
        (
            HEADER + b"x.jpg,9,9,leaf,1,2,3,4\n",
            "image: train_labels.csv line 2: x.jpg: ",
        ),
    ],
    ids=range(11),
)
def test_a_wrong_table_is_an_error(tmp_path, content, message):
    files = {"train_labels.csv": content, "test_labels.csv": csv_of([])}
    pack(tmp_path / "set.zip", files | {"TRAIN/x": b"", "TEST/x": b""})
    with pytest.raises(RunError, match=message):
        prepare_made(NAME, tmp_path / "sets", tmp_path / "set.zip")


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes(b"\xef\xbb\xbf" + HEADER + b"x.jpg,0,0,leaf,1,2,3,4\r\n")
    assert read_boxes(file) == [Box(2, "x.jpg", "leaf", (1, 2, 3, 4))]


@pytest.mark.parametrize("part", ["train_labels.csv", "TEST"])
def test_an_archive_without_a_part_is_an_error(tmp_path, part):
    files = {
        "train_labels.csv": csv_of([row("x.jpg", *WHOLE)]),
        "test_labels.csv": csv_of([]),
    }
    files |= {"TRAIN/x.jpg": encode(draw(HEIGHT, WIDTH, 0)), "TEST/x": b""}
    files = {name: data for name, data in files.items() if not name.startswith(part)}
    pack(tmp_path / "set.zip", files)
    with pytest.raises(RunError, match=f"the archive of {NAME} holds no {part}"):
        prepare_made(NAME, tmp_path / "sets", tmp_path / "set.zip")


def test_what_lies_at_the_top_is_taken_before_what_lies_deeper(tmp_path):
    image = draw(HEIGHT, WIDTH, 0)
    rows = [row("x.jpg", *WHOLE)]
    pictures = {f"{part}/x.jpg": encode(image) for part in ("TRAIN", "TEST")}
    pictures |= {"A/train_labels.csv": b"", "A/TRAIN/x.jpg": encode(image[:9])}
    archive = write(tmp_path / "set.zip", rows, rows, pictures)
    source = prepare_made(NAME, tmp_path / "sets", archive)
    np.testing.assert_array_equal(source.read(0)[0], image)


@pytest.mark.parametrize(
    ("file", "count"),
    [("official_train_labels_excerpt.csv", 15), ("official_test_labels.csv", 452)],
)
def test_the_official_tables_are_read_row_for_row(shared, file, count):
    table = shared / "data" / "plantdoc" / file
    with table.open(newline="") as stream:
        _, *rows = csv.reader(stream)
    boxes = read_boxes(table)
    assert len(boxes) == len(rows) == count
    for box, (name, _, _, label, *corners) in zip(boxes, rows, strict=True):
        assert (box.file_name, box.label) == (name, label)
        assert box.corners == tuple(map(int, corners))
        left, top, right, bottom = box.corners
        assert left < right
        assert top < bottom


def test_the_official_row_without_a_size_has_its_box(shared):
    table = shared / "data" / "plantdoc" / "official_train_labels_excerpt.csv"
    name = "2f73110f80014a25a53f9551c94bf164.png.jpg"
    (box,) = (box for box in read_boxes(table) if box.file_name == name)
    assert box == Box(13, name, "Corn Gray leaf spot", (58, 92, 525, 386))


def test_real_photographs(tmp_path, shared):
    archive = shared / "data" / "plantdoc" / "plantdoc.tar.gz"
    source = prepare_made(NAME, tmp_path, archive)
    assert source.count + len(source.skipped) == 1518 + 432  # rows of the two tables
    assert source.splits["test"] == range(source.count - 432, source.count)
    assert source.classes == tuple(sorted(source.classes))
    with tarfile.open(archive) as tar:
        files = [tar.extractfile(m).read() for m in tar if m.name.endswith(".jpg")]
    assert len(files) == 380 + 221
    # Three of them are one photograph under several names.
    digests = {hashlib.sha256(content).hexdigest() for content in files}
    assert set(source.photographs()) == digests
    assert len(digests) == 599
    config = Config(NAME, data_dir=tmp_path)
    assert find_source(config).digest == source.digest
    labels = np.array([source.read(number)[1] for number in range(0, source.count, 97)])
    assert set(labels) <= set(range(len(source.classes)))
    parts = split_of(source, np.zeros(source.count, int), config)
    of_parts = [set(source.photographs()[part]) for part in parts]
    assert not of_parts[0] & of_parts[1]
    assert not (of_parts[0] | of_parts[1]) & of_parts[2]
    assert [*parts[2]] == [*source.splits["test"]]
