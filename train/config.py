"""Every setting of a training run and its default, once. Imports nothing heavy."""

import dataclasses
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gpwjax.deep_pictures import is_range
from gpwjax.places import user_path
from gpwjax.schemes import PAPERS, SCHEMES, Scheme


class RunError(Exception):
    """What keeps a run from going on and a person can mend; shown as one line."""


def check(condition: bool, name: str, value: object, rule: str) -> None:
    """Raises ValueError naming the flag, its value and the rule that it breaks."""
    if not condition:
        flag = name.replace("_", "-")
        raise ValueError(f"--{flag} must be {rule}, got {value}")


def check_at_least_0(name: str, value: float) -> None:
    check(0 <= value < math.inf, name, value, "at least 0")


def check_share(name: str, value: float) -> None:
    check(0 <= value < 1, name, value, "from 0 to below 1")


def int_or(word: str) -> tyro.constructors.PrimitiveConstructorSpec:
    """How a number may be given, or None by a word: tyro has `None` for it."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"INT|{word}",
        instance_from_str=lambda text: None if text[0] == word else int(text[0]),
        is_instance=lambda value: value is None or isinstance(value, int),
        str_from_instance=lambda value: [word if value is None else str(value)],
    )


MinChannels = Annotated[int | None, int_or("none")]  # the dense net
Auto = Annotated[int | None, int_or("auto")]  # follows the data set

AutoRange = Annotated[
    str | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="LOW-HIGH|auto",
        instance_from_str=lambda text: None if text[0] == "auto" else text[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [value or "auto"],
    ),
]

# In tyro's own Path, ~ after = would be a folder of that name.
AnyPath = Annotated[
    Path | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda text: (
            None if text[0] == "None" else user_path(text[0])
        ),
        is_instance=lambda value: value is None or isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    ),
]

# A flag without a value, though it may be None.
AutoFlag = Annotated[bool | None, tyro.conf.arg(constructor=bool)]

# Several names as one value, since tyro would take all that follows for names.
Names = Annotated[
    tuple[str, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,...",
        instance_from_str=lambda text: (
            () if text[0] == "none" else tuple(text[0].split(","))
        ),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(value) or "none"],
    ),
]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image. The defaults are the paper's (Section 4)."""

    flip: bool = True
    """Flip half of the images left to right."""
    rotation: float = 20.0
    """Largest rotation, degrees."""
    shift: float = 0.3
    """Largest shift on either axis, as a share of the image's size."""
    shear: float = 0.2
    """Largest shear, degrees."""
    zoom: float = 0.3
    """Largest change of scale, on each axis for itself: 0.3 is 0.7 to 1.3."""
    channel_shift: float = 0.0
    """Largest change of brightness, the same for all channels and within the image's
    own range of values (the paper has 0.1 for Cropped-PlantDoc, none elsewhere)."""
    brightness: float = 0.0
    """Largest change of brightness by a factor, up to white: 0.5 is 0.5 to 1.5."""
    invert: bool = False
    """Invert half of the images, for drawings that are light on dark or dark on light.
    """

    def __post_init__(self) -> None:
        for name in ("rotation", "shift", "shear", "channel_shift"):
            check_at_least_0(name, getattr(self, name))
        for name in ("zoom", "brightness"):
            check_share(name, getattr(self, name))


