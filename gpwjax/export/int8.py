"""A net as an ONNX file of int8: weights, and values between its layers.

onnxruntime's quantiser does it (one scale for each feature of a kernel, one for the
values of a tensor, by calibration pictures); what it quantises is chosen here. See
Jacob et al., arXiv 1712.05877.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    qdq_loss_debug,
    quantize_static,
)

from gpwjax.export.calibration import Calibration, evenly
from gpwjax.export.compact import compact
from gpwjax.export.files import export
from gpwjax.files import replacing
from gpwjax.inference import Classifier

BATCH = 8  # pictures
# Pictures by which ranges are found: of so many at a time the smallest and the largest
# value, of all these the mean. Those of all at once are outliers', and cost accuracy.
CALIBRATED, AT_A_TIME = 200, 2
DEBUGGED = 8  # pictures by which the worst layers are found
LEAST_AGREEMENT = 0.95  # share of the pictures with the same class
WORST = 3  # layers that are named
# Kinds of nodes. Those that only move values, or follow a convolution, are quantised
# with it; what is not named is computed in float32.
WITH_CONVOLUTIONS = ("Conv", "Clip", "Relu", "Gather", "Add", "Concat")
ELEMENTWISE = ("Sigmoid", "Mul")  # of swish and of squeeze-and-excitation


class Plan(NamedTuple):
    """What is computed in int8."""

    name: str
    kinds: tuple[str, ...]


# The quickest first.
PLANS = (
    Plan("all feature maps in int8", WITH_CONVOLUTIONS + ELEMENTWISE),
    Plan("swish and squeeze-and-excitation in float32", WITH_CONVOLUTIONS),
)
ENOUGH = 0.98  # agreement with which no other plan is tried
GAIN = 0.01  # agreement that a slower plan must have more


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How an int8 net answers beside the same net in float32.

    Attributes:
      pictures: on how many.
      same_class: share of those that get the same class.
      accuracy: share of those whose class is known that get it, in float32 and in int8;
        None where no class is known.
      plan: what is computed in int8.
      difference: the largest of a probability.
    """

    pictures: int
    same_class: float
    accuracy: tuple[float, float] | None
    plan: str
    difference: float


Feed = Callable[[np.ndarray], np.ndarray]  # stored images as an ONNX file takes them


class Reader(CalibrationDataReader):
    """Gives onnxruntime the pictures, some at a time."""

    def __init__(self, images: np.ndarray, feed: Feed):
        self.batches = batches(images, feed, AT_A_TIME)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


def batches(images: np.ndarray, feed: Feed, size: int = BATCH) -> Iterator[np.ndarray]:
    for start in range(0, len(images), size):
        yield feed(images[start : start + size])


def export_int8(
    classifier: Classifier,
    path: str | os.PathLike,
    calibration: Calibration,
    *,
    uint8: bool = False,
    force: bool = False,
) -> Agreement:
    """Writes a net as an ONNX file of int8, reads it back, runs it, and compares.

    What it takes and gives is that of the float32 file of `export`.

    Args:
      classifier: as of `load`.
      path: the file, overwritten only by one whose answers agree.
      calibration: as of `read_calibration`: pictures to find ranges by, and to compare
        on.
      uint8: as of `export`.
      force: whether to write a file with which fewer pictures than LEAST_AGREEMENT of
        all get the same class.

    Raises:
      ValueError: there are fewer; the message names the worst layers.
      OSError: the file cannot be written.
    """

    def prepared(images: np.ndarray) -> np.ndarray:
        return np.stack([classifier.prepare(image) for image in images])

    with replacing(path) as unfinished:
        export(classifier, unfinished, "onnx", uint8=uint8)
        floats, feed = unfinished.read_bytes(), np.asarray if uint8 else prepared
        content, agreement = int8_bytes(floats, calibration, feed, force=force)
        unfinished.write_bytes(content)
    return agreement


def int8_bytes(
    floats: bytes, calibration: Calibration, feed: Feed, *, force: bool = False
) -> tuple[bytes, Agreement]:
    """The int8 file of an ONNX file of this package, and how well both agree.

    Args:
      floats: the file, of float32.
      calibration: pictures to find ranges by, and to compare the files on.
      feed: makes what the file takes as `images` of stored images.
      force: whether to take a file that disagrees more than LEAST_AGREEMENT allows.

    Raises:
      ValueError: it does; the message names the worst layers.
    """
    expected = answers(floats, calibration.images, feed)
    best: tuple[bytes, Agreement] | None = None
    with TemporaryDirectory(prefix="gpwjax-") as folder:
        files = [Path(folder, f"{number}.onnx") for number in range(len(PLANS))]
        for plan, file in zip(PLANS, files, strict=True):
            quantize(floats, file, plan.kinds, calibration.images, feed)
            content = compact(onnx.load(file)).SerializeToString()
            found = answers(content, calibration.images, feed)
            agreement = compare(expected, found, calibration.labels, plan.name)
            if best is None or agreement.same_class > best[1].same_class + GAIN:
                best, best_file = (content, agreement), file
            if agreement.same_class >= ENOUGH:
                break
        if best[1].same_class < LEAST_AGREEMENT and not force:
            worst = worst_layers(floats, best_file, calibration.images, feed)
            raise ValueError(
                f"only {best[1].same_class:.1%} of {best[1].pictures} calibration "
                f"pictures get the same class in int8, at least {LEAST_AGREEMENT:.0%} "
                f"must; the worst layers are {', '.join(worst)}. It was not written"
            )
    return best


