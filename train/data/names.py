"""What people mean by the names of folders, and by those in tables."""

import os
import re
import unicodedata
from pathlib import Path

SPLIT = (
    "(?P<train>train|training|trn)"
    "|(?P<val>val|valid|validation|validate|dev|development|eval|evaluation)"
    "|(?P<test>test|testing|tst|holdout)"
)
# Beside it they change nothing: `train_images`, `Test set`.
FILLERS = (
    "(?:(?:set|subset|data|split|part|folder|dir"
    "|image|img|picture|pic|photo|file|sample)s?)*"
)
MEANING = re.compile(f"{FILLERS}(?:{SPLIT}){FILLERS}")
SAME_CLASS = (
    "taken for one class each, since only case, blanks or Unicode form differ: %s"
)
LONGEST = 100  # characters; a longer name is not looked at


def split_named(name: str) -> str | None:
    """The split that a name means: train, val, test, or None.

    Case, blanks, digits and punctuation do not matter: `Training`, `01_train`,
    `Train_Set`, `valid`, `testset`.
    """
    found = MEANING.fullmatch("".join(words(name))) if len(name) <= LONGEST else None
    return found.lastgroup if found else None


def split_and_rest(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The split that one word of a name means, and the other words: `seg_train` is
    ("train", ("seg",)); None where not just one word means one."""
    said = words(name)
    splits = [split_named(word) for word in said]
    if len(splits) - splits.count(None) != 1:
        return None
    number = next(n for n, split in enumerate(splits) if split)
    return splits[number], (*said[:number], *said[number + 1 :])


def words(name: str) -> list[str]:
    """The words of a name in lower case: `trainSet`, `Train-set` are train, set."""
    apart = re.sub("(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W\d_]+", apart.lower())


def plain(name: str) -> str:
    """A name in composed Unicode (NFC), without blanks around it."""
    return unicodedata.normalize("NFC", name).strip() or name


def alike(name: str) -> str:
    """The same for names that differ only in Unicode form, case or outer blanks."""
    return plain(plain(name).lower())


def class_key(name: str) -> str:
    """As `alike`, but a and A are two classes: of letters, say."""
    return plain(name) if len(plain(name)) == 1 else alike(name)


def shown(names: list[str], most: int = 8) -> str:
    """Names for a message, so that each difference can be seen."""
    listed = ", ".join(ascii(name) for name in names[:most])
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")


def legible(text: str) -> str:
    """Any text for a message of one line, cut where it is long."""
    return (text if text.isprintable() else ascii(text))[:500]


def printable(path: Path | str) -> str:
    """A path as text that can be written as UTF-8: bytes that are none as \\xff."""
    return os.fsencode(path).decode(errors="backslashreplace")
