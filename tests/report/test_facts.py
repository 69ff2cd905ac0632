from __future__ import annotations

from dataclasses import replace

from secateur.report.facts import asked
from secateur.report.run import Run
from tests.small import phase, plan


def test_turns_are_said_with_their_layers_and_phases(lenet: Run) -> None:
    turns = [{"layers": ["fc*"], "retrain": [phase(3, only=["fc*"]), phase(1)]}]
    turned = plan(cut={"kind": "density", "density": 0.5}, turns=turns).model_dump(mode="json")
    said = dict(asked(replace(lenet, identity={**lenet.identity, "plan": turned})))
    assert said["Turn 1"] == (
        "fc*: 3 epochs, sgd at 0.05, cosine, L2 0.0001, only fc*; "
        "then 1 epochs, sgd at 0.05, cosine, L2 0.0001"
    )
    assert "Turn 1" not in dict(asked(lenet))
