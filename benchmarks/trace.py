"""What the time of a program goes to, from a profile."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def operations(program: Callable[[], Any], repeats: int = 3) -> dict[str, float]:
    """Milliseconds of a run by kind of operation of the optimised program.

    A kind is the name that XLA gave, without its number, such as
    `multiply_reduce_fusion`; the slowest first. `program` must return when it is done.
    An operation that runs on several cores counts the time of the longest, one that
    encloses others counts their time again.
    """
    program()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(repeats):
                program()
        (file,) = Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(file))
    nanoseconds = Counter()
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                if name := dict(event.stats).get("hlo_op"):
                    nanoseconds[re.sub(r"\.\d.*", "", name)] += event.duration_ns
    return {kind: ns / repeats / 1e6 for kind, ns in nanoseconds.most_common()}
