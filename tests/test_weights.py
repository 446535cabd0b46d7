import json
import os
import pickle
import re
import resource
import shutil
import struct

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import gpwjax
from gpwjax import create_model, load, save
from gpwjax.mobilenet import MobileNet

ABOUT = {"classes": ["cat", "dog", "Höhle"], "image_size": 32}


@pytest.fixture(scope="module")
def model():
    return create_model("mobilenet", 3, min_channels=16, small_images=True)


@pytest.fixture(scope="module")
def variables(draw_variables, model):
    return draw_variables(model, jnp.zeros((1, 32, 32, 3)), train=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, model, variables):
    """A file that no test changes."""
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    save(path, model, variables, **ABOUT)
    return path


@pytest.fixture
def path(tmp_path, saved):
    """A copy of it, alone in its folder."""
    return shutil.copy(saved, tmp_path / "net.safetensors")


def files_beside(path) -> list[str]:
    return [file.name for file in path.parent.iterdir()]


def rewrite(path, arrays=None, **changes):
    """Writes a file again, with changes that `save` does not make; None: without."""
    with safe_open(path, framework="numpy") as file:
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["gpwjax"]) | changes
    about = {name: value for name, value in about.items() if value is not None}
    save_file(arrays or old, path, metadata={"gpwjax": json.dumps(about)})


def test_variables_come_back_bit_for_bit(saved, variables):
    chex.assert_trees_all_equal(load(saved).variables, variables, strict=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_channels": 16, "small_images": True},
        {"min_channels": 128, "dtype": jnp.bfloat16},
        {"min_channels": None, "batch_norm_momentum": 0.9},
    ],
    ids=["16ch", "bfloat16", "momentum"],
)
def test_the_model_comes_back_with_its_settings(draw_variables, tmp_path, settings):
    model = create_model("mobilenet", 3, **settings)
    variables = draw_variables(model, jnp.zeros((1, 32, 32, 3)), train=False)
    save(tmp_path / "net", model, variables, **ABOUT)
    assert load(tmp_path / "net").model == model


def test_classes_and_metadata_come_back(tmp_path, model, variables):
    more = {"stored_size": 28, "accuracy": 0.9, "seeds": [1, 2], "run": {"a": None}}
    save(str(tmp_path / "net"), model, variables, **ABOUT, **more)
    classifier = load(str(tmp_path / "net"))
    assert classifier.classes == ABOUT["classes"]
    assert (ABOUT | more).items() <= classifier.metadata.items()


def test_a_loaded_net_can_be_saved(draw_variables, tmp_path):
    model = create_model("mobilenet", 3, dtype=jnp.bfloat16)
    variables = draw_variables(model, jnp.zeros((1, 32, 32, 3)), train=False)
    save(tmp_path / "first", model, variables, **ABOUT)
    first = load(tmp_path / "first")
    save(tmp_path / "second", first.model, first.variables, **ABOUT)
    second = load(tmp_path / "second")
    assert (second.model, second.metadata) == (first.model, first.metadata)
    chex.assert_trees_all_equal(second.variables, variables, strict=True)


def test_arrays_of_jax_come_back_bit_for_bit(tmp_path, model, variables):
    save(tmp_path / "net", model, jax.tree.map(jnp.asarray, variables), **ABOUT)
    chex.assert_trees_all_equal(load(tmp_path / "net").variables, variables)


def test_saving_twice_gives_the_same_bytes(path, model, variables):
    before = path.read_bytes()
    save(path, model, variables, **ABOUT)
    assert path.read_bytes() == before


def test_arrays_of_any_memory_order_come_back(tmp_path, model, variables):
    save(tmp_path / "net", model, jax.tree.map(np.asfortranarray, variables), **ABOUT)
    chex.assert_trees_all_equal(load(tmp_path / "net").variables, variables)


