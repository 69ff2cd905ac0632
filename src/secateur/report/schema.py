"""What a page needs of a run's JSON files beside its result: looked at once, when they are read."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from secateur.recipes.record import Part


class _Kind(Part):
    kind: str


class _Optimizer(Part):
    kind: str
    learning_rate: float


class _Phase(Part):
    epochs: int
    optimizer: _Optimizer
    schedule: _Kind
    only: list[str] | None = None
    l1: float = 0.0
    l2: float = 0.0


class _Turn(Part):
    layers: list[str]
    retrain: list[_Phase]


class _Plan(Part):
    dense: list[_Phase]
    retrain: list[_Phase]
    final: list[_Phase] | None = None
    turns: list[_Turn] = Field(default=[])
    rounds: int = 1
    cut: dict[str, Any] | None = None
    target: dict[str, Any] | None = None
    dropout: float | None = None


class Identity(Part):
    """Of ``run.json``."""

    name: str
    seed: int
    plan: _Plan
    settings: dict[str, Any] | None = None
    network: dict[str, Any] | None = None
    data: dict[str, Any] | None = None


class Epoch(Part):
    """Of a line of ``log.jsonl``."""

    stage: str
    loss: float
    validation_error: float
    density: float
    seconds: float


class _ScanPoint(Part):
    kept: int
    density: float
    error: float


class _ScanLayer(Part):
    layer: str
    points: list[_ScanPoint]


class Scan(Part):
    """Of ``sensitivity.json``."""

    finished: bool
    images: int
    error: float
    layers: list[_ScanLayer]
