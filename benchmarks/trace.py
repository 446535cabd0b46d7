"""What the time of a program goes to, from a profile."""

import re
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def operations(program: Callable[[], Any], repeats: int = 12) -> dict[str, float]:
    """Milliseconds of a run by kind of operation of the optimised program.

    A kind is the name that XLA gave, without its number, such as
    `multiply_reduce_fusion`; the slowest first. The sum exceeds the time of a run: the
    parts of an operation on several cores are added, and what encloses others (`cond`)
    counts their time again.

    Args:
      program: returns when it is done.
      repeats: runs, of which each operation's median counts.
    """
    for _ in range(3):
        program()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(repeats):
                program()
        (file,) = Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(file))
    durations = defaultdict(list)  # nanoseconds
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                if name := dict(event.stats).get("hlo_op"):
                    durations[name].append(event.duration_ns)
    total = Counter()
    for name, of in durations.items():
        kind = re.sub(r"\.\d.*", "", name)
        total[kind] += statistics.median(of) * len(of) / repeats / 1e6
    return dict(total.most_common())
