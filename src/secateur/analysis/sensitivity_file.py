"""A scan in a file: written layer by layer, so that the same call again goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from secateur.analysis.sensitivity import (
    BATCH,
    DENSITIES,
    LayerSensitivity,
    ScanObserver,
    Sensitivity,
    sensitivity,
)
from secateur.errors import CheckpointError
from secateur.pruning.layers import Selection, unwrap
from secateur.records import content_hash, provenance
from secateur.storage import write_json

FORMAT = 1


@final
@dataclass(frozen=True)
class _Content:
    """What is read of a file; the rest is for people."""

    finished: bool
    identity: Mapping[str, Any]
    images: int
    loss: float
    error: float
    layers: tuple[LayerSensitivity, ...]
    evaluation_seconds: float


_CONTENT = TypeAdapter(_Content)
_SURROUNDINGS = ("threads", "torch")  # they may change the last bits, and nothing else


def scan_to_file(
    path: Path,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    subject: Mapping[str, Any] | None = None,
    densities: Sequence[float] = DENSITIES,
    layers: Selection | None = None,
    exclude: Selection | None = None,
    batch: int = BATCH,
    observer: ScanObserver | None = None,
) -> Sensitivity:
    """`secateur.analysis.sensitivity.sensitivity`, kept in a JSON file after every layer.

    Args:
        path: The file. What a scan of the same network, images and densities left there is taken over.
        model: The network.
        images: [n, ...].
        labels: int64 [n].
        subject: JSON values for the record: what was scanned.
        densities: As there.
        layers: As there.
        exclude: As there.
        batch: As there.
        observer: Who is told how it goes on; of layers that are there already, too.

    Returns:
        The whole scan; `read_sensitivity` reads it again.

    Raises:
        CheckpointError: The file holds something else.
        StorageError: It cannot be written; what was there is untouched.
    """
    identity = {
        "network": _fingerprint(unwrap(model).state_dict().values()),
        "data": _fingerprint((images, labels)),
        "images": len(images),
        "densities": sorted(densities, reverse=True),
        "batch": batch,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    kept = _kept(path, identity) if path.exists() else []
    observer = observer or ScanObserver()
    found = {layer.parameter: layer for layer in kept}
    started: list[Sensitivity] = []

    def on_start(count: int, loss: float, error: float, seconds: float) -> None:
        started.append(Sensitivity(count, loss, error, (), seconds))
        if observer.on_start is not None:
            observer.on_start(count, loss, error, seconds)
        for layer in kept:
            _tell(observer, layer)

    def on_layer(layer: LayerSensitivity) -> None:
        found[layer.parameter] = layer
        so_far = replace(started[0], layers=tuple(found.values()))
        write_json(path, _content(so_far, identity, subject or {}, finished=False))
        _tell(observer, layer)

    whole = sensitivity(
        model,
        images,
        labels,
        densities=densities,
        layers=layers,
        exclude=exclude,
        batch=batch,
        finished=kept,
        observer=ScanObserver(on_start, observer.on_point, on_layer),
    )
    write_json(path, _content(whole, identity, subject or {}, finished=True))
    return whole


def read_sensitivity(path: Path | str) -> Sensitivity:
    """Read a finished scan.

    Args:
        path: What `scan_to_file` wrote.

    Returns:
        The scan.

    Raises:
        CheckpointError: It is not there, damaged or not finished.
    """
    content = _read(Path(path))
    if not content.finished:
        raise CheckpointError(
            f"{path} holds an unfinished scan of {len(content.layers)} layers; start the same scan again, "
            "and it goes on from there"
        )
    return Sensitivity(
        content.images,
        content.loss,
        content.error,
        content.layers,
        content.evaluation_seconds,
    )


def _content(
    scan: Sensitivity, identity: Mapping[str, Any], subject: Mapping[str, Any], *, finished: bool
) -> dict[str, Any]:
    record = provenance(configuration_hash=content_hash(identity), seed=0, threads=torch.get_num_threads())
    return {
        "format": FORMAT,
        "kind": "sensitivity",
        "finished": finished,
        "subject": dict(subject),
        "identity": dict(identity),
        **scan.to_json(),
        "provenance": record.to_json(),
    }


def _kept(path: Path, identity: Mapping[str, Any]) -> Sequence[LayerSensitivity]:
    content = _read(path)
    found = content.identity
    differing = [key for key, value in identity.items() if found.get(key) != value]
    if content.finished:  # what is finished is only read
        differing = [key for key in differing if key not in _SURROUNDINGS]
    if differing:
        said = "; ".join(f"{key} is {found.get(key)} there and {identity[key]} here" for key in differing)
        raise CheckpointError(
            f"{path} holds another scan: {said}. Give this one another file, or move that one"
        )
    return content.layers


def _read(path: Path) -> _Content:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no scan {path}; make it with `secateur scan`") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it, and the scan starts again") from error
    if not isinstance(content, dict) or (content.get("kind"), content.get("format")) != (
        "sensitivity",
        FORMAT,
    ):
        raise CheckpointError(
            f"{path} is not a scan of this version of Secateur (kind sensitivity, format {FORMAT}); "
            "give the scan another file"
        )
    try:
        return _CONTENT.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path} is damaged ({where}: {first['msg']}); remove it, and the scan starts again"
        ) from error


def _tell(observer: ScanObserver, layer: LayerSensitivity) -> None:
    if observer.on_layer is not None:
        observer.on_layer(layer)


def _fingerprint(tensors: Any) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
