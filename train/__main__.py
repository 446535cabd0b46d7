"""`gpwjax train`: trains a net and tests it. `--help` lists the settings."""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from gpwjax.memory import keep_memory
from gpwjax.output import run_program

from .command_line import parse_run
from .config import Config, RunError
from .process.runtime import start_jax, start_logging
from .process.stop import Stopped, StopRequest

log = logging.getLogger(__package__)


def main(args: Sequence[str] | None = None, prog: str = "python -m train") -> int:
    """Runs the program; the exit status."""
    config = parse_run(sys.argv[1:] if args is None else args, prog)
    keep_memory()
    start_logging()
    stop = StopRequest()
    try:
        run(config, stop)
        return 0
    except Stopped as stopped:
        log.info("%s; the same command goes on from there", stopped)
        return stopped.exit_status
    # The system's errors name the file: a full disk, a folder that is gone.
    except (RunError, OSError) as error:
        message = str(error)
    except Exception as error:
        if not config.distributed:
            raise
        traceback.print_exc()
        message = (
            f"{error}. Another host may have stopped: start all of them again with "
            "the same command, and the run goes on from its last checkpoint"
        )
    finally:
        stop.end()
    print(f"error: {message}", file=sys.stderr, flush=True)
    if config.distributed:
        os._exit(1)  # else it waits minutes for the other hosts, which need its end
    return 1


def run(config: Config, stop: StopRequest) -> None:
    """Trains, with one seed or several, and says how well the nets do."""
    # Imported here, since JAX and all that it needs take seconds.
    if config.distributed:
        from .process.hosts import connect

        connect(config)
    from tqdm.contrib.logging import logging_redirect_tqdm

    from .loop import fit
    from .seeds import fit_seeds

    devices = start_jax()
    log.info(
        "training %s %s on %s in %s, with %s",
        config.model,
        config.variant,
        config.data,
        config.folder,
        devices,
    )
    with logging_redirect_tqdm():
        if config.seeds > 1:
            log.info(fit_seeds(config, stop))
            return
        result = fit(config, stop)
    log.info(
        "test accuracy %.2f%% on %s images%s; everything is in %s",
        100 * result["test_accuracy"],
        f"{result['test_images']:,}",
        balance(result),
        config.folder,
    )


def balance(result: dict[str, Any]) -> str:
    """How evenly the classes do, where the run's code has recorded it."""
    if "balanced_accuracy" not in result:
        return ""
    ((name, recall),) = result["lowest_recall"].items()
    return (
        f", balanced {result['balanced_accuracy']:.2%} (least of {name!r}, "
        f"{recall:.2%})"
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
