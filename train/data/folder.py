"""A folder of images: one folder for each class, with or without train/val/test."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from train.config import RunError
from train.data.source import Source, UnreadableImageError, consecutive, digest_of

SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
MAX_PIXELS = 100_000_000  # larger ones are taken for a decompression bomb


def source(root: Path) -> Source:
    """The images below `root`.

    Raises:
      RunError: the folder holds no classes, or a split lacks images of its classes.
    """
    split_folders = find_split_folders(root)
    class_folders = {
        split: visible_folders(folder) for split, folder in split_folders.items()
    }
    first = next(iter(class_folders))
    classes = tuple(folder.name for folder in class_folders[first])
    if not classes:
        raise RunError(
            f"{split_folders[first].absolute()} must hold one folder of images for "
            "each class, and holds no folder"
        )
    files, counts = [], {}
    for split, folders in class_folders.items():
        unknown = [f.name for f in folders if f.name not in classes]
        if unknown:
            raise RunError(
                f"{split_folders[split]} has classes that {split_folders[first]} has "
                f"not: {', '.join(map(repr, unknown))}"
            )
        found = [(file, classes.index(f.name)) for f in folders for file in images(f)]
        files += found
        counts[split] = len(found)

    return Source(
        name=root.absolute().name or "root",
        digest=digest_of(
            (str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns)
            for file, _ in files
        ),
        classes=classes,
        splits=consecutive(counts),
        size=None,
        read=lambda number: (read_image(files[number][0]), files[number][1]),
        describe=lambda number: str(files[number][0].relative_to(root)),
    )


def find_split_folders(root: Path) -> dict[str, Path]:
    """Split -> its folder, the training split first; {"all": root} for one pool."""
    found = {}
    for folder in visible_folders(root):
        split = SPLIT_FOLDERS.get(folder.name.lower())
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
        raise RunError(f"{root.absolute()} has {names} but no folder train")
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def visible_folders(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )


def images(class_folder: Path) -> list[Path]:
    """The files of a class, nested ones too, hidden ones not.

    Raises:
      RunError: there is none.
    """
    files = sorted(
        file
        for file in class_folder.rglob("*")
        if file.is_file() and not file.name.startswith(".")
    )
    if not files:
        raise RunError(
            f"class folder {class_folder.absolute()} is empty: add images or remove it"
        )
    return files


def read_image(file: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8, turned as its EXIF data say."""
    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(
                    f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}"
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    # Pillow raises many kinds of errors on broken files.
    except Exception as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
