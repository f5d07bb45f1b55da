"""`python -m cloche` is the command `cloche`."""

import sys

from cloche.cli.main import main

sys.exit(main())
