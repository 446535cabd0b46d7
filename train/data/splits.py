"""Which images are for training, validation and the test."""

from collections.abc import Mapping, Sequence

import numpy as np

SMALL = 50  # images of a class below which rounding misses its shares by over 1%
POOL = (0.7, 0.1, 0.2)  # train, val, test
HELD_OUT = 0.1  # of the training images, where there is no validation split
PAPER = (0.65, 0.8)  # where the paper's validation and test parts of PlantDoc begin


def stratified_split(
    labels: np.ndarray, shares: Sequence[float], seed: int
) -> list[np.ndarray]:
    """Splits the indices of `labels` at random, each class in the same proportions.

    A class of SMALL images or more is rounded by itself. Of the smaller ones, each of
    which may have no image for a part, all together have their share in each part. Each
    class has an image in the first part, and each part one where the classes leave it.

    Args:
      labels: (N,) class of each image.
      shares: of each part; they sum to 1.
      seed: of the choice.

    Returns:
      For each part its sorted indices.
    """
    rng = np.random.default_rng(seed)
    present, counts = np.unique(labels, return_counts=True)
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in present]
    sizes = np.array([rounded(count, shares) for count in counts], int)
    sizes = sizes.reshape(-1, len(shares))  # there may be no class
    small = counts < SMALL
    sizes[small] = dealt(counts[small], shares, sizes[~small].sum(0), rng)
    parts = [[np.arange(0)] for _ in shares]
    for of_class, of_part in zip(members, sizes, strict=True):
        pieces = np.split(of_class, np.cumsum(of_part[::-1])[:-1])
        for part, piece in zip(parts, reversed(pieces), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def rounded(count: int, shares: Sequence[float]) -> np.ndarray:
    """How many of a class's `count` images are in each part.

    Counted from the last part, so that rounding favours the first.
    """
    ends = np.round(np.cumsum(shares[::-1]) * count).astype(int)
    return np.diff(ends, prepend=0)[::-1]


def dealt(
    counts: np.ndarray,
    shares: Sequence[float],
    others: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """How many images of each class are in each part: (classes, parts).

    From the last part on, a part's share of all images is taken one by one, each from
    the class that is owed most: by what was its share of this part and of those before,
    less what was taken from it. So a class that gave none to one part is the first to
    give to the next.

    Args:
      counts: (classes,) images of each.
      shares: of each part.
      others: (parts,) images of other classes; a part that has none gets one at least.
      rng: chooses among classes that are owed the same.
    """
    sizes = np.zeros((len(counts), len(shares)), int)
    owed = np.zeros(len(counts))
    room = counts - 1  # each class keeps an image for the first part
    for part in reversed(range(1, len(shares))):
        owed += shares[part] * counts
        number = max(round(shares[part] * counts.sum()), int(others[part] == 0))
        order = rng.permutation(len(counts))
        givers = np.repeat(order, room[order])
        turns = np.concatenate([np.arange(0), *map(np.arange, room[order])])
        # Of equals those that have given less; rounded, so that equals are equal.
        first = np.lexsort((turns, (turns - owed[givers]).round(9)))[:number]
        sizes[:, part] = np.bincount(givers[first], minlength=len(counts))
        owed -= sizes[:, part]
        room -= sizes[:, part]
    sizes[:, 0] = counts - sizes.sum(1)
    return sizes


def train_val_test(
    splits: Mapping[str, range],
    labels: np.ndarray,
    seed: int,
    photographs: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the training, validation and test images.

    By `stratified_split` one pool ("all", or "train" alone) is split 70/10/20, and
    without a validation split a tenth of "train" is held out for it; "val" without
    "test" is the test split, so that what is reported was not used to choose. The parts
    made here share no photograph, and what is in the test split is not trained on.

    Args:
      splits: name -> the numbers of its images.
      labels: (N,) class of each image, -1 for those to leave out.
      seed: of the splits made here.
      photographs: (N,) the photograph that each image is from; None: each from its own.
    """
    if photographs is None:
        photographs = np.arange(len(labels))
    readable = {
        name: np.array(numbers, int)[labels[list(numbers)] >= 0]
        for name, numbers in splits.items()
    }

    def split(indices: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
        # By the label of a photograph's first image.
        whole, first, which = np.unique(
            photographs[indices], return_index=True, return_inverse=True
        )
        parts = stratified_split(labels[indices][first], shares, seed)
        return [indices[np.isin(which, part)] for part in parts]

    if len(readable) == 1:
        return tuple(split(*readable.values(), POOL))
    if len(readable) == 3:
        return readable["train"], readable["val"], readable["test"]
    test = readable["test"] if "test" in readable else readable["val"]
    tested = np.isin(photographs[readable["train"]], photographs[test])
    train, val = split(readable["train"][~tested], (1 - HELD_OUT, HELD_OUT))
    return train, val, test


def paper_split(
    labels: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paper's split of Cropped-PlantDoc: all images, 65/15/20 within each class.

    Crops of one photograph lie in several parts, as in the paper. Its 5,761, 1,333 and
    1,789 images come from rounding down where a part of a class begins.

    Args:
      labels: (N,) class of each image, -1 for those to leave out.
      seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    parts = [[np.arange(0)] for _ in range(3)]  # so that there may be no class
    for label in np.unique(labels[labels >= 0]):
        members = rng.permutation(np.flatnonzero(labels == label))
        starts = [int(share * len(members)) for share in PAPER]
        for part, piece in zip(parts, np.split(members, starts), strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)
