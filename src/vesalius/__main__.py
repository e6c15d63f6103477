"""`python -m vesalius` is `vesalius`."""

import sys

from vesalius.cli import main

sys.exit(main())
