"""The files that Keras writes: which arrays are where.

Keras 2, and Keras 3 in a .h5 file, have LAYER/LAYER/ARRAY, Keras 2 with :0 behind it.
The formats of Keras 3, a .weights.h5 file and a .keras archive around one, have
layers/KIND/vars/NUMBER, and the layer's name beside it (looked up in files of 3.15).
"""

import contextlib
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_OBJECTS = 5000  # of a file; the largest net has 2600 groups and arrays
MAX_PATH = 500  # characters, from the file's root to an array
WEIGHTS = "model.weights.h5"  # in a .keras archive
VARIABLE = re.compile(r"(?:.*/)?([^/]+)/vars/([0-9])")  # of Keras 3
VARIABLES = {"batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance")}


@contextlib.contextmanager
def open_keras(path: Path) -> Iterator[Any]:
    """A file of Keras as an open h5py.File.

    Raises:
      OSError: it is neither HDF5 nor an archive.
      ValueError: it is an archive that Keras does not write.
    """
    import h5py

    if not zipfile.is_zipfile(path):
        with h5py.File(path) as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        if WEIGHTS not in archive.namelist():
            raise ValueError(f"it is an archive without {WEIGHTS}")
        # As Keras has it: it takes no more memory than it has there.
        if archive.getinfo(WEIGHTS).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its {WEIGHTS} must not be compressed")
        content = archive.read(WEIGHTS)
    with h5py.File(io.BytesIO(content)) as file:
        yield file


def find_datasets(file: Any) -> dict[str, Any]:
    """The weights in an open file of Keras by name, without the optimizer's.

    Only what lies in the file itself, and takes no more memory than it has there: no
    link is followed, and no data are unpacked.

    Args:
      file: a h5py.File.

    Returns:
      {"conv1/kernel:0": a h5py.Dataset, ...}.

    Raises:
      ValueError: Keras writes no such file.
    """
    import h5py

    root = file
    for group in ("model_weights", "layers"):
        if isinstance(file.get(group, getlink=True), h5py.HardLink):
            root = file[group]
    if not isinstance(root, h5py.Group):
        raise ValueError(f"{root.name[1:]} must be a group")
    datasets, seen = {}, 0

    def collect(name: str | bytes, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal seen
        seen += 1
        if isinstance(name, bytes):  # it is not UTF-8
            name = name.decode(errors="backslashreplace")
        if seen > MAX_OBJECTS or len(name) > MAX_PATH:
            raise ValueError("it holds more, or has longer names, than a net of Keras")
        if not isinstance(item, h5py.Dataset):
            return
        stored = item.id.get_create_plist()
        whole = stored.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
        if not whole or stored.get_external_count():
            raise ValueError(f"{name} must be in the file in one piece, not compressed")
        if keras_name := name_of(name, item):
            datasets[keras_name] = item

    root.visititems(collect)
    return datasets


def name_of(path: str, dataset: Any) -> str | None:
    """LAYER/ARRAY:0 of a dataset; None for the state of a random generator.

    Raises:
      ValueError: the file does not say what the layer is called.
    """
    if "/seed_generator/" in path:
        return None
    if match := VARIABLE.fullmatch(path):
        layer = dataset.parent.attrs.get("name")
        if not isinstance(layer, str):
            raise ValueError(
                f"{path} has no name of its layer: Keras before 3 wrote it. Save the "
                "weights as an .hdf5 file"
            )
        kind = re.sub("_[0-9]+$", "", match[1])
        names, number = VARIABLES.get(kind, ("kernel", "bias")), int(match[2])
        array = names[number] if number < len(names) else match[2]
        return f"{layer}/{array}:0"
    # Stored as LAYER/LAYER/ARRAY, where LAYER itself may hold slashes.
    layer, _, array = path.rpartition("/")
    half = layer[: len(layer) // 2]
    name = f"{half}/{array}" if layer == f"{half}/{half}" else path
    return name if name.endswith(":0") else f"{name}:0"
