"""CIFAR-10 and CIFAR-100, from made archives in the official binary format."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_sets import draw, pack, prepare_made

from train.config import RunError
from train.data.published.cifar import Cifar10, Cifar100

# Label names as in the official files, which end with an empty line.
NAMES = [f"class_{i}" for i in range(100)]
COARSE = [f"coarse_{i}" for i in range(20)]
LABELS = [3, 9, 0, 1, 1, 8, 7]  # of five training files and the two records of the test
COARSE_LABELS = [19, 0, 5, 5, 7, 1, 2]


def record(labels: Sequence[int], image: np.ndarray) -> bytes:
    """As CIFAR's page says: the labels, then 1,024 bytes each of red, green, blue."""
    planes = [image[:, :, channel].tobytes() for channel in range(3)]
    return bytes(labels) + b"".join(planes)


def images() -> list[np.ndarray]:
    return [draw(32, 32, seed) for seed in range(7)]


def cifar10(folder: Path, **changed: bytes) -> Path:
    """Writes an archive of five files with a record each, and two for the test."""
    records = [record([n], x) for n, x in zip(LABELS, images(), strict=True)]
    files = {f"data_batch_{i + 1}.bin": records[i] for i in range(5)}
    files["test_batch.bin"] = records[5] + records[6]
    files["batches.meta.txt"] = ("\n".join(NAMES[:10]) + "\n\n").encode()
    files |= {name.replace("__", "."): content for name, content in changed.items()}
    content = {f"cifar-10-batches-bin/{name}": data for name, data in files.items()}
    return pack(folder / "cifar-10-binary.tar.gz", content)


def cifar100(folder: Path) -> Path:
    labels = zip(COARSE_LABELS, LABELS, strict=True)
    records = [record(pair, x) for pair, x in zip(labels, images(), strict=True)]
    files = {
        "train.bin": b"".join(records[:5]),
        "test.bin": b"".join(records[5:]),
        "fine_label_names.txt": "\n".join(NAMES).encode(),
        "coarse_label_names.txt": "\n".join(COARSE).encode(),
    }
    content = {f"cifar-100-binary/{name}": data for name, data in files.items()}
    return pack(folder / "cifar-100-binary.tar.gz", content)


def read_as_tfds_does(folder: Path) -> dict[str, dict]:
    """The examples of all splits by their id, which names the split."""
    builder = tfds.builder_from_directory(folder)
    examples = [
        e for split in builder.info.splits for e in builder.as_data_source(split)
    ]
    return {example["id"].decode(): example for example in examples}


IDS = [*(f"train_{i:05d}" for i in range(5)), "test_00000", "test_00001"]


def test_cifar10_is_as_its_archive(tmp_path):
    source = prepare_made("cifar10", tmp_path / "sets", cifar10(tmp_path))
    assert source.classes == tuple(NAMES[:10])
    assert source.splits == {"train": range(5), "test": range(5, 7)}
    examples = read_as_tfds_does(tmp_path / "sets" / "cifar10" / "3.0.2")
    assert sorted(examples) == sorted(IDS)
    for name, image, label in zip(IDS, images(), LABELS, strict=True):
        np.testing.assert_array_equal(examples[name]["image"], image)
        assert examples[name]["label"] == label
    # What training reads.
    read = {image.tobytes(): label for image, label in map(source.read, range(7))}
    assert read == {x.tobytes(): n for x, n in zip(images(), LABELS, strict=True)}


def test_cifar100_has_fine_and_coarse_labels(tmp_path):
    source = prepare_made("cifar100", tmp_path / "sets", cifar100(tmp_path))
    assert source.classes == tuple(NAMES)
    folder = tmp_path / "sets" / "cifar100" / "3.0.2"
    examples = read_as_tfds_does(folder)
    for name, image, label, coarse in zip(
        IDS, images(), LABELS, COARSE_LABELS, strict=True
    ):
        np.testing.assert_array_equal(examples[name]["image"], image)
        assert examples[name]["label"] == label
        assert examples[name]["coarse_label"] == coarse
    features = tfds.builder_from_directory(folder).info.features
    assert features["coarse_label"].names == COARSE


@pytest.mark.parametrize("builder", [Cifar10, Cifar100])
def test_the_features_are_those_of_tfds(tmp_path, builder):
    own = builder(data_dir=str(tmp_path)).info
    theirs = tfds.builder(builder.name, data_dir=tmp_path).info
    assert own.full_name == theirs.full_name
    assert own.supervised_keys == theirs.supervised_keys
    assert repr(own.features) == repr(theirs.features)


def test_the_features_are_those_of_a_set_that_tfds_prepared(tmp_path, shared):
    prepare_made("cifar10", tmp_path / "sets", cifar10(tmp_path))
    own, theirs = (
        json.loads((folder / "cifar10" / "3.0.2" / "features.json").read_text())
        for folder in (tmp_path / "sets", shared / "data" / "tfds")
    )
    features = own["featuresDict"]["features"]
    assert features["image"]["image"].pop("encodingFormat") == "png"
    assert own == theirs


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"data_batch_3__bin": bytes(3074)},
            "data_batch_3.bin must be records of 3073",
        ),
        ({"test_batch__bin": b""}, "the archive of cifar10 holds no test image"),
        (
            {"data_batch_2__bin": b"\x0a" + bytes(3072)},
            r"data_batch_2.bin has labels \[10\], of \[10\] classes",
        ),
        ({"batches__meta__txt": b"a b c"}, "must name 10 classes, got .*'a', 'b', 'c'"),
        ({"batches__meta__txt": b"a " * 10}, "must name 10 classes"),
        ({"batches__meta__txt": b"\xff\xfe"}, "must name 10 classes"),
    ],
)
def test_an_archive_of_other_content_is_an_error(tmp_path, changed, message):
    archive = cifar10(tmp_path, **changed)
    with pytest.raises(RunError, match=message):
        prepare_made("cifar10", tmp_path / "sets", archive)
    left = [path.name for path in (tmp_path / "sets" / "cifar10").iterdir()]
    assert left == [".lock"]


def test_an_archive_of_another_set_is_an_error(tmp_path):
    archive = cifar100(tmp_path)
    with pytest.raises(RunError, match="cifar10 holds no batches.meta.txt"):
        prepare_made("cifar10", tmp_path / "sets", archive)
