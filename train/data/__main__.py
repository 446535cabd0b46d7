"""`gpwjax data`: prepares a data set, shows it, and says what is on the disk."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from gpwjax.output import run_program
from gpwjax.places import user_path

from ..command_line import parse
from ..config import Config, RunError
from ..process.runtime import start_jax, start_logging
from . import Dataset, find_data_dir, load_dataset
from .remarks import imbalance, repeats, repeats_text
from .storage import clean, listing

log = logging.getLogger(__package__)


def main(args: Sequence[str] | None = None, prog: str = "python -m train.data") -> int:
    """Runs the program; the exit status."""
    data, options, config = read_args(sys.argv[1:] if args is None else args, prog)
    start_logging()
    try:
        with logging_redirect_tqdm():
            run(data, options, config)
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def read_args(
    args: Sequence[str], prog: str = "gpwjax data"
) -> tuple[str | None, argparse.Namespace, Config]:
    """The data set that the arguments name, what to do, and the settings of a run.

    Wrong ones end the program, status 2.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [DATA] [--show FILE] [--list] [--clean] [SETTINGS]",
        description="Prepares a data set, named as by --data of gpwjax train, and "
        "counts its images. SETTINGS are those of gpwjax train: where the images "
        "are, how they are split and augmented.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--show",
        type=user_path,
        metavar="FILE",
        help="draw a contact sheet of the classes",
    )
    add("--list", action="store_true", help="list what is prepared and cached")
    add(
        "--clean",
        action="store_true",
        help="free the cache of decoded images, of all data sets or of the one named",
    )
    # First of all, since a setting that this parser does not know may have a value.
    named = bool(args) and not args[0].startswith("-")
    data = args[0] if named else None
    options, settings = parser.parse_known_args(args[named:])
    if data is None and not (options.list or options.clean):
        parser.error("name a data set, or pass --list or --clean")
    return data, options, parse(["--data", data or "digits", *settings], prog)


def run(data: str | None, options: argparse.Namespace, config: Config) -> None:
    """Does what the command line asks for."""
    if options.clean:
        log.info(clean(data and Path(data).absolute().name))
    elif data is not None:
        check_picture(options.show)
        dataset = load_dataset(config)
        log.info(table(dataset))
        if options.show:
            # Imported here, since JAX is not needed for the rest.
            from .sheet import write_sheet

            start_jax()
            write_sheet(dataset, config, options.show)
            log.info("the contact sheet is in %s", options.show)
    if options.list:
        log.info(listing(find_data_dir(config.data_dir)))


def check_picture(file: Path | None) -> None:
    """Raises RunError where no picture can be written there."""
    if file is not None:
        if file.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise RunError(f"--show must end in .png, .jpg or .webp, got {file}")
        if not file.parent.is_dir():
            raise RunError(f"there is no folder {file.parent} for --show {file}")


def table(dataset: Dataset) -> str:
    """The number of images of each class in each split."""
    parts = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    counts = [dataset.class_counts(indices) for indices in parts.values()]
    width = max(map(len, [*dataset.classes, "class"]))
    rows = [
        ("class", *parts),
        *((name, *(of[name] for of in counts)) for name in dataset.classes),
        ("total", *map(len, parts.values())),
    ]
    lines = [f"{n:{width}}" + "".join(f"{c:>9}" for c in row) for n, *row in rows]
    if uneven := imbalance(counts[0]):
        lines.append(uneven)
    repeated = repeats(dataset)
    if text := repeats_text(repeated):
        lines.append(text)
        lines += [f"  {r.part}: {r.image} is {r.trained} of train" for r in repeated]
    if dataset.skipped:
        lines.append(f"left out: {len(dataset.skipped)}")
        lines += [f"  {what}: {why}" for what, why in dataset.skipped]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_program(main))
