"""Running a small plan, and reading what it left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.recipes.driver import train_prune_retrain
from secateur.recipes.plan import Plan
from secateur.recipes.result import RunResult
from secateur.training.checkpoint import load_weights
from tests.small import Dense, blob_task, plan

TASK = blob_task()


def run(
    where: Path, model: Callable[[], nn.Module] = Dense, the_plan: Plan | None = None, **more: Any
) -> RunResult:
    return train_prune_retrain(model, TASK, the_plan or plan(), where, **more)


def tensors(folder: Path, name: str = "pruned") -> dict[str, Tensor]:
    return load_weights(folder / f"{name}.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
