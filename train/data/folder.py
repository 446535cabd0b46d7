"""A folder of images: one folder for each class, with or without train/val/test."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from gpwjax.deep_pictures import FULL_RANGE
from gpwjax.picture_files import files_below
from gpwjax.pictures import read_image

from ..config import RunError
from .layout import (
    beside,
    described,
    find_classes,
    find_split_folders,
    loose_images,
    refuse_unknown_splits,
    unwrapped,
    visible_folders,
)
from .names import SAME_CLASS, class_key, printable, shown
from .source import Source, consecutive, digest_of, file_stamp

log = logging.getLogger(__name__)


def source(root: Path) -> Source:
    """The images below `root`.

    Each visible file below a class folder is one, but for litter: what cannot be read
    is then listed as skipped. Folders of splits are known by `train.data.names`.

    Raises:
      RunError: a folder cannot be listed, there are no classes, a class has no training
        image, or the splits do not fit together.
    """
    try:
        top = unwrapped(root)
        split_folders = find_split_folders(top)
        first = next(iter(split_folders))
        classes = find_classes(split_folders[first])
        refuse_unknown_splits(top, split_folders, classes)
        splits = {
            split: labelled_files(folder, classes)
            for split, folder in split_folders.items()
        }
        skipped = left_out(root, top, split_folders)
    except (OSError, RecursionError) as error:
        raise RunError(f"cannot list the images in {root}: {error}") from error
    refuse_empty(split_folders[first], classes, splits[first])
    files = [file for found in splits.values() for file in found]
    name = printable(root.absolute().name) or "root"
    log.info("%s: %s; %d classes", name, described(root, split_folders), len(classes))
    warn_of_spellings(split_folders.values())
    return Source(
        name=name,
        digest=digest_of(
            (str(file.relative_to(root)), file_stamp(file)) for file, _ in files
        ),
        classes=tuple(map(printable, classes.values())),
        splits=consecutive({split: len(found) for split, found in splits.items()}),
        size=None,
        read=lambda number, values=FULL_RANGE: (
            read_image(files[number][0], values=values),
            files[number][1],
        ),
        describe=lambda number: printable(files[number][0].relative_to(root)),
        file=lambda number: files[number][0],
        place=root.absolute(),
        skipped=skipped,
    )


def refuse_empty(
    folder: Path, classes: Mapping[str, str], files: Iterable[tuple[Path, int]]
) -> None:
    """Raises RunError where one of the classes in a folder has none of its files."""
    present = {label for _, label in files}
    for label, name in enumerate(classes.values()):
        if label not in present:
            raise RunError(
                f"class folder {name!r} in {folder.absolute()} is empty: "
                "add images or remove it"
            )


def warn_of_spellings(folders: Iterable[Path]) -> None:
    """Warns once of class folders that are taken for the same class."""
    spellings = defaultdict(set)
    for folder in folders:
        for class_folder in visible_folders(folder):
            spellings[class_key(class_folder.name)].add(class_folder.name)
    several = [shown(sorted(names)) for names in spellings.values() if len(names) > 1]
    if several:
        log.warning(SAME_CLASS, " / ".join(several))


def labelled_files(folder: Path, classes: Mapping[str, str]) -> list[tuple[Path, int]]:
    """The files in the class folders of one split, and their labels.

    Args:
      folder: of the split.
      classes: as of `find_classes`.

    Raises:
      RunError: there is a class folder that is not of `classes`.
    """
    labels = {key: label for label, key in enumerate(classes)}
    files, unknown = [], []
    for class_folder in visible_folders(folder):
        label = labels.get(class_key(class_folder.name))
        if label is None:
            unknown.append(class_folder.name)
        else:
            files += [(file, label) for file in files_below(class_folder)]
    if unknown:
        raise RunError(
            f"{folder.absolute()} has classes that the training images have not: "
            f"{shown(unknown)}. Theirs are {shown([*classes.values()])}"
        )
    return files


def left_out(
    root: Path, top: Path, split_folders: Mapping[str, Path]
) -> list[tuple[str, str]]:
    """(name, reason) of what a person may have meant to be used, and is not.

    Args:
      root: where names begin.
      top: the folder that holds the splits.
      split_folders: split -> folder.
    """
    found = [
        (image, "is in no class folder")
        for folder in split_folders.values()
        for image in loose_images(folder)
    ]
    if "all" not in split_folders:
        others = sorted([*beside(top, split_folders), *loose_images(top)])
        found += [(entry, "is in no split") for entry in others]
    return [(printable(entry.relative_to(root)), reason) for entry, reason in found]
