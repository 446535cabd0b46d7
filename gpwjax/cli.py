"""The command line of `gpwjax`, but for its training program. Imports nothing heavy,
so that help and wrong arguments take no time; `commands` does what is asked for."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import gpwjax
from gpwjax import training
from gpwjax.formats import DTYPES, FORMATS
from gpwjax.output import lost_text, run_program
from gpwjax.places import WEIGHTS, user_path
from gpwjax.schemes import PAPERS, SCHEMES

MOST = 10**9  # of a number; JAX's shapes end at 2**63
TOP = 5  # classes that `predict` shows


class CommandError(Exception):
    """What a person can mend; shown as one line."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command line (default: the program's own).

    Returns:
      The exit status: 0, or 1 after a line on stderr that says what is wrong.

    Raises:
      SystemExit: the arguments are wrong, status 2, or ask for help or the version.
    """
    return run_program(partial(run, args))


def run(args: Sequence[str] | None) -> int:
    options = parser().parse_args(args)
    from gpwjax import commands

    try:
        for text in getattr(commands, options.command)(options):
            print(text, flush=True)
            if lost_text() is not None:
                break
    except (CommandError, training.NoTrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Reads the arguments; `command` in its result names a function of `commands`."""
    program = argparse.ArgumentParser(
        prog="gpwjax",
        description="Image classifiers with grouped pointwise convolutions: which "
        "there are, what they cost, and what they see in pictures.",
        allow_abbrev=False,
    )
    program.add_argument("--version", action="version", version=gpwjax.__version__)
    commands = program.add_subparsers(required=True, metavar="COMMAND")
    for name, text in training.PROGRAMS.items():
        commands.add_parser(name, help=text)
    add = partial(add_command, commands)
    add_list_arguments(add("list", "list_nets", "list the nets by name"))
    text = "show the parameters and MACs of a net, and what it saves"
    add_summary_arguments(add("summary", "summarize", text))
    text = "name the classes of pictures, with their probabilities"
    add_predict_arguments(add("predict", "name_classes", text))
    text = "draw where in pictures a net sees a class"
    add_explain_arguments(add("explain", "draw_maps", text))
    text = "write a net as a file that other programs run, or as a web page"
    add_export_arguments(add("export", "export_net", text))
    return program


def add_command(
    commands: "argparse._SubParsersAction", name: str, function: str, text: str
) -> argparse.ArgumentParser:
    """A command without arguments yet."""
    command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.set_defaults(command=function)
    return command


def add_list_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `gpwjax list`."""
    command.add_argument(
        "--trained",
        action="store_true",
        help="list the trained nets that come with gpwjax, with their data, accuracy "
        "and recipe",
    )


def add_summary_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `gpwjax summary`."""
    add = command.add_argument
    add(
        "model",
        type=model_name,
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
    add(
        "--scheme",
        choices=SCHEMES,
        default=PAPERS,
        help="how the pointwise convolutions are grouped (default: %(default)s)",
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
        type=user_path,
        metavar="FILE",
        help="draw the stages into a picture: .png, .svg, .pdf, ...",
    )


def add_predict_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `gpwjax predict`."""
    command.epilog = (
        "On a CPU the file of `gpwjax export --format onnx` answers 1.5 to 2.1 times "
        "as fast in onnxruntime."
    )
    add_net_and_pictures(command)
    command.add_argument(
        "--top",
        type=positive,
        metavar="INT",
        help=f"number of classes to show (default: {TOP}, or all if there are fewer)",
    )
    command.add_argument(
        "--mirror",
        action="store_true",
        help="give the mean of the answers to each picture and to its mirror image",
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array")
    form.add_argument("--csv", action="store_true", help="print a table")


def add_explain_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `gpwjax explain`."""
    add_net_and_pictures(command)
    command.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="the class to look for (default: the one that the net finds)",
    )
    command.add_argument(
        "-o",
        "--output",
        type=user_path,
        required=True,
        metavar="OUT.png",
        help="the picture to draw: a row for each picture",
    )


def add_export_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `gpwjax export`."""
    add_net(command)
    add = command.add_argument
    add(
        "--format",
        choices=FORMATS,
        required=True,
        help="kind of file; web: a folder with a page; card: a model card",
    )
    add(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of the weights in the file (default: %(default)s); int8: of feature maps "
        "too, as --calibrate finds their ranges",
    )
    add(
        "--calibrate",
        metavar="FOLDER",
        help="of int8: pictures like those that the net is for, at any depth, or a "
        "data set by name; class folders tell how accuracy changes",
    )
    add(
        "--force",
        action="store_true",
        help="of int8: write the file though many answers change",
    )
    add(
        "--license",
        metavar="NAME",
        help="of a card: the licence of the weights (default: what their file says)",
    )
    add(
        "--uint8",
        action="store_true",
        help="the file takes uint8 images of any size and prepares them itself, "
        "instead of floats in [0, 1] of the net's size",
    )
    add(
        "-o",
        "--output",
        type=user_path,
        metavar="FILE",
        help="the file or folder to write (default: beside the weights, named as they "
        "are)",
    )


def add_net(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "weights",
        type=user_path,
        metavar="WEIGHTS",
        help=f"a file of gpwjax.save, a run folder with its {WEIGHTS}, or a "
        "name that `gpwjax list --trained` shows",
    )


def add_net_and_pictures(command: argparse.ArgumentParser) -> None:
    """A net and the pictures to show it."""
    add_net(command)
    command.add_argument(
        "pictures",
        type=user_path,
        nargs="+",
        metavar="IMAGE",
        help="a picture, or a folder in which all files are meant",
    )


def model_name(text: str) -> str:
    """The name of a net, which JAX has to be imported for."""
    if text not in gpwjax.list_models():
        allowed = ", ".join(gpwjax.list_models())
        raise argparse.ArgumentTypeError(f"must be one of {allowed}, got {text!r}")
    return text


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
