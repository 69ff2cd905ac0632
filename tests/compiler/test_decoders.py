"""Networks that end in images: U-Nets, generators and decoders, from torch to the file and back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.format.graph import Convolution
from secateur.format.model import ADDED_ZEROS
from secateur.runtime.program import Program
from tests.compiler.test_networks import shaken


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class UNet(nn.Module):
    """Down, down, up, up, and what was on the way down beside what comes up."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = block(3, 8), block(8, 16), block(16, 32)
        self.pool = nn.MaxPool2d(2)
        if up == "transposed":
            self.up2: nn.Module = nn.ConvTranspose2d(32, 16, 2, 2)
            self.up1: nn.Module = nn.Sequential(
                nn.ConvTranspose2d(16, 8, 3, 2, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
            )
        else:
            self.up2 = nn.Sequential(nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(32, 16, 1))
            self.up1 = nn.Sequential(nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(16, 8, 1))
        self.join2, self.join1, self.head = block(32, 16), block(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(self.pool(first))
        up = self.up2(self.bottom(self.pool(second)))
        up = self.up1(self.join2(torch.cat([up, second], 1)))
        return self.head(self.join1(torch.cat([up, first], 1)))


def generator() -> nn.Module:
    """DCGAN's, small."""
    return nn.Sequential(
        nn.ConvTranspose2d(12, 16, 4, 1, 0, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def waves() -> nn.Module:
    """A decoder of sound: one dimension, groups, dilation, and what is cut off."""
    return nn.Sequential(
        nn.Conv1d(2, 8, 4, 4),
        nn.GELU(),
        nn.ConvTranspose1d(8, 8, 8, 4, 2, groups=2),
        nn.ELU(),
        nn.Upsample(scale_factor=3),
        nn.ConvTranspose1d(8, 2, 3, 1, 2, dilation=2),
    )


NETWORKS = {
    "u-net": (lambda: UNet("transposed"), (3, 32, 24), {"Convolution": 8, "Transpose": 2, "Concat": 2}),
    "u-net by repeating": (
        lambda: UNet("nearest"),
        (3, 32, 24),
        {"Convolution": 8, "Expand": 4, "Concat": 2},
    ),
    "u-net by interpolating": (
        lambda: UNet("bilinear"),
        (3, 32, 24),
        {"Convolution": 10, "Pad": 2, "Transpose": 2, "Concat": 2},
    ),
    "generator": (generator, (12, 1, 1), {"Convolution": 3, "Transpose": 2}),
    "waves": (waves, (2, 32), {"Convolution": 3, "Transpose": 1, "Expand": 1}),
}


def assert_agrees(program: Program, network: nn.Module, shape: tuple[int, ...]) -> None:
    for batch in (1, 2, 5):
        x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            torch.testing.assert_close(program(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_from_torch_to_the_file_and_back(name: str, tmp_path: Path) -> None:
    factory, shape, wanted = NETWORKS[name]
    network = shaken(factory()).eval()
    pruner = sc.Pruner(network)
    pruner.prune(sc.Density(0.3))
    pruner.finalize()
    program = sc.compile(network, torch.randn(1, *shape), threads=1, measure=False)
    found = Counter(type(node).__name__ for node in program.graph.nodes)
    assert {kind: found[kind] for kind in wanted} == wanted
    # Nothing is left beside the layers but what moves numbers, and what torch writes as an ELU.
    assert found["Binary"] == 0 or name == "waves"
    assert_agrees(program, network, shape)
    program.save(tmp_path / "network.secateur")
    assert_agrees(sc.load(tmp_path / "network.secateur", threads=1), network, shape)


def test_layers_that_go_up_are_measured_and_known_by_name(tmp_path: Path) -> None:
    network = shaken(UNet("transposed")).eval()
    program = sc.compile(network, torch.randn(1, 3, 16, 16), threads=1, cache=tmp_path / "kernels.json")
    names = [layer.layer for layer in program.kernels()]
    assert {"up2", "up1.0"} <= set(names)
    assert len(program.candidates("up2")) > 1
    layers = {node.name: node for node in program.graph.nodes if isinstance(node, Convolution)}
    activation = layers["up1.0"].activation
    assert activation is not None
    assert activation.kind == "relu"
    assert_agrees(program, network, (3, 16, 16))


def test_zeros_that_fill_up_phases_are_not_counted(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), nn.BatchNorm2d(6), nn.ConvTranspose2d(6, 4, 4, 2, 1)
    ).eval()
    pruner = sc.Pruner(network)
    pruner.prune(sc.Density(0.25))
    pruner.finalize()
    sc.compile(network, torch.randn(1, 4, 5, 5), measure=False).save(tmp_path / "up.secateur")
    program = sc.load(tmp_path / "up.secateur")
    shapes = {name: weight.shape for name, weight in program.model.weights.items()}
    assert shapes == {"0.weight": (24, 4, 2, 2), "2.weight": (16, 6, 3, 3)}
    assert {name: program.density(name) for name in shapes} == {"0.weight": 0.25, "2.weight": 0.25}
    own = {name: program.model.own_weights(name) for name in shapes}
    assert own == {"0.weight": 4 * 6 * 9, "2.weight": 6 * 4 * 16}


@pytest.mark.parametrize(
    "told", [None, 3, [], {}, {"0.weight": "many"}, {"0.weight": -1}, {"0.weight": 9999}]
)
def test_a_file_that_tells_nonsense_of_added_zeros_is_not_believed(told: object) -> None:
    program = sc.compile(nn.Sequential(nn.Linear(8, 4)), torch.randn(1, 8), measure=False)
    model = replace(program.model, provenance={ADDED_ZEROS: told})
    assert model.own_weights("0.weight") == 32
    assert Program(model).density("0.weight") == 1.0
    more = replace(program.model, provenance={ADDED_ZEROS: {"0.weight": 20}})
    assert Program(more).density("0.weight") == 1.0
