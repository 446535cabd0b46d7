"""`gpwjax report`: builds the report of a run, or of several side by side."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gpwjax.output import run_program
from gpwjax.places import user_path

from ..config import RunError
from ..process.runtime import start_logging


def main(
    args: Sequence[str] | None = None, prog: str = "python -m train.report"
) -> int:
    """Runs the program; the exit status."""
    options = read_args(sys.argv[1:] if args is None else args, prog)
    start_logging()
    try:
        # Imported here, since all that it needs takes seconds.
        from .build import build_report, build_reports
        from .drawings import draw_pictures_of

        for folder in options.runs:
            draw_pictures_of(folder)
        if options.out is None and len(options.runs) == 1:
            file = build_report(options.runs[0])
        else:
            file = build_reports(options.runs, options.out or Path("report.html"))
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"the report is {file}")
    return 0


def read_args(args: Sequence[str], prog: str = "gpwjax report") -> argparse.Namespace:
    """What the arguments ask for. Wrong ones end the program, status 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Builds the report of a run again, or one page with several runs "
        "side by side: an HTML file that needs nothing else. The data set is not "
        "needed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        type=user_path,
        nargs="+",
        metavar="RUN",
        help="a run folder of gpwjax train, or the folder of --seeds, which stands "
        "for all its runs",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=user_path,
        metavar="FILE",
        help="(default: report.html in the folder, or for several folders in the "
        "current one)",
    )
    return parser.parse_args(args)


if __name__ == "__main__":
    sys.exit(run_program(main))
