import copy
import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import MaskError
from secateur.pruning.masks import Masks

SHAPES = {"a.weight": (3, 4), "b.weight": (5,)}


def bits_of(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
    count = torch.Size(shape).numel()
    return st.lists(st.booleans(), min_size=count, max_size=count).map(
        lambda bits: torch.tensor(bits).view(shape)
    )


any_masks = st.fixed_dictionaries({name: bits_of(shape) for name, shape in SHAPES.items()}).map(Masks)


@given(first=any_masks, second=any_masks)
def test_and_can_only_remove(first: Masks, second: Masks) -> None:
    both = first & second
    assert both.is_subset_of(first)
    assert both.is_subset_of(second)
    assert both == second & first
    assert both & first == both
    assert first.is_subset_of(second) == (both == first)
    assert all(torch.equal(both[name], first[name] & second[name]) for name in SHAPES)


@given(masks=any_masks)
def test_counts(masks: Masks) -> None:
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert masks.total == 17
    assert masks.kept == kept == sum(masks.kept_of(name) for name in masks)
    assert masks.density == kept / 17
    assert masks.compression == (17 / kept if kept else float("inf"))


@given(masks=any_masks)
def test_copies_are_equal_and_independent(masks: Masks) -> None:
    for other in (copy.deepcopy(masks), pickle.loads(pickle.dumps(masks)), Masks(masks), masks.to("cpu")):  # noqa: S301  our own bytes
        assert other == masks
        assert type(other) is Masks
        other["a.weight"].logical_not_()
        assert other != masks
        assert not torch.equal(other["a.weight"], masks["a.weight"])


@given(masks=any_masks)
def test_state_dict_survives_a_safe_load(masks: Masks) -> None:
    file = io.BytesIO()
    torch.save(masks.state_dict(), file)
    file.seek(0)
    assert Masks(torch.load(file, weights_only=True)) == masks


def test_full_keeps_everything() -> None:
    masks = Masks.full({"fc.weight": torch.randn(2, 3), "fc.bias": torch.randn(3)})
    assert (masks.kept, masks.total, masks.density, masks.compression) == (9, 9, 1.0, 1.0)
    assert masks["fc.weight"].dtype == torch.bool


def test_no_weights_at_all_is_dense() -> None:
    assert Masks({}).density == 1.0


def test_is_immutable() -> None:
    source = torch.ones(2, dtype=torch.bool)
    masks = Masks({"a": source})
    source.zero_()
    assert masks.kept == 2
    masks.state_dict()["a"].zero_()
    assert masks.kept == 2
    with pytest.raises(TypeError, match="item assignment"):
        masks["a"] = source  # type: ignore[index]
    with pytest.raises(AttributeError):
        masks.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(masks)


def test_is_not_equal_to_a_dictionary() -> None:
    assert Masks({}) != {}
    assert Masks({"a": torch.ones(1, dtype=torch.bool)}) != Masks({"b": torch.ones(1, dtype=torch.bool)})


def test_repr_says_how_much_lives() -> None:
    masks = Masks({"a": torch.tensor([True, False, False, False])})
    assert repr(masks) == "Masks(1 weights, 1 of 4 kept, density 0.2500)"


@pytest.mark.parametrize(
    ("mask", "found"),
    [(torch.ones(2), "torch.float32"), (torch.ones(2, dtype=torch.uint8), "torch.uint8"), ([True], "list")],
)
def test_refuses_what_is_no_boolean_tensor(mask: object, found: str) -> None:
    with pytest.raises(MaskError, match=rf"mask of 'a': expected a boolean tensor .* found {found}; compare"):
        Masks({"a": mask})  # type: ignore[dict-item]


def test_refuses_a_name_that_is_none() -> None:
    with pytest.raises(MaskError, match="a mask's name must be a parameter name, found 3"):
        Masks({3: torch.ones(1, dtype=torch.bool)})  # type: ignore[dict-item]


def test_refuses_to_compare_masks_of_different_weights() -> None:
    first, second = (Masks({name: torch.ones(2, dtype=torch.bool)}) for name in ("a", "b"))
    with pytest.raises(MaskError, match="different weights: only one of them knows a, b"):
        first & second
    with pytest.raises(MaskError, match="different weights"):
        first.is_subset_of(second)


def test_refuses_to_broadcast() -> None:
    first = Masks({"a": torch.ones(2, 2, dtype=torch.bool)})
    second = Masks({"a": torch.ones(1, 2, dtype=torch.bool)})
    message = (
        r"mask of 'a': its shape \(2, 2\) is not the weight's shape \(1, 2\); the mask belongs to another"
    )
    with pytest.raises(MaskError, match=message):
        first & second
    with pytest.raises(MaskError, match=message):
        first.is_subset_of(second)
    with pytest.raises(MaskError, match=message):
        first.apply_({"a": torch.ones(1, 2)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_apply_zeroes_exactly_the_pruned_weights(dtype: torch.dtype) -> None:
    weight = torch.tensor([[1.0, -2.0], [float("nan"), float("inf")]], dtype=dtype)
    Masks({"w": torch.tensor([[True, False], [False, False]])}).apply_({"w": weight})
    assert torch.equal(weight, torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=dtype))
    assert not weight.signbit().any()


def test_apply_to_a_module_leaves_parameters_leaves_and_takes_tied_names() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    Masks({"1.weight": torch.eye(3, dtype=torch.bool)}).apply_(model)
    assert int(model[0].weight.count_nonzero()) == 3
    assert model[0].weight.is_leaf
    assert model[0].weight.requires_grad


def test_apply_refuses_a_network_without_the_weight() -> None:
    masks = Masks({"fc9.weight": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(
        MaskError, match=r"a mask for 'fc9\.weight' but no such weight .* its weights are bias, weight"
    ):
        masks.apply_(nn.Linear(2, 2))


@pytest.mark.parametrize("given", [None, [1], "a"])
def test_what_is_no_mapping_is_refused(given: Any) -> None:
    with pytest.raises(MaskError, match=f"boolean tensors by parameter name, found {type(given).__name__}"):
        Masks(given)
