"""`python -m wmlib`: see `wmlib.tools.cli`."""

import sys

from wmlib.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
