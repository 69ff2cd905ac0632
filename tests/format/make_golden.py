"""Write the golden files of the current format version: ``python -m tests.format.make_golden``.

They are written once, when a version of the format is released, and never again: the test is that the code of
today reads and writes what was written then. So this refuses to replace a file that is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from secateur.format.metadata import VERSION
from secateur.format.model import Model
from secateur.format.writer import write_model
from tests.format.samples import every_node_model, log_softmax_model, small_model, wide_model

FOLDER = Path(__file__).resolve().parent.parent / "data" / "golden"
MODELS: dict[str, Callable[[], Model]] = {
    "small-float32": lambda: small_model("float32"),
    "small-float16": lambda: small_model("float16"),
    "small-bfloat16": lambda: small_model("bfloat16"),
    "wide-gaps": wide_model,
    "every-node": every_node_model,
    "log-softmax": log_softmax_model,
}


def main() -> int:
    """Write what is not there yet."""
    folder = FOLDER / f"v{VERSION}"
    there = [name for name in MODELS if (folder / f"{name}.secateur").exists()]
    for name, model in MODELS.items():
        if name not in there:
            write_model(folder / f"{name}.secateur", model())
    if there:
        print(f"left as they are: {', '.join(there)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
