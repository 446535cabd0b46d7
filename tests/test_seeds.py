"""What several runs have in common."""

import math

import numpy as np

from train.config import Config
from train.evaluate.scores import half_interval
from train.seeds import one_of, show, summarize

RESULTS = [
    {"seed": 4, "test_accuracy": 0.90, "val_accuracy": 0.8, "best_epoch": 2},
    {"seed": 5, "test_accuracy": 0.92, "val_accuracy": 0.8, "best_epoch": 3},
    {"seed": 6, "test_accuracy": 0.94, "val_accuracy": 0.8, "best_epoch": 4},
]


def test_the_interval_by_hand():
    """Deviation 0.02, three runs, and 4.303 of Student's t table."""
    expected = 4.303 * 0.02 / math.sqrt(3)
    actual = half_interval(np.array([0.90, 0.92, 0.94]))
    np.testing.assert_allclose(actual, expected, rtol=1e-3)
    assert half_interval(np.array([0.9])) == math.inf


def test_the_table_has_runs_means_and_intervals():
    lines = summarize([result | {"seconds": 10.0} for result in RESULTS])
    assert [line[0] for line in lines] == ["seed", 4, 5, 6, "mean", "interval95"]
    np.testing.assert_allclose(lines[4][1:], [0.92, 0.8, 3, 10])
    assert "92.00 ± 4.97%" in show(lines)


def test_each_run_is_an_ordinary_one_in_a_folder_of_its_own():
    config = Config("any", seed=4, seeds=3)
    run = one_of(config, 5)
    assert (run.seed, run.seeds, run.folder) == (5, 1, config.folder / "seed5")
    assert config.folder.name == "any-mobilenet-16ch-seeds4-6"