def test_saving_again_replaces_the_file_and_leaves_no_other(path, model, variables):
    variables = jax.tree.map(lambda a: a + 1, variables)
    save(path, model, variables, **ABOUT)
    chex.assert_trees_all_equal(load(path).variables, variables)
    assert files_beside(path) == [path.name]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    path, saved, model, variables
):
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond 10 kB, as if the disk were full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(path, model, variables, **ABOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert path.read_bytes() == saved.read_bytes()
    assert files_beside(path) == [path.name]


def test_a_save_onto_a_folder_fails_and_leaves_no_file(tmp_path, model, variables):
    (tmp_path / "net").mkdir()
    with pytest.raises((OSError, SafetensorError), match="Is a directory"):
        save(tmp_path / "net", model, variables, **ABOUT)
    assert files_beside(tmp_path / "net") == ["net"]


def wrong(variables: dict) -> dict:
    """The variables with an array missing, one unknown and one of another shape."""
    arrays = flatten_dict(variables, sep="/")
    del arrays["params/stem/kernel"]
    arrays["params/stem/bias"] = np.zeros(32, np.float32)
    arrays["params/head/bias"] = np.zeros(4, np.float32)
    return arrays


WRONG = (
    "the arrays are not those of this MobileNet: missing: params/stem/kernel; "
    "unknown: params/stem/bias; params/head/bias is (4,), must be (3,)"
)


def test_save_lists_all_arrays_that_are_wrong(tmp_path, model, variables):
    with pytest.raises(ValueError, match=re.escape(WRONG)):
        save(
            tmp_path / "net", model, unflatten_dict(wrong(variables), sep="/"), **ABOUT
        )


def test_load_lists_all_arrays_that_are_wrong(path, variables):
    rewrite(path, wrong(variables))
    with pytest.raises(ValueError, match=re.escape(WRONG)):
        load(path)


def test_save_refuses_the_variables_of_another_variant(tmp_path, variables):
    dense = create_model("mobilenet", 3)
    with pytest.raises(ValueError, match="unknown: .*/L/kernel; .* must be"):
        save(tmp_path / "net", dense, variables, **ABOUT)


class OtherNet(MobileNet):
    pass


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"classes": ["cat", "dog"]}, "the net's 3 classes, got 2 names"),
        ({"classes": list("abcd")}, "the net's 3 classes, got 4 names"),
        ({"model": nn.Dense(3)}, "only models of create_model can be .* got Dense"),
        ({"model": OtherNet(3)}, "only models of create_model can be .* got OtherNet"),
        ({"run": object()}, "metadata must be of JSON types: .* object"),
        ({"accuracy": np.float32(0.9)}, "metadata must be of JSON types: .* float32"),
        ({"image_size": 0}, "image_size must be an integer from 1 to 10000, got 0"),
        ({"resize": "cubic"}, "resize must be one of .*, got 'cubic'"),
    ],
)
def test_save_refuses_and_leaves_the_old_file_and_no_other(
    path, saved, model, variables, changes, rule
):
    with pytest.raises(ValueError, match=rule):
        save(path, **{"model": model, "variables": variables, **ABOUT, **changes})
    assert path.read_bytes() == saved.read_bytes()
    assert files_beside(path) == [path.name]


NOT_OURS = "net.safetensors is not a weights file of gpwjax"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"some text",
        b"\x08\0\0\0\0\0\0\0notjson!",
        pickle.dumps([1]),
        b"PK\x03\x04",
    ],
    ids=repr,
)
def test_load_refuses_another_kind_of_file(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=NOT_OURS):
        load(path)


@pytest.mark.parametrize("kept", [4, 1000, -1])
def test_load_refuses_a_truncated_file(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=NOT_OURS):
        load(path)


