"""The schemes of grouped pointwise convolutions by name; `gpwjax.pointwise` has them.

Imports nothing heavy.
"""

from typing import Literal, get_args

Scheme = Literal["divisible", "any", "parallel"]
SCHEMES: tuple[str, ...] = get_args(Scheme)
PAPERS: Scheme = "divisible"


def check_scheme(scheme: str) -> None:
    """Raises ValueError unless there is such a scheme."""
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
