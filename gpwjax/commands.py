"""What the commands of `gpwjax` do; `cli` reads their arguments."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax

import gpwjax
from gpwjax import explain, predict, summary, trained, training
from gpwjax.cli import TOP, CommandError
from gpwjax.devices import NoDevicesError, start_jax
from gpwjax.export import command as export
from gpwjax.inference import NOT_FINITE, NotFiniteError, value_range
from gpwjax.picture_files import find_pictures
from gpwjax.pictures import UnreadableImageError, read_image
from gpwjax.places import CONFIG, WEIGHTS

MOST_ROWS = 100  # of a drawing, so that people can look at it
ENDINGS = {"card": "md"}  # of files, where a format's name is none
NOTHING_READ = "no picture could be read"
NO_ANSWER = "the net answers with numbers that are not finite"


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
    shown = map(repr, near or classes)  # in one line, whatever they hold
    hint = f"did you mean {' or '.join(shown)}?" if near else ", ".join(shown)
    raise CommandError(
        f"--class must be one of the net's classes, got {name!r}; {hint}"
    )
