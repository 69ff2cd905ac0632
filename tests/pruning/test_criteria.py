import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.errors import ConfigurationError, LayerSelectionError, MaskError, UnreachableTargetError
from secateur.pruning.allocation import erdos_renyi
from secateur.pruning.criteria import Criterion, Density, GlobalDensity, StdThreshold, compute_masks
from secateur.pruning.masks import Masks
from secateur.pruning.scores import lamp


def weights_of(*sizes: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"fc{index}.weight": torch.randn(size, 3, generator=generator)
        for index, size in enumerate(sizes, start=1)
    }


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4), density=st.floats(0.2, 1.0))
def test_counts_are_exact(sizes: list[int], density: float) -> None:
    weights = weights_of(*sizes)
    total = sum(weight.numel() for weight in weights.values())
    per_layer = compute_masks(weights, Density(density))
    assert all(per_layer.kept_of(name) == round(density * weight.numel()) for name, weight in weights.items())
    # LAMP empties no layer while there are at least as many weights to keep as there are layers.
    if round(density * total) >= len(weights):
        assert compute_masks(weights, GlobalDensity(density, score=lamp)).kept == round(density * total)


@given(densities=st.lists(st.floats(0.1, 1.0), min_size=1, max_size=5))
def test_nothing_comes_back(densities: list[float]) -> None:
    weights, alive = weights_of(20, 30), None
    for density in sorted(densities, reverse=True):
        masks = compute_masks(weights, Density(density), alive)
        assert alive is None or masks.is_subset_of(alive)
        alive = masks


@given(quality=st.floats(0, 1.5))
def test_std_threshold_is_the_papers(quality: float) -> None:
    weights = weights_of(40, 50)
    masks = compute_masks(weights, StdThreshold(quality))
    for name, weight in weights.items():
        deviation = float(weight.double().std(correction=0))
        assert torch.equal(masks[name], weight.abs() >= quality * deviation)


def test_std_threshold_of_a_second_round_is_over_the_living() -> None:
    weights = weights_of(400)
    first = compute_masks(weights, StdThreshold(1.0))
    second = compute_masks(weights, StdThreshold(1.0), first)
    living = weights["fc1.weight"][first["fc1.weight"]]
    kept = int((living.abs() >= living.double().std(correction=0)).sum())
    assert second.kept == kept < first.kept


def test_a_layer_can_have_its_own_quality() -> None:
    weights = weights_of(40, 50)
    masks = compute_masks(weights, StdThreshold(1.0, layers={"fc2": 0.0}))
    assert masks.kept_of("fc2.weight") == 150
    assert masks.kept_of("fc1.weight") < 120


def test_a_layer_with_its_own_density_is_left_out_of_the_allocation() -> None:
    weights = weights_of(100, 10, 10)
    masks = compute_masks(weights, Density(0.5, layers={"fc1": 0.1}, allocation=erdos_renyi))
    assert masks.kept_of("fc1.weight") == 30
    assert masks.kept_of("fc2.weight") + masks.kept_of("fc3.weight") == 30


def test_global_keeps_the_highest_wherever_they_are() -> None:
    weights = {"a.weight": torch.arange(1.0, 9.0), "b.weight": torch.arange(1.0, 9.0) / 2}
    masks = compute_masks(weights, GlobalDensity(0.5))
    assert masks.kept_of("a.weight") == 6  # 3..8 and the tie at 3: the earlier layer goes first
    assert masks.kept_of("b.weight") == 2


def test_weights_are_not_changed() -> None:
    weights = weights_of(10)
    before = weights["fc1.weight"].clone()
    for criterion in (StdThreshold(1.0), Density(0.5), GlobalDensity(0.5)):
        compute_masks(weights, criterion)
    assert torch.equal(weights["fc1.weight"], before)


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        (GlobalDensity(0.1), r"GlobalDensity\(0\.1\)"),
        (StdThreshold(1.5, layers={"small": 1e9}), r"StdThreshold\(1\.5\)"),
        (Density(0.1, layers={"large": 0.5}), r"Density\(0\.1\)"),
    ],
    ids=["global", "threshold", "density"],
)
def test_refuses_to_empty_a_layer(criterion: Criterion, said: str) -> None:
    weights = {"large.weight": torch.linspace(5, 90, 50), "small.weight": torch.linspace(1e-3, 2e-3, 4)}
    message = rf"^{said} would leave no weight at all in small, and nothing would pass through; ask for less"
    with pytest.raises(UnreachableTargetError, match=message):
        compute_masks(weights, criterion)


def test_refuses_more_than_is_alive() -> None:
    weights = weights_of(10, 10)
    alive = compute_masks(weights, Density(0.2))
    with pytest.raises(
        UnreachableTargetError,
        match=r"layer 'fc1': asked to keep 15 of 30 weights but only 6 are alive; .* of at most 0\.2$",
    ):
        compute_masks(weights, Density(0.5), alive)
    with pytest.raises(
        UnreachableTargetError, match=r"asked to keep 30 weights of fc1, fc2, but only 12 are"
    ):
        compute_masks(weights, GlobalDensity(0.5), alive)


