"""Paths with ~, and machines without a home folder."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import platformdirs
import pytest
from PIL import Image

import train.evaluate.__main__
import train.report.__main__
from gpwjax import cli
from gpwjax.compilation import use_compilation_cache
from gpwjax.export.calibration import read_calibration
from gpwjax.files import UNFINISHED, write_text
from gpwjax.places import cache_folder, user_path
from train.command_line import parse
from train.config import Config, RunError
from train.data.__main__ import read_args
from train.origin import check_run_folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_path_may_begin_with_a_home_folder(home):
    assert user_path("~/a") == home / "a"
    assert user_path("~") == home
    assert user_path("a/~") == Path("a/~")
    with pytest.raises(ValueError, match="no home folder for ~nobody-at-all/a"):
        user_path("~nobody-at-all/a")


@pytest.mark.parametrize("name", ["data-dir", "archive", "init", "run-dir"])
def test_a_home_folder_behind_an_equals_sign_is_one(home, name):
    """Where shells leave the ~ as it is."""
    config = parse(["--data", "x", f"--{name}=~/a"])
    assert getattr(config, name.replace("-", "_")) == home / "a"


def test_all_programs_know_home_folders(home):
    options = cli.parser().parse_args(
        ["export", "~/w", "--format=onnx", "--output=~/o"]
    )
    assert (options.weights, options.output) == (home / "w", home / "o")
    options = cli.parser().parse_args(["explain", "~/w", "~/a.png", "--output=~/o.png"])
    assert (options.pictures, options.output) == ([home / "a.png"], home / "o.png")
    options = cli.parser().parse_args(["summary", "mobilenet", "--plot=~/o.png"])
    assert options.plot == home / "o.png"
    options = train.evaluate.__main__.read_args(
        ["~/r", "--data-dir=~/d", "--out=~/o"], ""
    )
    assert (options.net, options.data_dir) == (home / "r", home / "d")
    assert options.out == home / "o"
    options = train.report.__main__.read_args(["~/r", "--out=~/o.html"])
    assert (options.runs, options.out) == ([home / "r"], home / "o.html")
    _, options, config = read_args(["~/p", "--show=~/s.png", "--data-dir=~/d"])
    assert (options.show, config.data_dir) == (home / "s.png", home / "d")


def test_a_home_folder_that_there_is_not_is_one_line(capsys):
    nobody = "~nobody-at-all/a"
    for name in ("data", "run-dir", "init", "teacher", "archive", "data-dir"):
        with pytest.raises(SystemExit):
            parse(["--data", "x", f"--{name}={nobody}"])
        assert "no home folder for" in capsys.readouterr().err
    for args in (["explain", nobody, "b"], ["summary", "mobilenet", "--plot", nobody]):
        with pytest.raises(SystemExit):
            cli.parser().parse_args(args)
        assert f"no home folder for {nobody}\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match=f"no home folder for {nobody}"):
        read_calibration(nobody, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named_by_the_file_and_keeps_the_old_one(tmp_path):
    (tmp_path / "a").write_text("old")
    unfinished = UNFINISHED.format(name="a", process=os.getpid())
    (tmp_path / unfinished).symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'a'}'"):
        write_text(tmp_path / "a", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_names_that_are_no_text_are_escaped_or_refused(tmp_path):
    """Of folders from other systems; JAX's checkpoints cannot be there."""
    name = os.fsdecode(b"caf\xe9")
    write_text(tmp_path / name, name)
    assert (tmp_path / name).read_text() == r"caf\udce9"
    config = Config("digits", run_dir=tmp_path / name / "run")
    with pytest.raises(
        RunError, match=r"caf\\xe9/run: checkpoints need a path that is"
    ):
        check_run_folder(config)


def no_home(*_: object) -> None:
    raise RuntimeError("could not determine the home directory")


@pytest.mark.parametrize("fault", ["no home", "no home, older", "file", "read-only"])
def test_there_may_be_no_cache_folder(tmp_path, monkeypatch, fault):
    (tmp_path / "cache").touch()
    found = {
        "no home": no_home,
        "no home, older": lambda *_: Path("~/.cache/gpwjax"),
        "file": lambda *_: tmp_path / "cache" / "gpwjax",
        "read-only": lambda *_: Path("/proc/1/gpwjax"),
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platformdirs, "user_cache_path", found[fault])
    assert cache_folder() is None
    assert os.listdir(tmp_path) == ["cache"]
    settings = {}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    use_compilation_cache()
    assert "jax_compilation_cache_dir" not in settings


def test_a_user_without_home_and_name_needs_no_cache(tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.new("RGB", (8, 8), colour)
            image.save(tmp_path / "set" / name / f"{number}.png")
    nobody = ["unshare", "--user", "--map-user=12345"]
    if subprocess.run([*nobody, "true"], capture_output=True).returncode:
        pytest.skip("no right to be another user")
    env = {name: os.environ[name] for name in os.environ.keys() - {"HOME"}}
    env |= {"PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    env.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [*nobody, sys.executable, "-m", "train.data", "set", "--image-size", "8"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "decoded for this run alone. $XDG_CACHE_HOME may name one" in done.stdout
    assert "total       14        2        4" in done.stdout
    assert not list(tmp_path.glob("gpwjax-*"))
    assert not (tmp_path / "~").exists()
