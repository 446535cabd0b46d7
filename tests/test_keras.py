import csv
import os
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from gpwjax import count, create_model, from_keras

CLASSES = 5
WIDTHS = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)


def keras_mobilenet(min_channels: int | None) -> dict[str, np.ndarray]:
    """Drawn arrays of a MobileNet of the authors, by their names in Keras."""
    shapes = {"conv1/kernel:0": (3, 3, 3, 32)}

    def add_norm(name, features):
        for array in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{name}/{array}:0"] = (features,)

    add_norm("conv1_bn", 32)
    for number, (inputs, features) in enumerate(
        zip(WIDTHS[:-1], WIDTHS[1:], strict=True), start=1
    ):
        shapes[f"conv_dw_{number}/depthwise_kernel:0"] = (3, 3, inputs, 1)
        add_norm(f"conv_dw_{number}_bn", inputs)
        name = f"conv_pw_{number}"
        if min_channels is None:
            shapes[f"{name}/kernel:0"] = (1, 1, inputs, features)
            add_norm(f"{name}_bn", features)
            continue
        # All widths are powers of two, so that a group has just `min_channels`.
        shapes[f"{name}_bn_conv/kernel:0"] = (1, 1, min_channels, features)
        add_norm(f"{name}_bn_bn", features)
        if inputs >= features:
            group = min_channels * features // inputs
            shapes[f"{name}_bn_group_interconn_conv/kernel:0"] = (1, 1, group, features)
            add_norm(f"{name}_bn_group_interconn_bn", features)
    shapes["conv_preds/kernel:0"] = (1, 1, 1024, CLASSES)
    shapes["conv_preds/bias:0"] = (CLASSES,)
    return drawn(shapes)


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of these shapes, drawn from a normal distribution."""
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def weights():
    return keras_mobilenet(16)


@pytest.fixture(scope="module")
def model():
    return create_model("mobilenet", CLASSES, 16)


@pytest.fixture(scope="module")
def variables(model, weights):
    return from_keras(model, weights)


@pytest.mark.parametrize("min_channels", [None, 16, 32])
def test_the_arrays_are_all_those_of_the_net(min_channels):
    model = create_model("mobilenet", CLASSES, min_channels)
    ours = from_keras(model, keras_mobilenet(min_channels))
    expected = jax.eval_shape(
        lambda key, images: model.init(key, images, train=False),
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32),
    )
    assert jax.tree.map(lambda a: (a.shape, a.dtype), ours) == jax.tree.map(
        lambda a: (a.shape, a.dtype), expected
    )


def test_no_array_is_used_twice(variables, weights):
    sums = sorted(float(a.sum(dtype=np.float64)) for a in weights.values())
    ours = [np.asarray(a).sum(dtype=np.float64) for a in jax.tree.leaves(variables)]
    np.testing.assert_allclose(sorted(ours), sums)


def test_stem_is_conv1(variables, weights):
    ours = variables["params"]["stem"]["kernel"]
    np.testing.assert_array_equal(ours, weights["conv1/kernel:0"])


def test_batch_norm_has_four_arrays(variables, weights):
    ours = variables["params"]["block2"]["depthwise_norm"]
    stats = variables["batch_stats"]["block2"]["depthwise_norm"]
    for array, keras_name in (
        (ours["scale"], "gamma"),
        (ours["bias"], "beta"),
        (stats["mean"], "moving_mean"),
        (stats["var"], "moving_variance"),
    ):
        np.testing.assert_array_equal(array, weights[f"conv_dw_3_bn/{keras_name}:0"])


def test_batch_norms_of_K_and_L_are_told_apart(variables, weights):
    norms = variables["params"]["block2"]["pointwise"]
    for ours, keras in (
        ("BatchNorm_0", "bn_bn"),
        ("BatchNorm_1", "bn_group_interconn_bn"),
    ):
        np.testing.assert_array_equal(
            norms[ours]["scale"], weights[f"conv_pw_3_{keras}/gamma:0"]
        )


def test_depthwise_kernel_has_its_channels_last(variables, weights):
    ours = variables["params"]["block12"]["depthwise"]["kernel"]
    keras = weights["conv_dw_13/depthwise_kernel:0"]
    np.testing.assert_array_equal(ours[:, :, 0, :], keras[:, :, :, 0])


@pytest.mark.parametrize(
    ("part", "keras_name"),
    [("K", "conv_pw_3_bn_conv"), ("L", "conv_pw_3_bn_group_interconn_conv")],
)
def test_feature_f_of_a_grouped_kernel_belongs_to_group_f_over_16(
    variables, weights, part, keras_name
):
    ours = variables["params"]["block2"]["pointwise"][part]["kernel"]
    keras = weights[f"{keras_name}/kernel:0"]
    assert (ours.shape, keras.shape) == ((8, 16, 16), (1, 1, 16, 128))
    for f in range(128):
        np.testing.assert_array_equal(ours[f // 16, :, f % 16], keras[0, 0, :, f])


def test_dense_pointwise_kernel_is_one_group():
    weights = keras_mobilenet(None)
    params = from_keras(create_model("mobilenet", CLASSES), weights)["params"]
    np.testing.assert_array_equal(
        params["block0"]["pointwise"]["K"]["kernel"], weights["conv_pw_1/kernel:0"][0]
    )


def test_head_is_the_1x1_convolution_conv_preds(variables, weights):
    head = variables["params"]["head"]
    np.testing.assert_array_equal(head["kernel"], weights["conv_preds/kernel:0"][0, 0])
    np.testing.assert_array_equal(head["bias"], weights["conv_preds/bias:0"])


def test_lists_a_missing_an_unknown_and_a_misshaped_array_at_once(model, weights):
    weights = weights | {
        "conv_extra/kernel:0": np.zeros(3),
        "conv_preds/bias:0": np.zeros(CLASSES + 1),
    }
    del weights["conv1_bn/gamma:0"]
    with pytest.raises(ValueError, match="arrays are not those of this Mob") as error:
        from_keras(model, weights)
    problems = str(error.value).split(": ", 1)[1].split("; ")
    assert sorted(problems) == [
        "conv_preds/bias:0 is (6,), must be (5,)",
        "missing: conv1_bn/gamma:0",
        "unknown: conv_extra/kernel:0",
    ]


def test_refuses_the_arrays_of_another_variant(weights):
    with pytest.raises(ValueError, match="missing: conv_pw_1/kernel:0"):
        from_keras(create_model("mobilenet", CLASSES), weights)


def test_refuses_a_net_that_is_not_the_authors(weights):
    with pytest.raises(ValueError, match="must be one of .*MobileNet.*, got Dense"):
        from_keras(nn.Dense(CLASSES), weights)


def write_hdf5(file, weights, root=""):
    """As Keras: LAYER/LAYER/ARRAY:0, whatever slashes are in the layer's name."""
    for name, array in weights.items():
        layer, _, _ = name.rpartition("/")
        file[f"{root}{layer}/{name}"] = array


