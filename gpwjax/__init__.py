"""Grouped pointwise convolutions for JAX/Flax.

Schuler, Romani, Abdel-Nasser, Rashwan, Puig: Grouped Pointwise Convolutions Reduce
Parameters in Convolutional Neural Networks. Mendel 28(1), 2022,
doi 10.13164/mendel.2022.1.023.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpwjax.counts import Counts, LayerCount, count
    from gpwjax.explain import class_activation_map
    from gpwjax.inference import Classifier, load
    from gpwjax.keras import from_keras
    from gpwjax.memory import keep_memory
    from gpwjax.models import create_model, list_models
    from gpwjax.pointwise import GroupedPointwise, Pointwise, interleave, num_groups
    from gpwjax.weights import save

__version__ = "0.2.0"

# Module of each public name, which is loaded when the name is first used.
MODULES = {
    "Classifier": "inference",
    "Counts": "counts",
    "GroupedPointwise": "pointwise",
    "LayerCount": "counts",
    "Pointwise": "pointwise",
    "class_activation_map": "explain",
    "count": "counts",
    "create_model": "models",
    "from_keras": "keras",
    "interleave": "pointwise",
    "keep_memory": "memory",
    "list_models": "models",
    "load": "inference",
    "num_groups": "pointwise",
    "save": "weights",
}

__all__ = [
    "Classifier",
    "Counts",
    "GroupedPointwise",
    "LayerCount",
    "Pointwise",
    "class_activation_map",
    "count",
    "create_model",
    "from_keras",
    "interleave",
    "keep_memory",
    "list_models",
    "load",
    "num_groups",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gpwjax.{MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})
