"""What the README says is so."""

import re
from pathlib import Path

import pytest

import gpwjax
from train.config import parse

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
    assert session["probabilities"].shape == (1, 10)
    assert capsys.readouterr().out == "244298\n"


@pytest.mark.parametrize(
    "command",
    re.findall(
        r"python -m train\b(?! --help)([^\n&]*)\n", "".join(b for _, b in BLOCKS)
    ),
)
def test_the_training_commands_are_understood(command):
    parse(command.split())


@pytest.mark.parametrize(
    ("name", "min_channels", "params", "macs"),
    re.findall(r"\| `(\w+)` \| (none|\d+).*? \| ([\d,]+) \| ([\d,]+) \|", README),
)
def test_the_table_of_nets_is_right(name, min_channels, params, macs):
    channels = None if min_channels == "none" else int(min_channels)
    counts = gpwjax.count(gpwjax.create_model(name, 10, channels))
    assert (f"{counts.params:,}", f"{counts.macs:,}") == (params, macs)


def test_the_weights_of_the_worked_example_are_right():
    groups = gpwjax.num_groups(1024, 512, 16)
    assert 1024 * 512 // groups + 512 * 512 // groups == 12_288
