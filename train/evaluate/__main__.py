"""`gpwjax evaluate`: tests a trained net on any data set of its classes."""

import argparse
import logging
import sys
from collections.abc import Sequence

from gpwjax.memory import keep_memory
from gpwjax.output import run_program
from gpwjax.places import user_path

from ..config import RunError
from ..process.runtime import start_jax, start_logging

log = logging.getLogger(__package__)


def main(
    args: Sequence[str] | None = None, prog: str = "python -m train.evaluate"
) -> int:
    """Runs the program; the exit status."""
    options = read_args(sys.argv[1:] if args is None else args, prog)
    keep_memory()
    start_logging()
    try:
        # Imported here, since JAX and all that it needs take seconds.
        from tqdm.contrib.logging import logging_redirect_tqdm

        from .program import evaluate

        log.info("evaluating %s with %s", options.net, start_jax())
        with logging_redirect_tqdm():
            evaluate(options)
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def read_args(args: Sequence[str], prog: str = "gpwjax evaluate") -> argparse.Namespace:
    """What the arguments ask for. Wrong ones end the program, status 2.

    What replaces a setting of the run, or of the weights file, is there only where it
    was given: data, seed, split.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Tests a trained net: accuracy, the classes that it confuses, and "
        "whether it is as sure as it is right. Images are prepared as in its training.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "net",
        type=user_path,
        metavar="RUN|WEIGHTS",
        help="a run folder of gpwjax train, a .safetensors file of gpwjax.save, or a "
        "name that gpwjax list --trained shows",
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--out",
        type=user_path,
        metavar="FOLDER",
        help="for the report (default: evaluation/ in the run folder, or a folder "
        "beside the weights file)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        metavar="N",
        help="images at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="test the mean of the answers to each image and to its mirror image",
    )
    return parser.parse_args(args)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Which images the net is tested with."""
    add = parser.add_argument
    add(
        "--data",
        default=argparse.SUPPRESS,
        help="data set, as for gpwjax train; the net must know all its classes "
        "(default: the one that the net was trained on)",
    )
    add(
        "--data-dir", type=user_path, metavar="DIR", help="where prepared TFDS sets are"
    )
    add(
        "--part",
        choices=("train", "val", "test", "all"),
        default="test",
        help="of the data set (default: %(default)s)",
    )
    add(
        "--seed",
        type=int,
        default=argparse.SUPPRESS,
        metavar="N",
        help="of the split where the data set has none (default: the run's, or 0)",
    )
    add(
        "--split",
        choices=("clean", "paper"),
        default=argparse.SUPPRESS,
        help="of cropped_plantdoc (default: the run's, or clean)",
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
