"""The energy of one inference by the paper's table of a 45 nm process (Fig 1): arithmetic, SRAM, DRAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from secateur.errors import ConfigurationError, DataError

# Picojoules of one operation on 32 bits, 45 nm CMOS (Fig 1 of the paper).
MULTIPLY, ADD, SRAM_READ, DRAM_READ = 3.7, 0.9, 5.0, 640.0
WORD_BITS = 32
# Bits of a relative index beside each weight (section 4 of the paper).
LINEAR_INDEX_BITS, CONVOLUTION_INDEX_BITS = 5, 8


@final
@dataclass(frozen=True)
class LayerWork:
    """What one layer holds and computes for one input.

    Attributes:
        weights: Stored weights.
        index_bits: Bits stored beside each of them to say where it belongs; 0 for a dense layer.
        macs: Multiply-accumulates that are done.
    """

    weights: int
    index_bits: int
    macs: float


@final
@dataclass(frozen=True)
class Energy:
    """What one inference takes, in picojoules.

    Attributes:
        arithmetic: A float32 multiplication and an addition for each multiply-accumulate.
        sram: A weight and an input read from on-chip memory for each multiply-accumulate.
        dram: Every stored weight and index read once from off-chip memory; 0 where they fit on the chip.
        stored_bytes: What the weights and their indices take.
    """

    arithmetic: float
    sram: float
    dram: float
    stored_bytes: float

    @property
    def total(self) -> float:
        """The sum of the three."""
        return self.arithmetic + self.sram + self.dram


def inference_energy(layers: Sequence[LayerWork], *, on_chip_bytes: float) -> Energy:
    """The energy of one inference at batch 1.

    ``macs x (3.7 + 0.9) + macs x 2 x 5 + words x 640`` picojoules. Assumed: activations always fit on the
    chip; partial sums stay in registers and cost nothing; the weights fit as a whole or not at all, and are
    read from DRAM once for each inference if they do not. A layer that uses a weight again (a convolution)
    finds it in SRAM.

    Args:
        layers: At least one.
        on_chip_bytes: On-chip memory for weights, in bytes, at least 0.

    Returns:
        The energy, split by where it goes.

    Raises:
        DataError: There are no layers.
        ConfigurationError: A count or a size is negative.

    Example:
        >>> energy = inference_energy([LayerWork(weights=1000, index_bits=0, macs=1000)], on_chip_bytes=0)
        >>> round(energy.arithmetic), energy.sram, energy.dram
        (4600, 10000.0, 640000.0)

    Source:
        Han et al. 2015, Fig 1; Horowitz, Energy table for 45 nm process.
    """
    if not layers:
        raise DataError("energy of an inference: expected at least one layer, found none")
    if on_chip_bytes < 0:
        raise ConfigurationError(
            f"energy of an inference: on_chip_bytes must be >= 0, but is {on_chip_bytes}"
        )
    for place, layer in enumerate(layers):
        if min(layer.weights, layer.index_bits, layer.macs) < 0:
            raise ConfigurationError(
                f"energy of an inference: layer {place} counts {layer.weights} weights, {layer.index_bits} "
                f"index bits and {layer.macs} MACs; none can be negative"
            )
    macs = sum(layer.macs for layer in layers)
    words = sum(layer.weights * (WORD_BITS + layer.index_bits) / WORD_BITS for layer in layers)
    stored = words * WORD_BITS / 8
    return Energy(
        arithmetic=macs * (MULTIPLY + ADD),
        sram=macs * 2 * SRAM_READ,
        dram=0.0 if stored <= on_chip_bytes else words * DRAM_READ,
        stored_bytes=stored,
    )


def dense_work(rows: Sequence[Mapping[str, Any]]) -> list[LayerWork]:
    """What the dense network of a run does.

    Args:
        rows: ``layers`` of a ``result.json``.

    Returns:
        One entry a layer.

    Raises:
        DataError: A layer's arithmetic was not counted.
    """
    return [LayerWork(row["weights"], 0, _flop(row) / 2) for row in rows]


def pruned_work(rows: Sequence[Mapping[str, Any]]) -> list[LayerWork]:
    """What the pruned network of a run does, where zero weights and zero inputs are both skipped.

    Args:
        rows: ``layers`` of a ``result.json``.

    Returns:
        One entry a layer; a layer that uses its weights once counts as linear and gets the narrower index.

    Raises:
        DataError: A layer's arithmetic was not counted.
    """
    return [
        LayerWork(
            row["kept"],
            LINEAR_INDEX_BITS if _flop(row) <= 2 * row["weights"] else CONVOLUTION_INDEX_BITS,
            _flop(row) / 2 * row["flop_kept"],
        )
        for row in rows
    ]


def _flop(row: Mapping[str, Any]) -> float:
    if row["flop"] is None or row["flop_kept"] is None:
        raise DataError(
            f"energy of an inference: the arithmetic of layer {row['name']!r} was not counted; "
            "the notes of the run's result say why"
        )
    return float(row["flop"])
