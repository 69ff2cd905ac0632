"""Bytes of compact files at the paper's densities, beside the entropy: ``python -m benchmarks.sizes``.

The entropy of a layer is that of a mask whose places are all as likely, and every value that is not zero in
full: what a file of such values cannot go below without guessing them. Biases are counted in full.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import secateur as sc
from benchmarks.rows import record_head
from secateur.benchmarking.network_onnx import write_chain
from secateur.benchmarking.paper import parse_rows, pruned_network
from secateur.format.layouts import ValueType
from secateur.format.packing import entropy_bound
from secateur.networks import NETWORKS
from secateur.storage import write_json

# By network and type of the values: the most that a file may take.
LIMITS: Mapping[tuple[str, ValueType], int] = {
    ("lenet-300-100@paper", "float32"): 200_000,
    ("alexnet@paper", "float32"): 35_000_000,
    ("alexnet@paper", "float16"): 21_000_000,
    ("vgg16@paper", "float32"): 60_000_000,
    ("vgg16@paper", "float16"): 39_000_000,
}


def sizes_of(network: str, values: Sequence[ValueType]) -> list[dict[str, Any]]:
    """What a network's files take.

    Args:
        network: A row of the suite, such as ``alexnet@paper``.
        values: The types of its weights' values to write files with.

    Returns:
        JSON values, for each type: bytes of the file, the entropy of its numbers, and the limit.
    """
    (row,) = parse_rows([network])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        exported, file = Path(folder) / "network.onnx", Path(folder) / "network.secateur"
        write_chain(pruned_network(row), (1, *NETWORKS[row.network].input_shape), exported)
        for kind in values:
            program = sc.compile(exported, values=kind, measure=False)
            program.save(file)
            size = file.stat().st_size
            bound = float(sum(tensor.nbytes for tensor in program.model.tensors.values()))
            for name, weight in program.model.weights.items():
                positions = prod(weight.shape)
                kept = round(program.density(name) * positions)
                bound += entropy_bound(positions, kept, weight.layout.values.itemsize)
            found.append(
                {
                    "network": network,
                    "values": kind,
                    "file_bytes": size,
                    "entropy_bytes": bound,
                    "above_entropy": size / bound - 1,
                    "limit_bytes": LIMITS[network, kind],
                    "within": size <= LIMITS[network, kind],
                }
            )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, print and write the result; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written, if anywhere")
    parser.add_argument("--networks", nargs="+", default=["alexnet@paper", "vgg16@paper"])
    given = parser.parse_args(arguments)
    load, rows = os.getloadavg()[0], []
    for network in given.networks:
        kinds: list[ValueType] = [kind for name, kind in LIMITS if name == network]
        rows += sizes_of(network, kinds)
    for row in rows:
        Console().print(
            f"{row['network']} {row['values']}: {row['file_bytes'] / 1e6:.1f} MB, at most "
            f"{row['limit_bytes'] / 1e6:.0f}; {row['above_entropy']:.1%} above the entropy"
        )
    if given.json is not None:
        settings = {"networks": given.networks}
        command = "python -m benchmarks.sizes --json benchmarks/results/sizes.json"
        write_json(
            given.json, {**record_head(settings, command, torch.get_num_threads(), load), "rows": rows}
        )


if __name__ == "__main__":
    main()
