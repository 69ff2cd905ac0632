"""Provenance: where a figure comes from, completely enough to make it again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, final

_PACKAGES = ("secateur", "torch", "numpy", "accelerate", "scipy", "pydantic", "safetensors")


@final
@dataclass(frozen=True)
class Provenance:
    """What a result was made with.

    Attributes:
        versions: Version by package, Python's under ``python``; packages that are absent are left out.
        cpu: The processor's name.
        cores: Logical processors that the process may use.
        threads: Threads the computation was given.
        platform: Operating system and architecture.
        commit: The git commit of the code, with ``+`` if it had uncommitted changes; empty outside a
            checkout.
        configuration_hash: `content_hash` of the complete configuration.
        seed: The seed of the run.
        created: When, in UTC, ISO 8601.
    """

    versions: Mapping[str, str]
    cpu: str
    cores: int
    threads: int
    platform: str
    commit: str
    configuration_hash: str
    seed: int
    created: str

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def provenance(*, configuration_hash: str, seed: int, threads: int) -> Provenance:
    """The provenance of a result that is being made now.

    Args:
        configuration_hash: `content_hash` of the configuration.
        seed: The seed of the run.
        threads: Threads the computation was given.

    Returns:
        A complete record.

    Example:
        >>> provenance(configuration_hash="ab12", seed=0, threads=2).seed
        0
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Provenance(
        versions=versions,
        cpu=cpu_name(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        threads=threads,
        platform=f"{platform.system()} {platform.machine()}",
        commit=_commit(),
        configuration_hash=configuration_hash,
        seed=seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def content_hash(content: Mapping[str, Any]) -> str:
    """A name for a configuration by its content: 12 hex digits of a SHA-256 over its canonical JSON.

    Args:
        content: JSON values; the order of keys does not matter.

    Returns:
        Twelve hexadecimal digits.

    Example:
        >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
        True
    """
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def cpu_name() -> str:
    """The processor's name, as the system says it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  # fixed arguments

    try:
        # Only where the checkout is Secateur's own: an environment may lie inside somebody else's repository.
        if not git("ls-files", "records.py"):
            return ""
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
