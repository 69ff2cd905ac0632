"""TensorBoard scalars of a run, from its log."""

from __future__ import annotations

import json
from pathlib import Path

from secateur.errors import MissingExtraError


def write_scalars(folder: Path) -> None:
    """Write loss, validation error, learning rate and density of every epoch of a run.

    Args:
        folder: The run's folder; the scalars go to ``tensorboard`` within it.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            '--tensorboard needs the package tensorboard: pip install "secateur[tensorboard]"'
        ) from error
    with SummaryWriter(str(folder / "tensorboard")) as writer:  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for step, line in enumerate((folder / "log.jsonl").read_text(encoding="utf-8").splitlines(), start=1):
            record = json.loads(line)
            for key in ("loss", "validation_loss", "validation_error", "learning_rate", "density"):
                writer.add_scalar(key, record[key], step)  # type: ignore[no-untyped-call]  # torch leaves it untyped
