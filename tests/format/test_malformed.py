"""One test for every way in which a file can be wrong, with the words that say so."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.errors import FormatError, SecateurError
from secateur.format.reader import read_model
from tests.format.files import Parts, parsed, taken_apart, with_header, written
from tests.format.samples import small_model, wide_model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(small_model(), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(wide_model(), tmp_path_factory.mktemp("wide"))


def refused(content: bytes, message: str) -> None:
    with pytest.raises(FormatError) as found:
        parsed(content)
    assert re.search(message, str(found.value)), f"{found.value}\nis not\n{message}"


def test_the_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lenet.secateur"
    path.write_bytes(b"")
    with pytest.raises(FormatError) as found:
        read_model(path)
    assert str(found.value) == (
        f"{path}: expected a header of 8 bytes at least, found 0 bytes; the file is cut"
    )
    assert isinstance(found.value, SecateurError)
    assert isinstance(found.value, ValueError)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.secateur: cannot read the file: No such file"):
        read_model(tmp_path / "none.secateur")
    with pytest.raises(FormatError, match="cannot read the file: Is a directory"):
        read_model(tmp_path)


def test_every_cut(small: bytes) -> None:
    for length in range(len(small)):
        refused(small[:length], "the file is cut")


# Of the container: bytes before JSON.


def test_a_header_beyond_the_limit(small: bytes) -> None:
    refused(
        struct.pack("<Q", 2**63) + small[8:], "expected a header of at most 100000000 bytes, found 92233720"
    )


def test_data_at_an_odd_place(small: bytes) -> None:
    parts = taken_apart(small)
    (size,) = struct.unpack("<Q", small[:8])
    moved = struct.pack("<Q", size + 8) + small[8 : 8 + size] + b" " * 8 + bytes(parts.data)
    refused(moved, "expected data at a multiple of 64 bytes, found it at .*another program has written")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff{}", "the header: expected JSON in UTF-8, found: 'utf-8' codec"),
        (b"no", "the header: expected JSON in UTF-8, found: Expecting value.*damaged or no compact file"),
        (b"[1]", r"the header: expected an object, found \[1\]"),
        (b'{"a": 1, "a": 2}', "found: the key 'a' twice"),
        (b'{"a": NaN}', "found: the number NaN, which is not finite"),
        (b'{"a": 1e999}', "found: the number 1e999, which is not finite"),
        (b'{"a": 9223372036854775808}', "found: the number 9223372036854775808, which does not fit 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "which does not fit 64 bits"),
        (b'{"a": ' + b"[" * 100_000, "the header: nested too deeply"),
        (b'{"\\ud800": 1}', "found: 'utf-8' codec can't encode"),
        (b"{}", "__metadata__: expected an object of texts, found null"),
        (b'{"__metadata__": {"secateur": 1}}', "__metadata__: expected an object of texts"),
        (b'{"__metadata__": {"format": "pt"}}', r"expected the key 'secateur' alone, found \[\"format\"\]"),
        (b'{"__metadata__": {"secateur": "", "format": ""}}', "expected the key 'secateur' alone"),
        (b'{"__metadata__": {"secateur": "no"}}', "the metadata: expected JSON in UTF-8"),
        (b'{"__metadata__": {"secateur": "1"}}', "the metadata: expected an object, found 1"),
    ],
)
def test_a_header_that_is_none(text: bytes, message: str) -> None:
    refused(with_header(text, b""), message)


# Of the container: where tensors lie.

Change = Callable[[dict[str, Any]], object]


def field(name: str, key: str, value: object) -> Change:
    return lambda header: header[name].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(x=1), "tensor 'x': expected dtype, shape and data_offsets, found 1"),
        (lambda header: header["conv.bias"].pop("dtype"), "tensor 'conv.bias': expected dtype, shape and"),
        (lambda header: header["conv.bias"].update(x=1), "tensor 'conv.bias': expected dtype, shape and"),
        (field("conv.bias", "dtype", "F64"), 'expected one of the dtypes I64, F32, .*, found "F64"'),
        (field("conv.bias", "dtype", ["F32"]), r"expected one of the dtypes .* found \[\"F32\"\]"),
        (field("conv.bias", "shape", 4), "tensor 'conv.bias': expected a shape of sizes, found 4"),
        (field("conv.bias", "shape", [-4]), r"expected a shape of sizes, found \[-4\]"),
        (field("conv.bias", "shape", [True, 4]), r"expected a shape of sizes, found \[true, 4\]"),
        (field("conv.bias", "shape", [4.0]), r"expected a shape of sizes, found \[4\.0\]"),
        (field("conv.bias", "shape", [1] * 13), "expected a shape of sizes"),
        (field("conv.bias", "shape", [2**62, 2**62]), "expected a shape of sizes"),
        (field("conv.bias", "shape", [0, 2**62]), "expected a shape of sizes"),
        (field("conv.bias", "shape", [5]), r"expected 20 bytes for F32 \[5\], found 16 by its data_offsets"),
        (field("conv.bias", "data_offsets", [0]), r"expected data_offsets \[begin, end\], found \[0\]"),
        (
            field("conv.bias", "data_offsets", [16, 0]),
            r"expected data_offsets \[begin, end\], found \[16, 0\]",
        ),
        (field("conv.bias", "data_offsets", [-16, 0]), r"expected data_offsets \[begin, end\]"),
        (field("conv.bias", "data_offsets", ["0", "16"]), r"expected data_offsets \[begin, end\]"),
        (
            field("conv.bias", "data_offsets", [2, 18]),
            "expected data at a multiple of 4 bytes, found it at 2",
        ),
        (field("conv.bias", "data_offsets", [4, 20]), "expected data at 0, found it at 4: it leaves a hole"),
        (field("fc3.bias", "data_offsets", [0, 12]), "overlaps the one before it"),
        (lambda header: header.pop("conv.bias"), "expected data at 0, found it at 16: it leaves a hole"),
        (lambda header: header.pop("fc1.weight:gaps"), "76 bytes belong to nothing"),
        (lambda header: header.pop("fc1.weight:starts"), "leaves a hole"),
    ],
)
def test_a_tensor_at_a_wrong_place(small: bytes, change: Change, message: str) -> None:
    parts = taken_apart(small)
    change(parts.header)
    refused(parts.joined(), message)


def test_bytes_that_belong_to_nothing(small: bytes) -> None:
    refused(small + b"\0", r"expected \d+ bytes of data, found \d+: 1 bytes belong to nothing")


# Of the metadata.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda meta: meta.update(version=2),
            "expected format version 1 at most, found 2: a newer Secateur wrote",
        ),
        (lambda meta: meta.update(version=0), "version: expected a format version from 1 on, found 0"),
        (lambda meta: meta.update(version=True), "version: expected a format version from 1 on, found true"),
        (lambda meta: meta.pop("version"), "version: expected a format version from 1 on, found null"),
        (lambda meta: meta.pop("provenance"), "provenance: expected an object, found null"),
        (lambda meta: meta.update(x=1), "metadata: expected the keys graph, weights, choices, found 'x' too"),
        (lambda meta: meta.pop("graph"), "metadata: expected the key 'graph' of Metadata, found none"),
        (lambda meta: meta.update(graph=[]), r"metadata\.graph: expected an object \(Graph\), found \[\]"),
        (lambda meta: meta.update(choices={}), r"metadata\.choices: expected a list, found \{\}"),
        (lambda meta: meta.update(weights=[]), r"metadata\.weights: expected an object, found \[\]"),
        (
            lambda meta: meta["choices"][0].update(threads=0),
            r"choices\[0\]: expected a batch and threads from 1 on, found 1 and 0",
        ),
        (
            lambda meta: meta["choices"][0]["kernels"].update(conv=3),
            r"metadata\.choices\[0\]\.kernels\['conv'\]: expected a text, found 3",
        ),
        (
            lambda meta: meta["graph"]["nodes"][0].update(type="Loop"),
            r"graph\.nodes\[0\]: expected a type among Convolution, Linear, .*, found \"Loop\"",
        ),
        (
            lambda meta: meta["graph"]["nodes"][0]["activation"].update(kind="mish"),
            r"nodes\[0\]\.activation\.kind: expected one of relu, .*, found \"mish\"",
        ),
        (
            lambda meta: meta["graph"]["values"][0]["shape"].__setitem__(0, {"type": "Batch", "multiple": 0}),
            "value 'image': expected at most 12 sizes from 1 on",
        ),
        (
            lambda meta: meta["weights"]["conv.weight"].update(layout="csr"),
            r"\['conv\.weight'\]\.layout: expected one of dense, bitmask, gap8, index16, found \"csr\"",
        ),
        (
            lambda meta: meta["weights"]["conv.weight"].update(shape=[]),
            r"weight 'conv\.weight': expected a shape of one size at least, found \[\]",
        ),
        (
            lambda meta: meta["weights"]["conv.weight"].update(shape=[4, -18]),
            "expected a shape of one size at least",
        ),
        (
            lambda meta: meta["weights"]["conv.weight"].update(shape=[2**40, 2**40]),
            "expected a shape of one size at least",
        ),
        (
            lambda meta: meta["weights"]["conv.weight"].update(order="columns"),
            r"weight 'conv\.weight': expected two dimensions for columns, found shape \[4, 2, 3, 3\]",
        ),
        (
            lambda meta: meta["weights"]["fc2.weight"].update(shape=[10, 65537]),
            r"weight 'fc2\.weight': expected lines of 65536 at most for index16, found 65537",
        ),
        (
            lambda meta: meta["weights"]["fc1.weight"].update(layout="index16"),
            r"weight 'fc1\.weight': expected a tensor 'fc1\.weight:positions' for index16, found none",
        ),
        (
            lambda meta: meta["weights"]["fc1.weight"].update(values="float16"),
            r"tensor 'fc1\.weight:values': expected F16, found F32",
        ),
        (
            lambda meta: meta["weights"]["fc1.weight"].update(order="rows"),
            r"'fc1\.weight:starts': expected shape \[21\] for a weight of \[20, 36\] by rows, found \[37\]",
        ),
        (
            lambda meta: meta["weights"]["conv.weight"].update(shape=[4, 2, 3, 2]),
            r"tensor 'conv\.weight:mask': expected shape \[4, 2\] .*, found \[4, 3\]",
        ),
        (
            lambda meta: meta["weights"]["fc3.weight"].update(shape=[5, 6]),
            r"'fc3\.weight': expected shape \[5, 6\] for a weight of \[5, 6\] by rows, found \[3, 10\]",
        ),
        (
            lambda meta: meta["weights"].pop("fc1.weight"),
            r"tensor 'fc1\.weight:\w+': expected F32 or I64, found U(8|32)|constant 'fc1\.weight'",
        ),
        (
            lambda meta: meta["graph"]["constants"].remove("conv.bias"),
            "tensor 'conv.bias': expected constants of the graph alone, found one it does not name",
        ),
        (
            lambda meta: meta["graph"]["constants"].append("more"),
            "constant 'more': expected its tensor in the file, found none",
        ),
    ],
)
def test_metadata_that_cannot_be(small: bytes, change: Change, message: str) -> None:
    parts = taken_apart(small)
    change(parts.metadata)
    refused(parts.joined(), message)


def test_tensors_of_another_type_than_their_weight_says(small: bytes) -> None:
    parts = taken_apart(small)
    parts.header["fc2.weight:positions"]["dtype"] = "BF16"
    refused(parts.joined(), r"tensor 'fc2\.weight:positions': expected U16, found BF16")


def test_an_empty_constant(small: bytes) -> None:
    parts = taken_apart(small)
    end = len(parts.data)
    parts.header["nothing"] = {"dtype": "F32", "shape": [0, 3], "data_offsets": [end - end % 4] * 2}
    parts.metadata["graph"]["constants"].append("nothing")
    # An empty tensor may lie anywhere between others.
    begin = parts.header["conv.bias"]["data_offsets"][0]
    parts.header["nothing"]["data_offsets"] = [begin, begin]
    refused(parts.joined(), r"constant 'nothing': expected sizes from 1 on, found \[0, 3\]")


# Of packed weights.


def _set(parts: Parts, tensor: str, dtype: str, index: int, value: float) -> None:
    parts.tensor(tensor).view(dtype)[index] = value


@pytest.mark.parametrize(
    ("tensor", "dtype", "index", "value", "message"),
    [
        ("fc1.weight:starts", "<u4", 0, 1, "'fc1.weight:starts': expected 0 at first, found 1"),
        (
            "fc1.weight:starts",
            "<u4",
            2,
            2**32 - 1,
            "expected no start below the one before it, found .* after 42949",
        ),
        ("fc1.weight:starts", "<u4", -1, 2**32 - 1, r"expected \d+ entries in all, found 4294967295"),
        (
            "fc1.weight:gaps",
            "u1",
            0,
            30,
            r"'fc1\.weight:gaps': expected positions below 20, found \d+ in line 0",
        ),
        (
            "fc1.weight:values",
            "<f4",
            1,
            0.0,
            r"expected zeros only in fillers \(gap 255, value \+0\), found one in entry 1",
        ),
        ("fc2.weight:starts", "<u4", 0, 1, "'fc2.weight:starts': expected 0 at first, found 1"),
        (
            "fc2.weight:positions",
            "<u2",
            0,
            20,
            "'fc2.weight:positions': expected positions below 20, found 20 in line 0",
        ),
        (
            "fc2.weight:positions",
            "<u2",
            0,
            19,
            "expected positions in ascending order, found .* after 19 in line 0",
        ),
        (
            "fc2.weight:values",
            "<f4",
            3,
            0.0,
            "'fc2.weight:values': expected no stored zeros, found one in entry 3",
        ),
        (
            "fc2.weight:values",
            "<f4",
            3,
            -0.0,
            "'fc2.weight:values': expected no stored zeros, found one in entry 3",
        ),
        (
            "conv.weight:values",
            "<f4",
            5,
            0.0,
            "'conv.weight:values': expected no stored zeros, found one in entry 5",
        ),
        (
            "conv.weight:mask",
            "u1",
            2,
            0x84,
            "'conv.weight:mask': expected no bits beyond position 18, found some in line 0",
        ),
        (
            "conv.weight:mask",
            "u1",
            0,
            0,
            r"'conv\.weight:values': expected \d+ values for the bits of the mask, found \d+",
        ),
    ],
)
def test_indices_that_cannot_be(
    small: bytes, tensor: str, dtype: str, index: int, value: float, message: str
) -> None:
    parts = taken_apart(small)
    _set(parts, tensor, dtype, index, value)
    refused(parts.joined(), message)


def test_positions_may_fall_from_line_to_line_alone(small: bytes) -> None:
    parts = taken_apart(small)
    starts = parts.tensor("fc2.weight:starts").view("<u4")
    positions = parts.tensor("fc2.weight:positions").view("<u2")
    line = next(line for line in range(9) if starts[line + 1] - starts[line] >= 2)
    first = int(starts[line])
    positions[first : first + 2] = positions[first]
    refused(
        parts.joined(),
        f"expected positions in ascending order, found {positions[first]} after .* in line {line}",
    )


@pytest.mark.parametrize(
    ("tensor", "dtype", "index", "value", "message"),
    [
        (
            "w:values",
            "<f4",
            2,
            -0.0,
            r"expected zeros only in fillers \(gap 255, value \+0\), found one in entry 2",
        ),
        ("w:gaps", "u1", 2, 3, "expected zeros only in fillers .*, found one in entry 2 of gap 3"),
        ("w:values", "<f4", 6, 0.0, "expected zeros only in fillers .*, found one in entry 6 of gap 1"),
        ("w:gaps", "u1", 0, 255, r"expected positions below 1100, found \d+ in line 0"),
    ],
)
def test_fillers_that_cannot_be(
    wide: bytes, tensor: str, dtype: str, index: int, value: float, message: str
) -> None:
    parts = taken_apart(wide)
    # Positions 3, 259, 516 and 1030: gaps 3, 255, filler and 0, two fillers and 1.
    assert parts.tensor("w:gaps").tolist() == [3, 255, 255, 0, 255, 255, 1]
    _set(parts, tensor, dtype, index, value)
    refused(parts.joined(), message)


def test_a_filler_at_the_end_of_a_line(wide: bytes) -> None:
    parts = taken_apart(wide)
    parts.tensor("w:starts").view("<u4")[1] = 6
    # The seventh entry is the next line's now.
    refused(parts.joined(), "'w:gaps': expected no filler at the end of a line, found entry 5")


def test_counts_of_arrays_that_do_not_match(wide: bytes) -> None:
    parts = taken_apart(wide)
    begin, end = parts.header["w:gaps"]["data_offsets"]
    parts.header["w:gaps"] = {"dtype": "U8", "shape": [6], "data_offsets": [begin, end - 1]}
    del parts.data[end - 1]
    refused(parts.joined(), r"tensor 'w:gaps': expected shape \[7\] .*, found \[6\]")


def test_a_valid_file_is_read_whatever_its_spaces(small: bytes) -> None:
    parts = taken_apart(small)
    assert parsed(parts.joined()).graph == small_model().graph
    assert json.loads(json.dumps(parts.metadata))["version"] == 1
    assert np.frombuffer(small, np.uint8).size == len(small)
