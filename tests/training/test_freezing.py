from __future__ import annotations

import pytest

from secateur.errors import LayerSelectionError
from secateur.training.freezing import train_only
from tests.small import Conv


def _training(model: Conv) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, {"conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"}),
        (("fc*",), {"fc1.weight", "fc1.bias"}),
        (("conv1",), {"conv1.weight", "conv1.bias"}),
        (("fc1.weight", "conv1.bias"), {"fc1.weight", "conv1.bias"}),
    ],
)
def test_only_what_is_named_trains(layers: tuple[str, ...] | None, expected: set[str]) -> None:
    model = Conv()
    with train_only(model, layers):
        assert _training(model) == expected
    assert len(_training(model)) == 4


def test_what_was_frozen_before_is_frozen_after_even_on_an_error() -> None:
    model = Conv()
    model.fc1.bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), train_only(model, ("fc1",)):
        raise ZeroDivisionError
    assert _training(model) == {"conv1.weight", "conv1.bias", "fc1.weight"}


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    message = r"only: 'dense\*' matches no parameter of the network; its parameters are conv1.weight,"
    with pytest.raises(LayerSelectionError, match=message), train_only(Conv(), ("fc1", "dense*")):
        pass
