"""Frozen dataclasses to JSON values and back, by their annotations; strict in both directions."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from secateur.errors import FormatError
from secateur.format.header import describe

_TAG = "type"


def encode(value: object, annotation: Any) -> Any:
    """A value as JSON.

    A dataclass is an object of the fields that differ from their defaults, so that a later field with a
    default does not change what older files say; where a union allows several kinds, ``type`` says which.

    Args:
        value: What the annotation says.
        annotation: A dataclass, str, int, float, bool, a Literal, ``tuple[T, ...]``, ``Mapping[str, T]``, or
            a union of these.

    Returns:
        JSON values.

    Raises:
        FormatError: The value is not what the annotation says; the message says where.

    Example:
        >>> from secateur.format.graph import Batch, Value
        >>> encode(Value("x", (Batch(), 3)), Value)
        {'name': 'x', 'shape': [{'type': 'Batch'}, 3]}
    """
    encoded = _encode(value, annotation)
    decode(encoded, annotation, getattr(annotation, "__name__", "value"))
    return encoded


def decode(value: object, annotation: Any, where: str) -> Any:
    """Build what an annotation says from JSON values.

    Args:
        value: JSON values.
        annotation: As of `encode`.
        where: What the value is, for messages.

    Returns:
        The value.

    Raises:
        FormatError: An unknown or missing key, a wrong type, an unknown kind.

    Example:
        >>> from secateur.format.graph import Value
        >>> decode({"name": "x", "shape": [1, "3"]}, Value, "input")
        Traceback (most recent call last):
        secateur.errors.FormatError: input.shape[1]: expected int or Batch, found "3"
    """
    return _decoder(annotation)(value, where)


Decoder = Callable[[Any, str], Any]


@cache
def _decoder(annotation: Any) -> Decoder:
    """What decodes an annotation: made once, for a network has thousands of small values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if _is_dataclass(annotation):
        return _fields_decoder(annotation)
    if origin in (Union, types.UnionType):
        return _union_decoder(arguments)
    if origin is Literal:
        return _literal_decoder(arguments)
    if origin is tuple:
        return _list_decoder(_decoder(arguments[0]))
    if origin is Mapping:
        return _table_decoder(_decoder(arguments[1]))
    if annotation in _SCALARS:
        return _scalar_decoder(annotation)
    raise TypeError(f"{annotation} has no form in JSON")


def _encode(value: Any, annotation: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType) and _is_dataclass(type(value)):
        fields = _encode(value, type(value))
        return fields if _only_dataclass(arguments) else {_TAG: type(value).__name__, **fields}
    if _is_dataclass(annotation) and isinstance(value, annotation):
        return {
            field.name: _encode(getattr(value, field.name), hint)
            for field, hint in _fields(annotation)
            if getattr(value, field.name) != _default(field)
        }
    if origin is tuple and isinstance(value, tuple):
        return [_encode(item, arguments[0]) for item in value]
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _encode(item, arguments[1]) for key, item in value.items()}
    # JSON has one kind of number; a whole one would come back as an integer.
    return float(value) if annotation is float and type(value) is int else value


def _fields_decoder(annotation: Any) -> Decoder:
    known = {field.name: _decoder(hint) for field, hint in _fields(annotation)}
    needed = [field.name for field, _ in _fields(annotation) if _default(field) is dataclasses.MISSING]

    def decoded(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _unexpected(where, f"an object ({annotation.__name__})", value)
        if unknown := sorted(value.keys() - known.keys()):
            raise FormatError(f"{where}: expected the keys {', '.join(known)}, found {unknown[0]!r} too")
        for name in needed:
            if name not in value:
                raise FormatError(f"{where}: expected the key {name!r} of {annotation.__name__}, found none")
        return annotation(**{name: known[name](item, f"{where}.{name}") for name, item in value.items()})

    return decoded


def _union_decoder(alternatives: tuple[Any, ...]) -> Decoder:
    only = _only_dataclass(alternatives)
    only_decoder = _decoder(only) if only else None
    by_name = {kind.__name__: _decoder(kind) for kind in alternatives if _is_dataclass(kind)}
    plain = [kind for kind in alternatives if kind in _SCALARS]
    *names, last = [_name(kind) for kind in alternatives]

    def decoded(value: Any, where: str) -> Any:
        if value is None and types.NoneType in alternatives:
            return None
        if isinstance(value, dict):
            if only_decoder is not None:
                return only_decoder(value, where)
            name = value.get(_TAG)
            if not isinstance(name, str) or name not in by_name:
                raise _unexpected(where, f"a type among {', '.join(by_name)}", name)
            return by_name[name]({key: item for key, item in value.items() if key != _TAG}, where)
        if type(value) in plain:
            return value
        raise _unexpected(where, f"{', '.join(names)} or {last}", value)

    return decoded


def _literal_decoder(words: tuple[str, ...]) -> Decoder:
    def decoded(value: Any, where: str) -> Any:
        if isinstance(value, str) and value in words:
            return value
        raise _unexpected(where, f"one of {', '.join(words)}", value)

    return decoded


def _list_decoder(decoder: Decoder) -> Decoder:
    def decoded(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise _unexpected(where, "a list", value)
        return tuple([decoder(item, f"{where}[{index}]") for index, item in enumerate(value)])

    return decoded


def _table_decoder(decoder: Decoder) -> Decoder:
    def decoded(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _unexpected(where, "an object", value)
        return {key: decoder(item, f"{where}[{key!r}]") for key, item in value.items()}

    return decoded


_SCALARS: dict[Any, str] = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}


def _scalar_decoder(annotation: Any) -> Decoder:
    def decoded(value: Any, where: str) -> Any:
        # type(), for True is an int to isinstance.
        if type(value) is annotation and (annotation is not float or math.isfinite(value)):
            return value
        if annotation is float and type(value) is int and abs(value) <= 2**53:
            return float(value)
        raise _unexpected(where, _SCALARS[annotation], value)

    return decoded


def _only_dataclass(alternatives: tuple[Any, ...]) -> Any:
    """The dataclass of ``T | None``; nothing of any other union."""
    rest = [kind for kind in alternatives if kind is not types.NoneType]
    return rest[0] if len(rest) == 1 and _is_dataclass(rest[0]) else None


@cache
def _fields(annotation: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = get_type_hints(annotation)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(annotation))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _is_dataclass(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _name(kind: Any) -> str:
    return "null" if kind is types.NoneType else str(kind.__name__)


def _unexpected(where: str, expected: str, found: object) -> FormatError:
    return FormatError(f"{where}: expected {expected}, found {describe(found)}")
