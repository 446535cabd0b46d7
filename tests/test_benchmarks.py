"""The scripts of benchmarks/ that need no special device."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def counts():
    return runpy.run_path(str(BENCHMARKS / "counts.py"))["main"]


def test_the_papers_table_of_pets_has_our_counts_beside_it(counts, capsys):
    counts(["oxford_iiit_pet"])
    title, _, *lines = capsys.readouterr().out.strip().split("\n")
    assert title == "oxford_iiit_pet, 37 classes"
    assert len(lines) == 6
    for line in lines:
        _, _, _, params, ours, *_ = line.split()
        assert params == ours
    assert lines[1].split() == [
        *("efficientnet_b0", "16", "224", "674,289", "674,289"),
        *("129.0", "123.6", "+4.4%", "64.56"),
    ]


def test_the_papers_slips_are_marked(counts, capsys):
    counts(["plantdoc"])
    marked = [line for line in capsys.readouterr().out.split("\n") if "slip" in line]
    (line,) = marked
    assert line.split()[:2] == ["efficientnet_b0", "16"]
    assert "64.84%" in line


def test_an_unknown_data_set_is_refused(counts, capsys):
    with pytest.raises(SystemExit) as error:
        counts(["mnist"])
    assert error.value.code == 2
    assert "must be one of cifar10, cifar100" in capsys.readouterr().err
