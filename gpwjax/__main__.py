"""The command `gpwjax`: on nets in `cli`, of the training program in `training`."""

import sys
from collections.abc import Sequence

from gpwjax import training


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command line (default: the program's own), as `cli.main`."""
    args = sys.argv[1:] if args is None else args
    if args and args[0] in training.PROGRAMS:
        return training.main(args[0], args[1:])
    from gpwjax import cli  # JAX takes a second, which the help of the others saves

    return cli.main(args)


if __name__ == "__main__":
    sys.exit(main())
