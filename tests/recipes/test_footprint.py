"""What a step takes: bytes against what PyTorch really keeps, seconds against what was really measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.recipes import footprint
from secateur.recipes.footprint import phase_memory, step_seconds
from secateur.training.phase import Phase
from tests.small import CLASSES, SIDE, Conv, Dense, phase

SHAPE = (1, SIDE, SIDE)
CPU = torch.device("cpu")


def a_phase(**changes: Any) -> Phase:
    return Phase.model_validate(phase(**changes))


def all_live(model: nn.Module) -> Masks:
    return Masks.full(select_weights(model))


class Normed(Conv):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc1(self.flatten(self.relu1(self.pool(self.norm(self.conv1(x))))))


def really_kept(model: nn.Module, images: torch.Tensor) -> int:
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), images)}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.train()(images)
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)


@pytest.mark.parametrize("model", [Dense(), Dense(dropout=0.5), Conv(), Normed()])
def test_activations_are_those_that_pytorch_keeps(model: nn.Module) -> None:
    images = torch.randn(64, *SHAPE)
    found = phase_memory(model, SHAPE, a_phase(), 64, masks=None).activations
    # What is kept once, not for each image (batch normalisation's statistics), is all that may differ.
    assert found == pytest.approx(really_kept(model, images) + images.nbytes, rel=0.01)


def test_bytes_of_weights_gradients_states_and_masks() -> None:
    model = Dense()
    parameters = sum(p.numel() for p in model.parameters())
    connections = sum(w.numel() for w in select_weights(model).values())
    dense = phase_memory(model, SHAPE, a_phase(), 8, masks=None)
    assert (dense.weights, dense.gradients, dense.optimizer, dense.masks) == (4 * parameters,) * 3 + (0,)
    adam = phase_memory(
        model,
        SHAPE,
        a_phase(optimizer={"kind": "adam", "learning_rate": 0.1}),
        8,
        masks=all_live(model),
    )
    # A boolean for each connection, and, where layers are small, a float32 factor.
    assert (adam.optimizer, adam.masks) == (8 * parameters, 5 * connections)
    plain = a_phase(optimizer={"kind": "sgd", "learning_rate": 0.1, "momentum": 0.0})
    assert phase_memory(model, SHAPE, plain, 8, masks=None).optimizer == 0
    assert dense.copy == dense.weights + dense.optimizer
    assert dense.total == 2 * (dense.weights + dense.optimizer) + dense.gradients + dense.activations


def test_masks_are_what_a_pruner_holds() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1100, 1000), nn.Linear(1000, 4))
    found = phase_memory(model, (1, 1100), a_phase(), 8, masks=all_live(model)).masks
    # Above a million weights the boolean mask is the factor itself.
    assert found == 1_100_000 + 4000 + 4 * 4000


def test_frozen_layers_have_neither_gradients_nor_activations() -> None:
    whole = phase_memory(Conv(), SHAPE, a_phase(), 8, masks=None)
    last = phase_memory(Conv(), SHAPE, a_phase(only=["fc1"]), 8, masks=None)
    first = phase_memory(Conv(), SHAPE, a_phase(only=["conv1"]), 8, masks=None)
    assert last.gradients == last.optimizer == 4 * (100 * CLASSES + CLASSES)
    assert first.gradients == 4 * (4 * 9 + 4)
    assert last.activations < first.activations <= whole.activations
    assert last.weights == whole.weights


@given(st.integers(1, 300), st.integers(1, 300))
def test_activations_grow_in_proportion_to_the_images(one: int, other: int) -> None:
    model = Dense()
    found = [
        phase_memory(model, SHAPE, a_phase(), count, masks=None).activations
        for count in (one, other, one + other)
    ]
    assert found[0] + found[1] == found[2]


def test_a_step_in_pieces_keeps_the_activations_of_one_piece() -> None:
    whole = phase_memory(Dense(), SHAPE, a_phase(), 32, masks=None)
    pieces = phase_memory(Dense(), SHAPE, a_phase(accumulate=4), 32, masks=None)
    images = 32 * 4 * SIDE * SIDE
    assert pieces.activations - images == (whole.activations - images) / 4


@pytest.mark.parametrize(
    "changes", [{}, {"only": ["fc1"]}, {"precision": "bf16"}, {"accumulate": 2, "only": ["conv1"]}]
)
def test_a_step_is_measured_and_everything_is_put_back(changes: dict[str, Any]) -> None:
    model = Conv()
    masks = Masks({name: torch.rand(w.shape) < 0.5 for name, w in select_weights(model).items()})
    seconds = step_seconds(model, SHAPE, CLASSES, a_phase(**changes), 8, masks=masks, device=CPU)
    assert 0 < seconds < 10
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    for name, weight in select_weights(model).items():
        assert int(weight[~masks[name]].count_nonzero()) == 0  # the step was one under pruning


@pytest.mark.parametrize(
    ("base", "slope", "expected"), [(1.0, 0.5, 1.0 + 0.5 * 4096), (3.0, -0.1, (3.0 - 0.1 * 64) / 64 * 4096)]
)
def test_large_batches_are_drawn_out_from_small_ones(
    monkeypatch: pytest.MonkeyPatch, base: float, slope: float, expected: float
) -> None:
    model = Dense()
    macs = sum(w.numel() for w in select_weights(model).values())
    asked: list[int] = []

    def timed(_model: Any, _shape: Any, _classes: int, _phase: Phase, images: int, *_: Any) -> float:
        asked.append(images)
        return base + slope * images

    monkeypatch.setattr(footprint, "_MACS", 64.0 * macs)
    monkeypatch.setattr(footprint, "_timed", timed)
    found = step_seconds(model, SHAPE, CLASSES, a_phase(), 4096, masks=None, device=CPU)
    assert asked == [16, 64]
    assert found == pytest.approx(expected)
    assert step_seconds(model, SHAPE, CLASSES, a_phase(), 60, masks=None, device=CPU) == base + slope * 60
