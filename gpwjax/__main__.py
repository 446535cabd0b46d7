"""python -m gpwjax: the command `gpwjax`."""

import sys

from gpwjax.cli import main

sys.exit(main())
