"""From folders to the file of a report."""

from collections.abc import Sequence
from pathlib import Path

from gpwjax.files import write_text

from ..config import RunError
from ..run_folder import REPORT, has_run
from .comparison import comparison_page
from .page import run_page
from .runs import read_run, runs_of_seeds


def build_report(folder: Path) -> Path:
    """Writes report.html of a run, or of all runs of a folder of `--seeds`, into it.

    Returns:
      The file.

    Raises:
      RunError: the folder holds no run, no epoch of it is finished, or a file of it is
        damaged.
      OSError: the report cannot be written.
    """
    return build_reports([folder], folder / REPORT)


def build_reports(folders: Sequence[Path], file: Path) -> Path:
    """Writes the report of a run, or of several side by side, as `build_report`."""
    if len(folders) == 1 and has_run(folders[0]):
        page = run_page(read_run(folders[0]))
    else:
        runs = [
            read_run(run)
            for folder in folders
            for run in ([folder] if has_run(folder) else runs_of_seeds(folder))
        ]
        page = comparison_page(runs, file.parent)
    try:
        write_text(file, page)
    except OSError as error:
        raise RunError(f"cannot write {file}: {error}") from error
    return file
