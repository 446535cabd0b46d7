"""Several devices take the steps that one takes; checkpoints go from some to others.

On virtual devices of a CPU, in processes of their own (steps_on_devices.py).
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from train_processes import HERE, environment

Found = dict[str, np.ndarray]


def steps(folder: Path, devices: int, checkpoints: str, first: int, last: int) -> Found:
    """What came of some steps on so many devices."""
    out = folder / f"{checkpoints}-{first}.npz"
    arguments = [out, folder / checkpoints, first, last]
    subprocess.run(
        [sys.executable, HERE / "steps_on_devices.py", *map(str, arguments)],
        env=environment(folder / "cache", devices),
        check=True,
        capture_output=True,
    )
    return dict(np.load(out))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("steps")


@pytest.fixture(scope="module")
def one(folder) -> Found:
    return steps(folder, 1, "one", 0, 20)


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 8])
def several(request, folder) -> Found:
    return steps(folder, request.param, f"on{request.param}", 0, 20)


def named(found: Found, what: str) -> Found:
    return {name: array for name, array in found.items() if name.startswith(what)}


def assert_equal(ours: Found, theirs: Found, tolerance: float) -> None:
    """Up to a share of all arrays' norm: some are only rounding, such as the gradient
    of a bias before a batch normalisation."""
    assert ours.keys() == theirs.keys()
    names = sorted(theirs)
    both = [np.concatenate([f[n].ravel() for n in names]) for f in (ours, theirs)]
    difference = np.linalg.norm(both[0] - both[1])
    assert difference <= tolerance * np.linalg.norm(both[1])


def test_the_batch_and_all_that_is_random_are_the_same(one, several):
    assert np.ptp(one["dropped"]) > 1  # some are dropped, others not
    for name in ("indices", "batch", "labels", "augmented", "dropped"):
        np.testing.assert_array_equal(several[name], one[name])


@pytest.mark.parametrize("platform", ["default", "cpu", "cuda", "tpu"])
def test_no_device_gathers_the_batch(several, platform):
    """They exchange sums, and single images for mixup."""
    exchanges = several[f"exchanges {platform}"].tolist()
    assert exchanges == ["all-reduce", "collective-permute"]


def test_loss_and_gradient_of_a_step_in_float32(one, several):
    assert_equal({"": several["loss"]}, {"": one["loss"]}, 1e-5)
    gradients = named(one, "gradient")
    assert len(gradients) == 14
    assert {array.dtype for array in gradients.values()} == {np.dtype("float32")}
    assert_equal(named(several, "gradient"), gradients, 1e-5)


@pytest.mark.parametrize("what", ["loss ", "state 20"])
def test_twenty_steps_in_float64(one, several, what):
    arrays = named(one, what)
    assert len(arrays) >= 20
    assert np.dtype("float64") in {array.dtype for array in arrays.values()}
    assert_equal(named(several, what), arrays, 1e-8)


def test_an_uneven_last_batch_is_counted_right(one, several):
    assert one["predicted"].shape == (21,)
    assert (21 * one["evaluated"][1]) % 1 == pytest.approx(0)  # shares of 21 images
    assert several["predicted"].tolist() == one["predicted"].tolist()
    np.testing.assert_allclose(several["evaluated"], one["evaluated"], rtol=1e-8)
    np.testing.assert_array_equal(several["trained"], one["trained"])


@pytest.mark.slow
def test_a_checkpoint_of_eight_devices_goes_on_on_one_and_back(folder, one):
    for devices, first, last in ((8, 0, 5), (1, 5, 10), (8, 10, 20)):
        found = steps(folder, devices, "moved", first, last)
    assert_equal(named(found, "state 20"), named(one, "state 20"), 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("several", [8], indirect=True)
def test_the_same_steps_twice_give_the_same_bits(folder, several):
    again = steps(folder, 8, "again", 0, 20)
    assert again.keys() == several.keys()
    for name, array in several.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
