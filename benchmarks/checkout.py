"""Where this checkout is, and how a published result names a file of it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def published_name(path: Path) -> str:
    """A file as a published result names it, which tells no folders of the machine it was made on.

    Args:
        path: Any file.

    Returns:
        Its path within the checkout, or its name alone if it is elsewhere.

    Example:
        >>> published_name(ROOT / "benchmarks" / "results" / "sizes.json")
        'benchmarks/results/sizes.json'
        >>> published_name(Path("/somewhere/else/sizes.json"))
        'sizes.json'
    """
    whole = path.resolve()
    return whole.relative_to(ROOT).as_posix() if whole.is_relative_to(ROOT) else whole.name
