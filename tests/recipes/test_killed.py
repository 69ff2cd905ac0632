"""A run that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.recipes.driver import train_prune_retrain
from tests.small import Conv, blob_task, phase, plan

FILES = ("pruned.safetensors", "dense.safetensors", "masks.safetensors", "test-errors.safetensors")
KILLS = 12
PLAN = plan(
    dense=[phase(6)],
    cut={"kind": "global", "density": 0.15, "score": "lamp"},
    rounds=3,
    retrain=[phase(3, only=["fc1"]), phase(3, optimizer={"kind": "adam", "learning_rate": 0.01})],
    survivors={"kind": "rewind", "epoch": 2},
    teach={"weight": 0.3},
    compact=True,
)


def work(folder: Path, ready: Event) -> None:
    torch.set_num_threads(1)
    task = blob_task(shift=1)
    ready.set()
    train_prune_retrain(Conv, task, PLAN, folder, save_every=0)


def start(context: ForkServerContext, folder: Path) -> ForkServerProcess:
    ready = context.Event()
    process = context.Process(target=work, args=(folder, ready))
    process.start()
    assert ready.wait(60)
    return process


def figures(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "result.json").read_text())
    del record["seconds"], record["provenance"]["created"]
    for part in record["phases"]:
        del part["seconds"]
    del record["provenance"]["commit"]  # the checkout's, which may move on while this runs
    return record


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.slow
def test_killed_at_many_moments_a_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # what is heavy is imported once, not at every start
    context.set_forkserver_preload(["torch._dynamo", "secateur.recipes.driver", "tests.small"])
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    process = start(context, alone)
    began = time.monotonic()
    process.join()
    whole = time.monotonic() - began
    assert process.exitcode == 0

    draw, kills, reached = random.Random(0), 0, set()  # noqa: S311  # moments, not secrets
    for attempt in range(100):
        process = start(context, killed)
        # Ever longer, so that a slow start on a busy machine does not keep a run from getting anywhere.
        process.join(draw.uniform(0.0, whole * (0.2 + 0.02 * attempt)))
        process.kill()
        process.join()
        kills += process.exitcode == -9
        reached |= {path.name for path in killed.rglob("*.pt")}
        if process.exitcode == 0:
            if kills >= KILLS:
                break
            killed = (
                tmp_path / f"killed-{attempt}"
            )  # it got to its end too soon: the next kills are of another
    assert process.exitcode == 0
    assert kills >= KILLS
    assert {"dense.pt", "round-01.pt", "round-02.pt", "round-03.pt"} <= reached
    assert any(name.endswith(".partial.pt") for name in reached)
    for folder in tmp_path.glob("killed*"):
        for name in FILES:
            assert (folder / name).read_bytes() == (alone / name).read_bytes()
        assert figures(folder) == figures(alone)
        assert log(folder) == log(alone)
        assert not list(folder.rglob("*.tmp"))
        assert not list(folder.rglob("*.partial.pt"))
