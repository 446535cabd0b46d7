"""Runs that differ in nothing but their seeds, and names for them."""

from collections.abc import Sequence
from typing import Any

from ..config import flatten
from .page import data_name
from .runs import RunFiles

Groups = dict[str, list[RunFiles]]  # name of a configuration -> its runs


def group(runs: Sequence[RunFiles]) -> Groups:
    """The runs that differ in nothing but their seeds, by a name for them."""
    found: dict[str, list[RunFiles]] = {}
    for run in runs:
        found.setdefault(repr(settings_of(run)), []).append(run)
    firsts = [of[0] for of in found.values()]
    return {name_among(of[0], firsts): of for of in found.values()}


def settings_of(run: RunFiles) -> dict[str, Any]:
    """What makes a configuration."""
    settings = flatten(run.config.to_json())
    return {k: v for k, v in settings.items() if k not in ("seed", "preset")}


def name_among(run: RunFiles, others: Sequence[RunFiles]) -> str:
    """The net and its variant, and as much more as tells a run from the others."""
    names = [f"{of.config.model} {of.config.variant}" for of in others]
    for more in (data_name, lambda of: of.config.preset or "no preset"):
        name = names[others.index(run)]
        if names.count(name) == 1:
            return name
        names = [f"{old}, {more(of)}" for old, of in zip(names, others, strict=True)]
    name = names[others.index(run)]
    alike = [of for old, of in zip(names, others, strict=True) if old == name]
    return ", ".join((name, *differences(run, alike)))


def differences(run: RunFiles, others: Sequence[RunFiles]) -> list[str]:
    """The settings of a run that others do not have."""
    ours = settings_of(run)
    return [
        f"{name} {value}"
        for name, value in ours.items()
        if any(settings_of(other)[name] != value for other in others)
    ]


def on_data(groups: Groups, data: str) -> Groups:
    """Those on a data set."""
    return {name: of for name, of in groups.items() if of[0].config.data == data}
