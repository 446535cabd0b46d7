"""`gpwjax train` and its sisters, wherever the training program is."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpwjax import __main__, training
from gpwjax.devices import unused_accelerator

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", training.PROGRAMS)
def test_each_program_has_its_own_help_under_its_name(command, capsys):
    with pytest.raises(SystemExit) as end:
        __main__.main([command, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: gpwjax {command} ")


def test_the_help_of_all_commands_names_them(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["--help"])
    out = capsys.readouterr().out
    assert all(f"    {command} " in out for command in training.PROGRAMS)


def test_the_help_of_the_training_needs_no_jax(tmp_path):
    code = "import sys; from gpwjax.__main__ import main\n"
    code += "try: main(['train', '--help'])\n"
    code += "finally: print({'jax', 'flax', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "set()"
    text = " ".join(done.stdout.replace("│", " ").split())
    assert "a folder with one folder of images for each class, with or without" in text


def test_without_the_extra_one_line_names_it(monkeypatch, capsys):
    monkeypatch.setattr(
        training, "find_spec", lambda name: None if name == "tyro" else True
    )
    assert __main__.main(["train"]) == 1
    assert capsys.readouterr().err == (
        "error: there is no tyro: pip install 'gpwjax[train]' brings what this needs\n"
    )


def test_another_package_of_that_name_is_not_taken(tmp_path):
    """It is imported before ours, as by a notebook, or lies where Python looks."""
    other = tmp_path / "train"
    other.mkdir()
    (other / "__init__.py").write_text("")
    (other / "__main__.py").write_text("raise SystemExit('wrong one')")
    code = "from gpwjax.__main__ import main; raise SystemExit(main(['report', 'no']))"
    begins = {
        "": "error: ",
        "import train; ": "error: another package is called train, ",
    }
    for before, message in begins.items():
        done = subprocess.run(
            [sys.executable, "-c", before + code],
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert "wrong one" not in done.stderr


@pytest.mark.parametrize(
    ("file", "named"),
    [("dev/nvidia0", "cuda12"), ("dev/accel0", "tpu"), ("dev/sda", None)],
)
def test_a_gpu_or_tpu_that_jax_does_not_see_is_named(
    tmp_path, monkeypatch, file, named
):
    config = SimpleNamespace(jax_platforms=None)
    jax = SimpleNamespace(default_backend=lambda: "cpu", config=config)
    monkeypatch.setattr("gpwjax.devices.jax", jax)
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).touch()
    warning = unused_accelerator(tmp_path)
    assert (f"gpwjax[{named}]" in warning) if named else warning is None
