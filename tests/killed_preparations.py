"""Prepares a set in processes that are killed, each at another step on the disk.

    python killed_preparations.py ARCHIVE FOLDER FIRST EVERY

Kills the first process before its step FIRST, the next one EVERY steps later, and so on
until one ends before it is killed. After each, another process looks at what is left
and prepares the set. Prints what they found, a line of JSON for each.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path

import tqdm
from array_record.python import array_record_module  # noqa: F401
from killing import count_steps, in_a_process
from made_sets import prepare_made

from train.data import prepared

NAME = "cropped_plantdoc"


def main(archive: Path, folder: Path, first: int, every: int) -> None:
    for step in itertools.count(first, every):
        data_dir = folder / str(step)
        killed = in_a_process(lambda: prepare_until(step, archive, data_dir))  # noqa: B023
        status = in_a_process(lambda: prepare_after(archive, data_dir))  # noqa: B023
        found = json.loads((data_dir / "found.json").read_text()) if not status else {}
        print(json.dumps({"step": step, "killed": killed, "status": status} | found))
        if killed == 0:
            return


def prepare_until(step: int, archive: Path, data_dir: Path) -> None:
    """Prepares, and is killed before a step: a file opened, renamed and so on."""
    count_steps(data_dir, killed_before=step)
    prepare_made(NAME, data_dir, archive)


def prepare_after(archive: Path, data_dir: Path) -> None:
    """Writes what there is before another preparation, and after it."""

    def content() -> list:
        source = prepared.source(NAME, data_dir)
        read = [source.read(number) for number in range(source.count)]
        return [(image.tolist(), label) for image, label in read]

    before = content() if prepared.is_prepared(NAME, data_dir) else None
    prepare_made(NAME, data_dir, archive)
    files = sorted(path.name for path in (data_dir / NAME).iterdir())
    found = {"before": before, "after": content(), "files": files}
    (data_dir / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of jax, that processes are copied
    tqdm.tqdm.monitor_interval = 0  # no thread: it would not be copied
    archive, folder, first, every = sys.argv[1:]
    main(Path(archive), Path(folder), int(first), int(every))
