"""What is read from the programs that are compiled for chips which are not here."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import ahead
from benchmarks.accelerators import Program, known, versions

PROGRAM = """HloModule jit_step

%fused (p: bf16[8,4]) -> bf16[8,4] {
  %p = bf16[8,4]{1,0} parameter(0)
  ROOT %inside = bf16[8,4]{1,0} copy(%p), backend_config={"estimated_cycles":"999"}
}

ENTRY %main (x: bf16[8,4], y: f32[16]) -> (f32[16], pred[3]) {
  %x = bf16[8,4]{1,0:T(8,128)(2,1)} parameter(0)
  %y = f32[16]{0} parameter(1)
  %a = bf16[8,4]{1,0} copy(%x), backend_config={"estimated_cycles":"100"}
  %b = bf16[8,4]{1,0} fusion(%a, %y), backend_config={"estimated_cycles":"20"}
  %c = f32[16]{0} all-reduce(%y), to_apply=%sum
  %d = (f32[16]{0}, pred[3]{0}) custom-call(%b, %c)
  ROOT %e = (f32[16]{0}, pred[3]{0}) tuple(%d)
}
"""


def test_cycles_are_those_outside_of_fusions():
    assert ahead.estimated_cycles(PROGRAM) == {"copy": 100, "fusion": 20}


def test_bytes_of_kernels_are_those_of_their_operands_and_results():
    copy, fusion, all_reduce, custom = 64 + 64, 64 + 64 + 64, 64 + 64, 67 + 64 + 64
    assert ahead.kernel_bytes(PROGRAM) == copy + fusion + all_reduce + custom


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("bf16[2,3]{1,0:T(8,128)}", 12),
        ("(f32[5]{0}, u8[0]{0}, pred[], s32[])", 20 + 0 + 1 + 4),
        ("f64[2]", 16),
    ],
)
def test_bytes_of_a_shape(shape, expected):
    assert ahead.bytes_of(shape) == expected


def test_collectives_are_counted_once_where_they_are_asynchronous():
    text = "%a = f32[] all-reduce-start(%x)\n%b = f32[] all-reduce-done(%a)"
    assert ahead.count("all-reduce", text) == 1
    assert ahead.count("all-gather", text) == 0


def test_results_of_other_versions_are_not_taken(tmp_path, monkeypatch):
    program = Program("v5e", "mobilenet", 16, 96, 64)
    monkeypatch.setitem(ahead.PACKAGES, "v5e", "numpy")  # whatever is installed
    found = {"versions": versions("v5e"), "cycles": 1}
    file = tmp_path / "accelerators-2026-01-01.json"
    file.write_text(json.dumps({"programs": {program.name: found}}))
    assert known(program, tmp_path) == found
    assert known(program._replace(size=32), tmp_path) is None
    old = found | {"versions": versions("v5e") | {"jax": "0.1"}}
    file.write_text(json.dumps({"programs": {program.name: old}}))
    assert known(program, tmp_path) is None


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu (jax[tpu]) is missing"
)
def test_a_tpu_takes_at_most_06_of_plain_flax_cycles(tmp_path):
    arguments = "v5e --nets mobilenet --size 96 --batch 64 --grouped --bare --one-chip"
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.accelerators"),
            *(*arguments.split(), "--folder", tmp_path),
        ],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
    )
    (file,) = tmp_path.glob("accelerators-*.json")
    ours, plain = json.loads(file.read_text())["programs"].values()
    assert ours["cycles"] <= 0.6 * plain["cycles"]
    assert ours["temporary_bytes"] <= 0.65 * plain["temporary_bytes"]
    assert file.with_suffix(".png").stat().st_size > 0
