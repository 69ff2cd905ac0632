from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.benchmarking import reference
from secateur.benchmarking.engines import PEERS
from secateur.benchmarking.reference import compare, read_arrays, reference_outputs, write_arrays
from secateur.benchmarking.works import Work
from tests.benchmarking.conftest import fake, write_compact_relu


def test_without_onnxruntime_the_onnx_package_computes(
    relu: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "PEERS", {**PEERS, "onnxruntime": (fake("absent"),)})
    origin, outputs = reference_outputs(relu, tmp_path)
    assert origin == "onnx.reference"
    assert outputs[0].tolist() == [[1, 0, 3], [0, 5, 0]]


def test_both_references_agree(relu: Work, tmp_path: Path) -> None:
    origin, outputs = reference_outputs(relu, tmp_path)
    assert origin == "onnxruntime"
    assert outputs[0].tolist() == [[1, 0, 3], [0, 5, 0]]


def test_a_compact_file_alone_is_interpreted(relu: Work, tmp_path: Path) -> None:
    work = replace(relu, sources={"secateur": write_compact_relu(tmp_path / "relu.secateur")})
    origin, outputs = reference_outputs(work, tmp_path)
    assert origin == "secateur.compiler.reference"
    assert outputs[0].tolist() == [[1, 0, 3], [0, 5, 0]]


def test_arrays_keep_their_order(tmp_path: Path) -> None:
    arrays = [np.full(2, number) for number in range(12)]
    assert [a[0] for a in read_arrays(Path(write_arrays(tmp_path / "a.npz", arrays)))] == list(range(12))


def test_what_does_not_agree() -> None:
    one = np.ones(2, np.float32)
    assert not compare([one], [one, one], 1.0).agrees
    assert not compare([one], [one[None]], 1.0).agrees
    assert compare([one * np.float32(np.nan)], [one], 1.0).max_relative_error is None
    assert compare([one * np.float32(np.inf)], [one], 1.0).max_relative_error is None
    # the worst output counts, not the last
    assert not compare([one * 2, one], [one, one], 0.5).agrees


def test_zero_outputs_are_compared_absolutely() -> None:
    zero = np.zeros(3, np.float32)
    assert compare([zero], [zero], 0.0).agrees
    assert not compare([zero + 1], [zero], 0.5).agrees
    assert compare([np.zeros((0, 3))], [np.zeros((0, 3))], 0.0).agrees


@given(st.floats(1e-6, 0.5), st.floats(1e-3, 1e3))
def test_the_error_is_relative_to_the_largest_output(error: float, scale: float) -> None:
    expected = np.array([0.0, 1.0, -2.0]) * scale
    found = expected + np.array([error, 0, 0]) * scale
    agreement = compare([found], [expected], 1.0)
    assert agreement.max_relative_error == pytest.approx(error / 2, rel=1e-9)
    assert agreement.max_absolute_error == pytest.approx(error * scale, rel=1e-9)
    assert agreement.agrees
