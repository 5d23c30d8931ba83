"""`python -m gradkern` is the command line."""

import sys

from gradkern.cli import main

if __name__ == "__main__":
    sys.exit(main())
