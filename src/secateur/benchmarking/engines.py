"""The engines that can be measured: where each one's worker is, what it reads, how it is installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

from secateur.errors import ConfigurationError

_WORKERS = Path(__file__).with_name("workers")

Source = Literal["onnx", "torch", "secateur"]


@final
@dataclass(frozen=True)
class Engine:
    """An engine in one way of using it.

    Attributes:
        name: As it stands in results.
        worker: The file that its process runs; see `secateur.benchmarking.workers`.
        reads: The kind of file it starts from: ONNX, or a program of ``torch.export``. ``secateur`` starts
            from a ``.secateur`` file where there is one, else from ONNX.
        install: How to get it, for people.
        environment: Variables its process needs.
        python: The interpreter it runs in.
    """

    name: str
    worker: Path
    reads: Source
    install: str
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable


# DeepSparse reports its use to its makers unless it is told not to.
_QUIET = {"NM_DISABLE_ANALYTICS": "True", "DO_NOT_TRACK": "1"}

_TORCH = "pip install torch"
SECATEUR = Engine("secateur", _WORKERS / "run_secateur.py", "secateur", 'pip install "secateur[compile]"')

# Peer, as it is asked for -> the ways in which it is measured.
PEERS: Mapping[str, tuple[Engine, ...]] = {
    "torch": (
        Engine("torch-eager", _WORKERS / "run_torch_eager.py", "torch", _TORCH),
        Engine("torch-compiled", _WORKERS / "run_torch_compiled.py", "torch", _TORCH),
    ),
    "onnxruntime": (
        Engine("onnxruntime", _WORKERS / "run_onnxruntime.py", "onnx", "pip install onnxruntime"),
    ),
    "openvino": (Engine("openvino", _WORKERS / "run_openvino.py", "onnx", "pip install openvino"),),
    "mnn": (
        Engine("mnn", _WORKERS / "run_mnn.py", "onnx", "pip install mnn"),
        Engine("mnn-sparse", _WORKERS / "run_mnn_sparse.py", "onnx", "pip install mnn"),
    ),
    "deepsparse": (
        Engine(
            "deepsparse",
            _WORKERS / "run_deepsparse.py",
            "onnx",
            "pip install deepsparse==1.8.0, in an environment of its own with Python 3.8 to 3.11",
            _QUIET,
        ),
    ),
}


def parse_pythons(words: Sequence[str]) -> dict[str, str]:
    """Interpreters by engine, from ``NAME=PATH`` words.

    Args:
        words: Such as ``deepsparse=env/bin/python``. ``secateur`` may be named too.

    Returns:
        Path by name.

    Raises:
        ConfigurationError: A word has no ``=``, a name is not known, or nothing is at a path.

    Example:
        >>> parse_pythons([])
        {}
    """
    pythons = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or name not in ("secateur", *PEERS):
            raise ConfigurationError(
                f"--python takes NAME=PATH with NAME among secateur, {', '.join(PEERS)}; found {word!r}"
            )
        if not Path(path).is_file():
            raise ConfigurationError(
                f"--python {word}: there is no file {path!r}; give the interpreter of the environment in "
                "which the engine is installed, such as ENV/bin/python"
            )
        pythons[name] = path
    return pythons


def chosen_engines(peers: Sequence[str], pythons: Mapping[str, str]) -> list[Engine]:
    """Secateur and the peers that are asked for, each in all its ways.

    Args:
        peers: Names among ``PEERS``.
        pythons: Interpreter by peer, where it is another one.

    Returns:
        The engines, secateur first.

    Raises:
        ConfigurationError: A name is not known or is there twice.

    Example:
        >>> [engine.name for engine in chosen_engines(["mnn"], {})]
        ['secateur', 'mnn', 'mnn-sparse']
    """
    unknown = [name for name in peers if name not in PEERS]
    if unknown or len(set(peers)) != len(peers):
        raise ConfigurationError(
            f"--peers takes names among {', '.join(PEERS)}, each once; found {','.join(peers)!r}"
        )
    ways = {"secateur": (SECATEUR,), **{name: PEERS[name] for name in peers}}
    return [
        Engine(
            way.name, way.worker, way.reads, way.install, way.environment, pythons.get(name, sys.executable)
        )
        for name, engines in ways.items()
        for way in engines
    ]
