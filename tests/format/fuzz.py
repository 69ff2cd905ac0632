"""A fuzzer for the reader: ``python -m tests.format.fuzz --inputs 1000000``.

Valid files are broken at random, byte by byte and field by field. Whatever comes out, the reader either
refuses it with a FormatError or gives a model that keeps every promise: nothing else may be raised.
"""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from secateur.errors import FormatError, SecateurError
from secateur.format.graph import resolve
from secateur.format.layouts import Gap8
from secateur.format.model import Model
from secateur.format.packing import unpack_values
from secateur.format.reader import parse_model
from secateur.format.values import nonzero
from secateur.format.writer import serialised
from secateur.records import content_hash, provenance
from secateur.runtime.program import Program
from tests.format.files import Parts, taken_apart
from tests.format.samples import every_node_model, same_models, small_model, wide_model

SEEDS: tuple[Callable[[], Model], ...] = (
    small_model,
    lambda: small_model("float16"),
    lambda: small_model("bfloat16"),
    wide_model,
    every_node_model,
)
# What breaks readers: limits of every type, and what is no number or no text.
ODD: tuple[Any, ...] = (
    *(
        -1,
        0,
        1,
        2,
        3,
        7,
        8,
        255,
        256,
        65535,
        65536,
        2**30,
        2**31 - 1,
        2**31,
        2**32 - 1,
        2**32,
        2**48,
        2**53,
        2**62,
    ),
    *(2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 0.0, -0.0, 1.5, 1e308, True, False, None),
    *(
        "",
        "rows",
        "columns",
        "dense",
        "bitmask",
        "gap8",
        "index16",
        "float16",
        "F32",
        "U8",
        "x",
        "\udc80",
        "\0",
    ),
    *([], {}, [0], [2**62, 2**62], {"type": "Batch"}, {"type": "Batch", "multiple": 2**62}),
)
RAW = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-",
    b'"',
    b"{",
    b"[",
    b"[" * 3000,
    b"\xff",
    b"\\ud800",
    b"9" * 400,
    b",",
)


@dataclass
class Tally:
    """What came of the inputs.

    Attributes:
        accepted: Were valid in spite of all, and kept every promise.
        refused: Count by message, without its names and numbers.
    """

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Corpus:
    """Valid files, whole and in pieces (pickled: the fastest way to copy them)."""

    files: tuple[bytes, ...]
    parts: tuple[bytes, ...]


def corpus() -> Corpus:
    """The files that are broken."""
    files = tuple(b"".join(serialised(seed())) for seed in SEEDS)
    return Corpus(files, tuple(pickle.dumps(taken_apart(content)) for content in files))


