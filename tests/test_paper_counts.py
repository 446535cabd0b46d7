"""Counts of the paper's nets, and of the nets of 1000 classes that all know."""

import csv
from functools import cache
from pathlib import Path

import pytest

from gpwjax import count, create_model, list_models

# Counts that the paper's code gives, and all results of the paper.
EXACT = Path(__file__).parent / "exact_counts.csv"
PAPER = Path(__file__).parents[1] / "train/paper_results.csv"

CLASSES = {"cifar10": 10, "cifar100": 100, "plantdoc": 29, "oxford_iiit_pet": 37}

# Trainable parameters of the dense nets with 1000 classes, in Keras and torchvision.
IMAGENET = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "mobilenet": 4_231_976,
    "mobilenet_v3_large": 5_483_032,
}


@cache
def counts(model, min_channels=None, size=224, classes=10):
    net = create_model(model, classes, min_channels, small_images=size == 32)
    return count(net, (size, size, 3))


def counts_of(row):
    """Of a row's net with 10 classes."""
    min_channels = int(row["channels_per_group"] or 0) or None
    return counts(row["model"], min_channels, int(row["input"]))


def params(ten, classes):
    """Parameters of a net with other classes than the ten of these counts."""
    (features,) = ten.layers[-1].input_shape
    return ten.params + (classes - 10) * (features + 1)


def rows(path):
    """The table's rows of our nets, each with a name for the test."""
    with path.open(newline="") as file:
        return [
            pytest.param(row, id=" ".join(list(row.values())[:5]))
            for row in csv.DictReader(file)
            if row["model"] in list_models()
        ]


@pytest.mark.parametrize("row", rows(EXACT))
def test_counts_equal_those_of_the_papers_code(row):
    ours = counts_of(row)
    assert row["classes"] == "10"
    assert (ours.params, ours.params_total, ours.macs) == (
        int(row["params_trainable"]),
        int(row["params_total"]),
        int(row["macs"]),
    )


@pytest.mark.parametrize("row", rows(PAPER))
def test_parameters_equal_those_of_the_papers_tables(row):
    assert params(counts_of(row), CLASSES[row["dataset"]]) == int(row["params"])


def test_each_of_the_papers_nets_but_inception_is_in_its_tables():
    assert (len(rows(EXACT)), len(rows(PAPER))) == (20, 34)


LARGE = ("efficientnet_b4", "efficientnet_b5", "efficientnet_b6")  # long to trace


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=[pytest.mark.slow] * (model in LARGE))
        for model in IMAGENET
    ],
)
def test_dense_net_of_1000_classes_has_its_known_parameters(model):
    assert params(counts(model), 1000) == IMAGENET[model]


@pytest.mark.parametrize("classes", [1, 100])
def test_each_class_adds_a_weight_for_each_feature_and_a_bias(classes):
    ten, ours = counts("mobilenet", 16), counts("mobilenet", 16, classes=classes)
    assert ours.params == params(ten, classes)
    assert ours.params_total - ten.params_total == 1025 * (classes - 10)
    assert ours.macs - ten.macs == 1024 * (classes - 10)


@pytest.mark.parametrize("min_channels", [1024, 4096])
def test_groups_of_all_channels_are_the_dense_net(min_channels):
    assert counts("mobilenet", min_channels) == counts("mobilenet")