@pytest.mark.parametrize("root", ["", "model_weights/"])
def test_reads_both_layouts_of_a_keras_file(tmp_path, model, weights, variables, root):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        write_hdf5(file, weights, root)
        # Layers without weights have a group, too.
        file.create_group(f"{root}conv1_relu")
        if root:
            file["optimizer_weights/RMSprop/conv1/kernel/rms:0"] = np.zeros(3)
    for file in (path, str(path)):
        ours = from_keras(model, file)
        jax.tree.map(np.testing.assert_array_equal, ours, variables)


def test_a_missing_file_is_named(tmp_path, model):
    os.mkfifo(tmp_path / "pipe")  # to read it would block
    for name in ("none.hdf5", "pipe", ""):
        with pytest.raises(FileNotFoundError, match=f"no Keras weights file .*{name}"):
            from_keras(model, tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n"])
def test_refuses_a_file_that_is_not_hdf5(tmp_path, model, content):
    path = tmp_path / "weights.hdf5"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="weights.hdf5 is not an HDF5 file"):
        from_keras(model, path)


def test_refuses_a_truncated_hdf5_file(tmp_path, model, weights):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        file["conv_preds/conv_preds/kernel:0"] = weights["conv_preds/kernel:0"]
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="weights.hdf5 is not an HDF5 file"):
        from_keras(model, path)


