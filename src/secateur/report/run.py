"""What lies in the folder of a run, finished or not, read without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from secateur.errors import CheckpointError
from secateur.recipes.record import check, read_record
from secateur.report import schema

COMPACT = "pruned.secateur"

Tensors = Mapping[str, NDArray[Any]]


@final
@dataclass(frozen=True)
class Measured:
    """What the shipped network comes to.

    Attributes:
        file_bytes: Of the compact file.
        dense_bytes: Of the dense network's parameters as float32.
        microseconds: Median time of one input in the compiled program, on the machine that makes the page.
        low: The 10th percentile of that time.
        high: The 90th.
        dense_microseconds: Median of the dense network in PyTorch, measured in turns with it; None if it was
            not asked for.
        how: The instruction set and the threads.
    """

    file_bytes: int
    dense_bytes: int
    microseconds: float
    low: float
    high: float
    dense_microseconds: float | None
    how: str


@final
@dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
        name: The recipe's name and the seed.
        folder: Where it is.
        identity: What the run is: ``run.json``.
        record: What came out: ``result.json``; None while the run is unfinished.
        log: One entry an epoch.
        scan: ``sensitivity.json``, if a finished scan lies there.
        dense: Tensors of the dense network by name; empty if they are not there.
        pruned: Of the pruned one.
        masks: Which weights live, by parameter name.
        missing: Files that a finished run should have and has not.
        measured: Of the shipped network; None if there is none or it was not measured.
    """

    name: str
    folder: Path
    identity: Mapping[str, Any]
    record: Mapping[str, Any] | None
    log: tuple[Mapping[str, Any], ...]
    scan: Mapping[str, Any] | None
    dense: Tensors
    pruned: Tensors
    masks: Tensors
    missing: tuple[str, ...]
    measured: Measured | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that have trained so far, in order."""
        return tuple(dict.fromkeys(str(line["stage"]) for line in self.log))


def read_run(folder: Path | str) -> Run:
    """Read everything in a run's folder.

    Args:
        folder: What ``secateur run`` made, finished or not.

    Returns:
        The run.

    Raises:
        CheckpointError: It is not a run's folder, or a file in it is damaged.
    """
    folder = Path(folder)
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file: expected the folder of a run of `secateur run`")
    identity = _json(folder / "run.json")
    if identity is None:
        raise CheckpointError(f"{folder} holds no run.json: expected the folder of a run of `secateur run`")
    if not isinstance(identity, dict) or not {"name", "seed", "plan"} <= identity.keys():
        raise CheckpointError(
            f"{folder / 'run.json'} does not say what the run is (name, seed and plan); expected the folder "
            "of a run of `secateur run`"
        )
    again = "remove it, and the same `secateur run` writes it again"
    check(schema.Identity, identity, folder / "run.json", "name another run's folder")
    record = read_record(folder)
    log = _log(folder / "log.jsonl")
    for line in log:
        check(schema.Epoch, line, folder / "log.jsonl", again)
    scan = _json(folder / "sensitivity.json")
    if scan is not None:
        check(schema.Scan, scan, folder / "sensitivity.json", "remove it, and scan the run again")
    networks = {name: _tensors(folder / f"{name}.safetensors") for name in ("dense", "pruned", "masks")}
    absent = [f"{name}.safetensors" for name, tensors in networks.items() if not tensors]
    return Run(
        f"{identity['name']}, seed {identity['seed']}",
        folder,
        identity,
        record,
        log,
        scan if scan is not None and scan["finished"] else None,
        networks["dense"],
        networks["pruned"],
        {name: mask.astype(np.bool_) for name, mask in networks["masks"].items()},
        tuple(absent) if record is not None else (),
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); remove it, and the command that wrote it writes it again"
        ) from error


def _tensors(path: Path) -> Tensors:
    try:
        tensors: Tensors = load_file(path)
    except FileNotFoundError:
        return {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}); the same `secateur run` writes it again"
        ) from error
    return tensors


def _log(path: Path) -> tuple[Mapping[str, Any], ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error
    # A line without its end is being written, or its writer was killed.
    lines = text[: text.rfind("\n") + 1].splitlines()
    try:
        return tuple(json.loads(line) for line in lines)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); remove it, and the same `secateur run` writes it again"
        ) from error