def answers(content: bytes, images: np.ndarray, feed: Feed) -> np.ndarray:
    """The probabilities (N, classes) of an ONNX file."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = [
        session.run(["probabilities"], {"images": batch})[0]
        for batch in batches(images, feed)
    ]
    return np.concatenate(found)


def compare(
    expected: np.ndarray, found: np.ndarray, labels: np.ndarray, plan: str
) -> Agreement:
    before, after = expected.argmax(-1), found.argmax(-1)
    known = labels >= 0
    accuracy = None
    if known.any():
        right = [(classes == labels)[known].mean() for classes in (before, after)]
        accuracy = float(right[0]), float(right[1])
    difference = float(np.abs(expected - found).max())
    same = float((before == after).mean())
    return Agreement(len(labels), same, accuracy, plan, difference)


def quantize(
    floats: bytes,
    file: Path,
    kinds: Sequence[str],
    images: np.ndarray,
    feed: Feed,
) -> None:
    """Writes the int8 file as onnxruntime makes it."""
    model = onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(floats))
    # Else it asks for what our files have been through already.
    onnx.helper.set_model_props(
        model,
        {p.key: p.value for p in model.metadata_props}
        | {"onnx.quant.pre_process": "onnxruntime.quant"},
    )
    places = list(evenly(range(len(images)), CALIBRATED))
    quantize_static(
        model,
        file,
        Reader(images[places], feed),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # 7 bits: the sum of two products stays within the 16 bits that a processor
        # without VNNI has for it, so that all processors give the same answers.
        reduce_range=True,
        op_types_to_quantize=list(kinds),
        nodes_to_quantize=nodes_to_quantize(model.graph, kinds),
        extra_options={"CalibMovingAverage": True},
    )


def nodes_to_quantize(graph: onnx.GraphProto, kinds: Sequence[str]) -> list[str]:
    """The names of the convolutions of feature maps, of the activation after each, and
    of the nodes of these kinds between them.

    Maps of one pixel (squeeze-and-excitation, the classifier) cost no time, and their
    kernels are small in int8 all the same; heat maps use the classifier's kernel again.
    """
    constants = {tensor.name for tensor in graph.initializer}
    kernels = Counter(node.input[1] for node in graph.node if node.op_type == "Conv")
    sizes = map_sizes(graph)
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = [
        node
        for node in graph.node
        if node.op_type == "Conv"
        and sizes.get(node.output[0], 0) > 1
        and kernels[node.input[1]] == 1
    ]
    chosen = {node.output[0] for node in convolutions}
    open_names = [name for node in convolutions for name in node.input]
    seen: set[str] = set()
    while open_names:  # all that the convolutions depend on
        name = open_names.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        open_names += node.input
        if node.op_type in kinds and sizes.get(name, 0) > 1 and node.op_type != "Conv":
            has_constant = node.op_type in ("Add", "Mul") and constants & {*node.input}
            if not has_constant:  # a batch norm's, one for each channel
                chosen.add(name)
    chosen |= {
        node.output[0]
        for node in graph.node
        if node.op_type in ("Clip", "Relu") and node.input[0] in chosen
    }
    return [node.name for node in graph.node if node.output[0] in chosen]


def map_sizes(graph: onnx.GraphProto) -> dict[str, int]:
    """Pixels of each tensor (N, C, H, W) whose height and width are known."""
    sizes = {}
    for value in (*graph.value_info, *graph.output):
        shape = value.type.tensor_type.shape.dim
        if len(shape) == 4:
            sizes[value.name] = shape[2].dim_value * shape[3].dim_value
    return sizes


def worst_layers(
    floats: bytes, quantized: Path, images: np.ndarray, feed: Feed
) -> list[str]:
    """The layers whose results lose most by being int8."""
    folder = quantized.parent
    (folder / "floats.onnx").write_bytes(floats)
    found = []
    for file in (folder / "floats.onnx", quantized):
        whole = os.fspath(folder / f"whole-{file.name}")
        qdq_loss_debug.modify_model_output_intermediate_tensors(os.fspath(file), whole)
        reader = Reader(images[:DEBUGGED], feed)
        found.append(qdq_loss_debug.collect_activations(whole, reader))
    matching = qdq_loss_debug.create_activation_matching(found[1], found[0])
    layers = layers_of(onnx.ModelProto.FromString(floats).graph)
    lost: dict[str, float] = {}
    for name, values in matching.items():
        before, after = (
            np.concatenate(values[kind]) for kind in ("pre_qdq", "post_qdq")
        )
        layer = layers.get(name, "images")
        lost[layer] = max(lost.get(layer, 0), share_lost(before, after))
    return sorted(lost, key=lost.__getitem__, reverse=True)[:WORST]


def layers_of(graph: onnx.GraphProto) -> dict[str, str]:
    """The layer in whose convolution each tensor begins."""
    found: dict[str, str] = {}
    for node in graph.node:
        before = next((found[name] for name in node.input if name in found), None)
        layer = node.name if node.op_type == "Conv" else before
        found.update({name: layer for name in node.output if layer is not None})
    return found


def share_lost(before: np.ndarray, after: np.ndarray) -> float:
    """The noise that rounding adds to maps (N, C, ...), as a share of how much they
    vary: of the channel in the middle, since a range may suit one and no other."""
    axes = tuple(axis for axis in range(before.ndim) if axis != 1)
    # The range of the rounded ones is that of an activation too, which is left out.
    before = np.clip(before, after.min(), after.max())
    varies = before.var(axes)
    noise = np.square(after - before).mean(axes)
    living = varies > 0
    return float(np.median(noise[living] / varies[living])) if living.any() else 0.0
