"""What validations say, on typed-out rows of metrics.csv."""

import math

import pytest

from train.validation import WORST, doubt, is_over, quality


def epochs(*pairs: tuple[float, float], train: float = 0.9) -> list[dict[str, float]]:
    names = ("val_accuracy", "val_loss")
    return [dict(zip(names, p, strict=True), train_accuracy=train) for p in pairs]


def test_of_equal_accuracies_the_lower_loss_is_better():
    first, second, third = epochs((0.8, 0.7), (0.8, 0.6), (0.79, 0.1))
    assert quality(second) > quality(first) > quality(third)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_an_epoch_with_a_loss_that_is_not_finite_is_the_worst(loss):
    broken, poor = epochs((1.0, loss), (0.0, 50.0))
    assert quality(broken) == WORST < quality(poor)


@pytest.mark.parametrize(
    ("accuracies", "over"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.4], True),  # two epochs without a better one
        ([0.5, 0.4, 0.6], False),
        ([0.5, 0.4, 0.6, 0.6, 0.6], True),
        ([math.nan, math.nan], False),
    ],
)
def test_patience_counts_epochs_without_a_better_validation(accuracies, over):
    rows = epochs(*((accuracy, 1.0) for accuracy in accuracies))
    assert is_over(rows, patience=2) == over
    assert not is_over(rows, patience=None)


def test_a_lower_loss_at_the_same_accuracy_is_better_and_goes_on():
    rows = epochs((0.5, 1.0), (0.5, 0.9), (0.5, 0.8))
    assert not is_over(rows, patience=1)


def test_validation_at_chance_while_training_is_far_above_is_doubted_once():
    low = epochs(*[(0.2, 2.0)] * 9)
    said = [doubt(low[:n], 25, images=100, chance=0.2) for n in range(1, 10)]
    assert [text is not None for text in said] == [False] * 4 + [True] + [False] * 4
    assert "near chance, 20%, while 90%" in said[4]
    assert "--batch-norm-momentum 0.9" in said[4]


@pytest.mark.parametrize(
    "rows",
    [
        epochs(*[(0.2, 2.0)] * 5, train=0.3),  # nothing is learned yet
        epochs(*[(0.2, 2.0)] * 4, (0.4, 1.0)),
        epochs(*[(0.5, 1.0)] * 5),
    ],
)
def test_there_is_no_doubt_otherwise(rows):
    assert doubt(rows, 25, images=100, chance=0.2) is None


def test_the_first_fifth_of_a_run_says_nothing():
    low = epochs(*[(0.2, 2.0)] * 10)
    assert doubt(low[:9], 50, images=100, chance=0.2) is None
    assert doubt(low, 50, images=100, chance=0.2) is not None


def test_few_validation_images_may_be_right_by_chance():
    rows = epochs(*[(0.4, 2.0)] * 5)
    assert doubt(rows, 25, images=10, chance=0.2) is not None
    assert doubt(rows, 25, images=1000, chance=0.2) is None
