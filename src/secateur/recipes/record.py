"""What a run's ``result.json`` holds, looked at once, when it is read; pages read it without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secateur.errors import CheckpointError

FORMAT = 1
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class Part(BaseModel):
    """Of a JSON file: what is needed of it; whatever else it holds is let be."""

    # Strict: tables and pages compute with what lies in the file, not with what it could be turned into.
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Weights(Part):
    total: int
    kept: int


class _Error(Part):
    dense: float
    pruned: float
    difference: float
    dense_interval: Interval
    pruned_interval: Interval
    difference_interval: Interval
    test_images: int


class _Layer(Part):
    name: str
    weights: int
    kept: int
    flop: float | None
    activation_density: float | None
    flop_kept: float | None


class _Point(Part):
    compression: float
    test_error: float
    test_interval: Interval
    kept: int


class _Dead(Part):
    total: int
    without_inputs: int
    without_outputs: int


class _Provenance(Part):
    created: str
    commit: str
    configuration_hash: str
    cpu: str
    cores: int
    threads: int
    platform: str
    versions: dict[str, str]


class _Attempt(Part):
    name: str
    price: float
    weights: int
    validation_error: float
    excess: float | None
    epochs: int
    kept: bool


class _NonInferiority(Part):
    margin: float
    bound: float
    shown: bool


class _Search(Part):
    unit: str
    met: bool
    statement: str
    attempts: list[_Attempt]
    non_inferiority: _NonInferiority | None


class Record(Part):
    """Of ``result.json``."""

    name: str
    seed: int
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


def read_record(folder: Path) -> dict[str, Any] | None:
    """The content of a run's ``result.json``.

    Args:
        folder: The run's folder.

    Returns:
        All of it, of which a `Record` is there for certain; None where there is no such file.

    Raises:
        CheckpointError: It is damaged, incomplete or of another version.
    """
    path = folder / "result.json"
    again = "remove it, and the same `secateur run` writes it again"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); {again}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a result of this version of Secateur (format {FORMAT})")
    check(Record, record, path, again)
    return record


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
