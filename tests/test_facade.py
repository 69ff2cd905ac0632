from __future__ import annotations

import subprocess
import sys

import pytest

import secateur
from secateur.errors import MissingExtraError


def _python(script: str) -> str:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # own scripts
    return done.stdout.strip()


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'scipy', 'pydantic', 'accelerate', 'rich', 'yaml', 'safetensors'}"
    assert _python(f"import sys, secateur; print(sorted({heavy} & sys.modules.keys()))") == "[]"


@pytest.mark.parametrize("name", secateur.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(secateur, name) is not None
    assert name in dir(secateur)


def test_the_public_names_are_those_that_can_be_resolved() -> None:
    # The base of all errors is there at once: an `except` names it before anything has been loaded.
    assert set(secateur.__all__) == {*secateur._PUBLIC, "SecateurError"}
    assert sorted(secateur.__all__) == sorted(set(secateur.__all__))


def test_a_plan_can_be_made_from_public_names_alone() -> None:
    phase = secateur.Phase(epochs=1, batch_size=8, optimizer=secateur.Sgd(learning_rate=0.1))
    for cut in (
        secateur.GlobalCut(density=0.1),
        secateur.DensityCut(density=0.1),
        secateur.QualityCut(quality=1.0),
    ):
        assert secateur.Plan(dense=(phase,), cut=cut, retrain=(phase,)).cut == cut


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'secateur' has no attribute 'Prunner'"):
        _ = secateur.Prunner


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "secateur.pruning.pruner", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingExtraError, match=r"secateur.Pruner needs 'torch'.*pip install .secateur\[train\]"
    ):
        _ = secateur.Pruner


def test_a_missing_module_of_its_own_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(secateur._PUBLIC, "Ghost", ("secateur.ghost", "train"))
    with pytest.raises(ModuleNotFoundError, match=r"secateur\.ghost"):
        _ = secateur.Ghost
