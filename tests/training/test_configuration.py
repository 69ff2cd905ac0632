from __future__ import annotations

import pytest

from secateur.errors import ConfigurationError
from secateur.recipes.plan import Plan, Recipe
from secateur.training.phase import Phase, Sgd
from tests.small import phase, plan


def test_a_piece_made_by_a_call_names_every_mistake() -> None:
    cut = {"kind": "global", "density": 2.0}
    with pytest.raises(ConfigurationError) as caught:
        Plan(dense=[phase(-1)], cut=cut, retrain=[phase(epoch=1)])  # type: ignore[arg-type]  # what is refused
    assert str(caught.value).splitlines() == [
        "this is not a valid Plan:",
        "  dense.0.epochs: Input should be greater than or equal to 0; found -1",
        "  cut.density: Input should be less than or equal to 1; found 2.0",
        "  retrain.0.epoch: there is no such key; check its spelling in docs/recipes.md",
    ]
    with pytest.raises(ConfigurationError, match=r"not a valid Sgd:\n  the Sgd: nesterov needs a momentum"):
        Sgd(learning_rate=0.1, momentum=0.0, nesterov=True)


def test_a_call_makes_what_validation_makes() -> None:
    made = Phase(epochs=2, batch_size=32, optimizer=Sgd(learning_rate=0.05), l2=1e-4)
    assert made == Phase.model_validate(phase(schedule={"kind": "constant"}))
    plain = plan().model_dump()
    assert Plan(**plain) == plan()
    assert Recipe(name="a", model="lenet-5", plan=plan()).plan == plan()


def test_a_list_is_not_also_called_too_short_because_its_only_element_is_wrong() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Plan(**plan().model_dump() | {"retrain": [phase(-1)]})
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(ConfigurationError, match="retrain: Tuple should have at least 1 item"):
        Plan(**plan().model_dump() | {"retrain": []})
