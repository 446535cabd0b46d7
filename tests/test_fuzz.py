"""Files that are broken at random are read, or refused as documented.

    GPWJAX_FUZZ_MINUTES=10 python -m pytest -s -m slow tests/test_fuzz.py

has each reader read them for 10 minutes, in a process of its own, and fails where one
crashes it, takes 5 seconds, or takes a gigabyte of memory.
"""

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest
from hypothesis import given, settings

from gpwjax.models import MODELS


@pytest.mark.parametrize("name", fuzz.READERS)
def test_broken_files_are_read_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "mobilenet", fuzz.no_stages)
    reader = fuzz.READERS[name]
    assert all(fuzz.read(reader, tmp_path / "file", good) for good in reader.good())

    @settings(max_examples=200)
    @given(fuzz.broken(reader))
    def read(content: bytes) -> None:
        fuzz.read(reader, tmp_path / "file", content)

    read()


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.READERS)
def test_no_broken_file_crashes_hangs_or_takes_a_gigabyte(name, tmp_path):
    minutes = os.environ.get("GPWJAX_FUZZ_MINUTES", "1")
    script, errors = Path(fuzz.__file__), tmp_path / "errors"
    with errors.open("w") as stream:
        done = subprocess.run(
            [sys.executable, script, name, minutes, tmp_path / "file"],
            env=os.environ | {"PYTHONPATH": str(script.parents[1])},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
    last = errors.read_text(errors="replace")[-2000:]
    assert done.returncode == 0, f"{tmp_path / 'file'} ended the process: {last}"
    print(f"{name}: {done.stdout}")
