"""Oxford-IIIT Pet, from made archives in the official layout."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_sets import draw, encode, pack, prepare_made
from PIL import Image

import gpwjax
from train.config import Config, RunError
from train.data import load_dataset
from train.data.published.pet import BREEDS, OxfordIiitPet
from train.loop import fit
from train.process.stop import StopRequest

NAME = "oxford_iiit_pet"
CATS = ("Abyssinian", "Bengal", "Birman", "Bombay", "British_Shorthair", "Egyptian_Mau")
CATS += ("Maine_Coon", "Persian", "Ragdoll", "Russian_Blue", "Siamese", "Sphynx")
XML = """<annotation><size><width>{}</width><height>60</height></size><object><name>cat
</name><bndbox><xmin>{}</xmin><ymin>12</ymin><xmax>{}</xmax><ymax>45</ymax></bndbox>
</object></annotation>"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    """A cache folder for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def line(name: str) -> str:
    """A line of the lists: name, class, species (1: cat), number within the species."""
    breed = name.rpartition("_")[0]
    return f"{name} {BREEDS.index(breed) + 1} {1 if breed in CATS else 2} 1"


def write(
    folder: Path,
    pictures: Mapping[str, bytes],
    trainval: Iterable[str],
    test: Iterable[str],
    annotations: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes the two archives.

    Args:
      folder: for them.
      pictures: name -> content of images/NAME.jpg.
      trainval, test: lines of the lists.
      annotations: path below annotations/ -> content of further files.
    """
    archives = folder / "archives"
    archives.mkdir()
    images = {f"images/{name}.jpg": data for name, data in pictures.items()}
    pack(archives / "images.tar.gz", images)
    lists = {"trainval.txt": trainval, "test.txt": test}
    files = {name: "\n".join(of).encode() for name, of in lists.items()}
    files |= annotations or {}
    files = {f"annotations/{name}": data for name, data in files.items()}
    pack(archives / "annotations.tar.gz", files)
    return archives


def write_two(
    folder: Path, first: bytes, annotations: Mapping[str, bytes] | None = None
) -> Path:
    """Archives with Abyssinian_1 in trainval, and another in test."""
    other = encode(draw(6, 8, 0), "JPEG")
    pictures = {"Abyssinian_1": first, "beagle_2": other}
    lists = [line("Abyssinian_1")], [line("beagle_2")]
    return write(folder, pictures, *lists, annotations)


def read_as_tfds_does(data_dir: Path, **options) -> dict[str, dict]:
    """The examples of all splits by their file's name."""
    builder = tfds.builder_from_directory(data_dir / NAME / "4.0.0")
    examples = [
        example
        for split in builder.info.splits
        for example in builder.as_data_source(split, **options)
    ]
    return {example["file_name"].decode(): example for example in examples}


def test_all_breeds_with_their_labels_and_species(tmp_path):
    content = encode(draw(6, 8, 0), "JPEG")
    train, test = ([f"{breed}_{n}" for breed in BREEDS] for n in (1, 23))
    pictures = dict.fromkeys([*train, *test], content)
    lists = [["#Image CLASS-ID SPECIES", *map(line, of)] for of in (train, test)]
    archives = write(tmp_path, pictures, *lists)
    source = prepare_made(NAME, tmp_path / "sets", archives)
    assert source.classes == BREEDS
    assert len(set(BREEDS)) == 37
    assert source.splits == {"train": range(37), "test": range(37, 74)}
    assert source.skipped == []
    examples = read_as_tfds_does(tmp_path / "sets")
    assert sorted(examples) == sorted(f"{name}.jpg" for name in pictures)
    for file_name, example in examples.items():
        breed = file_name.rpartition("_")[0]
        assert BREEDS[example["label"]] == breed
        assert example["species"] == (0 if breed in CATS else 1)


def test_the_features_are_those_of_tfds(tmp_path):
    own = OxfordIiitPet(data_dir=str(tmp_path)).info
    theirs = tfds.builder(NAME, data_dir=tmp_path).info
    assert own.full_name == theirs.full_name
    assert own.supervised_keys == theirs.supervised_keys
    assert repr(own.features) == repr(theirs.features)
    for feature in ("label", "species"):
        assert own.features[feature].names == theirs.features[feature].names


def test_a_jpeg_in_colours_stays_as_it_is(tmp_path):
    content = encode(draw(6, 8, 1), "JPEG")
    prepare_made(NAME, tmp_path / "sets", write_two(tmp_path, content))
    decoders = {"image": tfds.decode.SkipDecoding()}
    examples = read_as_tfds_does(tmp_path / "sets", decoders=decoders)
    assert examples["Abyssinian_1.jpg"]["image"] == content


@pytest.mark.parametrize(
    ("file_format", "mode", "colour", "seen"),
    [
        ("PNG", "RGB", (200, 30, 90), (200, 30, 90)),
        ("PNG", "RGBA", (200, 30, 90), (200, 30, 90)),
        ("PNG", "P", (255, 0, 0), (255, 0, 0)),
        ("GIF", "P", (0, 0, 255), (0, 0, 255)),
        ("BMP", "RGB", (200, 30, 90), (200, 30, 90)),
        ("JPEG", "L", (80, 80, 80), (80, 80, 80)),
        ("JPEG", "CMYK", (200, 30, 90), (200, 30, 90)),
    ],
)
def test_other_pictures_become_jpegs_in_colours(
    tmp_path, file_format, mode, colour, seen
):
    content = encode(np.full((6, 8, 3), colour, np.uint8), file_format, mode)
    prepare_made(NAME, tmp_path / "sets", write_two(tmp_path, content))
    decoders = {"image": tfds.decode.SkipDecoding()}
    examples = read_as_tfds_does(tmp_path / "sets", decoders=decoders)
    with Image.open(io.BytesIO(examples["Abyssinian_1.jpg"]["image"])) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (8, 6))
        np.testing.assert_allclose(np.asarray(image), np.full((6, 8, 3), seen), atol=4)


