from __future__ import annotations

from collections.abc import Callable

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


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sgd.model_validate({"learning_rate": -1.0, "momentum": 0.5}),
        lambda: Sgd.model_validate_json('{"learning_rate": -1.0}'),
        lambda: Sgd.model_validate_strings({"learning_rate": "-1"}, strict=False),
        lambda: Sgd(learning_rate=0.1).model_copy(update={"learning_rate": -1.0}),
        lambda: Sgd(learning_rate=0.1).model_copy(update={"learning_rate": -1.0}, deep=True),
    ],
    ids=["values", "JSON", "strings", "copy", "deep copy"],
)
def test_every_way_to_a_piece_names_its_mistakes(make: Callable[[], Sgd]) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^this is not a valid Sgd:\n  learning_rate: Input should be greater than 0; f",
    ):
        make()


def test_mistakes_inside_keep_their_places_whatever_the_way() -> None:
    wrong = plan().model_dump() | {"rounds": 0, "dense": [phase(-1)]}
    expected = {
        "  dense.0.epochs: Input should be greater than or equal to 0; found -1",
        "  rounds: Input should be greater than or equal to 1; found 0",
    }
    for make in (Plan.model_validate, lambda given: plan().model_copy(update=given)):
        with pytest.raises(ConfigurationError) as caught:
            make(wrong)
        assert set(str(caught.value).splitlines()[1:]) == expected
    with pytest.raises(ConfigurationError, match=r"not a valid Recipe:\n  the Recipe: Invalid JSON: EOF"):
        Recipe.model_validate_json('{"name": ')
    with pytest.raises(
        ConfigurationError, match=r"not a valid Plan:\n  the Plan: Input should be .*; found 3"
    ):
        Plan.model_validate(3)


def test_copies_are_pieces_like_any_other() -> None:
    assert plan().model_copy() == plan()
    assert plan().model_copy(update={"rounds": 5}) == Plan.model_validate(plan().model_dump() | {"rounds": 5})
    assert Plan.model_validate_json(plan().model_dump_json()) == plan()
    assert Plan.model_validate(plan()) == plan()


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
