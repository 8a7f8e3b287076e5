"""``python -m cookhouse``: the same as the console script."""

import sys

from cookhouse.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