def test_transparent_pixels_become_white(tmp_path):
    stream = io.BytesIO()
    Image.new("RGBA", (8, 6), (200, 30, 90, 0)).save(stream, "PNG")
    prepare_made(NAME, tmp_path / "sets", write_two(tmp_path, stream.getvalue()))
    examples = read_as_tfds_does(tmp_path / "sets")
    assert examples["Abyssinian_1.jpg"]["image"].min() >= 252


def test_pictures_that_are_missing_or_broken_are_listed(tmp_path):
    """With lists as long as the official ones."""
    names = [f"{BREEDS[i % 37]}_{i}" for i in range(3680 + 3669)]
    whole = encode(draw(6, 8, 0), "JPEG")
    pictures = {names[0]: whole, names[3680]: whole, names[1]: b"no picture"}
    pictures[names[2]] = b""
    lines = [*map(line, names)]
    archives = write(tmp_path, pictures, lines[:3680], lines[3680:])
    source = prepare_made(NAME, tmp_path / "sets", archives)
    assert source.splits == {"train": range(1), "test": range(1, 2)}
    skipped = dict(source.skipped)
    assert len(source.skipped) == len(skipped) == 3680 + 3669 - 2
    assert set(skipped) == {f"images/{n}.jpg" for n in names} - {
        f"images/{names[i]}.jpg" for i in (0, 3680)
    }
    for number, reason in ((1, "no picture"), (2, "no picture"), (3, "not hold it")):
        assert reason in skipped[f"images/{names[number]}.jpg"]


def test_trimaps_and_boxes_of_heads_where_there_are_some(tmp_path):
    trimap = np.random.default_rng(0).integers(1, 4, (6, 8), np.uint8)
    annotations = {
        "trimaps/Abyssinian_1.png": encode(trimap, mode="L"),
        "xmls/Abyssinian_1.xml": XML.format(80, 8, 60).encode(),
    }
    archives = write_two(tmp_path, encode(draw(6, 8, 0), "JPEG"), annotations)
    prepare_made(NAME, tmp_path / "sets", archives)
    examples = read_as_tfds_does(tmp_path / "sets")
    annotated, other = examples["Abyssinian_1.jpg"], examples["beagle_2.jpg"]
    np.testing.assert_array_equal(annotated["segmentation_mask"][..., 0], trimap)
    # ymin, xmin, ymax, xmax as shares of the height, 60, and the width, 80.
    np.testing.assert_allclose(annotated["head_bbox"], [12 / 60, 0.1, 45 / 60, 0.75])
    np.testing.assert_array_equal(other["segmentation_mask"], np.zeros((6, 8, 1)))
    np.testing.assert_array_equal(other["head_bbox"], np.zeros(4))


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation>", "Abyssinian_1.xml names no box: no element found"),
        ("<annotation></annotation>", "Abyssinian_1.xml names no box"),
        (XML.format(80, "left", 60), "Abyssinian_1.xml names no box: .*'left'"),
        (XML.format(0, 8, 60), "Abyssinian_1.xml names no box"),
        (XML.format(80, 8, 81), "Abyssinian_1.xml has a box outside of the picture"),
        (XML.format(80, "nan", 60), "Abyssinian_1.xml has a box outside"),
    ],
    ids=["cut off", "empty", "no number", "no width", "outside", "nan"],
)
def test_a_wrong_box_is_an_error(tmp_path, xml, message):
    annotations = {"xmls/Abyssinian_1.xml": xml.encode()}
    archives = write_two(tmp_path, encode(draw(6, 8, 0), "JPEG"), annotations)
    with pytest.raises(RunError, match=message):
        prepare_made(NAME, tmp_path / "sets", archives)


