"""Grouped pointwise convolutions for JAX/Flax.

Schuler, Romani, Abdel-Nasser, Rashwan, Puig: Grouped Pointwise Convolutions Reduce
Parameters in Convolutional Neural Networks. Mendel 28(1), 2022,
doi 10.13164/mendel.2022.1.023.
"""

from gpwjax.counts import Counts, LayerCount, count
from gpwjax.explain import class_activation_map
from gpwjax.inference import Classifier, load
from gpwjax.keras import from_keras
from gpwjax.models import create_model, list_models
from gpwjax.pointwise import GroupedPointwise, Pointwise, interleave, num_groups
from gpwjax.weights import save

__version__ = "0.1.0"

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
    "list_models",
    "load",
    "num_groups",
    "save",
]
