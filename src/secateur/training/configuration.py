"""Configuration: frozen, validated values whose mistakes are named all at once, each with its place."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from secateur.errors import ConfigurationError

_BARE_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


class Frozen(BaseModel):
    """The base of every piece of configuration: immutable, strict about types, closed to unknown keys.

    Raises:
        ConfigurationError: A key is unknown or missing, or a value has the wrong type or cannot be; every
            mistake is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    def __init__(self, **values: Any) -> None:
        with _naming_mistakes(type(self), values):
            super().__init__(**values)

    # Pydantic's own mark for "calling this is the same as validating": without it a piece inside another
    # would be made by a call, and its mistakes would lose their places.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # an attribute of a function

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """A piece of configuration from plain values; see pydantic for the options."""
        with _naming_mistakes(cls, obj):
            return super().model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """A piece of configuration from JSON text; see pydantic for the options."""
        content: Any = None
        with suppress(ValueError):  # what is no JSON at all, pydantic says below
            content = json.loads(json_data)
        with _naming_mistakes(cls, content):
            return super().model_validate_json(json_data, **options)

    @classmethod
    def model_validate_strings(cls, obj: Any, **options: Any) -> Self:
        """A piece of configuration from values that are all text; see pydantic for the options."""
        with _naming_mistakes(cls, obj):
            return super().model_validate_strings(obj, **options)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some values changed; checked, which pydantic's own is not."""
        copied = super().model_copy(deep=deep)
        given = {name: getattr(copied, name) for name in copied.model_fields_set}
        return copied if update is None else type(self).model_validate({**given, **update})


@contextmanager
def _naming_mistakes(kind: type[Frozen], content: Any) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        lines = mistakes(error, content, f"the {kind.__name__}")
        raise ConfigurationError("\n".join([f"this is not a valid {kind.__name__}:", *lines])) from error


def mistakes(error: ValidationError, content: Any, whole: str) -> list[str]:
    """Every mistake in a piece of configuration, one indented line each.

    Args:
        error: What pydantic found.
        content: What was validated.
        whole: What to call the content itself, where a mistake is of no part of it.

    Returns:
        Lines ``"  place: what is wrong; found ..."``.
    """
    problems = error.errors()
    places = [problem["loc"] for problem in problems]
    return [
        f"  {_where(problem['loc'], content, whole)}: {_what(problem)}"
        for problem in problems
        if problem["type"] != "too_short" or not _follows_from_another(problem["loc"], places)
    ]


def _follows_from_another(place: tuple[int | str, ...], places: Sequence[tuple[int | str, ...]]) -> bool:
    # Pydantic leaves an element with a mistake out and then finds the list too short.
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _where(location: tuple[int | str, ...], content: Any, whole: str) -> str:
    # Pydantic names the member of a union (`cut.quality.initial`), which is no key of the file.
    path, node, is_member = [], content, False
    for part, following in zip_longest(location, location[1:]):
        named = isinstance(node, Mapping) and (node.get("kind") == part or _is_tag(part, following, node))
        if named and not is_member:
            is_member = True
            continue
        is_member = False
        path.append(str(part))
        inside = isinstance(node, Mapping) and part in node
        inside = inside or (isinstance(node, Sequence) and isinstance(part, int) and part < len(node))
        node = node[part] if inside else None
    return ".".join(path) or whole


def _is_tag(part: int | str, following: int | str | None, node: Mapping[Any, Any]) -> bool:
    # The member of a union without a kind: no key of the mapping, whereas what follows is one.
    return part not in node and following in node


def _what(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such key; check its spelling in docs/recipes.md"
    if problem["type"] == "missing":
        return "this key is missing"
    found = problem["input"]
    hint = ""
    if isinstance(found, str) and _BARE_EXPONENT.fullmatch(found):
        hint = f" (YAML takes {found} for text: write it with a point, as in 1.0e-4)"
    return f"{problem['msg'].removeprefix('Value error, ')}; found {reprlib.repr(found)}{hint}"
