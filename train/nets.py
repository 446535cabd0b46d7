"""Trained nets as the programs take them: a run folder, or a weights file."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import gpwjax

from .config import RunError
from .run_folder import CONFIG, EVALUATION, WEIGHTS, has_run, read_json

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Net:
    """A trained net, and how its data set is named and split.

    Attributes:
      file: the weights file; of an unfinished run the folder.
      run: the folder of the run that made it, if there is one.
      classifier: the content of the file.
      settings: of the run, or what the file says in their place.
    """

    file: Path
    run: Path | None
    classifier: gpwjax.Classifier
    settings: dict[str, Any]

    @property
    def report_folder(self) -> Path:
        """Where reports go if nothing else is said."""
        if self.run is not None:
            return self.run / EVALUATION
        return self.file.with_name(f"{self.file.stem}-evaluation")


def load_net(path: Path) -> Net:
    """Reads a run folder, or what else `gpwjax.load` takes. Of a run that is not
    finished it takes the best epoch so far, and says so.

    Raises:
      RunError: it is neither, or no epoch is finished.
    """
    run = path if path.is_dir() else None
    # The file of a run is as good as its folder: without the run's seed, images that
    # the net was trained on might be tested.
    if path.name == WEIGHTS and has_run(path.parent):
        run = path.parent
    file = path if run is None else run / WEIGHTS
    if run is not None and not file.is_file():
        if not has_run(run):
            raise RunError(f"{run} is no run folder: it holds no {WEIGHTS}")
        from .unfinished import best_net  # what is finished does without

        net, epoch = best_net(run)
        log.warning(
            "the run in %s is not finished: taking the net of epoch %d, the best in "
            "validation so far",
            run,
            epoch,
        )
        return Net(run, run, net, net.metadata | read_json(run / CONFIG))
    try:
        classifier = gpwjax.load(file)
    except ValueError as error:
        raise RunError(str(error)) from error
    config = {} if run is None else read_json(run / CONFIG)
    return Net(file, run, classifier, classifier.metadata | config)


def load_given(option: str, path: Path) -> gpwjax.Classifier:
    """The net that an option of a run names, as `load_net` reads it.

    Raises:
      RunError: it cannot be read; the message begins with the option.
    """
    try:
        return load_net(path).classifier
    except (RunError, OSError) as error:
        raise RunError(f"{option}: {error}") from error
