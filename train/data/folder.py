"""A folder of images: one folder for each class, with or without train/val/test."""

import os
from collections.abc import Mapping
from pathlib import Path

from gpwjax.pictures import has_image_name, read_image
from train.config import RunError
from train.data.source import Source, consecutive, digest_of, file_stamp

# In lower case.
SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # left by Windows and macOS
CLASSES_NAMED_AS_SPLITS = (
    f"Folders named {', '.join(SPLIT_NAMES)} are taken for splits: where one is a "
    "class, put all class folders into a folder train"
)


def source(root: Path) -> Source:
    """The images below `root`.

    Each visible file below a class folder is one, but for litter: what cannot be read
    is then listed as skipped.

    Raises:
      RunError: a folder cannot be listed, there are no classes, a class has no training
        image, or the splits do not fit together.
    """
    try:
        split_folders = find_split_folders(root)
        first = next(iter(split_folders))
        labels = find_classes(split_folders[first])
        splits = {
            split: labelled_files(folder, labels)
            for split, folder in split_folders.items()
        }
        skipped = left_out(root, split_folders)
    except (OSError, RecursionError) as error:
        raise RunError(f"cannot list the images in {root}: {error}") from error
    present = {label for _, label in splits[first]}
    for name, label in labels.items():
        if label not in present:
            raise RunError(
                f"class folder {name!r} in {split_folders[first].absolute()} is empty: "
                "add images or remove it"
            )
    files = [file for found in splits.values() for file in found]
    return Source(
        name=printable(root.absolute().name) or "root",
        digest=digest_of(
            (str(file.relative_to(root)), file_stamp(file)) for file, _ in files
        ),
        classes=tuple(map(printable, labels)),
        splits=consecutive({split: len(found) for split, found in splits.items()}),
        size=None,
        read=lambda number: (read_image(files[number][0]), files[number][1]),
        describe=lambda number: printable(files[number][0].relative_to(root)),
        skipped=skipped,
    )


def find_split_folders(root: Path) -> dict[str, Path]:
    """Split -> its folder, the training split first; {"all": root} for one pool."""
    folders = visible_folders(root)
    found = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise RunError(
                f"{root} has two {split} folders: {found[split].name}, {folder.name}"
            )
        if split is not None:
            found[split] = folder
    if not found:
        return {"all": root}
    if "train" not in found:
        names = ", ".join(folder.name for folder in found.values())
        raise RunError(
            f"{root.absolute()} has {names} but no folder train. "
            f"{CLASSES_NAMED_AS_SPLITS}"
        )
    if len(folders) > len(found) and not visible_folders(found["train"]):
        raise RunError(
            f"{found['train'].absolute()} holds no folder. {CLASSES_NAMED_AS_SPLITS}"
        )
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def find_classes(folder: Path) -> dict[str, int]:
    """Name of each class folder -> label.

    Raises:
      RunError: there is none.
    """
    names = [class_folder.name for class_folder in visible_folders(folder)]
    if not names:
        raise RunError(
            f"{folder.absolute()} must hold one folder of images for each class, and "
            "holds no folder. Images without class folders can be listed in a file: "
            "--data FILE.csv, with the columns path,label"
        )
    return {name: label for label, name in enumerate(names)}


def labelled_files(folder: Path, labels: Mapping[str, int]) -> list[tuple[Path, int]]:
    """The files in the class folders of one split, and their labels.

    Raises:
      RunError: there is a class folder that is not in `labels`.
    """
    class_folders = visible_folders(folder)
    unknown = [f.name for f in class_folders if f.name not in labels]
    if unknown:
        raise RunError(
            f"{folder.absolute()} has classes that the training images have not: "
            f"{', '.join(map(repr, unknown))}"
        )
    return [(f, labels[c.name]) for c in class_folders for f in files_below(c)]


def left_out(root: Path, split_folders: Mapping[str, Path]) -> list[tuple[str, str]]:
    """(name, reason) of what a person may have meant to be used, and is not."""
    found = [
        (image, "is in no class folder")
        for folder in split_folders.values()
        for image in loose_images(folder)
    ]
    if "all" not in split_folders:
        beside = {*visible_folders(root), *loose_images(root)}
        beside -= {*split_folders.values()}
        found += [(entry, "is in no split") for entry in sorted(beside)]
    return [(printable(entry.relative_to(root)), reason) for entry, reason in found]


def visible_folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if is_visible(f.name) and f.is_dir())


def loose_images(folder: Path) -> list[Path]:
    """What lies directly in a folder and has an image's name: no README, say."""
    return sorted(
        file
        for file in folder.iterdir()
        if is_visible(file.name) and has_image_name(file) and not file.is_dir()
    )


def files_below(folder: Path) -> list[Path]:
    """All visible files below a folder, sorted. Links to folders are among them, not
    followed: they may lead in a circle."""

    def fail(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = filter(is_visible, folders)
        links = [f for f in folders if os.path.islink(os.path.join(parent, f))]
        found += [Path(parent, f) for f in links + files if is_visible(f)]
    return sorted(found)


def is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in LITTER


def printable(path: Path | str) -> str:
    """A path as text that can be written as UTF-8: bytes that are none as \\xff."""
    return os.fsencode(path).decode(errors="backslashreplace")
