"""The data sets, from their sources to arrays."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.config import Config, RunError
from train.data import Dataset, check_trainable, find_source, load_dataset
from train.presets import DIGITS

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache folder for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gpwjax" / "arrays"


def draw(folder: Path, colour: str, count: int, size: tuple[int, int] = (12, 10)):
    """Writes images of one colour into the folder of its class."""
    (folder / colour).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = Image.new("RGB", size, COLOURS[colour])
        image.save(folder / colour / f"{number}.png")


def load(folder: Path, **settings) -> Dataset:
    settings = {"image_size": 8, "batch_size": 2} | settings
    config = Config(data=str(folder), **settings)
    dataset = load_dataset(config)
    check_trainable(dataset, config)
    return dataset


def test_digits_are_scikit_learns_in_a_fixed_stratified_split():
    from sklearn.datasets import load_digits

    data = load_dataset(DIGITS)
    assert [len(part) for part in (data.train, data.val, data.test)] == [1258, 180, 359]
    used = np.concatenate([data.train, data.val, data.test])
    np.testing.assert_array_equal(np.sort(used), np.arange(1797))
    assert np.bincount(data.labels[data.test]).min() >= 34
    assert data.images.shape == (1797, 8, 8, 3)
    other = load_dataset(dataclasses.replace(DIGITS, seed=1))
    np.testing.assert_array_equal(other.images[other.test], data.images[data.test])

    pixels, labels = load_digits(return_X_y=True)
    expected = {(x.tobytes(), y) for x, y in zip(pixels.round(), labels, strict=True)}
    stored = np.round(data.images[..., 0].reshape(1797, 64) * (16 / 255))
    assert expected == {
        (x.tobytes(), y) for x, y in zip(stored, data.labels, strict=True)
    }


def test_a_folder_of_a_data_sets_name_is_mentioned(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    find_source(DIGITS)
    assert caplog.messages == []
    draw(tmp_path / "digits", "red", 1)
    draw(tmp_path / "digits", "green", 1)
    assert find_source(DIGITS).size == 8
    assert caplog.messages == [
        "--data digits is the data set of that name, not what lies in "
        f"{tmp_path}: that is --data ./digits"
    ]
    assert find_source(Config("./digits")).classes == ("green", "red")


def test_a_folder_without_splits_is_one_pool(tmp_path):
    draw(tmp_path / "set", "red", 20)
    draw(tmp_path / "set", "green", 10)
    data = load(tmp_path / "set")
    assert data.classes == ("green", "red")
    assert [len(part) for part in (data.train, data.val, data.test)] == [21, 3, 6]
    for image, label in zip(data.images, data.labels, strict=True):
        assert (image == COLOURS[data.classes[label]]).all()


@pytest.mark.parametrize("val", ["val", "validation"])
def test_a_folder_with_splits_keeps_them(tmp_path, val):
    for split, count in (("train", 4), (val, 2), ("test", 3)):
        for colour in COLOURS:
            draw(tmp_path / "set" / split, colour, count)
    data = load(tmp_path / "set")
    assert [len(part) for part in (data.train, data.val, data.test)] == [8, 4, 6]
    np.testing.assert_array_equal(data.test, np.arange(12, 18))


def test_unreadable_files_are_left_out_and_listed(tmp_path):
    draw(tmp_path / "set", "red", 10)
    draw(tmp_path / "set", "green", 10)
    (tmp_path / "set" / "red" / "notes.txt").write_text("no image")
    whole = (tmp_path / "set" / "red" / "0.png").read_bytes()
    (tmp_path / "set" / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "set" / "red" / ".hidden").write_text("ignored")
    data = load(tmp_path / "set")
    assert sorted(name for name, _ in data.skipped) == ["red/cut.png", "red/notes.txt"]
    assert all(reason for _, reason in data.skipped)
    assert len(data.train) + len(data.val) + len(data.test) == 20


def test_images_are_turned_cropped_and_resized(tmp_path):
    draw(tmp_path / "set", "green", 10)
    # Left half red, right half green; the EXIF data say: turn by 180 degrees.
    image = Image.new("RGB", (40, 20), COLOURS["red"])
    image.paste(COLOURS["green"], (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 3
    (tmp_path / "set" / "red").mkdir()
    for number in range(10):
        image.save(tmp_path / "set" / "red" / f"{number}.png", exif=exif)
    data = load(tmp_path / "set")
    turned = data.images[data.labels == 1][0]
    assert (turned[:, :3] == COLOURS["green"]).all()
    assert (turned[:, 5:] == COLOURS["red"]).all()


def test_the_cache_is_used_again_and_follows_its_source(tmp_path, cache):
    draw(tmp_path / "set", "red", 10)
    draw(tmp_path / "set", "green", 10)
    load(tmp_path / "set")
    (folder,) = cache.iterdir()
    # Only a reader of the cache sees this change.
    labels = np.load(folder / "labels.npy")
    np.save(folder / "labels.npy", 1 - labels)
    np.testing.assert_array_equal(load(tmp_path / "set").labels, 1 - labels)
    draw(tmp_path / "set", "red", 11)
    assert len(load(tmp_path / "set").labels) == 21


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path, cache):
    draw(tmp_path / "set", "red", 10)
    draw(tmp_path / "set", "green", 10)
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot use the cache of images"):
        load(tmp_path / "set")


def test_a_failed_preparation_leaves_nothing(tmp_path, cache, monkeypatch):
    draw(tmp_path / "set", "red", 10)
    draw(tmp_path / "set", "green", 10)
    with monkeypatch.context() as patch:
        patch.setattr("train.data.cache.np.save", None)
        with pytest.raises(TypeError):
            load(tmp_path / "set")
    assert not list(cache.iterdir())
    assert len(load(tmp_path / "set").labels) == 20


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: None, "one folder of images for each"),
        (lambda f: draw(f, "red", 30), "at least 2 classes, got 1: red"),
        (
            lambda f: [draw(f, "red", 1), draw(f, "green", 1)],
            "too few images for a val split",
        ),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused(tmp_path, prepare, message):
    folder = tmp_path / "set"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(RunError, match=message):
        load(folder)


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_many_classes_of_few_pictures_can_be_trained_on(tmp_path, count):
    for name in range(100):
        (tmp_path / "set" / f"{name:02}").mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (8, 8), (name, number, 0))
            image.save(tmp_path / "set" / f"{name:02}" / f"{number}.png")
    data = load(tmp_path / "set")
    sizes = [len(part) for part in (data.train, data.val, data.test)]
    assert sizes == [70 * count, 10 * count, 20 * count]
    assert min(data.class_counts(data.train).values()) >= 1


def test_a_class_without_a_readable_image_is_refused(tmp_path):
    draw(tmp_path / "set", "red", 10)
    (tmp_path / "set" / "green").mkdir()
    (tmp_path / "set" / "green" / "0.png").write_text("no image")
    with pytest.raises(RunError, match="no readable training image of class 'green'"):
        load(tmp_path / "set")


def test_a_batch_larger_than_the_training_set_is_refused(tmp_path):
    draw(tmp_path / "set", "red", 10)
    draw(tmp_path / "set", "green", 10)
    with pytest.raises(RunError, match="--batch-size must be at most the 14 .*got 15"):
        load(tmp_path / "set", batch_size=15)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RunError, match=f"there is no {tmp_path}/nowhere"):
        load(tmp_path / "nowhere")


def test_an_unknown_data_set_says_what_was_looked_for_and_where(tmp_path):
    make_prepared(tmp_path / "sets")
    with pytest.raises(RunError) as error:
        load_dataset(Config(data="unknown", data_dir=tmp_path / "sets"))
    for part in ("'unknown'", str(tmp_path / "sets"), "grey", "--data-dir"):
        assert part in str(error.value)


def make_prepared(data_dir: Path) -> None:
    """Has TFDS write the data set grey: 4x4 pixels whose grey tells the label."""
    import tensorflow_datasets as tfds

    class Grey(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(4, 4, 3)),
                        "label": tfds.features.ClassLabel(names=["dark", "light"]),
                    }
                ),
            )

        def _split_generators(self, _):
            return {"train": self._examples(40), "test": self._examples(10)}

        def _generate_examples(self):
            raise NotImplementedError

        def _examples(self, count):
            for i in range(count):
                image = Image.new("RGB", (4, 4), (200 * (i % 2),) * 3)
                yield i, {"image": image, "label": i % 2}

    Grey(data_dir=data_dir, file_format="array_record").download_and_prepare()


def test_a_prepared_tfds_set_is_stored_at_its_own_size(tmp_path):
    make_prepared(tmp_path)
    data = load_dataset(Config(data="grey", data_dir=tmp_path, batch_size=8))
    assert data.classes == ("dark", "light")
    assert [len(part) for part in (data.train, data.val, data.test)] == [36, 4, 10]
    assert data.stored_size == 4  # enlarged to 224 in the step
    np.testing.assert_array_equal(data.images[:, 0, 0, 0], 200 * data.labels)
    np.testing.assert_array_equal(data.test, np.arange(40, 50))
    small = load_dataset(
        Config(data="grey", data_dir=tmp_path, batch_size=8, image_size=2)
    )
    assert small.stored_size == 2


def test_a_tfds_set_in_another_file_format_is_refused(tmp_path):
    make_prepared(tmp_path)
    info = tmp_path / "grey" / "1.0.0" / "dataset_info.json"
    info.write_text(
        json.dumps(json.loads(info.read_text()) | {"fileFormat": "riegeli"})
    )
    with pytest.raises(RunError, match="prepared as riegeli"):
        load_dataset(Config(data="grey", data_dir=tmp_path))


def test_cifar10_as_prepared(shared):
    source = find_source(Config(data="cifar10", data_dir=shared / "data" / "tfds"))
    assert source.classes[3] == "cat"
    assert source.splits == {"train": range(50000), "test": range(50000, 60000)}
    image, label = source.read(50000)
    assert image.shape == (32, 32, 3)
    assert 0 <= label < 10
