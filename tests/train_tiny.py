"""`python -m train` with --model tiny, the net of the tests that compiles quickly."""

import sys

from made_nets import Tiny

from gpwjax.models import MODELS
from gpwjax.output import run_program
from train.__main__ import main

MODELS["tiny"] = Tiny

if __name__ == "__main__":
    sys.exit(run_program(main))
