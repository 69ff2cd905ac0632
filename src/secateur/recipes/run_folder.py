"""The run folder: everything a run has finished, so that the same command again continues from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any, final

from filelock import FileLock, Timeout
from torch import Tensor

from secateur.errors import CheckpointError
from secateur.pruning.masks import Masks
from secateur.recipes.identity import OUTPUTS, are_alike
from secateur.storage import refused, write_atomically, write_json
from secateur.training.checkpoint import check_checkpoint, load_checkpoint, save_checkpoint

_SURROUNDINGS = ("threads", "torch")
_INITIAL = "network.initial_weights"
_OUTPUTS = f"network.{OUTPUTS}"
_SHOWN = 120  # characters of a value in a message


@final
@dataclass(frozen=True)
class StageState:
    """What a finished stage leaves behind.

    Attributes:
        model: The network's tensors by name.
        masks: Which weights live.
        history: One JSON object an epoch.
        notes: Whatever else the stage wants to remember: JSON values and tensors.
        path: The file that it is mapped from, if it stays there.
    """

    model: Mapping[str, Tensor]
    masks: Masks
    history: list[dict[str, Any]]
    notes: Mapping[str, Any]
    path: Path | None = None

    def mapped_anew(self) -> StageState:
        """The same state, to look at and let go: what is read of a file is memory as long as it is mapped."""
        return self if self.path is None else map_stage(self.path)


@final
class RunFolder:
    """One run's folder, held by one process at a time.

    Its files: ``run.json`` (what the run is), ``stages/NAME.pt`` (a finished stage),
    ``stages/NAME.partial.pt`` (an unfinished one), ``log.jsonl`` (one object an epoch), and at the end
    ``result.json`` and the networks.

    Args:
        path: The folder; made if it is not there.
        identity: What the run is: its configuration, network, data and seed, and what it computes with. A
            folder belongs to one for ever.
        chosen: Whether somebody chose the folder; otherwise it is named by the run's content.

    Raises:
        CheckpointError: The folder belongs to another run, is damaged, or is in use by another process.
        StorageError: The folder cannot be written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, chosen: bool = True) -> None:
        self.path = path
        self._chosen = chosen
        self._log_is_clean = False
        self._log = path / "log.jsonl"
        self._finished: list[dict[str, Any]] = []
        # Looked at before anything is written: a foreign folder is left as it is.
        self._check_identity(identity)
        self._lock = _lock(path)
        try:
            # And again: until the lock was held another process may have made the folder its own.
            self._check_identity(identity)
            if not (path / "run.json").exists():
                write_json(path / "run.json", identity)
            self._remove_leftovers()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.release()

    def partial(self, stage: str) -> Path:
        """Where the progress of an unfinished stage is kept."""
        return self.path / "stages" / f"{stage}.partial.pt"

    def has(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return self._stage(stage).exists()

    def stage(self, name: str, make: Callable[[], StageState]) -> StageState:
        """A stage's state: read if it is finished, made and kept if not.

        Args:
            name: The stage's name.
            make: Makes it.

        Returns:
            Its state, read back from the file either way, so that both ways give the same bits.

        Raises:
            CheckpointError: The kept state is damaged.
            StorageError: It cannot be written.
        """
        path = self._stage(name)
        if not path.exists():
            write_stage(path, make())
        with suppress(FileNotFoundError):
            self.partial(name).unlink()
        check_checkpoint(path)
        return replace(map_stage(path), path=path)

    def finished(self, history: list[dict[str, Any]]) -> None:
        """Make the log say exactly what is finished: a killed process may have logged more than it kept.

        Args:
            history: The epochs of the stage that is finished now, after those told of before.
        """
        self._finished.extend(history)
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self._finished)
        write_atomically(self._log, lambda file: file.write(text.encode()))
        self._log_is_clean = True

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one JSON object to the log."""
        if not self._log_is_clean and self._log.exists():
            self.finished([])  # only now: until a stage is read or goes on, the log is all there is to read
        self._log_is_clean = True
        text = json.dumps(line, allow_nan=False) + "\n"
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise refused(self._log, error) from error

    def _stage(self, name: str) -> Path:
        return self.path / "stages" / f"{name}.pt"

    def _remove_leftovers(self) -> None:
        for leftover in self.path.rglob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)

    def _check_identity(self, identity: Mapping[str, Any]) -> None:
        path = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(f"{self.path} is a file; give the run a folder of its own")
        if not path.exists():
            if self.path.is_dir() and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise CheckpointError(
                    f"{self.path} is not empty and not the folder of a run; give the run a folder of its own"
                )
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); give the run another folder") from error
        self._compare(found, json.loads(json.dumps(identity)))

    def _compare(self, found: Any, wanted: Any) -> None:
        theirs, ours = _take_outputs(found), _take_outputs(wanted)
        differing = _differences(found, wanted)
        if not are_alike(theirs, ours):
            differing[_OUTPUTS] = (
                f"the untrained network gives {_short(str(theirs))} there and {_short(str(ours))} here (its "
                "forward, or what that calls, was changed since)"
            )
        # Where the data come from is for the record; their fingerprint says what they are.
        differing.pop("data.source", None)
        if differing.pop("processes", None):
            # What was begun by some goes on with others: the same but for rounding, whatever their threads.
            differing.pop("threads", None)
        surroundings = {where: said for where, said in differing.items() if where in _SURROUNDINGS}
        if "torch" in surroundings:  # another torch may draw other untrained weights for the same network
            surroundings |= {where: differing[where] for where in (_INITIAL, _OUTPUTS) if where in differing}
        if (self.path / "result.json").exists():  # what is finished is only read
            differing = {where: said for where, said in differing.items() if where not in surroundings}
        if not differing:
            return
        said = "; ".join([differing[where] for where in sorted(differing)][:6])
        if differing.keys() <= surroundings.keys():
            raise CheckpointError(
                f"{self.path} holds an unfinished run that was begun otherwise: {said}. Only as it was "
                "begun does it end with the same bits: go on with that torch and that number of threads, or "
                "give this run another folder"
            )
        advice = (
            "Give this run another folder, or choose none and it gets one named by its content"
            if self._chosen
            else "Move that folder away, or give this run another one"
        )
        raise CheckpointError(f"{self.path} holds another run: {said}. {advice}")


def write_stage(path: Path, state: StageState) -> None:
    """Write a stage's state.

    Raises:
        StorageError: It cannot be written.
    """
    content = {"model": dict(state.model), "masks": state.masks.state_dict(), "history": state.history}
    save_checkpoint(path, {**content, "notes": dict(state.notes)})


def map_stage(path: Path) -> StageState:
    """A stage's state, whose network and masks stay in their file until they are looked at.

    All stages of a run are held until it ends: sixteen networks, with VGG-16's five rounds.

    Raises:
        CheckpointError: There is no such file, or it does not hold a stage.
    """
    kept = load_checkpoint(path, mapped=True)
    if kept.keys() != {"model", "masks", "history", "notes"}:
        raise CheckpointError(
            f"{path} does not hold a stage of a run; remove it, and the stage is made again"
        )
    return StageState(kept["model"], Masks.unwritten(kept["masks"]), kept["history"], kept["notes"])


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CheckpointError(
            f"another process is running in {folder}; wait for it, or give this run another folder"
        ) from error
    except OSError as error:
        raise refused(folder, error) from error
    return lock


def _take_outputs(identity: Any) -> list[float]:
    """Take them out, since they are compared with a tolerance; none in the folder of an older version."""
    network = identity.get("network") if isinstance(identity, dict) else None
    outputs = network.pop(OUTPUTS, []) if isinstance(network, dict) else []
    return outputs if isinstance(outputs, list) else []


def _differences(found: Any, wanted: Any, where: str = "") -> dict[str, str]:
    parts: list[tuple[Any, Any, str]]
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = found.keys() | wanted.keys()
        parts = [(found.get(key), wanted.get(key), f"{where}.{key}" if where else key) for key in keys]
    elif isinstance(found, list) and isinstance(wanted, list):
        pairs = enumerate(zip_longest(found, wanted))
        parts = [(there, here, f"{where}[{number}]") for number, (there, here) in pairs]
    elif found == wanted:
        return {}
    else:
        there, here = _shown(repr(found), repr(wanted))
        return {where: f"{where} is {there} there and {here} here"}
    return {place: said for part in parts for place, said in _differences(*part).items()}


def _shown(there: str, here: str) -> list[str]:
    # The beginnings of two networks' descriptions are often the same: shown is where they begin to differ.
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(there, here, strict=False))
    same = sum(1 for _ in alike)
    start = 0 if same < _SHOWN // 2 else same - _SHOWN // 4
    return [_short(f"...{text[start:]}" if start else text) for text in (there, here)]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
