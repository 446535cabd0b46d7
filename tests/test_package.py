"""What is installed, and the pieces of the project that must agree."""

import subprocess
import sys
import zipfile
from pathlib import Path

import gpwjax

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_library_and_nothing_else(tmp_path):
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
    modules = {f"gpwjax/{file.name}" for file in (ROOT / "gpwjax").glob("*.py")}
    assert modules <= set(names)


def test_the_public_names_are_those_that_are_documented():
    for name in gpwjax.__all__:
        assert getattr(gpwjax, name).__doc__, name


def test_importing_the_library_does_not_import_the_heavy_ones():
    """Data sets, checkpoints and plots are for training only."""
    heavy = ("tensorflow_datasets", "orbax.checkpoint", "matplotlib", "sklearn", "h5py")
    code = f"import sys, gpwjax; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True
    )
    assert loaded.stdout.strip() == b"[]"
