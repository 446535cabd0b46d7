"""The nets that were trained with this project and come with it, found by name.

Each is a weights file in this folder, NAME.safetensors, whose metadata hold its card:
the data and their licence, the accuracy, the recipe, the commit and the command.
`benchmarks/publish.py` writes them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from gpwjax import weights
from gpwjax.places import WEIGHTS


def files() -> dict[str, Path]:
    """The weights files of the trained nets by their names."""
    found = sorted(Path(__file__).parent.glob("*.safetensors"))
    return {file.stem: file for file in found}


def find(net: str | os.PathLike) -> Path:
    """The weights file that is meant wherever a net is named.

    Args:
      net: a weights file, a run folder, or the name of a trained net; what exists of
        that name goes first.

    Raises:
      FileNotFoundError: there is none.
    """
    path = Path(net)
    if path.is_dir():
        path = path / WEIGHTS
    elif not path.exists() and str(net) in files():
        path = files()[str(net)]
    if not path.is_file():
        names = ", ".join(files())
        raise FileNotFoundError(
            f"no weights file {path}, and no trained net of that name; those that come "
            f"with gpwjax: {names}"
        )
    return path


def cards() -> Iterator[str]:
    """Name and card of each trained net."""
    for name, file in files().items():
        card = weights.metadata(file)["card"]
        yield "\n".join([name, *(f"  {key}: {text}" for key, text in card.items())])
