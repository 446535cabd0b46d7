"""What stays the same from the first to the last step of a run, each made once."""

import dataclasses
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
import optax
from flax import linen as nn

import gpwjax

from .config import NO_AUGMENTATION, Config
from .data import Dataset
from .optimizer import make_optimizer, make_schedule
from .step import EvalSettings, StepSettings
from .teacher import Teacher


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's settings, data and net, and what follows from them.

    Attributes:
      config: all settings, those that follow the data set too.
      dataset: what is trained on and tested with.
      model: the net, for the data set's classes.
      source: the trained net of `--init`, where it was read.
      teacher: that of `--teacher`.
    """

    config: Config
    dataset: Dataset
    model: nn.Module
    source: gpwjax.Classifier | None = None
    teacher: gpwjax.Classifier | None = None

    @property
    def folder(self) -> Path:
        return self.config.folder

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches only."""
        return len(self.dataset.train) // self.config.batch_size

    @cached_property
    def counts(self) -> gpwjax.Counts:
        """Raises ValueError where the images are too small for the net."""
        size = self.config.image_size
        return gpwjax.count(self.model, (size, size, 3))

    @cached_property
    def schedule(self) -> optax.Schedule:
        """The learning rate of a step (from 0)."""
        return make_schedule(self.config, self.steps_per_epoch)

    @cached_property
    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        return make_optimizer(self.config, self.schedule)

    @cached_property
    def keys(self) -> dict[str, jax.Array]:
        """A random key for each use."""
        uses = ("init", "order", "step", "val")
        keys = jax.random.split(jax.random.key(self.config.seed), len(uses))
        return dict(zip(uses, keys, strict=True))

    @cached_property
    def step_settings(self) -> StepSettings:
        return StepSettings.of(self.config)

    @cached_property
    def validation_settings(self) -> EvalSettings:
        changes = self.config.augmentation
        return EvalSettings(
            self.dataset.stored_size,
            self.config.image_size,
            changes if self.config.augment_val else NO_AUGMENTATION,
        )

    @cached_property
    def class_weights(self) -> np.ndarray | None:
        """(classes,) weight of each class in the loss, 1 on average over the training
        images; None: all have the same."""
        if self.config.class_weights == "none":
            return None
        data = self.dataset
        counts = np.array([*data.class_counts(data.train).values()])
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)

    @cached_property
    def teaching(self) -> Teacher | None:
        """What the train step needs of the teacher."""
        if self.teacher is None:
            return None
        config = self.config
        weight, temperature = config.teacher_weight, config.teacher_temperature
        return Teacher.of(self.teacher, weight, temperature)

    @property
    def chance(self) -> float:
        """Accuracy in validation of naming its largest class always."""
        counts = self.dataset.class_counts(self.dataset.val).values()
        return max(counts) / sum(counts)
