"""`python -m train.data`: counts a data set, shows it, and frees what is cached."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_sets import csv_of, draw, encode, pack
from PIL import Image, PngImagePlugin

from train.config import Augmentation, Config
from train.data import Dataset, prepared
from train.data.__main__ import main
from train.data.published import archives
from train.data.sheet import write_sheet

ROOT = Path(__file__).parents[1]
COLOURS = {"blue": (0, 0, 255), "green": (0, 128, 0), "red": (255, 0, 0)}
COUNTS = {"blue": 10, "green": 10, "red": 40}
SMALL = ("--batch-size", "2", "--image-size", "12")
STILL = ("--no-flip", "--rotation=0", "--shift=0", "--shear=0", "--zoom=0")
# A contact sheet, pixels.
TOP, CELL, IMAGE = 48, 96, 92
LEFT, RIGHT = 200, 200 + 4 * 96 + 16  # where the images and the augmented ones begin


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Folders for this test alone; the cache of decoded images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    return tmp_path / "cache" / "gpwjax" / "arrays"


@pytest.fixture
def run(monkeypatch, caplog, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the program: status, what it says, and what it writes to stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        caplog.clear()
        monkeypatch.setattr(sys, "argv", ["train.data", *map(str, args)])
        status = main()
        said = [r.getMessage() for r in caplog.records if r.name.startswith("train")]
        return status, "\n".join(said), capsys.readouterr().err

    logger = logging.getLogger("train")
    level = logger.level
    yield run
    logger.setLevel(level)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of plain images, as one pool."""
    return write_folder(tmp_path / "colours")


def write_folder(folder: Path) -> Path:
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(COUNTS[name]):
            image = Image.new("RGB", (12, 12), colour)
            # No two files are the same, though their pixels are.
            about = PngImagePlugin.PngInfo()
            about.add_text("number", str(number))
            image.save(folder / name / f"{number}.png", pnginfo=about)
    return folder


def write_plantdoc(file: Path) -> Path:
    """An archive of Cropped-PlantDoc: 20 leaves for training, 2 for the test."""
    files, rows = {}, {"train": [], "test": []}
    for number in range(22):
        split = "train" if number < 20 else "test"
        files[f"{split.upper()}/{number}.jpg"] = encode(draw(12, 12, number))
        label = ("apple", "corn")[number % 2]
        rows[split].append((f"{number}.jpg", 12, 12, label, 0, 0, 12, 12))
    files |= {f"{split}_labels.csv": csv_of(of) for split, of in rows.items()}
    return pack(file, files)


def table_in(text: str) -> list[list[str]]:
    """The rows of the table of counts, from its header on."""
    lines = [line.split() for line in text.splitlines()]
    return lines[lines.index(["class", "train", "val", "test"]) :]


TABLE = [
    ["class", "train", "val", "test"],
    ["blue", "7", "1", "2"],
    ["green", "7", "1", "2"],
    ["red", "28", "4", "8"],
    ["total", "42", "6", "12"],
]


def test_the_images_of_each_class_and_split_are_counted(run, folder):
    (folder / "red" / "notes.txt").write_text("no image")
    status, said, _ = run(folder, *SMALL)
    assert status == 0
    rows = table_in(said)
    assert rows[:5] == TABLE
    assert "classes differ in size: 7 ('blue') to 28 ('red') training images" in said
    assert rows[6] == ["left", "out:", "1"]
    assert rows[7][0] == "red/notes.txt:"
    assert len(rows) == 8


def test_images_that_are_trained_on_and_tested_are_counted_and_listed(run, tmp_path):
    """By their files' content: two files of the same pixels are two pictures."""
    root = tmp_path / "shapes"
    for split, first in (("Training", 0), ("valid", 20), ("Testing", 40)):
        for number in range(first, first + 20):
            folder = root / split / ("round", "square")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(12, 12, number)).save(folder / f"{number}.png")
    for copy, original in (
        ("valid/round/20", "Training/round/0"),
        ("Testing/square/41", "Training/square/1"),
    ):
        (root / f"{copy}.png").write_bytes((root / f"{original}.png").read_bytes())
    Image.fromarray(draw(12, 12, 2)).save(
        root / "Testing/round/42.png", compress_level=0
    )
    status, said, _ = run(root, *SMALL)
    assert status == 0
    lines = said.splitlines()
    start = next(n for n, line in enumerate(lines) if "trained on too" in line)
    assert lines[start].startswith(
        "1 test and 1 validation images are trained on too: "
    )
    assert lines[start + 1 :] == [
        "  val: valid/round/20.png is Training/round/0.png of train",
        "  test: Testing/square/41.png is Training/square/1.png of train",
    ]


def test_as_a_program_of_its_own(folder, tmp_path):
    environment = os.environ | {"XLA_FLAGS": ""}
    command = [sys.executable, "-m", "train.data", folder, *SMALL]
    process = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert table_in(process.stdout)[:5] == TABLE
    assert "Traceback" not in process.stderr


