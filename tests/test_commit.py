import subprocess
from pathlib import Path

import pytest

from train.process import commit
from train.process.commit import UNKNOWN, commit_of


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder in which git is asked."""
    monkeypatch.setattr(commit, "CHECKOUT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def repository(checkout) -> Path:
    for name in ("gpwjax", "tests"):
        (checkout / name).mkdir()
        (checkout / name / "a.py").write_text("1")
    run = ["git", "-C", checkout, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for args in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*run, *args], check=True)
    return checkout


def test_a_change_shows_where_it_counts(repository):
    number = commit_of("gpwjax")
    assert len(number) == 40
    (repository / "tests" / "a.py").write_text("2")
    assert commit_of("gpwjax") == number
    (repository / "gpwjax" / "a.py").write_text("2")
    assert commit_of("gpwjax") == f"{number}-dirty"
    assert commit_of("gpwjax", ":!gpwjax/a.py") == number


def test_outside_of_a_repository_it_is_unknown(checkout):
    assert commit_of("gpwjax") == UNKNOWN


def test_without_git_it_is_unknown(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit_of("gpwjax") == UNKNOWN
