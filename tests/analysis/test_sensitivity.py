from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from secateur.analysis.sensitivity import (
    LayerSensitivity,
    ScanObserver,
    scan_counts,
    sensitivity,
)
from secateur.errors import ConfigurationError, DataError, LayerSelectionError, UnsupportedModelError
from secateur.networks import LeNet5, LeNet300100
from secateur.pruning.criteria import Density, compute_masks
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.scores import magnitude
from secateur.pruning.selection import keep_highest
from secateur.training.evaluation import evaluate
from secateur.training.task import in_chunks
from tests.analysis.test_prefix import Branching, Functional, Overwriting, Residual
from tests.small import SIDE, Conv, Dense, Tied

GRID = (0.7, 0.4, 0.15)


def labelled(count: int, *shape: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=draw), torch.randint(classes, (count,), generator=draw)


def naive(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, list[tuple[int, float, float]]]:
    """The definition: for every point mask a layer, evaluate the whole network, put the layer back."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for name, weight in select_weights(model).items():
        before = weight.detach().clone()
        for density in GRID:
            mask = compute_masks({name: weight}, Density(density))[name]
            Masks({name: mask}).apply_({name: weight})
            result = evaluate(model, in_chunks(images, labels))
            found.setdefault(name, []).append((int(mask.sum()), result.loss, result.error))
            with torch.no_grad():
                weight.copy_(before)
    return found


def plain(layers: tuple[LayerSensitivity, ...]) -> dict[str, list[tuple[int, float, float]]]:
    return {
        layer.parameter: [(point.kept, point.loss, point.error) for point in layer.points] for layer in layers
    }


@pytest.mark.parametrize("memory", [1 << 30, 1])
@pytest.mark.parametrize(
    ("kind", "shape", "count"),
    [
        (Dense, (1, SIDE, SIDE), 1100),  # two batches
        (Conv, (1, SIDE, SIDE), 60),
        (Tied, (1, SIDE, SIDE), 60),
        (LeNet5, (1, 28, 28), 40),
        (LeNet300100, (1, 28, 28), 40),
        (Residual, (1, 6, 6), 60),
        (Functional, (5,), 60),
        (Overwriting, (5,), 60),
        (Branching, (5,), 60),
    ],
)
def test_the_same_bits_as_the_naive_scan(
    kind: Callable[[], nn.Module], shape: tuple[int, ...], count: int, memory: int
) -> None:
    torch.manual_seed(1)
    model = kind()
    images, labels = labelled(count, *shape)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = sensitivity(model, images, labels, densities=GRID, memory=memory)
    assert plain(found.layers) == naive(model, images, labels)
    whole = evaluate(model, in_chunks(images, labels))
    assert (found.loss, found.error, found.images) == (whole.loss, whole.error, count)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_what_cannot_be_reused_says_so() -> None:
    images, labels = labelled(6, 5)
    layers = sensitivity(Branching(), images, labels, densities=GRID).layers
    assert [(layer.layer, layer.reused) for layer in layers] == [("first", False)]
    assert layers[0].note.startswith("evaluated whole each time: Branching cannot be traced by torch.fx")
    first, second = sensitivity(Overwriting(), images, labels, densities=GRID).layers
    assert (first.reused, first.note) == (True, "")
    assert second.note == ("evaluated whole each time: an operation writes over what comes before the layer")


def test_earlier_layers_are_run_once() -> None:
    model = Dense()
    images, labels = labelled(8, 1, SIDE, SIDE)
    calls: list[str] = []
    for name in ("fc1", "fc2", "fc3"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    sensitivity(model, images, labels, densities=GRID)
    # Once whole, once divided to compare the two, once on the way to the next layer, and once for each point
    # of the layer itself and of those before it.
    assert calls.count("fc1") == 1 + 1 + 1 + 3
    assert calls.count("fc2") == 1 + 1 + 1 + 3 + 3
    assert calls.count("fc3") == 1 + 1 + 3 + 3 + 3


def test_layers_are_chosen_and_reported_in_the_networks_order() -> None:
    images, labels = labelled(8, 1, SIDE, SIDE)
    found = sensitivity(Dense(), images, labels, densities=[0.1, 1.0], exclude="fc2")
    assert [layer.layer for layer in found.layers] == ["fc1", "fc3"]
    assert [point.density for point in found.layers[0].points] == [1.0, 346 / 3456]
    assert (found.layers[0].points[0].loss, found.layers[0].points[0].error) == (found.loss, found.error)


def test_a_density_that_rounds_to_nothing_keeps_one_weight() -> None:
    images, labels = labelled(8, 5)
    found = sensitivity(Overwriting(), images, labels, densities=[0.001])
    assert found.layers[0].points[0].kept == 1


def test_an_interrupted_scan_goes_on_to_the_same_result() -> None:
    model = Dense()
    images, labels = labelled(30, 1, SIDE, SIDE)
    whole = sensitivity(model, images, labels, densities=GRID)
    told: list[str] = []
    resumed = sensitivity(
        model,
        images,
        labels,
        densities=GRID,
        finished=whole.layers[:2],
        observer=ScanObserver(on_layer=lambda layer: told.append(layer.layer)),
    )
    assert told == ["fc3"]
    assert plain(resumed.layers) == plain(whole.layers)
    assert resumed.layers[:2] == whole.layers[:2]


def test_progress_is_told_by_point_and_layer() -> None:
    images, labels = labelled(8, 1, SIDE, SIDE)
    points: list[str] = []
    starts: list[int] = []
    sensitivity(
        Dense(),
        images,
        labels,
        densities=GRID,
        observer=ScanObserver(on_start=lambda count, *_: starts.append(count), on_point=points.append),
    )
    assert starts == [8]
    assert points == ["fc1"] * 3 + ["fc2"] * 3 + ["fc3"] * 3


def test_a_pruned_network_is_scanned_from_what_lives() -> None:
    torch.manual_seed(0)
    model = Dense()
    images, labels = labelled(30, 1, SIDE, SIDE)
    weights = select_weights(model)
    alive = compute_masks(weights, Density(0.3))
    alive.apply_(weights)
    counts = {"fc1.weight": [1000, 500, 500], "fc3.weight": [10]}
    found = scan_counts(model, images, labels, counts, alive=alive)
    assert [(layer.layer, [point.kept for point in layer.points]) for layer in found.layers] == [
        ("fc1", [1000, 500]),
        ("fc3", [10]),
    ]
    mask = keep_highest(magnitude("", weights["fc1.weight"]), 500, alive["fc1.weight"])
    weights["fc1.weight"].data.masked_fill_(~mask, 0)
    assert evaluate(model, in_chunks(images, labels)).loss == found.layers[0].points[1].loss


def test_refusals() -> None:
    images, labels = labelled(8, 1, SIDE, SIDE)
    for densities in ([], [0.0], [1.5], [float("nan")]):
        with pytest.raises(ConfigurationError, match="each above 0 and at most 1; found"):
            sensitivity(Dense(), images, labels, densities=densities)
    with pytest.raises(ConfigurationError, match="batch and memory must be at least 1, found 0 and"):
        sensitivity(Dense(), images, labels, batch=0)
    with pytest.raises(DataError, match="found 8 images and 7 labels"):
        sensitivity(Dense(), images, labels[:7])
    with pytest.raises(LayerSelectionError, match="'fc9' matches nothing"):
        sensitivity(Dense(), images, labels, layers="fc9")
    with pytest.raises(
        UnsupportedModelError, match=r"expected outputs of shape \[8, classes\], found \[8, 4, 1"
    ):
        sensitivity(nn.Conv2d(1, 4, 3), images, labels)
