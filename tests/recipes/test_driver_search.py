from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import InterruptedRunError
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.recipes.driver import Observer
from secateur.recipes.plan import Plan
from secateur.recipes.price import PackedBytes
from tests.recipes.runs import TASK, log, run, same, tensors
from tests.small import Conv, Dense, phase

TOTAL = 144 * 24 + 24 * 16 + 16 * 4


def searching(target: dict[str, Any], **changes: Any) -> Plan:
    search = {"rounds": 3, "first": 5.0, "trial": 100, **changes.pop("search", {})}
    plain = {
        "dense": [phase(6)],
        "target": target,
        "search": search,
        "retrain": [phase(2)],
        "final": [phase(3)],
    }
    return Plan.model_validate(plain | changes)


def test_a_budget_of_error_from_recipe_to_statement(tmp_path: Path) -> None:
    record = run(tmp_path, Dense, searching({"max_error_increase": 5.0}, search={"rounds": 4})).record
    search = record["search"]
    assert search["met"]
    assert search["unit"] == "weights"
    assert search["limit"] == search["dense_validation_error"] + 5.0
    kept = [attempt for attempt in search["attempts"] if attempt["kept"]]
    assert kept
    assert all(attempt["validation_error"] <= search["limit"] for attempt in kept)
    assert search["result"] == kept[-1]["name"]
    assert record["weights"]["kept"] == kept[-1]["weights"] < TOTAL
    assert [attempt["name"] for attempt in search["attempts"]] == list(
        dict.fromkeys(line["stage"] for line in log(tmp_path) if line["stage"] != "dense")
    )
    # The test set is looked at once: a network that was left behind is not among those it was shown.
    assert record["seconds"].keys() == {"dense", *(attempt["name"] for attempt in kept)}
    assert tensors(tmp_path, "test-errors").keys() == record["seconds"].keys()
    assert len(record["curve"]) == 1 + len(kept)
    claim = search["non_inferiority"]
    assert claim["margin"] == 5.0
    assert claim["bound"] == record["error"]["difference_interval"][1]
    assert claim["shown"] == (claim["bound"] <= 5.0)


@pytest.mark.parametrize("compact", [False, True])
def test_a_budget_of_bytes(tmp_path: Path, compact: bool) -> None:
    limit = 1000
    plan = searching({"bytes": limit}, compact=compact, teach={"weight": 0.5})
    record = run(tmp_path, Conv, plan).record
    assert record["search"]["met"]
    model = Conv()
    model.load_state_dict(tensors(tmp_path))
    found = PackedBytes().of(model, Masks(tensors(tmp_path, "masks")))
    assert found <= limit
    assert record["search"]["attempts"][-1]["price"] == found
    assert record["search"]["non_inferiority"] is None


def test_a_budget_of_time_with_a_timer_of_ones_own(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def timer(model: nn.Module, example: Tensor, threads: int) -> float:
        asked.append((len(example), threads))
        return sum(int(weight.count_nonzero()) for weight in select_weights(model).values()) / 1000

    plan = searching({"milliseconds": 0.4, "batch": 7, "threads": 2})
    record = run(tmp_path, Dense, plan, timer=timer).record
    assert set(asked) == {(7, 2)}
    assert record["search"]["met"]
    assert record["weights"]["kept"] <= 400
    assert record["search"]["unit"] == "milliseconds"


def test_excluded_layers_are_left_whole(tmp_path: Path) -> None:
    record = run(tmp_path, Dense, searching({"weights": 900}, exclude=["fc2"])).record
    kept = {layer["name"]: layer["kept"] for layer in record["layers"]}
    assert kept["fc2"] == 24 * 16
    assert record["weights"]["kept"] <= 900


@pytest.mark.parametrize("after", [3, 7, 8, 9, 11])
def test_interrupted_anywhere_it_ends_with_the_same_bits(tmp_path: Path, after: int) -> None:
    plan = searching({"max_error_increase": 2.0}, compact=True, teach={"weight": 0.5})
    whole = run(tmp_path / "whole", Dense, plan).record
    epochs = 0

    def stop(_: object) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == after:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError):
        run(tmp_path / "part", Dense, plan, observer=Observer(on_epoch=stop), save_every=0.0)
    resumed = run(tmp_path / "part", Dense, plan).record
    assert resumed["search"] == whole["search"]
    for name in ("pruned", "dense", "masks", "test-errors"):
        assert same(tensors(tmp_path / "part", name), tensors(tmp_path / "whole", name))


def test_a_finished_search_is_only_read(tmp_path: Path) -> None:
    plan = searching({"weights": 400})
    first = run(tmp_path, Dense, plan).record
    stages: list[tuple[str, bool]] = []
    told = Observer(on_stage=lambda *stage: stages.append((stage[0], stage[4])))
    assert run(tmp_path, Dense, plan, observer=told).record == first
    assert stages == [("dense", True)] + [(each["name"], True) for each in first["search"]["attempts"]]


def test_every_choice_is_on_record(tmp_path: Path) -> None:
    run(tmp_path, Dense, searching({"weights": 400}, search={"first": 0.0}))
    cuts = sorted((tmp_path / "stages").glob("cut-*.pt"))
    assert [path.stem for path in cuts] == ["cut-01", "cut-02", "cut-03"]
    notes = torch.load(cuts[-1], weights_only=True)["notes"]["choice"]
    assert notes["trials"].keys() == {"scan", "recovery", "lamp", "global"}
    assert notes["trials"][notes["by"]] == min(notes["trials"].values())
    assert notes["scan"]["images"] == len(TASK.validation_labels)
    assert json.loads((tmp_path / "result.json").read_text())["configuration"]["plan"]["target"] == {
        "weights": 400
    }
