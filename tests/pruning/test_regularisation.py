import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import ConfigurationError
from secateur.pruning.regularisation import Regularisation

strengths = st.just(0.0) | st.floats(1e-6, 10.0)
weights_of = st.lists(st.just(0.0) | st.floats(-100, 100), min_size=1, max_size=12)


@given(l1=strengths, l2=strengths, layers=st.lists(weights_of, min_size=1, max_size=4))
def test_the_gradient_is_that_of_the_penalty(l1: float, l2: float, layers: list[list[float]]) -> None:
    rule = Regularisation(l1, l2)
    by_graph = [nn.Parameter(torch.tensor(values, dtype=torch.float64)) for values in layers]
    by_hand = [nn.Parameter(weight.detach().clone()) for weight in by_graph]
    rule.penalty(by_graph).backward()
    for weight in by_hand:
        weight.grad = torch.zeros_like(weight)
    rule.add_gradient_(by_hand)
    for one, other in zip(by_graph, by_hand, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-12)


def test_the_penalty_is_the_formula() -> None:
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([3.0])]
    assert float(Regularisation(l1=0.5, l2=0.25).penalty(weights)) == 0.5 * 6 + 0.25 / 2 * 14


def test_it_adds_to_the_gradient_that_is_there() -> None:
    weight = nn.Parameter(torch.tensor([2.0, -2.0, 0.0]))
    weight.grad = torch.tensor([1.0, 1.0, 1.0])
    Regularisation(l1=0.5, l2=0.25).add_gradient_([weight])
    assert weight.grad.tolist() == [2.0, 0.0, 1.0]


def test_a_pruned_weight_is_not_pushed() -> None:
    weight = nn.Parameter(torch.tensor([0.0, -0.0]))
    weight.grad = torch.zeros(2)
    Regularisation(l1=1.0, l2=1.0).add_gradient_([weight])
    assert weight.grad.tolist() == [0.0, 0.0]


def test_a_frozen_weight_is_left_alone() -> None:
    frozen, live = nn.Parameter(torch.ones(2), requires_grad=False), nn.Parameter(torch.ones(2))
    live.grad = torch.zeros(2)
    Regularisation(l1=1.0).add_gradient_([frozen, live])
    assert frozen.grad is None
    assert live.grad.tolist() == [1.0, 1.0]
    Regularisation(l1=1.0, l2=1.0).add_gradient_([frozen])
    assert frozen.grad is None


def test_none_is_none() -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.full((3,), 0.1)
    Regularisation().add_gradient_([weight])
    assert torch.equal(weight.grad, torch.full((3,), 0.1))


@pytest.mark.parametrize("wrong", [-1e-9, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_refuses_what_is_no_strength(name: str, wrong: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a finite number at or above zero, found"):
        Regularisation(**{name: wrong})


def test_a_gradient_that_two_weights_share_is_given_to_each() -> None:
    def weights() -> list[nn.Parameter]:
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(4, 6)) for _ in range(2)]

    def loss(weights: list[nn.Parameter]) -> Tensor:
        return torch.stack(list(weights)).sum(0).square().sum()

    regularisation = Regularisation(l1=0.1, l2=0.3)
    added, penalised = weights(), weights()
    loss(added).backward()
    regularisation.add_gradient_(added)
    (loss(penalised) + regularisation.penalty(penalised)).backward()
    for one, other in zip(added, penalised, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_sparse_gradients_are_refused() -> None:
    layer = nn.Embedding(4, 2, sparse=True)
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(ConfigurationError, match=r"shape \(4, 2\) has a sparse gradient.*sparse=False"):
        Regularisation(l2=0.1).add_gradient_([layer.weight])
