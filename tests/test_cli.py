"""The command `gpwjax`, as a person meets it."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import platformdirs
import pytest
from PIL import Image

import gpwjax
import gpwjax.__main__
from gpwjax.cli import main
from gpwjax.compilation import use_compilation_cache

ROOT = Path(__file__).parents[1]
SMALL = ("summary", "mobilenet", "--image-size", "32")


def run(*args: str, stdout: Any, **environment: str) -> subprocess.CompletedProcess:
    """Runs the command in a process of its own."""
    environment = {**os.environ, **environment}
    # With it, no text would wait to be written when the program ends.
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        [sys.executable, "-m", "gpwjax", *args],
        cwd=ROOT,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_list_has_a_line_for_each_net_that_begins_with_its_name(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == gpwjax.list_models()


def test_summary_shows_16_channels_10_classes_and_224_pixels_if_not_said(capsys):
    assert main(["summary", "mobilenet"]) == 0
    out, err = capsys.readouterr()
    net, *_ = out.splitlines()
    assert net == ("mobilenet: min_channels 16, 10 classes, images of 224x224 pixels")
    assert "244,298" in out
    assert "90,051,072" in out
    assert err == ""


def test_summary_takes_all_settings(capsys):
    settings = ["--min-channels", "none", "--classes", "3", "--small-images"]
    assert main(["summary", "mobilenet", "--image-size", "8", *settings]) == 0
    heading = capsys.readouterr().out.splitlines()[0]
    assert heading.endswith(
        "min_channels none (dense), 3 classes, images of 8x8 pixels, small_images"
    )


def test_plot_draws_and_says_where(capsys, tmp_path):
    file = tmp_path / "net.svg"
    assert main([*SMALL, "--plot", str(file)]) == 0
    assert "<svg" in file.read_text()
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"The picture is in {file}"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ([], "COMMAND"),
        (["other"], "invalid choice: 'other'"),
        (["summary"], "MODEL"),
        (["summary", "resnet"], "mobilenet_v3_large"),
        ([*SMALL, "--min-channels", "0"], "--min-channels: must be an integer from 1"),
        ([*SMALL, "--min-channels", "abc"], "got 'abc'"),
        ([*SMALL, "--classes", "0"], "--classes: must be an integer from 1"),
        ([*SMALL, "--classes", "1e3"], "got '1e3'"),
        ([*SMALL, "--image-size", "0"], "--image-size: must be an integer from 1"),
        # Beyond the 64 bits of a shape in JAX.
        ([*SMALL, "--image-size", str(2**63)], "to 1,000,000,000"),
    ],
)
def test_wrong_arguments_end_it_with_status_2_and_a_reason(capsys, args, reason):
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["summary", "mobilenet", "--image-size", "31"], "at least 32x32 pixels"),
        ([*SMALL, "--plot", "net.doc"], "must end in one of"),
        ([*SMALL, "--plot", "nowhere/net.png"], "there is no folder nowhere"),
        ([*SMALL, "--plot", "folder.png"], "cannot write folder.png: Is a directory"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    capsys, tmp_path, monkeypatch, args, reason
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    assert main(args) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert reason in line


def test_a_format_whose_program_is_missing_is_one_line(capsys, monkeypatch):
    def without_latex(summary):
        raise RuntimeError("'xelatex' not found")

    monkeypatch.setattr("gpwjax.summary.draw", without_latex)
    assert main([*SMALL, "--plot", "net.pgf"]) == 1
    error = "error: cannot write net.pgf: 'xelatex' not found\n"
    assert capsys.readouterr() == ("", error)


def test_without_matplotlib_plot_says_what_to_install(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "gpwjax.canvas", raising=False)
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main([*SMALL, "--plot", "net.png"]) == 1
    error = "error: a picture needs matplotlib: pip install gpwjax[train]\n"
    assert capsys.readouterr().err == error
    assert main(list(SMALL)) == 0


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{gpwjax.__version__}\n"


def test_it_is_installed_as_gpwjax():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["gpwjax"] == "gpwjax.__main__:main"
    assert callable(gpwjax.__main__.main)


def test_the_program_needs_no_accelerator():
    """A summary does not take the memory of the GPU on which something is training."""
    done = run(*SMALL, stdout=subprocess.PIPE, JAX_PLATFORMS="cuda")
    assert (done.returncode, done.stderr) == (0, "")
    assert "244,298" in done.stdout


@pytest.mark.parametrize("folder", [None, "/elsewhere"])
def test_compiled_programs_are_kept_in_the_users_cache_or_where_jax_is_told(
    monkeypatch, folder
):
    settings = {}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    if folder:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
    cores = set(range(3))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    use_compilation_cache()
    set_here = settings.get("jax_compilation_cache_dir")
    # A program is compiled for so many cores.
    users = platformdirs.user_cache_path("gpwjax") / "xla" / "3-cores"
    assert set_here == (None if folder else str(users))
    # Else programs that compile in less than a second would not be kept.
    assert settings["jax_persistent_cache_min_compile_time_secs"] == 0.1


@pytest.mark.slow
def test_a_program_predicts_and_keeps_what_it_compiled(draw_variables, tmp_path):
    model = gpwjax.create_model("mobilenet", 3, small_images=True)
    images = np.zeros((1, 8, 8, 3), np.float32)
    variables = draw_variables(model, images, train=False)
    file, picture = str(tmp_path / "net.safetensors"), str(tmp_path / "a.png")
    gpwjax.save(file, model, variables, classes=["a", "b", "c"], image_size=8)
    Image.new("RGB", (8, 8)).save(picture)
    cache = tmp_path / "cache"
    done = run(
        *("predict", file, picture, "--json"),
        stdout=subprocess.PIPE,
        JAX_COMPILATION_CACHE_DIR=str(cache),
    )
    assert (done.returncode, done.stderr) == (0, "")
    (answer,) = json.loads(done.stdout)
    assert answer["path"] == picture
    assert sum(p["probability"] for p in answer["predictions"]) == pytest.approx(1)
    assert any("probabilities" in entry.name for entry in cache.iterdir())