def test_refuses_an_hdf5_file_of_something_else(tmp_path, model):
    path = tmp_path / "data.hdf5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(ValueError, match="unknown: .*data"):
        from_keras(model, path)


def write_keras_3(file, weights, named=True):
    """As Keras 3.15: layers/KIND/vars/NUMBER, and the layer's name beside it; also the
    state of an optimizer and of a dropout's random generator."""
    order = ("depthwise_kernel", "kernel", "bias", "gamma", "beta", "moving_mean")
    order += ("moving_variance",)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in weights.items():
        layer, _, array_name = name.removesuffix(":0").rpartition("/")
        layers.setdefault(layer, {})[array_name] = array
    for number, (layer, arrays) in enumerate(layers.items()):
        kind = "conv2d"
        if "gamma" in arrays:
            kind = "batch_normalization"
        elif "depthwise_kernel" in arrays:
            kind = "depthwise_conv2d"
        group = file.create_group(f"layers/{kind}_{number}/vars")
        if named:
            group.attrs["name"] = layer
        for place, array_name in enumerate(sorted(arrays, key=order.index)):
            group[str(place)] = arrays[array_name]
    file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    file["optimizer/vars/0"] = np.zeros((), np.int32)


def test_reads_a_legacy_file_of_keras_3(tmp_path, model, weights, variables):
    """Names without :0, and a depthwise kernel that is called as others are."""
    renamed = {
        name.removesuffix(":0").replace("depthwise_", ""): array
        for name, array in weights.items()
    }
    with h5py.File(tmp_path / "net.h5", "w") as file:
        write_hdf5(file, renamed, "model_weights/")
    ours = from_keras(model, tmp_path / "net.h5")
    jax.tree.map(np.testing.assert_array_equal, ours, variables)


@pytest.mark.parametrize("name", ["net.weights.h5", "net.keras"])
def test_reads_the_formats_of_keras_3(tmp_path, model, weights, variables, name):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        write_keras_3(file, weights)
    (tmp_path / "net.weights.h5").write_bytes(
        (tmp_path / "model.weights.h5").read_bytes()
    )
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    ours = from_keras(model, tmp_path / name)
    jax.tree.map(np.testing.assert_array_equal, ours, variables)


