"""The parent's end of an engine's process: orders, answers, and standing still while others are timed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast, final

from secateur.benchmarking.engines import Engine

_HOST = Path(__file__).with_name("workers") / "host.py"


class EngineFailedError(Exception):
    """An engine's process answered with an error, died, or did not answer."""


class EngineAbsentError(EngineFailedError):
    """An engine is not installed where it was looked for."""


@final
class Worker:
    """An engine's process. It stands still (SIGSTOP) except while it obeys an order.

    Thread pools spin for a while after their work, some for good: on a machine with few cores they would slow
    whoever is timed next. Telling every engine not to spin would change what is measured; stopping the whole
    process group does not.

    Args:
        engine: What to start.
        threads: Threads it may use, for libraries that read the number from the environment.

    Raises:
        EngineAbsentError: The engine is not installed.
        EngineFailedError: It did not start.
    """

    def __init__(self, engine: Engine, threads: int) -> None:
        self.engine = engine
        self._buffer = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **engine.environment}
        self._process = subprocess.Popen(  # noqa: S603  # the interpreter that the user named
            [engine.python, str(_HOST), str(engine.worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            # A group of its own, so that what it starts stops with it, but in our session: if we die, the
            # system wakes and ends a stopped group that has lost its session's last other member.
            process_group=0,
        )
        # Both are pipes, as asked for above.
        self._orders = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        try:
            hello = self._answer(120)
        except BaseException:
            self.close()
            raise
        if "absent" in hello:
            self.close()
            raise EngineAbsentError(
                f"absent: {engine.python} has no module {hello['absent']!r}; {engine.install}, or name the "
                "environment that has it with --python"
            )
        self.versions: dict[str, str] = hello["versions"]
        self._signal(signal.SIGSTOP)

    @property
    def process_id(self) -> int:
        """The system's number of the process."""
        return self._process.pid

    def ask(self, do: str, *, patience: float = 900, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Args:
            do: The order's name.
            patience: Seconds to wait for the answer.
            **order: Its arguments.

        Returns:
            The answer.

        Raises:
            EngineFailedError: It answered with an error, died, or did not answer in time.
        """
        self._signal(signal.SIGCONT)
        try:
            self._orders.write(json.dumps({"do": do, **order}).encode() + b"\n")
            self._orders.flush()
        except BrokenPipeError as error:
            raise self._died(do) from error
        answer = self._answer(patience, do)
        self._signal(signal.SIGSTOP)
        if "error" in answer:
            raise EngineFailedError(f"{do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._answers.close()
        # An order that it did not live to read is of no interest.
        with suppress(BrokenPipeError):
            self._orders.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _answer(self, seconds: float, do: str = "start") -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise EngineFailedError(f"{do}: no answer within {seconds:.0f} seconds")
            chunk = os.read(self._answers.fileno(), 1 << 16)
            if not chunk:
                raise self._died(do)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _died(self, do: str) -> EngineFailedError:
        status = self._process.wait(timeout=60)
        how = (
            f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
        )
        self._log.seek(0)
        last = self._log.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        return EngineFailedError(f"{do}: the process {how}: {last[0]}")
