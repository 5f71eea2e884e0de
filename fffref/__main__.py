"""`python -m fffref` is the command `fffref`."""

import sys

from .cli import main

sys.exit(main())