def test_files_of_keras_3_that_do_not_say_what_is_what_are_refused(tmp_path, stem_only):
    model, weights = stem_only
    with h5py.File(tmp_path / "net.weights.h5", "w") as file:
        write_keras_3(file, weights, named=False)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    with zipfile.ZipFile(tmp_path / "b.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**6))
    reasons = {
        "net.weights.h5": "has no name of its layer: .* Save the weights as an .hdf5",
        "other.zip": "an archive without model.weights.h5",
        "b.keras": "must not be compressed",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=f"^cannot use .*{name}: .*{reason}"):
            from_keras(model, tmp_path / name)


@pytest.fixture
def stem_only() -> tuple[nn.Module, dict[str, np.ndarray]]:
    """A MobileNet without blocks, which is quick to read, and its arrays."""
    shapes = {"conv1/kernel:0": (3, 3, 3, 32), "conv_preds/bias:0": (CLASSES,)}
    shapes["conv_preds/kernel:0"] = (1, 1, 32, CLASSES)
    for array in ("gamma", "beta", "moving_mean", "moving_variance"):
        shapes[f"conv1_bn/{array}:0"] = (32,)
    return create_model("mobilenet", CLASSES, stages=()), drawn(shapes)


KERNEL = "conv1/conv1/kernel:0"  # in a file


def refusal(
    path: Path, stem_only: tuple, change: Callable[[h5py.File], object], kept: bool
) -> str:
    """The message that refuses a file after a change, with KERNEL or without it."""
    model, weights = stem_only
    with h5py.File(path, "w") as file:
        write_hdf5(file, weights)
        if not kept:
            del file[KERNEL]
        change(file)
    with pytest.raises(ValueError, match=f"^cannot use {path}: ") as error:
        from_keras(model, path)
    assert str(error.value).isprintable()
    return str(error.value)


def link_to(*target: object) -> Callable[[h5py.File], None]:
    kind = h5py.SoftLink if len(target) == 1 else h5py.ExternalLink
    return lambda file: file.__setitem__(KERNEL, kind(*target))


def test_links_out_of_a_file_are_not_followed(tmp_path, stem_only):
    with h5py.File(tmp_path / "other", "w") as other:
        write_hdf5(other, stem_only[1])
    for change in (
        link_to(str(tmp_path / "other"), KERNEL),
        link_to("nowhere"),
        link_to(KERNEL),  # itself
    ):
        message = refusal(tmp_path / "net", stem_only, change, kept=False)
        assert message.endswith(": missing: conv1/kernel:0")
    with h5py.File(tmp_path / "net", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(tmp_path / "other"), "/")
    with pytest.raises(ValueError, match="missing: conv1/kernel:0; missing: "):
        from_keras(stem_only[0], tmp_path / "net")


def external(file: h5py.File) -> None:
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(bytes(4 * 864))
    file.create_dataset(KERNEL, (3, 3, 3, 32), "f4", external=[(secret, 0, 4 * 864)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 32), "f4")
    layout[...] = h5py.VirtualSource("other", "kernel", (3, 3, 3, 32))
    file.create_virtual_dataset(KERNEL, layout)


def bomb(file: h5py.File) -> None:
    shape = (10**6, 10**6)
    file.create_dataset(KERNEL, shape, "f4", chunks=(100, 100), compression="gzip")


@pytest.mark.parametrize("change", [external, virtual, bomb])
def test_only_what_lies_in_the_file_itself_is_read(tmp_path, stem_only, change):
    message = refusal(tmp_path / "net", stem_only, change, kept=False)
    assert message.endswith(
        f": {KERNEL} must be in the file in one piece, not compressed"
    )


def test_an_array_of_another_shape_is_not_read(tmp_path, stem_only):
    # 40 TB, none of which is written.
    message = refusal(
        tmp_path / "net",
        stem_only,
        lambda file: file.create_dataset(KERNEL, (10**13,), "f4"),
        kept=False,
    )
    assert message.endswith(
        "conv1/kernel:0 is (10000000000000,), must be (3, 3, 3, 32)"
    )


@pytest.mark.parametrize(
    "dtype", ["i8", "?", "c8", "S5", h5py.string_dtype(), [("a", "f4")]], ids=str
)
def test_arrays_that_are_not_of_floats_are_refused(tmp_path, stem_only, dtype):
    message = refusal(
        tmp_path / "net",
        stem_only,
        lambda file: file.create_dataset(KERNEL, (3, 3, 3, 32), dtype),
        kept=False,
    )
    assert re.search("conv1/kernel:0 is of .*, must be of floats$", message)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])  # the last is no float32
def test_numbers_that_are_not_finite_are_refused(stem_only, number):
    model, weights = stem_only
    weights["conv_preds/bias:0"] = np.array([0, 1, number, 3, 4])
    with pytest.raises(
        ValueError, match="conv_preds/bias:0 has numbers that are not fi"
    ):
        from_keras(model, weights)


