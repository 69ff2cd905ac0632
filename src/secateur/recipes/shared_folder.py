"""A run's folder where several processes work on the run: one reads and writes it, all know what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, final

from secateur.recipes.run_folder import RunFolder, StageState, map_stage, write_stage
from secateur.training.processes import Processes

T = TypeVar("T")


@final
class SharedFolder:
    """A run's folder as every process of the run sees it.

    The first process opens, reads and writes it. The others need not even reach its file system: they are
    told what was read, and of what was refused.

    Args:
        path: The folder.
        processes: Who works on the run.
        opened: Opens the folder; called on the first process only.

    Raises:
        CheckpointError: The folder belongs to another run, is damaged, or is in use; on all processes.
        StorageError: The folder cannot be written; on all processes.
    """

    def __init__(self, path: Path, processes: Processes, opened: Callable[[], RunFolder]) -> None:
        self.path = path
        self.processes = processes
        self._folder: RunFolder | None = None

        def take() -> None:
            self._folder = opened()

        processes.of_first(take)

    def close(self) -> None:
        """Let another run's process have the folder."""
        if self._folder is not None:
            self._folder.close()

    def partial(self, stage: str) -> Path:
        """Where the progress of an unfinished stage is kept."""
        return self.path / "stages" / f"{stage}.partial.pt"

    def stage(self, name: str, make: Callable[[], StageState]) -> StageState:
        """A stage's state: read if it is finished, made by all processes together and kept if not.

        Args:
            name: The stage's name.
            make: Makes it; called on every process.

        Returns:
            Its state, the same bits on every process, for it is read from the file on the first one.

        Raises:
            CheckpointError: The kept state is damaged.
            StorageError: It cannot be written.
        """
        made: list[StageState] = []
        if not self.of_first(lambda folder: folder.has(name)):
            made.append(make())
        state = self.of_first(lambda folder: folder.stage(name, made.pop))
        return state if self._folder is not None else _out_of_memory(state)

    def finished(self, history: list[dict[str, Any]]) -> None:
        """Make the log say exactly what is finished; see `RunFolder.finished`."""
        self.of_first(lambda folder: folder.finished(history))

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one JSON object to the log, on the first process."""
        if self._folder is not None:
            self._folder.log(line)

    def of_first(self, act: Callable[[RunFolder], T]) -> T:
        """What comes of doing something with the folder on the first process, told to all.

        Args:
            act: Called there.

        Returns:
            The same value everywhere.

        Raises:
            SecateurError: What `act` raised, on all processes.
        """

        def there() -> T:
            assert self._folder is not None  # noqa: S101  # the first process opened it; narrows for mypy
            return act(self._folder)

        return self.processes.of_first(there)


def _out_of_memory(state: StageState) -> StageState:
    # What a process was told lies in a file as well, one that goes with it; the network of every stage stays
    # until the run ends.
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stage.pt"
        write_stage(path, state)
        return map_stage(path)
