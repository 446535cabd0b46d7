"""Event files for TensorBoard."""

from typing import Any

import numpy as np
from PIL import Image

from .data.sheet import draw_sheet
from .process.hosts import is_first
from .run import Run
from .run_folder import CONFUSION, HEATMAPS, TENSORBOARD

PICTURES = (HEATMAPS, CONFUSION)
NOT_SCALARS = ("epoch", "step")  # columns of metrics.csv


class Events:
    """Writes the event files of a run, where `--tensorboard` asks for them.

    Of several hosts the first one writes.
    """

    def __init__(self, run: Run, step: int):
        """
        Args:
          step: after which the run begins or goes on. TensorBoard then shows nothing
            of later steps that the run made before, since it makes them again.
        """
        self._folder = run.folder
        self._writer = None
        if not (run.config.tensorboard and is_first()):
            return
        from tensorboardX import SummaryWriter  # of an extra

        self._writer = SummaryWriter(str(run.folder / TENSORBOARD), purge_step=step + 1)
        if step == 0:
            self._image("training images", draw_sheet(run.dataset, run.config), 0)

    def loss(self, step: int, loss: float) -> None:
        """Takes the loss of a step, counted from 1."""
        if self._writer is not None:
            self._writer.add_scalar("step/loss", loss, step)

    def epoch(self, row: dict[str, Any]) -> None:
        """Takes a row of metrics.csv: the learning rate, and means over the epoch."""
        if self._writer is None:
            return
        for name in row.keys() - set(NOT_SCALARS):
            self._writer.add_scalar(f"epoch/{name}", row[name], row["step"])
        self._writer.flush()

    def pictures(self, step: int) -> None:
        """Takes what the run has drawn at its end, after this step."""
        for file in (self._folder / name for name in PICTURES):
            if self._writer is None or not file.is_file():  # it could not be drawn
                continue
            with Image.open(file) as picture:
                self._image(file.stem, picture, step)

    def _image(self, name: str, picture: Image.Image, step: int) -> None:
        pixels = np.asarray(picture.convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
