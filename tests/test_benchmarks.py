"""The scripts of benchmarks/ that need no special device."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def counts():
    return runpy.run_path(str(BENCHMARKS / "counts.py"))["main"]


def test_a_table_of_the_paper_has_our_counts_beside_it_and_its_slips_marked(
    counts, capsys
):
    counts(["plantdoc"])
    title, _, *lines = capsys.readouterr().out.strip().split("\n")
    assert title == "plantdoc, 29 classes"
    assert len(lines) == 6
    for line in lines:
        _, _, _, params, ours, *_ = line.split()
        assert params == ours
    assert lines[1].split() == [
        *("efficientnet_b0", "16", "224", "664,041", "664,041"),
        *("129.0", "123.6", "+4.4%", "64.04"),
        *["<-", "slip:", "the", "records", "have", "64.84%"],
    ]
    assert [number for number, line in enumerate(lines) if "slip" in line] == [1]


def test_an_unknown_data_set_is_refused(counts, capsys):
    with pytest.raises(SystemExit) as error:
        counts(["mnist"])
    assert error.value.code == 2
    assert "must be one of cifar10, cifar100" in capsys.readouterr().err
