"""The best net so far of a run that is not finished."""

from pathlib import Path

import jax
import numpy as np

import gpwjax
from gpwjax.weights import model_settings

from .checkpoints import read_best
from .data import load_dataset
from .optimizer import make_optimizer, make_schedule
from .origin import about_net, with_own_data
from .run_folder import read_config, read_origin
from .start import expected_state, make_model


def best_net(folder: Path) -> tuple[gpwjax.Classifier, int]:
    """The net of the best epoch of a run so far, and the number of that epoch.

    Raises:
      RunError: no epoch is finished, or its checkpoint cannot be read; an older run
        does not say its classes, and its data set is not there.
    """
    config = read_config(folder)
    about = read_origin(folder).get("net")
    if about is None:  # older code did not write it
        about = about_net(load_dataset(with_own_data(folder, config)))
    model = make_model(config, len(about["classes"]))
    optimizer = make_optimizer(config, make_schedule(config, steps_per_epoch=1))
    like = expected_state(config, model, optimizer)
    state, metrics = read_best(folder, like, config.first_best)
    about |= {"image_size": config.image_size, "model": model_settings(model)}
    variables = jax.tree.map(np.asarray, state.tested_variables)
    return gpwjax.Classifier(model, variables, about), int(metrics["epoch"])