def broken(number: int, seed: int, source: Corpus) -> bytes:
    """Input number so-and-so of a seed: the same wherever it is made."""
    random = Random(f"{seed}-{number}")  # noqa: S311  # to break files, not to keep secrets
    which = random.randrange(len(source.files))
    if random.random() < 0.35:
        content = bytearray(source.files[which])
    else:
        parts: Parts = pickle.loads(source.parts[which])  # noqa: S301  # made above
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            random.choice((_edit_header, _edit_metadata, _edit_metadata, _edit_data, _swap_tensors))(
                random, parts
            )
        content = bytearray(parts.joined())
        if random.random() < 0.8:
            return bytes(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice((_flip, _flip, _cut, _grow, _insert, _resize))(random, content)
    return bytes(content)


def promises(model: Model) -> None:
    """Everything that holds for a model that was read, checked the slow way."""
    values = {value.name: value for value in model.graph.values}
    for value in values.values():
        assert all(size >= 1 for size in resolve(value.shape, 3))
    for weight in model.weights.values():
        if prod(weight.shape) > 10**6:
            continue  # a few entries in a weight that does not fit into memory are no error of the file's
        dense = unpack_values(weight)
        assert dense.shape == weight.shape
        stored = weight.layout.values
        if weight.kind != "dense":
            assert np.count_nonzero(nonzero(dense)) == np.count_nonzero(nonzero(stored))
        if not isinstance(weight.layout, Gap8) and weight.kind != "dense":
            assert nonzero(stored).all()
    for tensor in model.tensors.values():
        assert tensor.dtype in (np.float32, np.int64)
        assert prod(tensor.shape) == tensor.size >= 1
    content = b"".join(serialised(model))
    assert same_models(parse_model(np.frombuffer(content, np.uint8)), model)


def runs(model: Model) -> None:
    """What was read can be run, or is refused: indices and shapes lead nowhere else."""
    promises(model)
    values = {value.name: value for value in model.graph.values}
    for batch in (1, 3):
        if sum(prod(resolve(value.shape, batch)) for value in values.values()) > 10**6:
            continue
        given = [values[name] for name in model.graph.inputs]
        try:
            program = Program(model, threads=1)
            found = program(*(np.ones(resolve(value.shape, batch), value.dtype) for value in given))
        except SecateurError:
            continue
        outputs = found if isinstance(found, tuple) else (found,)
        expected = [resolve(values[name].shape, batch) for name in model.graph.outputs]
        # Where the shapes of the inputs are fixed, the batch is 1 whatever was asked for.
        fixed = [resolve(values[name].shape, 1) for name in model.graph.outputs]
        assert [output.shape for output in outputs] in (expected, fixed)


def fuzz(
    numbers: range,
    seed: int,
    read: Callable[[np.ndarray[Any, Any]], Model] = parse_model,
    then: Callable[[Model], None] = promises,
    seconds: float = 1e9,
) -> Tally:
    """Try inputs; an error that is no refusal is left to the caller, with the input's number in a note."""
    source, tally, end = corpus(), Tally(), time.monotonic() + seconds
    for number in numbers:
        content = broken(number, seed, source)
        try:
            model = read(np.frombuffer(content, np.uint8))
        except FormatError as error:
            tally.refused[_kind(str(error))] += 1
        except BaseException as error:
            error.add_note(f"input {number} of seed {seed}")
            raise
        else:
            try:
                then(model)
            except BaseException as error:
                error.add_note(f"input {number} of seed {seed}")
                raise
            tally.accepted += 1
        if time.monotonic() > end:
            break
    return tally


def _kind(message: str) -> str:
    """A message without what differs from file to file."""
    message = message.partition(", found")[0]
    message = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|-?\d+|[\w.]+(?=\.\w+:)", "_", message)
    return message[:80]


def _edit_header(random: Random, parts: Parts) -> None:
    _edit_json(random, parts.header)


def _edit_metadata(random: Random, parts: Parts) -> None:
    _edit_json(random, parts.metadata)


def _edit_json(random: Random, root: dict[str, Any]) -> None:
    """Change, drop, double or swap something at a random place of a JSON value."""
    places: list[tuple[Any, Any]] = []
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                stack.append(node[key])
    if not places:
        return
    (holder, key), (other, second) = random.choice(places), random.choice(places)
    match random.randrange(6):
        case 0 | 1:
            # A copy: a later edit of the same file would change what all files after it are broken with.
            holder[key] = copy.deepcopy(random.choice(ODD))
        case 2:
            del holder[key]
        case 3 if isinstance(holder[key], int):
            holder[key] += random.choice((-1, 1, 2, -8, 8, 64))
        case 4:
            holder[key] = copy.deepcopy(other[second])
        case _:
            if isinstance(holder, dict):
                holder[random.choice(("x", "type", "name", "w", ""))] = copy.deepcopy(holder[key])
            else:
                holder.append(copy.deepcopy(other[second]))


def _edit_data(random: Random, parts: Parts) -> None:
    """Set an item of a tensor to something odd."""
    name = random.choice(list(parts.header))
    entry = parts.header[name]
    sizes = {"I64": "<i8", "F32": "<u4", "U32": "<u4", "F16": "<u2", "BF16": "<u2", "U16": "<u2", "U8": "u1"}
    try:
        begin, end = entry["data_offsets"]
        items = np.frombuffer(parts.data, np.uint8)[begin:end].view(sizes[entry["dtype"]])
        index = random.randrange(len(items))
    except (TypeError, ValueError, KeyError):
        return  # an earlier edit has broken this entry already
    bits = items.itemsize * 8
    value = random.choice(
        (0, 1, 2**bits - 1, 2 ** (bits - 1), random.getrandbits(bits), int(items[index]) + 1)
    )
    items[index] = np.array(value % 2**bits, f"<u{items.itemsize}").view(items.dtype)


def _swap_tensors(random: Random, parts: Parts) -> None:
    """Swap a field of two tensors, or all of them."""
    first, second = random.choice(list(parts.header)), random.choice(list(parts.header))
    one, two = parts.header[first], parts.header[second]
    if isinstance(one, dict) and isinstance(two, dict) and one and random.random() < 0.7:
        key = random.choice(list(one))
        one[key], two[key] = two.get(key), one[key]
    else:
        parts.header[first], parts.header[second] = two, one


def _flip(random: Random, content: bytearray) -> None:
    if content:
        place = random.randrange(len(content))
        content[place] = random.choice(
            (random.randrange(256), content[place] ^ 1 << random.randrange(8), 0, 255)
        )


def _cut(random: Random, content: bytearray) -> None:
    begin = random.randrange(len(content) + 1)
    del content[begin : random.choice((len(content), begin + random.randrange(1, 64)))]


def _grow(random: Random, content: bytearray) -> None:
    begin = random.randrange(len(content) + 1)
    content[begin:begin] = content[begin : begin + random.randrange(1, 64)]


def _insert(random: Random, content: bytearray) -> None:
    begin = random.randrange(len(content) + 1)
    piece = random.choice(RAW)
    content[begin : begin + random.choice((0, len(piece)))] = piece


def _resize(random: Random, content: bytearray) -> None:
    """Another size of the header, or a size that is true again after other changes."""
    end = content.rfind(b"}", 0, 100_000) + 1
    size = random.choice((0, 1, 2**16, 2**63, 2**64 - 1, len(content), max(len(content) - 8, 0), end))
    content[:8] = struct.pack("<Q", size)


def main() -> int:
    """Run, and add to a result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", action="store_true", help="run what was accepted, too")
    parser.add_argument("--json", type=Path, help="result file; one of the same seed is continued")
    arguments = parser.parse_args()
    before: dict[str, Any] = {"inputs": 0, "accepted": 0, "refused": {}, "seconds": 0.0}
    if arguments.json and arguments.json.exists():
        before = json.loads(arguments.json.read_text())
    if before.get("seed", arguments.seed) != arguments.seed:
        parser.error(f"{arguments.json} is of seed {before['seed']}")
    start, first = time.monotonic(), before["inputs"]
    then = runs if arguments.run else promises
    tally = fuzz(range(first, first + arguments.inputs), arguments.seed, then=then)
    refused = tally.refused + Counter(before["refused"])
    result = {
        "work": "fuzz of the reader of compact files",
        "seed": arguments.seed,
        "inputs": first + arguments.inputs,
        "accepted": before["accepted"] + tally.accepted,
        "other_errors": 0,  # the first one ends the run
        "seconds": round(before["seconds"] + time.monotonic() - start, 1),
        "refused": dict(refused.most_common()),
        "provenance": provenance(
            configuration_hash=content_hash({"seed": arguments.seed}), seed=arguments.seed, threads=1
        ).to_json(),
    }
    print(f"{result['inputs']} inputs: {result['accepted']} accepted, {sum(refused.values())} refused")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
