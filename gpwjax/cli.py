"""The command `gpwjax`: which nets there are, and what they cost."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax

import gpwjax
from gpwjax import summary

MOST = 10**9  # of a number; JAX's shapes end at 2**63


class CommandError(Exception):
    """What a person can mend; shown as one line."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command line (default: the program's own).

    Returns:
      The exit status: 0, or 1 after a line on stderr that says what is wrong.

    Raises:
      SystemExit: the arguments are wrong, status 2, or ask for help or the version.
    """
    options = parser().parse_args(args)
    # Shapes need no accelerator: leave its memory to those who do.
    jax.config.update("jax_platforms", "cpu")
    try:
        text = options.command(options)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        print(text, flush=True)
    except OSError as error:
        # Python flushes once more at its exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A broken pipe is no error: whoever reads has seen enough, as `head` does.
        if not isinstance(error, BrokenPipeError):
            print(f"error: cannot write the text: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Reads the arguments; `command` in its result is the function to call."""
    program = argparse.ArgumentParser(
        prog="gpwjax",
        description="Image classifiers with grouped pointwise convolutions: which "
        "there are, and what they cost.",
        allow_abbrev=False,
    )
    program.add_argument("--version", action="version", version=gpwjax.__version__)
    commands = program.add_subparsers(required=True, metavar="COMMAND")
    text = "list the nets by name"
    command = commands.add_parser("list", help=text, description=text)
    command.set_defaults(command=list_nets)
    text = "show the parameters and MACs of a net, and what it saves"
    command = commands.add_parser(
        "summary", help=text, description=text, allow_abbrev=False
    )
    command.set_defaults(command=summarize)
    add_summary_arguments(command)
    return program


def add_summary_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `gpwjax summary`."""
    add = command.add_argument
    add(
        "model",
        choices=gpwjax.list_models(),
        metavar="MODEL",
        help="a name that `gpwjax list` shows",
    )
    add(
        "--min-channels",
        type=positive_or_none,
        default=16,
        metavar="INT|none",
        help="least input channels of a group in the pointwise convolutions; none: the "
        "dense net (default: %(default)s)",
    )
    number = partial(add, type=positive, metavar="INT")
    number(
        "--image-size",
        default=224,
        help="height and width of the images, pixels (default: %(default)s)",
    )
    number("--classes", default=10, help="number of classes (default: %(default)s)")
    add(
        "--small-images",
        action="store_true",
        help="stride 1 in the net's first three layers of stride 2",
    )
    add(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw the stages into a picture: .png, .svg, .pdf, ...",
    )


def positive(text: str) -> int:
    """An integer from 1 to MOST."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(
            f"must be an integer from 1 to {MOST:,}, got {text!r}"
        )
    return value


def positive_or_none(text: str) -> int | None:
    """None for "none", else as `positive`."""
    return None if text == "none" else positive(text)


def list_nets(options: argparse.Namespace) -> str:
    """A line for each net: its name and what it is."""
    names = gpwjax.list_models()
    width = max(map(len, names))
    # Not their parameters: to count all nets takes 20 s.
    return "\n".join(
        f"{name:{width}}  {summary.describe(gpwjax.create_model(name, classes=10))}"
        for name in names
    )


def summarize(options: argparse.Namespace) -> str:
    """The tables of a net; draws the picture if that is asked for.

    Raises:
      CommandError: the net does not take such images, or there can be no such picture.
    """
    try:
        if options.plot:
            summary.check_picture(options.plot)
        counted = summary.summarize(
            options.model,
            options.classes,
            options.min_channels,
            options.image_size,
            options.small_images,
        )
    except ValueError as error:
        raise CommandError(error) from error
    text = summary.report(counted)
    if not options.plot:
        return text
    try:
        summary.write_picture(counted, options.plot)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"cannot write {options.plot}: {reason}") from error
    return f"{text}\n\nThe picture is in {options.plot}"
