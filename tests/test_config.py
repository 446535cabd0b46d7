"""The command line and its defaults."""

import dataclasses
import json
from pathlib import Path

import pytest

from train.command_line import parse
from train.config import Augmentation, Config
from train.presets import DIGITS


def test_without_arguments_it_is_the_digits_recipe():
    assert parse([]) == DIGITS


def test_the_working_folder_of_a_named_data_set_may_be_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    assert Config(".").folder.name == "gone-mobilenet-16ch-seed0"
    (tmp_path / "gone").rmdir()
    assert Config("digits").folder.name == "digits-mobilenet-16ch-seed0"


def test_another_data_set_starts_from_the_papers_recipe():
    config = parse(["--data", "cifar10"])
    assert config == Config(data="cifar10")
    # PAPER: batch 64, 50 epochs, RMSprop from 0.001 in cycles of 25 epochs at 224.
    assert (config.batch_size, config.epochs, config.image_size) == (64, 50, 224)
    assert (config.optimizer, config.lr, config.cycle_epochs) == ("rmsprop", 1e-3, 25)
    assert config.augmentation == Augmentation(True, 20, 0.3, 0.2, 0.3)


@pytest.mark.parametrize("args", [["--data", "digits"], ["--data=digits"]])
def test_digits_by_name_is_the_digits_recipe(args):
    assert parse([*args, "--epochs", "3"]) == dataclasses.replace(DIGITS, epochs=3)


@pytest.mark.parametrize(("text", "value"), [("none", None), ("32", 32)])
def test_min_channels_takes_a_number_or_none(text, value):
    assert parse(["--min-channels", text]).min_channels == value


def test_freeze_takes_names_in_one_value():
    config = parse(["--init", "net.safetensors", "--freeze", "stem,block0"])
    assert config.init == Path("net.safetensors")
    assert config.freeze == ("stem", "block0")
    assert parse(["--freeze", "none"]) == DIGITS


def test_a_configuration_is_hashable_and_has_a_json_form():
    config = Config("any", init=Path("runs/a"), freeze=("stem",))
    assert hash(config) == hash(dataclasses.replace(config))
    settings = json.loads(json.dumps(config.to_json()))
    assert (settings["init"], settings["freeze"]) == ("runs/a", ["stem"])


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--min-channels", "0"], "--min-channels must be at least 1"),
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--batch-size", "-4"], "--batch-size must be at least 1, got -4"),
        (["--lr", "0"], "--lr must be more than 0"),
        (["--zoom", "1"], "--zoom must be from 0 to below 1"),
        (["--brightness", "1"], "--brightness must be from 0 to below 1"),
        (["--rotation", "-1"], "--rotation must be at least 0"),
        (["--min-channels", "many"], "--min-channels"),
        (["--optimizer", "lion"], "rmsprop"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--preset", "cifar10-mobilnet-16ch"], "did you mean cifar10-mobilenet-16ch"),
        (
            ["--optimizer", "adam", "--weight-decay", "0.1"],
            "left out with --optimizer adam",
        ),
        (["--schedule", "cycle", "--warmup-epochs", "1"], "0 with --schedule cycle"),
        (["--warmup-epochs", "60"], "below the 60 epochs"),
        (["--ema", "1"], "--ema must be from 0 to below 1"),
        (["--mixup", "-1"], "--mixup must be at least 0"),
        (["--freeze", "stem,block0"], "left out without --init"),
        (["--seeds", "0"], "--seeds must be at least 1"),
    ],
)
def test_a_wrong_argument_is_named_and_ends_the_program(args, named, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(args)
    assert ended.value.code == 2
    assert named in " ".join(capsys.readouterr().err.split())


def test_the_default_run_folder_names_data_net_and_seed():
    config = Config(data="some/where/pets", min_channels=None, seed=3)
    assert config.folder == Path("runs/pets-mobilenet-dense-seed3")
