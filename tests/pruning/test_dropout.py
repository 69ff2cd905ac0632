import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import ConfigurationError, UnsupportedModelError
from secateur.pruning.dropout import apply_dropout_rule, dropout_predecessors, retraining_rate


@pytest.mark.parametrize(
    ("kept", "rate"),
    [(9, 0.15), (4, 0.10), (25, 0.25), (100, 0.5), (0, 0.0)],  # 9 % is AlexNet's fc6 and fc7, 4 % is VGG-16's
)
def test_the_numbers_of_the_paper(kept: int, rate: float) -> None:
    assert retraining_rate(0.5, connections=100, kept=kept) == pytest.approx(rate, abs=1e-15)


@given(
    rate=st.floats(0, 1),
    connections=st.integers(1, 10**9),
    fractions=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_the_rate_falls_with_the_density_and_never_exceeds_the_original(
    rate: float, connections: int, fractions: tuple[float, float]
) -> None:
    low, high = sorted(int(fraction * connections) for fraction in fractions)
    assert 0 <= retraining_rate(rate, connections, low) <= retraining_rate(rate, connections, high) <= rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 10, 5), "expected a number in 0..1, found 1.5"),
        ((0.5, 0, 0), "found 0 kept of 0"),
        ((0.5, 10, 11), "found 11 kept of 10; pass the number of weights before pruning first"),
        ((0.5, 10, -1), "found -1 kept"),
    ],
)
def test_impossible_arguments_are_refused(arguments: tuple[float, int, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        retraining_rate(*arguments)


class Net(nn.Module):
    """Dropouts are declared in another order than they are executed in."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_last = nn.AlphaDropout(0.3)
        self.drop_first = nn.Dropout2d(0.2)
        self.drop_input = nn.Dropout(0.1)
        self.fc = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 4))
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop_first(torch.relu(self.conv(self.drop_input(x))))
        return self.drop_last(self.fc(x.flatten(1)))


PREDECESSORS = {"drop_first": "conv.weight", "fc.2": "fc.0.weight", "drop_last": "fc.3.weight"}


def test_predecessors_follow_the_order_of_execution() -> None:
    model = Net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert list(dropout_predecessors(model, (1, 4, 4)).items()) == list(PREDECESSORS.items())
    assert all(module.training for module in model.modules())
    assert all(not module._forward_pre_hooks and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_hooks_are_gone_even_after_an_error() -> None:
    model = Net().train()
    with pytest.raises(ConfigurationError, match=r"Net does not run on a batch of shape \(2, 3, 4, 4\)"):
        dropout_predecessors(model, (3, 4, 4))
    assert all(not module._forward_pre_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.drop = nn.Linear(3, 3), nn.Linear(3, 3), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.b(self.drop(self.a(x))))


def test_a_dropout_behind_two_layers_is_refused() -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"dropout 'drop' stands behind 'a.weight' and behind 'b.weight'"
    ):
        dropout_predecessors(Shared(), (3,))


def test_the_rule_sets_rates_from_the_original_ones_every_time() -> None:
    model = Net()
    originals = {"drop_first": 0.2, "drop_last": 0.3, "drop_input": 0.1, "fc.2": 0.5}
    half = torch.arange(48).reshape(6, 8) < 12  # a quarter
    masks = {"fc.0.weight": half, "fc.3.weight": torch.zeros(4, 6, dtype=torch.bool)}
    expected = {"drop_first": 0.2, "drop_last": 0.0, "drop_input": 0.1, "fc.2": 0.25}
    for _ in range(2):
        assert apply_dropout_rule(model, masks, originals, PREDECESSORS) == pytest.approx(expected)
        assert {path: model.get_submodule(path).p for path in originals} == pytest.approx(expected)
    apply_dropout_rule(model, {}, originals, PREDECESSORS)
    assert {path: model.get_submodule(path).p for path in originals} == originals


def test_the_rule_names_what_is_wrong_and_changes_nothing() -> None:
    model = Net()
    with pytest.raises(
        ConfigurationError, match=r"dropout 'drop_first' has no original rate; note the rates"
    ):
        apply_dropout_rule(model, {}, {"fc.2": 0.5, "drop_last": 0.3}, PREDECESSORS)
    with pytest.raises(
        ConfigurationError, match=r"'conv': expected the path of a dropout.*Conv2d.*drop_last, drop_f"
    ):
        apply_dropout_rule(model, {}, {"fc.2": 0.9, "conv": 0.5}, {})
    assert model.fc[2].p == 0.5


def test_a_tied_layer_has_the_name_it_is_pruned_by() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 2))
    model[2].weight = model[0].weight
    assert dropout_predecessors(model, (8,)) == {"1": "0.weight", "3": "0.weight"}


def test_transposed_convolutions_stand_before_a_dropout_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 4, 2), nn.Dropout2d())
    assert dropout_predecessors(model, (1, 8, 8)) == {"2": "1.weight"}


def test_behind_attention_its_output_projection_stands_before_a_dropout() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    assert dropout_predecessors(model, (5, 8)) == {
        f"layers.{number}.{dropout}": f"layers.{number}.{before}.weight"
        for number in (0, 1)
        for dropout, before in (
            ("dropout1", "self_attn.out_proj"),
            ("dropout", "linear1"),
            ("dropout2", "linear2"),
        )
    }


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.lstm = nn.LSTM(4, 3, batch_first=True)
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.lstm(self.first(x))[0])
        return result


def test_a_dropout_behind_a_recurrent_layer_keeps_its_rate() -> None:
    assert dropout_predecessors(Recurrent(), (5, 4)) == {}