def test_a_set_is_prepared_and_counted(run, tmp_path):
    archive = write_plantdoc(tmp_path / "plantdoc.zip")
    status, said, _ = run("cropped_plantdoc", *SMALL, "--archive", archive)
    assert status == 0
    assert table_in(said)[1:] == [
        ["apple", "9", "1", "1"],
        ["corn", "9", "1", "1"],
        ["total", "18", "2", "2"],
    ]
    assert prepared.is_prepared("cropped_plantdoc", tmp_path / "sets")
    archive.unlink()
    status, said, _ = run("cropped_plantdoc", *SMALL, "--split", "paper")
    assert status == 0
    # From int(.65 * 11) and int(.8 * 11) on.
    assert table_in(said)[-1] == ["total", "14", "2", "6"]


def cell(sheet: np.ndarray, left: int, row: int, number: int) -> np.ndarray:
    top, left = TOP + row * CELL, left + number * CELL
    return sheet[top : top + IMAGE, left : left + IMAGE]


def test_a_contact_sheet_shows_the_images_of_each_class(run, folder, tmp_path):
    file = tmp_path / "sheet.png"
    status, said, _ = run(folder, *SMALL, "--show", file)
    assert status == 0
    assert f"the contact sheet is in {file}" in said
    assert table_in(said)[:5] == TABLE
    sheet = np.asarray(Image.open(file))
    assert sheet.shape == (TOP + 3 * CELL, RIGHT + 4 * CELL + 16, 3)
    for row, colour in enumerate(COLOURS.values()):
        for number in range(4):
            assert (cell(sheet, LEFT, row, number) == colour).all()
            # What a warp makes of a plain image is that image, but for rounding.
            augmented = cell(sheet, RIGHT, row, number).astype(int)
            assert abs(augmented - colour).max() <= 1


def test_the_left_half_is_not_augmented_and_the_right_half_is(run, folder, tmp_path):
    """The images are black above white."""
    image = Image.new("RGB", (12, 12), "white")
    image.paste("black", (0, 0, 12, 6))
    for file in folder.rglob("*.png"):
        image.save(file)
    sheets = []
    for settings in ((), STILL):
        status, _, _ = run(folder, *SMALL, *settings, "--show", tmp_path / "sheet.png")
        assert status == 0
        sheets.append(np.asarray(Image.open(tmp_path / "sheet.png")))
    for row in range(3):
        for number in range(4):
            for sheet in sheets:
                original = cell(sheet, LEFT, row, number)
                assert (original[:40] == 0).all()
                assert (original[-40:] == 255).all()
            augmented, still = (cell(sheet, RIGHT, row, number) for sheet in sheets)
            assert (still == original).all()
            assert (augmented != original).any()


def dataset(count: int) -> Dataset:
    """One image of each of `count` classes, all for training; grey as their label."""
    labels = np.arange(count, dtype=np.int32)
    images = np.zeros((count, 4, 4, 3), np.uint8) + labels[:, None, None, None] * 9
    return Dataset(
        name="greys",
        classes=tuple(f"a class with the long name of number {n}" for n in labels),
        images=images.astype(np.uint8),
        labels=labels,
        train=labels,
        val=labels[:0],
        test=labels[:0],
        skipped=[],
    )