@pytest.mark.parametrize(
    "wrong",
    [
        "Abyssinian_1 0 1 1",
        "Abyssinian_1 38 1 1",
        "Abyssinian_1 -1 1 1",
        "Abyssinian_1 one 1 1",
        "Abyssinian_1 ² 1 1",
        "Abyssinian_1 1 3 1",
        "Abyssinian_1 1 1",
        "../Abyssinian_1 1 1 1",
        "<html>",
    ],
)
def test_a_wrong_line_of_a_list_is_an_error(tmp_path, wrong):
    pictures = {"Abyssinian_1": encode(draw(6, 8, 0), "JPEG")}
    archives = write(tmp_path, pictures, [wrong], [line("Abyssinian_1")])
    with pytest.raises(
        RunError, match=f"annotations/trainval.txt has the line '{wrong}"
    ):
        prepare_made(NAME, tmp_path / "sets", archives)


def test_a_picture_that_a_list_names_twice_is_an_error(tmp_path):
    pictures = {"Abyssinian_1": encode(draw(6, 8, 0), "JPEG")}
    twice = [line("Abyssinian_1")] * 2
    archives = write(tmp_path, pictures, twice, twice[:1])
    with pytest.raises(RunError, match="trainval.txt has Abyssinian_1 2 times"):
        prepare_made(NAME, tmp_path / "sets", archives)


def test_archives_without_what_they_must_hold_are_errors(tmp_path):
    (tmp_path / "archives").mkdir()
    pack(tmp_path / "archives" / "images.tar.gz", {"images/x.jpg": b""})
    file = tmp_path / "archives" / "annotations.tar.gz"
    for content, message in (
        ({"x": b""}, f"the archive of {NAME} holds no annotations"),
        ({"annotations/x": b""}, "the archives hold no annotations/trainval.txt"),
        ({"annotations/trainval.txt": b"\n"}, "holds no train image$"),
        ({"annotations/trainval.txt": b"Bengal_7 6 1 1"}, "image: images/Bengal_7.jpg"),
    ):
        pack(file, content)
        with pytest.raises(RunError, match=message):
            prepare_made(NAME, tmp_path / "sets", tmp_path / "archives")


SHAPES = [(8, 12), (12, 7), (12, 12)]  # height, width
BARS = [((2, 2), (0, 0)), ((0, 0), (2, 3)), ((0, 0), (0, 0))]


def prepare_seven_of_each(folder: Path) -> list[np.ndarray]:
    """Prepares six pictures of each breed, the sixth tested too: all, in this order,
    with the bars that make them squares of 12 pixels."""
    names = [f"{breed}_{number}" for breed in BREEDS for number in range(6)]
    contents = [encode(draw(*SHAPES[i % 3], i), "JPEG") for i in range(len(names))]
    tested = [name for name in names if name.endswith("_5")]
    pictures = dict(zip(names, contents, strict=True))
    archives = write(folder, pictures, map(line, names), map(line, tested))
    prepare_made(NAME, folder / "sets", archives)
    decoded = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    return [np.pad(x, (*BARS[i % 3], (0, 0))) for i, x in enumerate(decoded)]


@pytest.mark.parametrize(
    ("size", "resize", "step"), [(12, "bilinear", 1), (4, "nearest", 3)]
)
def test_images_in_the_cache_have_bars(tmp_path, size, resize, step):
    """Shrunk to a third, the nearest pixel is the middle one of three."""
    padded = prepare_seven_of_each(tmp_path)
    config = Config(NAME, tmp_path / "sets", image_size=size, resize=resize)
    data = load_dataset(config)
    assert data.pad
    assert data.images.shape == (7 * 37, size, size, 3)
    assert len(data.test) == 37
    assert len(data.val) == 22  # a tenth of 6 of each breed
    stored = {
        (image.tobytes(), int(label))
        for image, label in zip(data.images, data.labels, strict=True)
    }
    middle = slice(step // 2, None, step)
    shrunk = [image[middle, middle].tobytes() for image in padded]
    assert stored == {(image, i // 6) for i, image in enumerate(shrunk)}


def test_a_trained_net_sees_pictures_as_in_its_training(tiny_runs, tmp_path):
    """What pads and shrinks them is in the weights file."""
    prepare_seven_of_each(tmp_path)
    config = Config(
        NAME,
        tmp_path / "sets",
        resize="nearest",
        model="tiny",
        image_size=8,
        epochs=1,
        batch_size=32,
        run_dir=tmp_path / "run",
    )
    fit(config, StopRequest())
    net = gpwjax.load(tmp_path / "run" / "model.safetensors")
    picture = draw(24, 12, 0)
    seen = np.pad(picture, ((0, 0), (6, 6), (0, 0)))[1::3, 1::3]
    np.testing.assert_allclose(net.predict([picture]), net.predict([seen]), rtol=1e-6)


def test_real_pictures(tmp_path, shared):
    archives = shared / "data" / NAME
    source = prepare_made(NAME, tmp_path, archives)
    assert {split: len(of) for split, of in source.splits.items()} == {
        "train": 692,
        "test": 335,
    }
    assert source.classes == BREEDS
    assert source.skipped == []
    assert {source.read(number)[1] for number in source.splits["train"]} == {*range(37)}