def many(file: h5py.File) -> None:
    for number in range(5000):
        file.create_group(str(number))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda file: file.create_group("a/" * 1000),
            "holds more, or has longer names",
        ),
        (lambda file: file.create_group("a" * 9999), "holds more, or has longer names"),
        (many, "holds more, or has longer names"),
        (lambda file: file.update(model_weights=[0.5]), "weights must be a group"),
        (
            lambda file: file.update({"conv1_conv1/a:0": [0.5]}),
            "unknown: conv1_conv1/a:",
        ),
        (lambda file: file.update({b"\xff\n": [0.5]}), r"unknown: \\xff\?"),
    ],
    ids=["deep", "long", "many", "no group", "other layout", "no UTF-8"],
)
def test_what_keras_does_not_write_is_refused(tmp_path, stem_only, change, reason):
    assert re.search(reason, refusal(tmp_path / "net", stem_only, change, kept=True))


def test_a_group_that_leads_in_a_circle_ends(tmp_path, stem_only):
    model, weights = stem_only
    with h5py.File(tmp_path / "net", "w") as file:
        write_hdf5(file, weights)
        file["conv1/up"] = file["/"]
        file["conv1_bn/here"] = file["conv1_bn"]
    ours = from_keras(model, tmp_path / "net")
    np.testing.assert_array_equal(
        ours["params"]["stem"]["kernel"], weights["conv1/kernel:0"]
    )


# The other families: the authors' layers and arrays, in the order of the net, are in
# keras_weights/, 10 classes. File -> our net.
FAMILIES = {
    "densenet_bc_l100_none": create_model("densenet_bc_l100", 10),
    "densenet_bc_l100_12ch": create_model("densenet_bc_l100", 10, 12),
    "efficientnet_b0_none": create_model("efficientnet_b0", 10),
    "efficientnet_b0_16ch": create_model("efficientnet_b0", 10, 16),
    "mobilenet_v3_large_none": create_model("mobilenet_v3_large", 10),
    "mobilenet_v3_large_16ch": create_model("mobilenet_v3_large", 10, 16),
}
OURS = {
    "kernel:0": ("params", "kernel"),
    "depthwise_kernel:0": ("params", "kernel"),
    "bias:0": ("params", "bias"),
    "gamma:0": ("params", "scale"),
    "beta:0": ("params", "bias"),
    "moving_mean:0": ("batch_stats", "mean"),
    "moving_variance:0": ("batch_stats", "var"),
}


def keras_weights(net: str) -> dict[str, np.ndarray]:
    """Drawn arrays of a net of the authors, by their names in Keras."""
    shapes = {}
    path = Path(__file__).parent / f"keras_weights/{net}.csv"
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            shape = tuple(map(int, row["shape"].split("x")))
            for array in row["arrays"].split():
                shapes[f"{row['layer']}/{array}:0"] = shape
    return drawn(shapes)


@cache
def loaded(net: str) -> dict:
    """Our variables from those arrays."""
    return jax.device_get(from_keras(FAMILIES[net], keras_weights(net)))