def test_load_refuses_a_safetensors_file_without_metadata(path, variables):
    save_file(flatten_dict(variables, sep="/"), path)
    with pytest.raises(ValueError, match=NOT_OURS):
        load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"classes": None},
        {"classes": ["cat", "dog"]},
        {"image_size": None},
        {"image_size": 0},
        {"image_size": "large"},
        {"model": "mobilenet"},
        {"model": {"name": "mobilenet"}},
        {"model": {"name": "mobilenet", "classes": 3, "depth": 3}},
    ],
    ids=str,
)
def test_load_refuses_metadata_that_save_does_not_write(path, changes):
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=NOT_OURS):
        load(path)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"classes": "abc"}, "classes must be a list of names, got 'abc'"),
        ({"classes": [1, 2, 3]}, r"classes must be a list of names, got \[1, 2, 3\]"),
        ({"classes": ["a"] * 4}, "classes must name the net's 3 classes, got 4 names"),
        ({"image_size": 10**9}, "image_size must be .* 1 to 10000, got 1000000000"),
        ({"image_size": 31.5}, "image_size must be an integer .*, got 31.5"),
        ({"image_size": True}, "image_size must be an integer .*, got True"),
        ({"image_size": float("nan")}, "image_size must be an integer .*, got nan"),
        ({"stored_size": -3}, "stored_size must be an integer .*, got -3"),
        ({"pad": "no"}, r"pad must be one of \(False, True\), got 'no'"),
        ({"resize": [1]}, r"resize must be one of \('bilinear', .*, got \[1\]"),
    ],
    ids=str,
)
def test_load_names_the_entry_that_is_wrong(path, changes, rule):
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=f"{NOT_OURS}: {rule}"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"name": ["mobilenet"]}, "name must be of type str, got .'mobilenet'"),
        ({"classes": 10**12}, "must name the net's 1000000000000 classes, got 3 names"),
        ({"min_channels": -5}, "min_channels must be .* of at least 1, got -5"),
        ({"min_channels": "16"}, "min_channels must be of type int . None, got '16'"),
        ({"small_images": "no"}, "small_images must be of type bool, got 'no'"),
        ({"dtype": "int32"}, "dtype must be one of .*, got 'int32'"),
        ({"batch_norm_momentum": []}, "batch_norm_momentum must be of type .*, got "),
        ({"depth": 3}, "unexpected keyword argument 'depth'"),
    ],
    ids=str,
)
def test_load_names_the_setting_that_is_wrong(path, changes, rule):
    settings = {"name": "mobilenet", "classes": 3, "min_channels": 16}
    rewrite(path, model=settings | changes)
    with pytest.raises(ValueError, match=f"{NOT_OURS}: .*{rule}"):
        load(path)


