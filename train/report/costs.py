"""What the net of a run costs, stage by stage, beside the dense net."""

from typing import Any

from .runs import RunFiles


def costs(run: RunFiles) -> dict[str, Any] | None:
    """Parameters and MACs by stage: (figure, share of the largest in percent)."""
    if not run.costs:
        return None
    is_dense = run.config.min_channels is None
    tables = []
    for key, label in (("params", "Parameters"), ("macs", "Multiply-accumulates")):
        columns = [key] if is_dense else [f"dense_{key}", key]
        most = max(of[name] for of in run.costs.values() for name in columns)
        totals = {n: sum(of[n] for of in run.costs.values()) for n in columns}
        rows = [
            (stage, *cost_cells([of[name] for name in columns], most))
            for stage, of in run.costs.items()
        ]
        total = cost_cells([*totals.values()], 0)
        tables.append({"caption": f"{label} by stage", "rows": rows, "total": total})
    return {"is_dense": is_dense, "tables": tables}


def cost_cells(values: list[int], most: int) -> tuple[list[tuple[str, int]], str]:
    """The dense net's figure, if any, and this net's, with bars as long as they are
    large beside `most`; and what is saved."""
    bars = [(f"{n:,}", round(100 * n / most) if most else 0) for n in values]
    dense, ours = values[0], values[-1]
    return bars, f"{1 - ours / dense:z.1%}" if dense else ""
