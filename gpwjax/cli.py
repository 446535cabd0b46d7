"""The command `gpwjax`: which nets there are, what they cost, and what they see."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax

import gpwjax
from gpwjax import explain, predict, summary, trained, training
from gpwjax.devices import NoDevicesError, start_jax
from gpwjax.export import command as export
from gpwjax.inference import NOT_FINITE, NotFiniteError, value_range
from gpwjax.output import lost_text, run_program
from gpwjax.picture_files import find_pictures
from gpwjax.pictures import UnreadableImageError, read_image
from gpwjax.places import CONFIG, WEIGHTS, user_path
from gpwjax.schemes import PAPERS, SCHEMES

MOST = 10**9  # of a number; JAX's shapes end at 2**63
ENDINGS = {"card": "md"}  # of files, where a format's name is none
TOP = 5  # classes that `predict` shows
MOST_ROWS = 100  # of a drawing, so that people can look at it
NOTHING_READ = "no picture could be read"
NO_ANSWER = "the net answers with numbers that are not finite"

Command = Callable[[argparse.Namespace], Iterator[str]]


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
    try:
        for text in options.command(options):
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
    """Reads the arguments; `command` in its result is the function to call."""
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
    add_list_arguments(add("list", list_nets, "list the nets by name"))
    text = "show the parameters and MACs of a net, and what it saves"
    add_summary_arguments(add("summary", summarize, text))
    text = "name the classes of pictures, with their probabilities"
    add_predict_arguments(add("predict", name_classes, text))
    text = "draw where in pictures a net sees a class"
    add_explain_arguments(add("explain", draw_maps, text))
    text = "write a net as a file that other programs run, or as a web page"
    add_export_arguments(add("export", export_net, text))
    return program


def add_command(
    commands: "argparse._SubParsersAction", name: str, function: Command, text: str
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
        choices=export.FORMATS,
        required=True,
        help="kind of file; web: a folder with a page; card: a model card",
    )
    add(
        "--dtype",
        choices=export.DTYPES,
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


def list_nets(options: argparse.Namespace) -> Iterator[str]:
    """A line for each net: its name and what it is; or the cards of trained nets."""
    if options.trained:
        yield from trained.cards()
        return
    names = gpwjax.list_models()
    width = max(map(len, names))
    # Not their parameters: to count all nets takes 20 s.
    for name in names:
        about = summary.describe(gpwjax.create_model(name, classes=10))
        yield f"{name:{width}}  {about}"


def summarize(options: argparse.Namespace) -> Iterator[str]:
    """The tables of a net; draws the picture if that is asked for.

    Raises:
      CommandError: the net does not take such images, or there can be no such picture.
    """
    # Shapes need no accelerator: leave its memory to those who do.
    jax.config.update("jax_platforms", "cpu")
    try:
        if options.plot:
            summary.check_picture(options.plot)
        counted = summary.summarize(
            options.model,
            options.classes,
            options.min_channels,
            options.image_size,
            options.small_images,
            options.scheme,
        )
    except ValueError as error:
        raise CommandError(error) from error
    if options.plot:
        with writing(options.plot):
            summary.write_picture(counted, options.plot)
    yield summary.report(counted)
    if options.plot:
        yield f"\nThe picture is in {options.plot}"


def name_classes(options: argparse.Namespace) -> Iterator[str]:
    """The most probable classes of each picture.

    Raises:
      CommandError: there are no such pictures or no such net, or the net has fewer
        classes; at the end: no picture has an answer.
    """
    files = find_files(options.pictures)
    classifier = load_net(options.weights)
    classes = classifier.classes
    top = options.top or min(TOP, len(classes))
    if top > len(classes):
        raise CommandError(
            f"--top must be at most {len(classes)}, the number of the net's classes, "
            f"got {top}"
        )
    unread: list[str] = []
    found = predict.answers(classifier, files, top, options.mirror)
    answers = with_warnings(found, unread)
    if options.json:
        yield from predict.as_json(answers)
    elif options.csv:
        yield from predict.as_csv(answers)
    else:
        yield from predict.as_text(answers, max(map(len, classes)))
    if len(unread) == len(files):
        raise CommandError(NO_ANSWER if NOT_FINITE in unread else NOTHING_READ)


def draw_maps(options: argparse.Namespace) -> Iterator[str]:
    """Draws the class activation map of each picture.

    Raises:
      CommandError: there are no such pictures, no such net or no such class, no
        picture can be read, or the drawing cannot be written.
    """
    check_drawing(options.output)
    files = find_files(options.pictures)
    if len(files) > MOST_ROWS:
        raise CommandError(
            f"at most {MOST_ROWS} pictures fit into a drawing, got {len(files):,}"
        )
    classifier = load_net(options.weights)
    number = class_number(options.class_name, classifier.classes)
    values = value_range(classifier.metadata)
    rows, unread = [], []
    for file in files:
        try:
            image = read_image(file, values=values)
            rows.append(explain.draw(classifier, image, str(file), number))
        except (UnreadableImageError, NotFiniteError) as error:
            reason = NOT_FINITE if isinstance(error, NotFiniteError) else str(error)
            warn(file, reason)
            unread.append(reason)
    if not rows:
        raise CommandError(NO_ANSWER if NOT_FINITE in unread else NOTHING_READ)
    with writing(options.output):
        explain.write(rows, options.output)
    if note := explain.size_of_a_map(classifier):
        print(note, file=sys.stderr)
    yield f"The picture is in {options.output}"


def export_net(options: argparse.Namespace) -> Iterator[str]:
    """Writes a net in another format, and says how well its answers agree.

    Raises:
      CommandError: there is no such net, a package is missing, the file cannot be
        written, it answers otherwise than the net, or options do not go together.
    """
    try:
        export.check(options)
    except ValueError as error:
        raise CommandError(error) from error
    classifier = load_net(options.weights)
    if options.weights.is_dir():
        options.weights = options.weights / WEIGHTS
    ending = ENDINGS.get(options.format, options.format)
    file = options.output or options.weights.with_suffix(f".{ending}")
    try:
        with writing(file):
            text = export.write(classifier, file, options)
    except ImportError as error:
        raise CommandError(
            f"{error}: pip install 'gpwjax[export]' brings what --format "
            f"{options.format} needs"
        ) from error
    except (ValueError, training.NoTrainingError) as error:
        raise CommandError(error) from error
    yield text


def with_warnings(
    answers: Iterable[predict.Answer], unread: list[str]
) -> Iterator[predict.Answer]:
    """The answers; which pictures have none is told, and why is put into `unread`."""
    for answer in answers:
        if answer.error is not None:
            warn(answer.path, answer.error)
            unread.append(answer.error)
        yield answer


def warn(file: Path, reason: str) -> None:
    """Says on stderr that a picture is left out."""
    print(f"left out: {file} {reason}", file=sys.stderr)


def check_drawing(file: Path) -> None:
    """Raises CommandError where no drawing can be written to that file."""
    if file.suffix.lower() != ".png":
        raise CommandError(f"a drawing's name must end in .png, got {file}")
    if not file.parent.is_dir():
        raise CommandError(f"cannot write {file}: there is no folder {file.parent}")


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Raises CommandError where the file cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"cannot write {file}: {reason}") from error


def find_files(paths: Sequence[Path]) -> list[Path]:
    """As `find_pictures`; raises CommandError where that fails."""
    try:
        return find_pictures(paths)
    except ValueError as error:
        raise CommandError(error) from error
    except OSError as error:
        raise CommandError(f"cannot list {error.filename}: {error.strerror}") from error


def load_net(path: Path) -> gpwjax.Classifier:
    """The net that is meant, as of `gpwjax.load`, with JAX's cache of programs.

    Raises:
      CommandError: there is none, or it is broken, or there are no devices.
    """
    try:
        start_jax()
        unfinished = path.is_dir() and not (path / WEIGHTS).exists()
        if unfinished and (path / CONFIG).is_file():
            return training.unfinished_net(path)
        return gpwjax.load(path)
    except (NoDevicesError, OSError, ValueError) as error:
        raise CommandError(error) from error


def class_number(name: str | None, classes: Sequence[str]) -> int | None:
    """The number of the class of that name; None for None.

    Raises:
      CommandError: there is none.
    """
    if name is None or name in classes:
        return None if name is None else classes.index(name)
    near = difflib.get_close_matches(name, classes)
    hint = f"did you mean {' or '.join(near)}?" if near else ", ".join(classes)
    raise CommandError(
        f"--class must be one of the net's classes, got {name!r}; {hint}"
    )
