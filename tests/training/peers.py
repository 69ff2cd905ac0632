"""Several real processes on this machine, each calling one function, as ``torchrun`` would start them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True)
class Ended:
    """How a process ended: what it returned or what it raised; neither if it was killed."""

    status: int | None
    value: Any = None
    error: str = ""
    kind: str = ""


def together(count: int, work: Callable[..., Any], *given: Any, patience: float = 60.0) -> list[Ended]:
    """Call a function in so many processes of one group, and wait for all."""
    with tempfile.TemporaryDirectory() as folder:
        context = _context()
        started = []
        for rank in range(count):
            here, there = context.Pipe(duplex=False)
            arguments = (rank, count, str(Path(folder) / "meeting"), there, work, given, patience)
            process = context.Process(target=_work, args=arguments)
            process.start()
            there.close()
            started.append((process, here))
        ended = []
        for process, here in started:
            told: dict[str, Any] = {}
            with suppress(EOFError):  # it was killed
                told = pickle.loads(here.recv_bytes())  # noqa: S301  # our own
            process.join()
            ended.append(Ended(process.exitcode, **told))
    return ended


def values(ended: list[Ended]) -> list[Any]:
    """What the processes returned; none of them may have failed."""
    assert [each.error for each in ended] == [""] * len(ended)
    return [each.value for each in ended]


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")  # what is heavy is imported once
    context.set_forkserver_preload(
        ["torch._dynamo", "accelerate.state", "secateur.recipes.driver", "tests.small"]
    )
    return context


def _work(
    rank: int,
    count: int,
    meeting: str,
    told: Connection,
    work: Callable[..., Any],
    given: tuple[Any, ...],
    patience: float,
) -> None:
    torch.set_num_threads(1)
    os.environ |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    # They meet at a file: a port that is free now may be taken when they come to it.
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=patience),
    )
    # One that ended at once was seen to close its connections while two others still made theirs.
    distributed.barrier()
    try:
        answer = {"value": work(*given)}
    except Exception as error:  # noqa: BLE001  # whatever it is, the test sees it
        answer = {"error": str(error) or traceback.format_exc(), "kind": type(error).__name__}
    # Not `send`, which shares a tensor's memory with a process that is gone when it is looked at.
    told.send_bytes(pickle.dumps(answer))
    told.close()