def split_header(content: bytes) -> tuple[dict, bytes]:
    """The header of a safetensors file, and what follows."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def join_header(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("size", [10_000_001, 2**60, 2**64 - 1])
def test_load_refuses_a_header_before_it_takes_its_memory(path, size):
    path.write_bytes(struct.pack("<Q", size))
    os.truncate(path, 2**33)  # zeros, which take no room on the disk
    with pytest.raises(ValueError, match=f"{NOT_OURS}: .* at most 10000000 .* {size}$"):
        load(path)


def test_load_reads_no_array_of_another_shape(path):
    header, _ = split_header(path.read_bytes())
    array = {"dtype": "F32", "shape": [2**34], "data_offsets": [0, 2**36]}
    header = {"__metadata__": header["__metadata__"], "params/stem/kernel": array}
    path.write_bytes(join_header(header, b""))
    os.truncate(path, path.stat().st_size + 2**36)  # 64 GiB
    with pytest.raises(ValueError, match=r"kernel is \(17179869184,\), must be \(3, 3"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [-4, 3452]},
        {"data_offsets": [0, 3456]},  # those of another array
        {"data_offsets": [2**40, 2**40 + 3456]},
        {"shape": [2**40, 2**40, 2**40]},
        {"shape": [3, 3, 3, 31]},
        {"shape": [3, 3, -3, 32]},
        {"dtype": "F31"},
        {"dtype": "F64"},
    ],
    ids=str,
)
def test_load_refuses_arrays_that_are_not_where_the_header_says(path, change):
    header, data = split_header(path.read_bytes())
    header["params/stem/kernel"] |= change
    path.write_bytes(join_header(header, data))
    with pytest.raises(ValueError, match=NOT_OURS):
        load(path)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"__metadata__": ["gpwjax"]},
        {"__metadata__": {"gpwjax": 3}},
        {"__metadata__": {"gpwjax": "3"}},
        {"__metadata__": {"gpwjax": "[" * 100_000}},
        {"__metadata__": {"gpwjax": '{"classes":' * 100_000}},
        {"__metadata__": {"gpwjax": "1" * 5000}},
    ],
    ids=lambda header: str(header)[:40],
)
def test_load_refuses_a_header_of_another_form(path, header):
    path.write_bytes(join_header(header, b""))
    with pytest.raises(ValueError, match=NOT_OURS):
        load(path)


def test_load_refuses_arrays_that_are_not_of_floats(path):
    content = path.read_bytes()
    changed = content.replace(
        b'stem/kernel":{"dtype":"F32"', b'stem/kernel":{"dtype":"I32"'
    )
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(
        ValueError, match="stem/kernel is of I32, must be of one of floa"
    ):
        load(path)


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_load_and_save_name_arrays_that_are_not_finite(path, model, variables, number):
    arrays = flatten_dict(variables, sep="/")
    for name in ("params/head/bias", "batch_stats/stem_norm/var"):
        arrays[name] = arrays[name].copy()
        arrays[name][1] = number
    rule = "numbers are not finite in batch_stats/stem_norm/var, params/head/bias$"
    with pytest.raises(ValueError, match=rule):
        save(path, model, unflatten_dict(arrays, sep="/"), **ABOUT)
    rewrite(path, arrays)
    with pytest.raises(ValueError, match=f"{NOT_OURS}: {rule}"):
        load(path)


def test_an_error_is_one_line_whatever_the_names_in_the_file(path):
    header, data = split_header(path.read_bytes())
    for name in ("a\nb\x1b[31m", "c" * 100_000):
        header[name] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    path.write_bytes(join_header(header, data))
    with pytest.raises(ValueError, match=r"unknown: a\?b\?\[31m") as error:
        load(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 21_000


def test_load_names_the_models_if_that_of_the_file_is_unknown(path):
    rewrite(path, model={"name": "alexnet", "classes": 3})
    with pytest.raises(ValueError, match="must be one of .*mobilenet.* got 'alexnet'"):
        load(path)


def test_load_names_a_missing_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to read it would block
    (tmp_path / "folder").mkdir()
    for name in ("none.safetensors", "pipe", "folder", "a\0b"):
        with pytest.raises(FileNotFoundError, match=f"no weights file .*{name}"):
            load(tmp_path / name)


def test_in_bfloat16_a_file_is_half_as_large_and_answers_nearly_the_same(
    model, variables, tmp_path
):
    images = np.random.default_rng(1).uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)
    tamed = jax.tree.map(jnp.copy, variables)
    tamed["params"]["head"]["kernel"] /= 30  # else probabilities are all 0 or 1
    files = {dtype: tmp_path / str(dtype) for dtype in (None, "bfloat16")}
    for dtype, file in files.items():
        save(file, model, tamed, **ABOUT, dtype=dtype)
    sizes = {dtype: file.stat().st_size for dtype, file in files.items()}
    assert sizes["bfloat16"] < 0.55 * sizes[None]
    assert sizes["bfloat16"] < 600_000
    half, full = (load(file).predict(images) for file in files.values())
    np.testing.assert_allclose(half, full, atol=0.05)


def test_a_file_says_which_code_wrote_it(saved):
    assert load(saved).metadata["version"] == gpwjax.__version__