NO_AUGMENTATION = Augmentation(flip=False, rotation=0, shift=0, shear=0, zoom=0)
NAMES = ("preset", "recipe")  # of settings that are settings themselves
HOST_SETTINGS = ("coordinator", "hosts", "host_id")  # of --distributed
WEIGHT_DECAY = {"adamw": 0.05, "sgd": 5e-4}  # of the optimizers that have one


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a net and tests it; the defaults are the paper's recipe (Section 4), but
    for the data set digits, which has its own.

    All that a run makes goes into its run folder. The same command goes on where the
    run stopped.
    """

    data: str
    """Data set: digits (scikit-learn's), cifar10, cifar100, oxford_iiit_pet,
    cropped_plantdoc, the name of a prepared TFDS set, a folder with one folder of
    images for each class, with or without train/, val/, test/, or a .csv file with the
    columns path and label."""
    data_dir: AnyPath = None
    """Where prepared TFDS sets are (default: $TFDS_DATA_DIR or ~/tensorflow_datasets).
    """
    archive: AnyPath = None
    """The data set's official archive, or the folder with its archives, to prepare it
    from (default: downloaded)."""
    archive_digest: tuple[str, ...] = ()
    """SHA-256 of archives to accept that are not the official ones."""
    split: Literal["clean", "paper"] = "clean"
    """Of cropped_plantdoc: clean, with no photograph in two parts, or the paper's."""
    recipe: Literal["own", "paper", "modern"] = "paper"
    """Whose settings are the defaults: own, for data of one's own, which is what they
    get; paper, the paper's; or modern, what has become usual since."""
    preset: str | None = None
    """A row of the paper with its whole recipe, or a modern one: --list-presets shows
    them. Other settings change what they name."""
    pad: bool | None = None
    """Black bars make pictures square, instead of a cut (None: in oxford_iiit_pet)."""
    resize: Literal["bilinear", "nearest"] = "bilinear"
    """How larger pictures are shrunk; smaller ones are enlarged by nearest neighbour.
    """
    range_16_bit: AutoRange = "0-65535"
    """Values of 16-bit pictures that are black and white; auto: the lowest and the
    highest of the training pictures. Of colours the upper 8 bits are read."""
    model: str = "mobilenet"
    """Net: one of gpwjax.list_models()."""
    min_channels: MinChannels = 16
    """Least input channels of a group in the pointwise convolutions; none: dense."""
    scheme: Scheme = PAPERS
    """How the pointwise convolutions are grouped: the paper's, or one of the authors'
    later schemes."""
    image_size: Auto = 224
    """Height and width of the images that the net sees, pixels; auto: as most pictures
    have, up to 224."""
    small_images: AutoFlag = False
    """Stride 1 in the net's first three layers of stride 2 (None: for images below 64
    pixels)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and batch statistics are float32."""
    remat: bool = False
    """Train in less memory: compute each block again for its gradient."""
    matmul_precision: Literal["default", "high", "highest"] = "default"
    """Of float32 products and convolutions on GPUs and TPUs, which may round their
    inputs: highest does not."""
    batch_norm_momentum: float | None = None
    """Decay of the running batch statistics (None: in the recipe own by the number of
    steps, else the paper's, 0.99 in MobileNet)."""
    init: AnyPath = None
    """Trained net to begin with: a weights file, a run folder, or a name that gpwjax
    list --trained shows (None: random weights). Its classifier is taken over too where
    the classes are the same."""
    freeze: Names = ()
    """Parts of the net of --init that stay as they are, such as stem,block0: weights
    and batch statistics, which are then used in training too."""
    teacher: AnyPath = None
    """Trained net, named as that of --init, whose softened answers are learned beside
    the labels; it knows the same classes (None: there is none)."""
    teacher_weight: float = 0.5
    """Share of the loss that the answers of --teacher are."""
    teacher_temperature: float = 4.0
    """By which the logits of --teacher and those of the net are divided for that."""
    epochs: Auto = 50
    """Passes over the training images; auto: by their number."""
    batch_size: Auto = 64
    """Images in a step; auto: by the number of training images."""
    class_weights: Literal["none", "balanced"] = "none"
    """Of the classes in the loss. balanced: each class counts the same, however few
    images it has."""
    best_after: float = 0.0
    """Share of the epochs after which one can be the best in validation: of few
    validation images an early one is the best by chance."""
    patience: int | None = None
    """Epochs without a better validation after which training ends (None: all are
    made)."""
    optimizer: Literal["rmsprop", "adam", "adamw", "sgd"] = "rmsprop"
    """rmsprop has the paper's constants; sgd has Nesterov's momentum."""
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float | None = None
    """Of the kernels, in adamw and sgd (None: 0.05 in adamw, 0.0005 in sgd)."""
    clip_norm: float = 0.0
    """Largest norm of the gradient, all parameters together; 0: any."""
    schedule: Literal["cycle", "cosine"] = "cycle"
    """Of the learning rate: the paper's cycle, or a fall to 0 along a cosine."""
    lr: float = 1e-3
    """Learning rate: in a cycle the first, which rises to four times as much; of a
    cosine the highest."""
    cycle_epochs: int = 25
    """Epochs of one cycle of the learning rate."""
    warmup_epochs: Auto = 0
    """Epochs in which the learning rate rises from 0, before the cosine; auto: a tenth,
    at most 5."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    mixup: float = 0.0
    """Alpha of mixup, which blends pairs of images and their labels; 0: none."""
    cutmix: float = 0.0
    """Alpha of cutmix, which pastes a piece of another image; 0: none. With mixup, a
    batch gets one of the two by chance."""
    ema: float = 0.0
    """Decay of the running mean of the weights, which then is what is validated, tested
    and saved; 0: the weights themselves."""
    augmentation: Augmentation = Augmentation()
    augment_val: bool = False
    """Augment the validation images too, as the paper did for CIFAR."""
    on_nan: Literal["stop", "skip-batch"] = "stop"
    """What a loss or gradient that is not finite does: it ends the run, or its batch
    changes nothing but the count of steps."""
    tensorboard: bool = False
    """Write event files for TensorBoard into the run folder."""
    license: str = "Apache-2.0"
    """Of the weights, which their file and their card name."""
    seed: int = 0
    """Of the weights, the order of the images, augmentation, dropout, and the split
    where the data set has none."""
    seeds: int = 1
    """Runs to make, with this seed and those that follow; their accuracies, means and
    intervals in one table."""
    distributed: bool = False
    """Train on several hosts, with this command on each of them at the same time and a
    run folder that all of them see."""
    coordinator: str | None = None
    """Of --distributed: address and free port of the first host, HOST:PORT (None: as
    the cluster says, such as Slurm or a TPU pod)."""
    hosts: int | None = None
    """Of --distributed: how many there are (None: as the cluster says)."""
    host_id: int | None = None
    """Of --distributed: the number of this one, from 0 (None: as the cluster says)."""
    run_dir: AnyPath = None
    """Run folder (default: one in runs/ named after the preset, or data and net, and
    the seed)."""

    def __post_init__(self) -> None:
        user_path(self.data)  # raises NoHomeError, a ValueError
        counts = ("image_size", "epochs", "batch_size", "patience")
        for name in (*counts, "cycle_epochs", "seeds"):
            value = getattr(self, name)
            check(value is None or value >= 1, name, value, "at least 1")
        for name in ("clip_norm", "mixup", "cutmix"):
            check_at_least_0(name, getattr(self, name))
        for name in ("momentum", "label_smoothing", "ema", "best_after"):
            check_share(name, getattr(self, name))
        if self.min_channels is not None:
            rule = "at least 1, or none for the dense net"
            check(self.min_channels >= 1, "min_channels", self.min_channels, rule)
        rule = f"one of {', '.join(SCHEMES)}"
        check(self.scheme in SCHEMES, "scheme", self.scheme, rule)
        if self.batch_norm_momentum is not None:
            check_share("batch_norm_momentum", self.batch_norm_momentum)
        for name in ("lr", "teacher_temperature"):
            value = getattr(self, name)
            check(0 < value < math.inf, name, value, "more than 0")
        share = self.teacher_weight
        check(0 <= share <= 1, "teacher_weight", share, "from 0 to 1")
        if self.range_16_bit is not None:
            rule = "two rising integers from 0 to 65535, such as 0-4095, or auto"
            right = is_range(self.values)
            check(right, "range_16_bit", self.range_16_bit, rule)
        last = 2**32 - self.seeds
        check(0 <= self.seed <= last, "seed", self.seed, f"from 0 to {last}")
        self._check_what_goes_together()

    def _check_what_goes_together(self) -> None:
        """A setting that would do nothing is an error."""
        if self.tensorboard:
            there = find_spec("tensorboardX") is not None
            rule = "left out without tensorboardX: pip install 'gpwjax[tensorboard]'"
            check(there, "tensorboard", self.tensorboard, rule)
        rule = "left out without --init"
        check(not self.freeze or bool(self.init), "freeze", ",".join(self.freeze), rule)
        for name in ("teacher_weight", "teacher_temperature"):
            value, rule = getattr(self, name), "left out without --teacher"
            is_default = value == getattr(Config, name)
            check(is_default or self.teacher is not None, name, value, rule)
        if self.scheme != PAPERS:
            rule = "left out with --min-channels none, the dense net"
            check(self.min_channels is not None, "scheme", self.scheme, rule)
        if self.weight_decay is not None:
            check_at_least_0("weight_decay", self.weight_decay)
            rule = f"left out with --optimizer {self.optimizer}, which has none"
            decays = self.optimizer in WEIGHT_DECAY
            check(decays, "weight_decay", self.weight_decay, rule)
        for name in HOST_SETTINGS:
            value = getattr(self, name)
            rule = "left out without --distributed"
            check(value is None or self.distributed, name, value, rule)
        if self.hosts is not None:
            check(self.hosts >= 1, "hosts", self.hosts, "at least 1")
        self._check_warmup()

    def _check_warmup(self) -> None:
        if self.warmup_epochs is None:
            return
        rule, most = "at least 0", math.inf
        if self.schedule != "cosine":
            rule = f"0 with --schedule {self.schedule}, which has no warm-up"
            most = 1
        elif self.epochs is not None:
            rule, most = f"from 0 to below the {self.epochs} epochs", self.epochs
        check(0 <= self.warmup_epochs < most, "warmup_epochs", self.warmup_epochs, rule)

    @property
    def values(self) -> list[int]:
        """Those of 16-bit pictures that are black and white."""
        ends = (self.range_16_bit or "").split("-")
        return [int(end) if end.isdecimal() else -1 for end in ends]

    @property
    def variant(self) -> str:
        """The paper's name of the variant: dense, 16ch, ..., or 16ch-any."""
        if self.min_channels is None:
            return "dense"
        channels = f"{self.min_channels}ch"
        return channels if self.scheme == PAPERS else f"{channels}-{self.scheme}"

    @property
    def first_best(self) -> int:
        """Number of the first epoch, from 1, that may be the best in validation."""
        return 1 + math.floor(self.best_after * (self.epochs or 0))

    @property
    def folder(self) -> Path:
        """The run folder; of several seeds, the folder of their run folders."""
        if self.run_dir is not None:
            return self.run_dir
        # The working folder is looked at only for `.`, as it may be gone.
        data = Path(self.data).name or Path(self.data).absolute().name
        name = self.preset or f"{data}-{self.model}-{self.variant}"
        if self.seeds == 1:
            return Path("runs", f"{name}-seed{self.seed}")
        return Path("runs", f"{name}-seeds{self.seed}-{self.seed + self.seeds - 1}")

    def to_json(self) -> dict[str, Any]:
        """What the result of a run depends on: all but where things are, what is to be
        done when it fails, and what else is written."""
        settings = dataclasses.asdict(self)
        for name in ("init", "teacher"):
            path = settings[name]
            settings[name] = None if path is None else str(path)
        others = ("data_dir", "archive", "archive_digest", "run_dir", "seeds", "on_nan")
        others += ("tensorboard", "distributed", *HOST_SETTINGS)
        return {name: v for name, v in settings.items() if name not in others}


def flatten(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as the command line has them, without groups."""
    flat = {}
    for name, value in settings.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat
