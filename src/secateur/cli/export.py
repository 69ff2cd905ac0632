"""``secateur export``: a run, a checkpoint or an ONNX file becomes a compact file, or ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from secateur.cli.info import print_program
from secateur.errors import ConfigurationError
from secateur.storage import write_atomically


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", type=Path, help="a run's folder, a file of weights, or an ONNX file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .secateur file, or .onnx"
    )
    parser.add_argument("--model", metavar="NAME", help="the built-in network that a file of weights is for")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[1], help="batch sizes to be fastest at (1); it runs at any"
    )
    parser.add_argument("--threads", type=int, help="threads it will run with (all processors)")
    parser.add_argument(
        "--values",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="what weights are stored as (float32: exact)",
    )
    parser.add_argument(
        "--no-measure",
        action="store_true",
        help="take kernels by rule of thumb: the same file on every machine",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    target: Path = arguments.output
    if target.suffix not in (".secateur", ".onnx"):
        raise ConfigurationError(f"-o: expected a name that ends in .secateur or .onnx, found {target}")
    source, example = _source(arguments.source, arguments.model)
    if target.suffix == ".onnx":
        return _to_onnx(source, example, target, console)
    from secateur.compiler.compiling import compile as compile_network  # noqa: PLC0415  # needs onnx

    with console.status("compiling: timing the kernels of every layer" if console.is_terminal else ""):
        program = compile_network(
            source,
            example,
            batch=arguments.batch,
            threads=arguments.threads,
            values=arguments.values,
            measure=not arguments.no_measure,
        )
    program.save(target)
    print_program(console, program, target, arguments.batch[0])
    return 0


def _source(path: Path, model: str | None) -> tuple[Any, Any]:
    """What the compiler takes: an ONNX file's path, or a module with an example."""
    if path.suffix == ".onnx":
        return path, None
    if path.suffix == ".secateur":
        raise ConfigurationError(
            f"{path} is a compact file already; give the run's folder, the weights or the ONNX file that it "
            "came from"
        )
    from secateur.export import (  # noqa: PLC0415  # needs torch, which an ONNX file does not
        check_network,
        network_of_run,
        network_of_weights,
    )

    if path.is_dir():
        trained = network_of_run(path)
    elif path.is_file():
        trained = network_of_weights(path, check_network(model, path))
    else:
        raise ConfigurationError(f"{path}: expected a run's folder, a file of weights or an ONNX file")
    return trained.module, trained.example


def _to_onnx(source: Any, example: Any, target: Path, console: Console) -> int:
    if example is None:
        raise ConfigurationError(f"{source} is an ONNX file already; give -o a name that ends in .secateur")
    from secateur.compiler.reading import onnx_of_module  # noqa: PLC0415  # needs onnx

    content = onnx_of_module(source, [example]).SerializeToString()
    write_atomically(target, lambda file: file.write(content))
    console.print(f"wrote       {target}: {target.stat().st_size:,} bytes", highlight=False, markup=False)
    return 0
