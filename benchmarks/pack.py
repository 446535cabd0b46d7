"""The run folders of a folder as a few parts of a size that can be carried, and back.

The parts are a compressed tar file that was cut, and `state.json` names them with their
digests. It is replaced last, in one step, and the parts of a state have names of their
own: whenever a writer is killed, the folder holds the former state or the new one.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from train.config import RunError
from train.run_folder import read_json, write_text

FORMAT = 1
INDEX = "state.json"
PART_BYTES = 15 * 2**20
MOST_PARTS = 7  # with the index eight files


def pack(root: Path, files: Iterable[Path], folder: Path) -> int:
    """Writes files of `root` to the parts in `folder`, in place of those there.

    Returns:
      The bytes of all parts together.

    Raises:
      RunError: they are more than MOST_PARTS parts of PART_BYTES; nothing was changed.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for file in files:
            tar.add(file, file.relative_to(root))
    content = packed.getbuffer()
    if len(content) > MOST_PARTS * PART_BYTES:
        raise RunError(
            f"the state must have at most {MOST_PARTS * PART_BYTES:,} bytes, got "
            f"{len(content):,}: it stays in {root}. Finish the runs there one by one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(content).hexdigest()[:8]
    parts = {}
    for start in range(0, len(content), PART_BYTES):
        part = content[start : start + PART_BYTES]
        file = folder / f"state-{name}-{len(parts)}"
        write_bytes(file, part)
        parts[file.name] = hashlib.sha256(part).hexdigest()
    write_text(folder / INDEX, json.dumps({"format": FORMAT, "parts": parts}, indent=2))
    for file in folder.glob("state-*"):
        if file.name not in parts:
            file.unlink()
    return len(content)


def unpack(folder: Path, root: Path) -> bool:
    """Writes the files of a packed state into `root`; False where there is none.

    What it holds takes the place of what has the same name in `root`, but for runs that
    are finished there, which have more files.

    Raises:
      RunError: a part is missing or damaged, or the state is of another format; nothing
        was changed.
    """
    if not (folder / INDEX).is_file():
        if any(folder.glob("state-*")):
            raise RunError(f"{folder} lacks {INDEX}: copy all files of the state")
        return False
    index = read_json(folder / INDEX)
    if index.get("format") != FORMAT or not isinstance(index.get("parts"), dict):
        raise RunError(f"{folder / INDEX} must be of a state of format {FORMAT}")
    content = b"".join(
        read_part(folder / Path(name).name, digest)
        for name, digest in index["parts"].items()
    )
    # Beside the entries that it replaces, so that a kill leaves no entry half written.
    unfinished = root / f".unpacking-{os.getpid()}"
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        tar.extractall(unfinished, filter="data")
    for entry in unfinished.iterdir():
        old = root / entry.name
        if (old / "result.json").is_file():
            continue
        if old.is_dir():
            shutil.rmtree(old)
        entry.replace(old)
    shutil.rmtree(unfinished)
    return True


def read_part(file: Path, digest: str) -> bytes:
    """The bytes of a part. Raises RunError where they are not what was written."""
    try:
        part = file.read_bytes()
    except OSError as error:
        raise RunError(f"a part of the state cannot be read: {error}") from error
    found = hashlib.sha256(part).hexdigest()
    if found != digest:
        raise RunError(
            f"{file} is not what was written: its SHA-256 must be {digest}, got {found}"
        )
    return part


def write_bytes(file: Path, content: bytes | memoryview) -> None:
    """Writes a file that is there only once it is whole."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    with unfinished.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)
