"""``python -m secateur``, and ``torchrun -m secateur`` where several processes share a run."""

import sys

from secateur.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