def test_many_classes_lie_in_columns(tmp_path):
    config = Config("greys", image_size=4, augmentation=Augmentation(False, 0, 0, 0, 0))
    write_sheet(dataset(27), config, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    column = RIGHT + 4 * CELL + 16
    assert sheet.shape == (TOP + 25 * CELL, 2 * column, 3)
    for label in range(27):
        left = label // 25 * column + LEFT
        assert (cell(sheet, left, label % 25, 0) == 9 * label).all()
        assert (cell(sheet, left, label % 25, 1) == 255).all()  # there is one image


@pytest.mark.parametrize("kind", [".jpg", ".webp", ".PNG"])
def test_pictures_of_several_formats_are_written(tmp_path, kind):
    config = Config("greys", image_size=4, augmentation=Augmentation(False, 0, 0, 0, 0))
    write_sheet(dataset(1), config, tmp_path / f"sheet{kind}")
    with Image.open(tmp_path / f"sheet{kind}") as sheet:
        assert sheet.size == (RIGHT + 4 * CELL + 16, TOP + CELL)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("sheet.pdf", "--show must end in .png, .jpg or .webp, got {}/sheet.pdf"),
        ("sheet", "--show must end in .png, .jpg or .webp, got {}/sheet"),
        ("no/sheet.png", "there is no folder {0}/no for --show {0}/no/sheet.png"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_first(
    run, folder, tmp_path, cache, file, message
):
    status, said, errors = run(folder, *SMALL, "--show", tmp_path / file)
    assert (status, said) == (1, "")
    assert errors == f"error: {message.format(tmp_path)}\n"
    assert not cache.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["unknown"], "error: there is no data set 'unknown': "),
        (["./unknown"], "error: there is no {}/unknown. "),
        (["digits", "--split", "paper"], "error: --split paper is of cropped_plantdoc"),
        (
            ["cifar10", "--archive", "no.tar.gz"],
            "error: there is no no.tar.gz: --archive",
        ),
    ],
)
def test_an_error_is_one_line(run, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    status, _, errors = run(*args)
    assert status == 1
    assert errors.splitlines()[-1].startswith(message.format(tmp_path))
    assert "Traceback" not in errors
    assert errors.count("error: ") == 1


def test_without_a_network_it_says_what_to_bring(run, tmp_path, monkeypatch):
    def fail(request: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(archives, "connect", fail)
    status, said, errors = run("cifar100")
    assert (status, said) == (1, "")
    (line,) = errors.splitlines()
    published = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
    for part in ("error: ", "no network", "cifar-100-binary.tar.gz", "--archive"):
        assert part in line
    assert published in line
    assert not prepared.is_prepared("cifar100", tmp_path / "sets")


def test_stopped_by_a_person_its_status_is_130(run, monkeypatch):
    def stop(config: Config) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.data.__main__.load_dataset", stop)
    assert run("digits")[0] == 130


@pytest.mark.parametrize(
    "args", [[], ["--image-size", "9"], ["digits", "--epochs", "0"], ["--clean", "a"]]
)
def test_a_wrong_command_line_ends_with_status_2(run, capsys, args):
    with pytest.raises(SystemExit) as ended:
        run(*args)
    assert ended.value.code == 2
    capsys.readouterr()


def size(folder: Path) -> str:
    """Of all its files, as the program writes it."""
    of_files = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return f"{sum(of_files) / 1e6:,.1f}"


def test_the_list_has_the_size_of_all_that_is_there(run, folder, cache, tmp_path):
    archive = write_plantdoc(tmp_path / "plantdoc.zip")
    large = ("--batch-size", "2", "--image-size", "70")
    run("cropped_plantdoc", *large, "--archive", archive)
    status, said, _ = run(folder, *large, "--list")
    assert status == 0
    lines = said.splitlines()
    lines = lines[lines.index(f"prepared in {tmp_path / 'sets'}:") :]
    prepared_set = tmp_path / "sets" / "cropped_plantdoc" / "1.0.0"
    colours, plantdoc = sorted(cache.iterdir())
    assert float(size(colours)) == 0.9  # 60 images of 70x70 pixels
    assert [line.split() for line in lines] == [
        ["prepared", "in", f"{tmp_path / 'sets'}:"],
        [size(prepared_set), "MB", "cropped_plantdoc/1.0.0"],
        [size(prepared_set), "MB", "in", "all"],
        f"decoded images in {cache}, which --clean frees:".split(),
        [size(colours), "MB", colours.name],
        [size(plantdoc), "MB", plantdoc.name],
        [size(cache), "MB", "in", "all"],
    ]


def test_the_list_of_nothing(run, cache, tmp_path):
    status, said, _ = run("--list")
    assert status == 0
    assert said.count("0.0 MB  in all") == 2
    assert not cache.exists()


def test_all_that_is_cached_is_freed_and_prepared_sets_stay(
    run, folder, cache, tmp_path
):
    run("cropped_plantdoc", *SMALL, "--archive", write_plantdoc(tmp_path / "set.zip"))
    run(folder, *SMALL)
    expected = size(cache)
    status, said, _ = run("--clean", "--list")
    assert status == 0
    assert said.splitlines()[0] == f"freed {expected} MB: 2 of {cache}"
    assert "cropped_plantdoc/1.0.0" in said
    assert [*cache.iterdir()] == []
    assert table_in(run("cropped_plantdoc", *SMALL)[1])[-1][0] == "total"


def test_what_is_cached_of_one_set_is_freed(run, folder, cache, tmp_path):
    other = write_folder(tmp_path / "colours-12")  # a name that begins alike
    for data in (folder, other):
        run(data, *SMALL)
    run(folder, "--batch-size", "2", "--image-size", "6")
    # Of a decoding that was killed.
    (of_other,) = cache.glob("colours-12-12-*")
    (unfinished,) = (p for p in cache.glob("colours-12-*") if p != of_other)
    (unfinished.with_name(f"{unfinished.name}.unfinished-123")).mkdir()
    status, said, _ = run(folder, "--clean")
    assert status == 0
    assert said.endswith(f"MB: 3 of {cache}")
    assert [*cache.iterdir()] == [of_other]


def test_what_is_cached_of_a_table_is_freed(run, folder, cache):
    rows = [f"{p.relative_to(folder)},{p.parent.name}" for p in folder.rglob("*.png")]
    table = folder / "table.csv"
    table.write_text("\n".join(["path,label", *rows]))
    assert run(table, *SMALL)[0] == 0
    assert len([*cache.iterdir()]) == 1
    assert run(table, "--clean")[0] == 0
    assert [*cache.iterdir()] == []