def test_refuses_masks_of_another_network() -> None:
    alive = Masks({"fc1.weight": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(MaskError, match="the mask belongs to another network"):
        compute_masks(weights_of(10), Density(0.5), alive)


@pytest.mark.parametrize("build", [Density, StdThreshold], ids=["density", "threshold"])
def test_refuses_layers_that_are_not_there_or_there_twice(
    build: type[Density] | type[StdThreshold],
) -> None:
    weights = weights_of(10, 10)
    with pytest.raises(LayerSelectionError, match="'conv1' is given a value of its own but matches nothing"):
        compute_masks(weights, build(0.5, layers={"conv1": 0.3}))
    with pytest.raises(LayerSelectionError, match=r"'fc1' is asked for twice: by 'fc1' and by 'fc\*'"):
        compute_masks(weights, build(0.5, layers={"fc1": 0.3, "fc*": 0.4}))


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.5, math.nan])
def test_refuses_what_is_no_density(wrong: float) -> None:
    message = "above 0 and at most 1; found"
    with pytest.raises(ConfigurationError, match=message):
        Density(wrong)
    with pytest.raises(ConfigurationError, match=message):
        GlobalDensity(wrong)
    with pytest.raises(ConfigurationError, match=message):
        Density(0.5, layers={"fc1": wrong})


@pytest.mark.parametrize("wrong", [-0.5, math.inf, math.nan])
def test_refuses_what_is_no_quality(wrong: float) -> None:
    message = "a quality parameter is a number at or above zero; found"
    with pytest.raises(ConfigurationError, match=message):
        StdThreshold(wrong)
    with pytest.raises(ConfigurationError, match=message):
        StdThreshold(1.0, layers={"fc1": wrong})


@pytest.mark.parametrize("wrong", ["0.1", None, True, [0.1]], ids=repr)
def test_refuses_what_is_no_number(wrong: object) -> None:
    for build in (Density, GlobalDensity):
        with pytest.raises(
            ConfigurationError, match=f"above 0 and at most 1; found {re.escape(repr(wrong))}"
        ):
            build(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=f"at or above zero; found {re.escape(repr(wrong))}"):
        StdThreshold(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="above 0 and at most 1; found"):
        Density(0.1, layers={"fc1": wrong})  # type: ignore[dict-item]


def test_numpys_numbers_are_numbers() -> None:
    assert Density(np.float32(0.5)) == Density(0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("build", [Density, StdThreshold], ids=["density", "threshold"])
def test_refuses_layers_without_values(build: type[Density] | type[StdThreshold]) -> None:
    with pytest.raises(ConfigurationError, match=r"gives layers their own values, .* found \['fc1'\]"):
        build(0.1, layers=["fc1"])  # type: ignore[arg-type]


def test_refuses_what_is_no_criterion() -> None:
    with pytest.raises(ConfigurationError, match=r"found 0\.1; did you mean sc\.Density\(0\.1\)\?$"):
        compute_masks(weights_of(10), 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_threshold_refuses_weights_that_are_not_finite(wrong: float) -> None:
    weights = weights_of(10, 10)
    weights["fc2.weight"][0, 0] = wrong
    said = "1 weights are NaN and 0 infinite" if math.isnan(wrong) else "0 weights are NaN and 1 infinite"
    with pytest.raises(ConfigurationError, match=f"^layer 'fc2': {said}, so .* did training diverge"):
        compute_masks(weights, StdThreshold(0.5))
    alive = Masks({name: torch.isfinite(weight) for name, weight in weights.items()})
    assert compute_masks(weights, StdThreshold(0.0), alive) == alive


def test_complex_weights_keep_their_largest() -> None:
    weights = {"a": torch.tensor([10j, 1 + 0j, 0.5j, 2 + 0j])}
    for criterion in (GlobalDensity(0.25), GlobalDensity(0.25, score=lamp), Density(0.25), StdThreshold(1.5)):
        assert compute_masks(weights, criterion)["a"].tolist() == [True, False, False, False]


@pytest.mark.parametrize("kind", [Density, GlobalDensity])
def test_a_score_of_another_shape_is_refused(kind: type[Density | GlobalDensity]) -> None:
    weights = {"a": torch.ones(3, 2)}
    with pytest.raises(ConfigurationError, match="expected a tensor of the weight's shape"):
        compute_masks(weights, kind(0.5, score=lambda _, weight: weight[:1]))


def test_a_fraction_is_a_density() -> None:
    with pytest.raises(UnreachableTargetError, match=r"Density\(0.1\) would leave no weight"):
        compute_masks({"a": torch.ones(2)}, Density(Fraction(1, 10)))
