from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.search import EFFORTS, FIXED, SEARCH, ZERO, Effort, main, paper_densities, plan_of

from benchmarks import search as module
from secateur.networks import NETWORKS, build_network
from secateur.pruning.layers import select_weights
from secateur.recipes.cut import DensityCut, GlobalCut
from secateur.recipes.target import MaxErrorIncrease, MaxWeights
from secateur.training.task import image_task
from tests.cli.test_main import big_blobs

TINY = Effort(
    compression=20,
    learning_rate=0.05,
    dense=2,
    rounds=2,
    searching=1,
    fixed=1,
    final=1,
    zero_rounds=2,
    zero_epochs=1,
)


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def total(network: str) -> int:
    return sum(weight.numel() for weight in select_weights(build_network(network)).values())


@pytest.mark.parametrize("network", list(EFFORTS))
def test_all_methods_end_with_the_same_number_of_weights(network: str) -> None:
    effort = EFFORTS[network]
    kept = round(total(network) / effort.compression)
    target = plan_of(network, SEARCH, effort).target
    assert target == MaxWeights(weights=kept)
    for method in FIXED:
        cut = plan_of(network, method, effort).cut
        assert isinstance(cut, DensityCut | GlobalCut)
        assert round(cut.density * total(network)) == kept
    assert plan_of(network, ZERO, effort).target == MaxErrorIncrease(max_error_increase=0.0)


@pytest.mark.parametrize("network", list(EFFORTS))
def test_all_methods_train_alike_and_none_less_than_the_search(network: str) -> None:
    effort = EFFORTS[network]
    searching = plan_of(network, SEARCH, effort)
    layers = len(NETWORKS[network].paper_densities)
    trials = (1 + layers + 4) * searching.search.trial / 55_000
    assert searching.search.first > 0  # the first cut needs no trials
    spent = (effort.rounds - 1) * (effort.searching + trials) + effort.final
    for method in FIXED:
        plan = plan_of(network, method, effort)
        assert (plan.dense, plan.final, plan.teach) == (searching.dense, searching.final, searching.teach)
        assert plan.final is not None
        epochs = (plan.rounds - 1) * plan.retrain[0].epochs + plan.final[0].epochs
        assert spent <= epochs <= spent + 4
        assert plan.retrain[0].model_copy(update={"epochs": effort.searching}) == searching.retrain[0]


@pytest.mark.parametrize("network", list(EFFORTS))
def test_the_papers_densities_keep_their_proportions(network: str) -> None:
    paper = NETWORKS[network].paper_densities
    found = paper_densities(network, 3000)
    sizes = {
        name.removesuffix(".weight"): w.numel() for name, w in select_weights(build_network(network)).items()
    }
    assert sum(found[layer] * size for layer, size in sizes.items()) == pytest.approx(3000)
    ratios = {found[layer] / paper[layer] for layer in paper}
    assert max(ratios) == pytest.approx(min(ratios))


@pytest.mark.slow
def test_runs_share_the_dense_network_and_the_summary_pairs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "load_dataset", lambda *_: big_blobs())
    monkeypatch.setattr(module, "build_network", lambda name: build_network(name, num_classes=4))
    monkeypatch.setattr(module, "image_task", lambda data, **_: image_task(data, validation=40))
    monkeypatch.setitem(module.EFFORTS, "lenet-300-100", TINY)
    words = ["--data", "none", "--network", "lenet-300-100", "--runs", str(tmp_path), "--json"]
    path = tmp_path / "out.json"
    main([*words, str(path), "--seeds", "0", "1", "--methods", "search", "lamp", "zero"])
    first = json.loads(path.read_text())
    assert first["summary"].keys() == {"search", "lamp", "zero"}
    row = first["summary"]["lamp"]
    assert row["seeds"] == row["search_less_this"]["seeds"] == [0, 1]
    expected = first["summary"]["search"]["test_error"]["mean"] - row["test_error"]["mean"]
    assert row["search_less_this"]["mean"] == pytest.approx(expected)
    assert row["added"]["mean"] == pytest.approx(row["test_error"]["mean"] - row["dense_error"]["mean"])
    assert first["runs"]["lamp"]["0"]["error"]["dense"] == first["runs"]["search"]["0"]["error"]["dense"]
    assert first["passes"]["lamp"]["each"] == [2.0, 2.0]
    assert all(passes > 2.0 for passes in first["passes"]["search"]["each"])
    assert str(tmp_path) not in path.read_text()
    assert first["command"].endswith(
        "--network lenet-300-100 --seeds 0 1 --methods search lamp zero --json out.json"
    )
    capsys.readouterr()
    main([*words, str(path), "--seeds", "0", "--methods", "search"])  # only read
    assert json.loads(path.read_text())["summary"] == first["summary"]
    main([*words, str(path), "--seeds", "0", "--methods", "lamp", "--compression", "40"])
    further = json.loads(path.read_text())
    assert further["command"].endswith(
        "--network lenet-300-100 --compression 40 --seeds 0 --methods lamp --json out.json"
    )
    assert further["summary"]["lamp"]["compression"]["mean"] > 1.5 * row["compression"]["mean"]