def with_our_axes(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of Keras as ours of some shape."""
    if len(shape) == 4 and shape[2] == 1:  # depthwise, (k, k, channels, 1) in Keras
        return array.swapaxes(2, 3)
    if len(shape) == 3:  # a group after the other
        return np.stack(np.split(array[0, 0], shape[0], axis=-1))
    return array.reshape(shape)


@pytest.mark.parametrize("net", FAMILIES)
def test_each_layer_in_turn_has_the_arrays_of_the_authors_layer_in_turn(net):
    weights = keras_weights(net)
    ours = flatten_dict(loaded(net), sep="/")
    paths = [layer.name for layer in count(FAMILIES[net], (32, 32, 3)).layers]
    layers = dict.fromkeys(name.rpartition("/")[0] for name in weights)
    path_of = dict(zip(layers, paths, strict=True))
    expected = {}
    for name, array in weights.items():
        layer, _, kind = name.rpartition("/")
        collection, name_of_ours = OURS[kind]
        expected[f"{collection}/{path_of[layer]}/{name_of_ours}"] = array
    assert set(ours) == set(expected)
    for name, array in ours.items():
        keras = with_our_axes(expected[name], array.shape)
        np.testing.assert_array_equal(array, keras, err_msg=name)


@pytest.mark.parametrize(
    ("net", "missing", "misshaped"),
    [
        (
            "densenet_bc_l100_12ch",
            "dn1_b3_k_group_interconn_conv/kernel:0",
            "batch_normalization_95/beta:0",
        ),
        (
            "efficientnet_b0_16ch",
            "k_block4c__0se_reduce_group_interconn_conv/bias:0",
            "k_top_conv_bn/moving_variance:0",
        ),
        (
            "mobilenet_v3_large_16ch",
            "expanded_conv_3/squeeze_excite/Conv_group_interconn_conv/bias:0",
            "Logits/kernel:0",
        ),
    ],
)
def test_lists_all_problems_of_each_family(net, missing, misshaped):
    weights = keras_weights(net)
    shape = weights[misshaped].shape
    weights |= {"dense_1/bias:0": np.zeros(3), misshaped: weights[misshaped][..., 1:]}
    del weights[missing]
    with pytest.raises(ValueError, match="arrays are not those of this") as error:
        from_keras(FAMILIES[net], weights)
    problems = str(error.value).split(": ", 1)[1].split("; ")
    assert sorted(problems) == sorted(
        [
            f"missing: {missing}",
            "unknown: dense_1/bias:0",
            f"{misshaped} is {weights[misshaped].shape}, must be {shape}",
        ]
    )


@pytest.mark.parametrize("net", ["densenet_bc_l100_none", "densenet_bc_l100_12ch"])
def test_densenets_layers_may_be_numbered_from_anywhere(net):
    first = {"conv2d": 49, "batch_normalization": 96}

    def renumbered(match):
        kind, number = match[1], int(match[2] or 0)
        return f"{kind}_{first[kind] + number}/"

    later = {
        re.sub(r"^(conv2d|batch_normalization)(?:_(\d+))?/", renumbered, name): array
        for name, array in keras_weights(net).items()
    }
    assert {"conv2d_49/bias:0", "batch_normalization_191/beta:0"} <= set(later)
    ours = jax.device_get(from_keras(FAMILIES[net], later))
    jax.tree.map(np.testing.assert_array_equal, ours, loaded(net))


@pytest.mark.parametrize(
    ("net", "model", "problem"),
    [
        (
            "efficientnet_b0_16ch",
            create_model("efficientnet_b1", 10, 16),
            "missing: k_block1b__0dwconv/depthwise_kernel:0",
        ),
        (
            "efficientnet_b0_16ch",
            create_model("efficientnet_b0", 10, 32),
            "k_block2a__0project_conv_conv/kernel:0 is (1, 1, 16, 24), must be "
            "(1, 1, 32, 24)",
        ),
        (
            "densenet_bc_l100_12ch",
            create_model("densenet_bc_l100", 10, 24),
            "dn1_b1_k_conv/kernel:0 is (1, 1, 12, 48), must be (1, 1, 24, 48)",
        ),
        (
            "mobilenet_v3_large_16ch",
            create_model("mobilenet_v3_large", 10),
            "missing: expanded_conv/project/BatchNorm/gamma:0",
        ),
    ],
)
def test_refuses_the_arrays_of_another_net_of_the_family(net, model, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        from_keras(model, keras_weights(net))


def test_reads_a_keras_file_whose_layers_have_slashes_in_their_names(tmp_path):
    net = "mobilenet_v3_large_16ch"
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        write_hdf5(file, keras_weights(net))
        file.create_group("expanded_conv_1/depthwise/pad")
        assert "expanded_conv/depthwise/BatchNorm/expanded_conv/depthwise" in file
    ours = jax.device_get(from_keras(FAMILIES[net], path))
    jax.tree.map(np.testing.assert_array_equal, ours, loaded(net))
