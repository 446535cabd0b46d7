"""python -m train: trains a net and tests it. `--help` lists the settings."""

import sys

from train.command_line import parse
from train.config import RunError
from train.runtime import (
    keep_memory,
    quieten_absl,
    start_logging,
    use_compilation_cache,
)
from train.stop import Stopped, StopRequest


def main() -> int:
    """Runs the program; the exit status."""
    keep_memory()
    config = parse(sys.argv[1:])
    log = start_logging()
    log.info(
        "training %s %s on %s in %s",
        config.model,
        config.variant,
        config.data,
        config.folder,
    )
    stop = StopRequest()
    try:
        # Imported here, since JAX and all that it needs take seconds.
        from tqdm.contrib.logging import logging_redirect_tqdm

        from train.loop import fit
        from train.seeds import fit_seeds

        quieten_absl()
        use_compilation_cache()
        with logging_redirect_tqdm():
            if config.seeds > 1:
                log.info(fit_seeds(config, stop))
                return 0
            result = fit(config, stop)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        log.info("%s; the same command goes on from there", stopped)
        return stopped.exit_status
    log.info(
        "test accuracy %.2f%% on %s images; everything is in %s",
        100 * result["test_accuracy"],
        f"{result['test_images']:,}",
        config.folder,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
