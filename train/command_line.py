"""From the arguments of `gpwjax train` to a configuration."""

import argparse
import dataclasses
import difflib
from collections.abc import Sequence
from functools import cache
from typing import Annotated, NoReturn, get_type_hints

import docstring_parser
import tyro

from gpwjax.places import NoHomeError, user_path

from .config import Augmentation, Config, RunError
from .presets import default_settings, preset_table, presets
from .run_folder import has_run, of_seed, read_config, read_place

# Headings of the help -> settings under them, those that most people need first.
GROUPS: dict[str, tuple[str, ...]] = {
    "data": (
        *("data", "image_size", "data_dir", "pad", "resize", "split"),
        *("range_16_bit", "archive", "archive_digest"),
    ),
    "net": (
        *("model", "min_channels", "scheme", "small_images", "init", "freeze"),
        *("dtype", "remat", "matmul_precision", "batch_norm_momentum"),
    ),
    "recipe": (
        *("recipe", "preset", "epochs", "batch_size", "lr", "class_weights"),
        *("patience", "best_after", "optimizer", "momentum", "weight_decay"),
        *("clip_norm", "schedule", "cycle_epochs", "warmup_epochs"),
        *("label_smoothing", "mixup", "cutmix", "ema", "augment_val"),
        *("teacher", "teacher_weight", "teacher_temperature"),
    ),
    "augmentation": tuple(field.name for field in dataclasses.fields(Augmentation)),
    "run": ("run_dir", "seed", "seeds", "on_nan", "tensorboard", "license"),
    "hosts": ("distributed", "coordinator", "hosts", "host_id"),
}
ABOUT = (
    "Trains a net and tests it. Own pictures need no more than --data; --model, "
    "--min-channels, --epochs and --run-dir are what most people set.\n\n"
    "All that a run makes goes into its run folder. The same command goes on where the "
    "run stopped; what it leaves out is as the run has it. A new run of digits has its "
    "own recipe, one of the paper's data sets the paper's (Section 4), any other the "
    "one for own pictures."
)


def parse(args: Sequence[str], prog: str = "gpwjax train") -> Config:
    """The configuration of a command line. A wrong one ends the program, status 2."""
    first = read_first(args, prog)
    if first.list_presets:
        print(preset_table())
        raise SystemExit(0)
    if first.preset is None:
        return with_defaults(args, prog, default_settings(first.data, first.recipe))
    return with_defaults(args, prog, presets()[first.preset])


def parse_run(args: Sequence[str], prog: str = "gpwjax train") -> Config:
    """As `parse`, but what the arguments leave out is as the run folder has it, where a
    run has begun there."""
    config, first = parse(args, prog), read_first(args, prog)
    folder = config.folder if config.seeds == 1 else of_seed(config.folder, config.seed)
    if not has_run(folder):
        return config
    try:
        begun = read_config(folder)
        place = read_place(folder)
    except RunError as error:
        fail(prog, str(error))
    # Of another recipe all is other, not only what is named.
    names = (first.preset, begun.preset), (first.recipe, begun.recipe)
    if any(given is not None and given != of_run for given, of_run in names):
        return config
    # What is no result of the run is not in its settings.
    begun = dataclasses.replace(begun, data=place or begun.data, seed=config.seed)
    return with_defaults(args, prog, begun)


def read_first(args: Sequence[str], prog: str) -> argparse.Namespace:
    """The arguments that the defaults of the others depend on."""
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--data")
    parser.add_argument("--recipe")
    parser.add_argument("--preset")
    parser.add_argument("--list-presets", action="store_true")
    first, _ = parser.parse_known_args(args)
    try:
        user_path(first.data or "")
    except NoHomeError as error:
        fail(prog, f"--data: {error}")
    if first.preset is not None and first.preset not in presets():
        fail(prog, unknown_preset(first.preset))
    if None not in (first.preset, first.recipe):
        fail(
            prog,
            "--recipe must be left out with --preset, which has a whole recipe, got "
            f"{first.recipe}",
        )
    return first


def unknown_preset(name: str) -> str:
    near = difflib.get_close_matches(name, presets(), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"--preset must be one of those of --list-presets, got {name!r}{hint}"


def with_defaults(args: Sequence[str], prog: str, default: Config) -> Config:
    """The configuration of a command line that changes a default."""
    kinds = grouped_settings()
    settings = dataclasses.asdict(default)
    settings |= settings.pop("augmentation")
    groups = {
        group: kind(**{name: settings[name] for name in GROUPS[group]})
        for group, kind in kinds.items()
    }
    fields = [
        (group, Annotated[kind, tyro.conf.OmitArgPrefixes])
        for group, kind in kinds.items()
    ]
    settings_in_groups = dataclasses.make_dataclass("Settings", fields)
    found = tyro.cli(
        settings_in_groups,
        default=settings_in_groups(**groups),
        args=args,
        prog=prog,
        description=ABOUT,
    )
    parts = {group: vars(getattr(found, group)) for group in kinds}
    try:
        augmentation = Augmentation(**parts.pop("augmentation"))
        flat = {name: x for part in parts.values() for name, x in part.items()}
        return Config(**flat, augmentation=augmentation)
    except ValueError as error:
        fail(prog, str(error))


@cache
def grouped_settings() -> dict[str, type]:
    """Heading -> a dataclass of the settings under it, with their help."""
    hints, docs = {}, {}
    for kind in (Config, Augmentation):
        hints |= get_type_hints(kind, include_extras=True)
        for param in docstring_parser.parse_from_object(kind).params:
            docs[param.arg_name] = " ".join(param.description.split())
    return {
        group: dataclasses.make_dataclass(
            group,
            [
                (name, Annotated[hints[name], tyro.conf.arg(help=docs[name])])
                for name in names
            ],
        )
        for group, names in GROUPS.items()
    }


def fail(prog: str, message: str) -> NoReturn:
    """Ends the program as argparse does, with status 2."""
    argparse.ArgumentParser(prog=prog, usage=f"{prog} [--help] [OPTIONS]").error(
        message
    )
