"""How sure a share is of which only some cases were seen."""

from statistics import NormalDist


def wilson_interval(
    right: int, total: int, level: float = 0.95
) -> tuple[float | None, float | None]:
    """The interval of a share of which `right` of `total` were seen.

    Wilson's score interval (E. B. Wilson: Probable inference, the law of succession,
    and statistical inference, JASA 22, 1927). It stays within 0 and 1, and has a width
    where all or none were right.
    """
    if not total:
        return None, None
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (right + z**2 / 2) / (total + z**2)
    spread = (right * (total - right) / total + z**2 / 4) ** 0.5 * z / (total + z**2)
    return max(0.0, middle - spread), min(1.0, middle + spread)
