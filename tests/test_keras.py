from functools import partial

import h5py
import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from flax import linen as nn

from gpwjax import create_model, from_keras

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


@pytest.mark.parametrize("root", ["", "model_weights/"])
def test_reads_both_layouts_of_a_keras_file(tmp_path, model, weights, variables, root):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        for name, array in weights.items():
            file[f"{root}{name.split('/')[0]}/{name}"] = array
        # Layers without weights have a group, too.
        file.create_group(f"{root}conv1_relu")
        if root:
            file["optimizer_weights/RMSprop/conv1/kernel/rms:0"] = np.zeros(3)
    for file in (path, str(path)):
        ours = from_keras(model, file)
        jax.tree.map(np.testing.assert_array_equal, ours, variables)


def test_a_missing_file_is_named(tmp_path, model):
    path = tmp_path / "none.hdf5"
    with pytest.raises(FileNotFoundError, match="no Keras weights file .*none.hdf5"):
        from_keras(model, path)


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


def test_the_authors_trained_net_gives_their_probabilities(shared):
    builder = tfds.builder_from_directory(shared / "data/tfds/cifar10/3.0.2")
    source = builder.as_data_source("test")
    examples = [source[i] for i in range(100)]
    # Row i of their probabilities is the image test_i.
    rows = [int(example["id"].removeprefix(b"test_")) for example in examples]
    images = np.stack([example["image"] for example in examples]) / np.float32(255)
    images = images.repeat(7, axis=1).repeat(7, axis=2)  # 32 -> 224, nearest

    net = shared / "reference/authors_kmobilenet_16ch_cifar10.hdf5"
    model = create_model("mobilenet", 10, 16)
    logits = jax.jit(partial(model.apply, train=False))(from_keras(model, net), images)
    expected = np.load(net.with_name(f"{net.stem}_test_probs.npy"))[rows]
    np.testing.assert_allclose(jax.nn.softmax(logits), expected, rtol=0, atol=1e-3)
