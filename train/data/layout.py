"""What the folders of a data set are: splits, classes, or what is refused."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from gpwjax.picture_files import files_below, has_image_name, is_picture, is_visible

from ..config import RunError
from .names import (
    class_key,
    plain,
    printable,
    shown,
    split_and_rest,
    split_named,
)

CLASSES_NAMED_AS_SPLITS = (
    "Folders with names such as train, Testing or val_set are taken for splits: where "
    "one is a class, put all class folders into a folder train"
)
NAME_THE_SPLITS = (
    "Name the folders of splits train, val and test, with the class folders in each; a "
    "--data FILE.csv with the columns path,label takes files from anywhere"
)


def unwrapped(root: Path) -> Path:
    """The folder itself, or what it is a mere wrapper of: `dataset` of
    root/dataset/train/, say."""
    while (inner := only_folder(root)) and split_named(inner.name) is None:
        root = inner
    return root


def only_folder(folder: Path) -> Path | None:
    """The folder that lies alone in a folder and holds folders itself."""
    inside = visible_folders(folder)
    is_alone = len(inside) == 1 and not loose_images(folder)
    return inside[0] if is_alone and visible_folders(inside[0]) else None


def find_split_folders(root: Path) -> dict[str, Path]:
    """Split -> its folder, the training split first; {"all": root} for one pool.

    Raises:
      RunError: a split has two folders, or what has no split may be meant for one.
    """
    folders = visible_folders(root)
    found = known_by_name(folders) or known_by_common_name(folders)
    for split, (folder, *others) in found.items():
        if others:
            names = shown([folder.name, *(other.name for other in others)])
            raise RunError(
                f"{root} has two {split} folders: {names}. {CLASSES_NAMED_AS_SPLITS}"
            )
    if not found:
        return {"all": root}
    if "train" not in found:
        names = shown([folder.name for (folder,) in found.values()])
        raise RunError(
            f"{root.absolute()} has {names} but no folder train. "
            f"{CLASSES_NAMED_AS_SPLITS}"
        )
    splits = {s: found[s][0] for s in ("train", "val", "test") if s in found}
    if len(folders) > len(found) and not visible_folders(splits["train"]):
        raise RunError(
            f"{splits['train'].absolute()} holds no folder. {CLASSES_NAMED_AS_SPLITS}"
        )
    return {split: unrepeated(folder, split) for split, folder in splits.items()}


def known_by_name(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Split -> the folders whose names mean it."""
    found = defaultdict(list)
    for folder in folders:
        if split := split_named(folder.name):
            found[split].append(folder)
    return dict(found)


def known_by_common_name(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """As `known_by_name`, of folders for training and another split that have all words
    of their names in common but the one for the split: seg_train, seg_test.

    Raises:
      RunError: there are several such sets of folders.
    """
    sets = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        if meaning := split_and_rest(folder.name):
            split, rest = meaning
            sets[rest][split].append(folder)
    whole = [found for found in sets.values() if "train" in found and len(found) > 1]
    if len(whole) > 1:
        first, second = (found["train"][0] for found in whole[:2])
        raise RunError(
            f"{first.parent.absolute()} has training folders of several sets: "
            f"{shown([first.name, second.name])}. {NAME_THE_SPLITS}"
        )
    return dict(whole[0]) if whole else {}


def unrepeated(folder: Path, split: str) -> Path:
    """The folder of a split, or the one of the same meaning that lies alone in it, as
    in seg_train/seg_train/."""
    while inner := only_folder(folder):
        rest = split_and_rest(inner.name)
        if rest is None or rest[0] != split:
            break
        folder = inner
    return folder


def find_classes(folder: Path) -> dict[str, str]:
    """Key of each class, as of `class_key`, -> its name, in the order of the names.

    Raises:
      RunError: there is none, or the classes seem to be splits.
    """
    class_folders = visible_folders(folder)
    if not class_folders:
        raise RunError(
            f"{folder.absolute()} must hold one folder of images for each class, and "
            "holds no folder. Images without class folders can be listed in a file: "
            "--data FILE.csv, with the columns path,label"
        )
    inside = [{plain(f.name) for f in visible_folders(c)} for c in class_folders]
    common = set.intersection(*inside) if len(inside) > 1 else set()
    if len(common) > 1 or any(map(split_named, common)):
        raise RunError(
            f"all folders in {folder.absolute()} ({shown(names_of(class_folders))}) "
            f"hold folders of the same names ({shown(sorted(common))}): one of the two "
            f"seem to be splits, not classes. {NAME_THE_SPLITS}"
        )
    # Of several spellings the first one.
    names = {class_key(f.name): plain(f.name) for f in reversed(class_folders)}
    return dict(sorted(names.items(), key=lambda item: item[1]))


def refuse_unknown_splits(
    root: Path, split_folders: Mapping[str, Path], classes: Collection[str]
) -> None:
    """Looks at the folders beside those of the splits.

    Args:
      root: the folder that holds them.
      split_folders: split -> folder.
      classes: their keys.

    Raises:
      RunError: one seems to be a split, or a class.
    """
    for folder in beside(root, split_folders):
        inner = visible_folders(only_folder(folder) or folder)
        if any(class_key(f.name) in classes for f in inner):
            raise RunError(
                f"{folder.absolute()} holds folders of the classes' names, and which "
                f"split it is, its name does not say. {NAME_THE_SPLITS}"
            )
        if len(split_folders) == 1 and any(map(has_image_name, files_below(folder))):
            (taken,) = split_folders.values()
            raise RunError(
                f"{root.absolute()} has {taken.name!r}, and beside it pictures in "
                f"{folder.name!r}, which is no split by its name. "
                f"{CLASSES_NAMED_AS_SPLITS}"
            )


def beside(root: Path, split_folders: Mapping[str, Path]) -> list[Path]:
    """The visible folders in `root` that are no splits, where there are splits."""
    if "all" in split_folders:
        return []
    return [
        folder
        for folder in visible_folders(root)
        if not any(split.is_relative_to(folder) for split in split_folders.values())
    ]


def described(root: Path, split_folders: Mapping[str, Path]) -> str:
    """Which folder is taken for which split, for people."""
    names = {s: repr(printable(f.relative_to(root))) for s, f in split_folders.items()}
    if len(names) == 1:
        (name,) = names.values()
        where = f"{name}, no other split"
        if "all" in names:
            inside = "" if split_folders["all"] == root else f" in {name}"
            where = f"no folders of splits{inside}"
        return f"{where}, so the images are split into training, validation and test"
    told = f"{names['train']} for training"
    if len(names) == 3:
        return f"{told}, {names['val']} for validation, {names['test']} for the test"
    test = names.get("test") or f"{names['val']}, without another one,"
    return f"{told} with a part of it for validation, {test} for the test"


def visible_folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if is_visible(f.name) and f.is_dir())


def loose_images(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder: no README, say."""
    return sorted(
        file
        for file in folder.iterdir()
        if is_visible(file.name) and not file.is_dir() and is_picture(file)
    )


def names_of(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]
