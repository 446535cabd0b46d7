"""Ctrl-C, SIGTERM and a closed terminal: asked to stop, a run saves first."""

import signal
from types import FrameType

HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The run was asked to stop. Not an Exception, so nothing takes it for an error.

    Attributes:
      exit_status: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, as shells
        have it.
    """

    def __init__(self, signum: int, message: str = ""):
        super().__init__(message or f"stopped by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


class StopRequest:
    """Remembers a signal. Until `postpone()`, and at the second one, it raises Stopped
    at once."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._postponed = False
        signals = [*SIGNALS]
        # With nohup it is ignored.
        if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
            signals.append(HANGUP)
        self._before = {
            signum: signal.signal(signum, self._handle) for signum in signals
        }

    def postpone(self) -> None:
        """From now on a signal is only remembered: the caller looks at `signum`."""
        self._postponed = True

    def end(self) -> None:
        """Gives the signals back: a notebook goes on after the run."""
        for signum, handler in self._before.items():
            if handler is not None:  # else it is not Python's
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._postponed or self.signum is not None:
            raise Stopped(signum)
        self.signum = signum
