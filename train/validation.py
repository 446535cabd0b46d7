"""What the validations so far say: which epoch is best, when to end, what to doubt."""

import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, float]  # of metrics.csv

WORST = (-math.inf, -math.inf)
EPOCHS_OF_DOUBT = 5  # of which each must validate near chance


def quality(row: Row) -> tuple[float, float]:
    """What the best epoch has most of: validation accuracy; at a draw, least loss.

    An epoch whose loss is not finite is worse than all others.
    """
    if not math.isfinite(row["val_loss"]):
        return WORST
    return row["val_accuracy"], -row["val_loss"]


def is_over(rows: Sequence[Row], patience: int | None) -> bool:
    """Whether the last `patience` epochs were not better than the best one before."""
    if patience is None or len(rows) <= patience:
        return False
    best = max(range(len(rows)), key=lambda number: quality(rows[number]))
    return len(rows) - 1 - best >= patience


def doubt(rows: Sequence[Row], epochs: int, images: int, chance: float) -> str | None:
    """A warning where validation stays near chance though training is far above; None
    where there is no need, or it was so in an earlier epoch. The first fifth of a run
    says nothing.

    Args:
      rows: of the epochs so far.
      epochs: of the whole run.
      images: number of validation images.
      chance: accuracy of naming the largest class always.
    """
    noise = 2 * math.sqrt(chance * (1 - chance) / images)
    low, high = chance + noise, chance + (1 - chance) / 3

    def is_doubtful(last: int) -> bool:
        if last < max(EPOCHS_OF_DOUBT, epochs / 5):
            return False
        of_late = rows[last - EPOCHS_OF_DOUBT : last]
        return (
            all(row["val_accuracy"] <= low for row in of_late)
            and of_late[-1]["train_accuracy"] >= high
        )

    *earlier, now = map(is_doubtful, range(len(rows) + 1))
    if not now or any(earlier):
        return None
    return (
        f"validation stays near chance, {chance:.0%}, while "
        f"{rows[-1]['train_accuracy']:.0%} of the training images are right: in short "
        "runs the running batch statistics may lag behind the weights (try "
        "--batch-norm-momentum 0.9, or --recipe own, in another --run-dir); else look "
        "whether the validation pictures are of the same kind and class names"
    )
