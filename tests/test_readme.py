"""What the README says is so."""

import csv
import re
import shlex
from pathlib import Path

import pytest

import gpwjax
from gpwjax import cli
from train.command_line import parse
from train.data import __main__ as data_program
from train.evaluate import __main__ as evaluation_program
from train.report import __main__ as report_program

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OF_TRAINING = (ROOT / "train" / "README.md").read_text()
OF_BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README + OF_TRAINING, re.DOTALL)
COMMANDS = "".join(block for language, block in BLOCKS if not language)


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
        "70,400 parameters, 71,303,168 MACs\n"
        "43,136 parameters, 43,253,760 MACs\n"
    )


def commands(name: str) -> list[list[str]]:
    """The arguments of each command `gpwjax NAME` in the READMEs."""
    found = re.findall(rf"gpwjax {name}( [^\n\"]*)?\n", COMMANDS)
    assert found
    return [shlex.split(arguments) for arguments in found]


@pytest.mark.parametrize("arguments", commands("train"))
def test_the_training_commands_are_understood(arguments):
    if "--list-presets" not in arguments:
        parse(arguments)


@pytest.mark.parametrize("arguments", commands("data"))
def test_the_data_commands_are_understood(arguments):
    data_program.read_args(arguments)


@pytest.mark.parametrize("arguments", commands("evaluate"))
def test_the_evaluation_commands_are_understood(arguments):
    evaluation_program.read_args(arguments)


@pytest.mark.parametrize("arguments", commands("report"))
def test_the_report_commands_are_understood(arguments):
    report_program.read_args(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [name, *arguments]
        for name in ("summary", "predict", "explain", "export")
        for arguments in commands(name)
    ],
)
def test_the_other_commands_are_understood(arguments):
    cli.parser().parse_args(arguments)


def test_the_table_of_faults_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+\.py)`", OF_TRAINING))
    assert len(named) > 5
    assert named <= {file.name for file in Path(__file__).parent.iterdir()}


def test_the_table_of_nets_is_that_of_the_exact_counts():
    """Which tests/test_paper_counts.py compares with ours."""
    table = re.findall(
        r"\| `(\w+)` \| (\S+).*? \| (\d+) \| ([\d,]+) \| ([\d,]+) \|", OF_BENCHMARKS
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
