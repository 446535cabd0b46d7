"""What the README says is so."""

import csv
import re
from pathlib import Path

import pytest

import gpwjax
from gpwjax import cli
from train.command_line import parse
from train.data.__main__ import read_args
from train.evaluate import __main__ as evaluate

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def test_the_python_examples_run(tmp_path, monkeypatch, capsys):
    """In their order, in one session, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    session = {}
    for language, code in BLOCKS:
        if language == "python":
            exec(code, session)
    assert session["logits"].shape == (1, 10)
    assert session["maps"]["stage4"].shape == (1, 4, 4, 512)
    assert session["maps"]["top"].shape == (1, 2, 2, 1024)
    assert session["probabilities"].shape == (1, 10)
    assert session["heat"].shape == (1, 2, 2)
    assert capsys.readouterr().out == (
        "244298\n"
        "2,329,290 parameters, 463,153,152 MACs\n"
        "1,067,722 parameters, 220,276,736 MACs\n"
    )


@pytest.mark.parametrize(
    "command",
    re.findall(
        r"python -m train(?!\S| --help| --list-presets)([^\n&]*)\n",
        "".join(b for _, b in BLOCKS),
    ),
)
def test_the_training_commands_are_understood(command):
    parse(command.split())


def test_the_table_of_faults_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+\.py)`", README))
    assert len(named) > 5
    assert named <= {file.name for file in Path(__file__).parent.iterdir()}


@pytest.mark.parametrize(
    "command",
    re.findall(r"python -m train\.data( .*)\n", "".join(b for _, b in BLOCKS)),
)
def test_the_data_commands_are_understood(command):
    read_args(command.split())


@pytest.mark.parametrize(
    "command", re.findall(r"^gpwjax (\w+ .*)\n", "".join(b for _, b in BLOCKS), re.M)
)
def test_the_commands_on_trained_nets_are_understood(command):
    cli.parser().parse_args(command.split())


@pytest.mark.parametrize(
    "command",
    re.findall(r"python -m train\.evaluate (.*)\n", "".join(b for _, b in BLOCKS)),
)
def test_the_evaluation_commands_are_understood(command):
    evaluate.read_args(command.split())


def test_the_table_of_nets_is_that_of_the_exact_counts():
    """Which tests/test_paper_counts.py compares with ours."""
    table = re.findall(
        r"\| `(\w+)` \| (\S+).*? \| (\d+) \| ([\d,]+) \| ([\d,]+) \|", README
    )
    with open(Path(__file__).with_name("exact_counts.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tuple(cell.replace(",", "") for cell in line) for line in table] == [
        (
            row["model"],
            row["channels_per_group"] or "none",
            row["input"],
            row["params_trainable"],
            row["macs"],
        )
        for row in rows
    ]


def test_the_weights_of_the_worked_example_are_right():
    groups = gpwjax.num_groups(1024, 512, 16)
    assert 1024 * 512 // groups + 512 * 512 // groups == 12_288
