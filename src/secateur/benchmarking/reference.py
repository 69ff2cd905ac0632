"""What every engine's outputs are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from secateur.benchmarking.engines import PEERS
from secateur.benchmarking.result import Agreement
from secateur.benchmarking.worker import EngineAbsentError, EngineFailedError, Worker
from secateur.benchmarking.works import Work
from secateur.compiler.network import Network
from secateur.compiler.reference import run
from secateur.errors import ConfigurationError
from secateur.format.packing import unpack
from secateur.format.reader import read_model

Array = NDArray[Any]
Arrays = list[Array]


def write_arrays(path: Path, arrays: Sequence[Array]) -> str:
    """Write arrays to an npz file, in order, and return its path as text."""
    np.savez(path, *arrays)
    return str(path)


def read_arrays(path: Path) -> Arrays:
    """Read the arrays of an npz file, in order."""
    with np.load(path) as archive:
        return [archive[name] for name in archive.files]


def reference_outputs(work: Work, folder: Path) -> tuple[str, Arrays]:
    """The outputs of ONNX Runtime on one thread; where it is absent, of the ``onnx`` package's own evaluator.

    A compact file that comes without the ONNX file it was made from is interpreted in float64.

    Args:
        work: The work; it must have an ONNX file or a compact file.
        folder: For files in passing.

    Returns:
        Whose outputs they are, and the outputs.

    Raises:
        ConfigurationError: ONNX Runtime cannot run the file.
    """
    source = work.sources.get("onnx")
    if source is None:
        return "secateur.compiler.reference", _interpreted(work)
    (engine,) = PEERS["onnxruntime"]
    try:
        with Worker(engine, threads=1) as worker:
            inputs = write_arrays(folder / "reference-inputs.npz", work.inputs)
            outputs = folder / "reference-outputs.npz"
            worker.ask("load", path=str(source), inputs=inputs, configuration="threads=1")
            worker.ask("run", outputs=str(outputs))
            return "onnxruntime", read_arrays(outputs)
    except EngineAbsentError:
        evaluator = ReferenceEvaluator(str(source))
        results = evaluator.run(None, dict(zip(evaluator.input_names, work.inputs, strict=True)))
        return "onnx.reference", [np.asarray(each) for each in results]
    except EngineFailedError as error:
        raise ConfigurationError(f"{source}: ONNX Runtime cannot run it: {error}") from error


def _interpreted(work: Work) -> Arrays:
    model = read_model(work.sources["secateur"])
    weights = {name: unpack(weight) for name, weight in model.weights.items()}
    network = Network(model.graph, {**model.tensors, **weights})
    results = run(network, dict(zip(model.graph.inputs, work.inputs, strict=True)))
    return [results[name] for name in model.graph.outputs]


def compare(outputs: Sequence[Array], reference: Sequence[Array], tolerance: float) -> Agreement:
    """How far outputs are from a reference, relative to its largest magnitude.

    Args:
        outputs: Arrays.
        reference: Those they should be.
        tolerance: Largest relative error that is agreement.

    Returns:
        The errors; without numbers where shapes differ or a number is not finite.

    Example:
        >>> compare([np.array([1.0, 2.002])], [np.array([1.0, 2.0])], 0.01).agrees
        True
    """
    if [each.shape for each in outputs] != [each.shape for each in reference]:
        return Agreement(agrees=False)
    absolute = relative = 0.0
    for found, expected in zip(outputs, reference, strict=True):
        if not np.isfinite(found).all():
            return Agreement(agrees=False)
        error = float(np.max(np.abs(found.astype(np.float64) - expected), initial=0.0))
        scale = float(np.max(np.abs(expected), initial=0.0))
        absolute = max(absolute, error)
        # Where everything should be zero, an absolute error is all there is.
        relative = max(relative, error / scale if scale else error)
    return Agreement(relative <= tolerance, absolute, relative)
