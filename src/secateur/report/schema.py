"""What a page needs of a run's JSON files: looked at once, when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secateur.errors import CheckpointError

Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Part(BaseModel):
    # Strict: the page computes with what lies in the file, not with what it could be turned into.
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Kind(_Part):
    kind: str


class _Optimizer(_Part):
    kind: str
    learning_rate: float


class _Phase(_Part):
    epochs: int
    optimizer: _Optimizer
    schedule: _Kind
    only: list[str] | None = None
    l1: float = 0.0
    l2: float = 0.0


class _Turn(_Part):
    layers: list[str]
    retrain: list[_Phase]


class _Plan(_Part):
    dense: list[_Phase]
    retrain: list[_Phase]
    final: list[_Phase] | None = None
    turns: list[_Turn] = []
    rounds: int = 1
    cut: dict[str, Any] | None = None
    target: dict[str, Any] | None = None
    dropout: float | None = None


class Identity(_Part):
    """Of ``run.json``."""

    name: str
    seed: int
    plan: _Plan
    settings: dict[str, Any] | None = None
    network: dict[str, Any] | None = None
    data: dict[str, Any] | None = None


class Epoch(_Part):
    """Of a line of ``log.jsonl``."""

    stage: str
    loss: float
    validation_error: float
    density: float
    seconds: float


class _Weights(_Part):
    total: int
    kept: int


class _Error(_Part):
    dense: float
    pruned: float
    difference: float
    pruned_interval: Interval
    difference_interval: Interval
    test_images: int


class _Layer(_Part):
    name: str
    weights: int
    kept: int
    flop: float | None
    activation_density: float | None
    flop_kept: float | None


class _Point(_Part):
    compression: float
    test_error: float
    test_interval: Interval
    kept: int


class _Dead(_Part):
    total: int
    without_inputs: int
    without_outputs: int


class _Provenance(_Part):
    created: str
    commit: str
    configuration_hash: str
    cpu: str
    cores: int
    threads: int
    platform: str
    versions: dict[str, str]


class _Attempt(_Part):
    name: str
    price: float
    weights: int
    validation_error: float
    excess: float | None
    epochs: int
    kept: bool


class _NonInferiority(_Part):
    margin: float
    bound: float
    shown: bool


class _Search(_Part):
    unit: str
    met: bool
    statement: str
    attempts: list[_Attempt]
    non_inferiority: _NonInferiority | None


class Record(_Part):
    """Of ``result.json``."""

    weights: _Weights
    compression: float
    error: _Error
    layers: list[_Layer]
    total: _Layer
    notes: list[str]
    curve: list[_Point]
    dead_neurons: dict[str, _Dead]
    provenance: _Provenance
    search: _Search | None = None


class _ScanPoint(_Part):
    kept: int
    density: float
    error: float


class _ScanLayer(_Part):
    layer: str
    points: list[_ScanPoint]


class Scan(_Part):
    """Of ``sensitivity.json``."""

    finished: bool
    images: int
    error: float
    layers: list[_ScanLayer]


def check(shape: type[BaseModel], content: Any, path: Path, advice: str) -> None:
    """Refuse JSON of another shape.

    Args:
        shape: What is needed of it; whatever else it holds is let be.
        content: What was read.
        path: From where, for the message.
        advice: What to do, for the message.

    Raises:
        CheckpointError: Something that is needed is missing or of another type.
    """
    try:
        shape.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(map(str, found["loc"])) or "the whole"
        raise CheckpointError(
            f"{path} is damaged or of another kind ({where}: {found['msg']}); {advice}"
        ) from error
