"""TensorBoard scalars of a run, from its log."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from secateur.errors import MissingExtraError
from secateur.storage import refused


def write_scalars(folder: Path) -> None:
    """Write loss, validation error, learning rate and density of every epoch of a run.

    Args:
        folder: The run's folder; the scalars go to ``tensorboard`` within it.

    Raises:
        MissingExtraError: TensorBoard is not installed.
        StorageError: The scalars cannot be written.
    """
    check_installed()
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # an extra that most do without

    target = folder / "tensorboard"
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    try:
        for earlier in target.glob("events.out.tfevents.*"):  # the same epochs twice would be drawn twice
            earlier.unlink()
        with SummaryWriter(str(target)) as writer:
            for step, line in enumerate(lines, start=1):
                record = json.loads(line)
                for key in ("loss", "validation_loss", "validation_error", "learning_rate", "density"):
                    writer.add_scalar(key, record[key], step)
    except OSError as error:
        raise refused(target, error) from error


def check_installed() -> None:
    """Refuse to go on where TensorBoard is not installed: better before a run than after it.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("tensorboard") is None:
        raise MissingExtraError(
            '--tensorboard needs the package tensorboard: pip install "secateur[tensorboard]"'
        )
