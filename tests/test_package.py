"""What is installed, and the pieces of the project that must agree."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gpwjax

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_library_with_the_training_program(tmp_path):
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        tmp_path,
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"gpwjax", f"gpwjax-{gpwjax.__version__}.dist-info"}
    assert "gpwjax/py.typed" in names
    ours = {"gpwjax": ROOT / "gpwjax", "gpwjax/train": ROOT / "train"}
    for place, folder in ours.items():
        for file in folder.rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                assert f"{place}/{file.relative_to(folder)}" in names


def test_the_public_names_are_those_that_are_documented():
    for name in gpwjax.__all__:
        assert getattr(gpwjax, name).__doc__, name


def test_the_public_names_are_loaded_on_first_use():
    assert loaded("import gpwjax", ("jax", "flax")) == set()
    assert loaded("from gpwjax import interleave", ("jax", "PIL")) == {"jax"}
    assert set(gpwjax.__all__) == gpwjax.MODULES.keys() <= set(dir(gpwjax))
    with pytest.raises(AttributeError, match="'gpwjax' has no attribute 'mobile'"):
        _ = gpwjax.mobile


def test_using_the_library_does_not_import_the_heavy_ones():
    """Data sets, checkpoints and plots are for training only."""
    heavy = ("tensorflow_datasets", "orbax.checkpoint", "matplotlib", "sklearn", "h5py")
    assert loaded("from gpwjax import *", heavy) == set()


def loaded(statement: str, modules: tuple[str, ...]) -> set[str]:
    """Those of these modules that a statement imports in a new process."""
    code = (
        f"{statement}\nimport sys\nprint(*(m for m in {modules} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True
    )
    return set(done.stdout.decode().split())
