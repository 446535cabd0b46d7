"""ONNX nodes, and the file that holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gpwjax.export.compact import merge_equal

# The oldest that have our nodes, HardSwish the newest of them: onnxruntime reads them
# since 1.8, of 2021.
OPSET, IR_VERSION = 14, 7


class Graph:
    """ONNX nodes and their constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, array: np.ndarray) -> str:
        """Adds a constant; its name."""
        name = f"constant{len(self.constants)}"
        self.constants[name] = array
        return name

    def number(self, value: float) -> str:
        return self.constant(np.float32(value))

    def node(
        self, kind: str, *inputs: str, result: str | None = None, **attributes: Any
    ) -> str:
        """Adds a node; the name of its result."""
        name = result or f"{kind.lower()}{len(self.nodes)}"
        node = helper.make_node(kind, inputs, [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def float32(self, name: str) -> str:
        return self.node("Cast", name, to=TensorProto.FLOAT)


def serialize(
    graph: Graph,
    *,
    images: Sequence[int | str],
    uint8: bool,
    classes: int,
    weights: str,
    metadata: str,
    maps: bool = False,
) -> bytes:
    """The ONNX file of a graph from `images` to `probabilities`.

    Args:
      graph: all nodes.
      images: shape of the images; a name stands for any size.
      uint8: whether they are uint8, else float32.
      classes: number of classes.
      weights: dtype of the large constants in the file, "float32" or "bfloat16".
      metadata: stored under the key `gpwjax`.
      maps: whether there is a second output, `maps` (N, h, w, classes).
    """
    casts, tensors = stored(graph.constants, weights)
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    outputs = {"probabilities": ["N", classes]}
    if maps:
        outputs["maps"] = ["N", "h", "w", classes]
    made = helper.make_graph(
        [*casts, *graph.nodes],
        "gpwjax",
        [helper.make_tensor_value_info("images", kind, images)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
            for name, dims in outputs.items()
        ],
        tensors,
    )
    merge_equal(made)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gpwjax",
    )
    helper.set_model_props(model, {"gpwjax": metadata})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def stored(
    constants: Mapping[str, np.ndarray], weights: str
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """The constants as the file holds them, and the nodes that cast those of bfloat16
    back."""
    casts, tensors = [], []
    for name, array in constants.items():
        if weights == "bfloat16" and array.dtype == np.float32 and array.ndim:
            rounded = array.astype(ml_dtypes.bfloat16)
            tensors.append(numpy_helper.from_array(rounded, f"{name}_{weights}"))
            cast = {"to": TensorProto.FLOAT, "name": f"{name}_cast"}
            casts.append(helper.make_node("Cast", [tensors[-1].name], [name], **cast))
        else:
            tensors.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
    return casts, tensors
