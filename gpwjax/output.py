"""What a program says, to whom it may concern: closed, full or narrow streams end no
program, and the exit status tells that its text was lost."""

import contextlib
import io
import os
import sys
from collections.abc import Callable

STREAMS = {"stdout": 1, "stderr": 2}


class Unfailing(io.FileIO):
    """A file that takes all that is written to it, also where that is lost.

    Attributes:
      error: that of the first write that failed, after which no other is tried.
    """

    error: OSError | None = None

    def write(self, content: bytes) -> int:
        if self.error is None:
            try:
                return super().write(content)
            except OSError as error:
                self.error = error
        return len(content)


def run_program(main: Callable[[], int]) -> int:
    """Runs a program, whatever its output is; its exit status.

    A text that could not be written makes it 1, and a line on stderr says why, unless
    who reads has seen enough, as `head` does. Lost lines of stderr are forgiven.

    Raises:
      SystemExit: the program did, as for wrong arguments.
    """
    use_unfailing_streams()
    try:
        return status_with_output(main())
    except SystemExit as end:
        raise SystemExit(status_with_output(end.code)) from None


def status_with_output(status: int | None) -> int:
    """The status of a program, or 1 where its text was lost."""
    error = lost_text()
    if error is None:
        return status or 0
    if not isinstance(error, BrokenPipeError):
        print(f"error: cannot write the text: {error.strerror}", file=sys.stderr)
    return status or 1


def use_unfailing_streams() -> None:
    """Replaces stdout and stderr, unless somebody did already, as notebooks do.

    A file may have a name that is no text, and a terminal may lack characters: those
    are written as in Python.
    """
    # What is opened next must not take the number of a stream that is closed: what
    # libraries write to stderr would go into that file.
    while (free := os.open(os.devnull, os.O_RDONLY)) <= max(STREAMS.values()):
        pass
    os.close(free)
    for name, descriptor in STREAMS.items():
        stream = getattr(sys, name)
        if stream is not None and stream is not getattr(sys, f"__{name}__"):
            if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
                stream.reconfigure(errors="backslashreplace")
            continue
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
        raw = Unfailing(descriptor, "w", closefd=False)
        unfailing = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=getattr(stream, "encoding", "utf-8"),
            errors="backslashreplace",
            line_buffering=name == "stderr" or raw.isatty(),
        )
        setattr(sys, name, unfailing)


def lost_text() -> OSError | None:
    """Why text on stdout was lost; None where none was."""
    with contextlib.suppress(ValueError):  # it is closed
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return getattr(raw, "error", None)
