from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks.contests import (
    COMPRESSION,
    Effort,
    bare_epoch,
    epoch,
    masks,
    pruned_beside_plain,
    random_batches,
    step_lenet,
    train_on,
)
from benchmarks.masks_cost import measure, measure_in_new_process, quickly_initialised
from benchmarks.overhead import main, parts_of, result
from torch import nn

from benchmarks import overhead
from secateur.errors import ConfigurationError
from secateur.networks import LeNet300100

TINY = Effort(
    threads=1,
    lenet_steps=1,
    lenet_rounds=1,
    epoch_images=64,
    epoch_rounds=1,
    mask_network="lenet-300-100",
    mask_repeats=2,
)


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_pruned_and_plain_do_the_same_work_but_only_one_stays_pruned() -> None:
    model = nn.Sequential(nn.Linear(12, 12))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    run = partial(train_on, model, optimizer, random_batches(2, 4, (12,), 12))
    pruned, plain, pruner = pruned_beside_plain(model, optimizer, run, units=2)
    kept = 144 // COMPRESSION
    for contestant, living in ((pruned, kept), (plain, 144), (pruned, kept)):
        contestant.prepare()
        contestant.run()
        assert int(model[0].weight.count_nonzero()) == living
    assert pruner.steps == 4


def test_the_bare_loop_sees_every_image_once_in_batches() -> None:
    seen: list[torch.Tensor] = []
    model = nn.Linear(1, 2)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    bare_epoch(model, optimizer, torch.arange(10.0)[:, None], torch.zeros(10, dtype=torch.int64), size=4)
    assert [len(batch) for batch in seen] == [4, 4, 2]
    assert torch.cat(seen).sort().values.tolist() == list(range(10))


def test_steps_of_lenet_give_a_row_for_every_optimizer() -> None:
    rows = [row.to_json() for row in step_lenet(TINY)]
    assert len(rows) == 8
    assert [row["limit"] for row in rows if row["limit"]] == [1.05, 1.05]
    assert all(row["ratio"] > 0 for row in rows)


def test_an_epoch_runs_on_made_up_images_where_mnist_is_not(tmp_path: Path) -> None:
    rows = [row.to_json() for row in epoch(TINY, tmp_path / "nothing")]
    assert [row["limit"] for row in rows] == [1.25, 1.25, None, None]
    assert "random pixels, 64 images" in rows[0]["note"]


@pytest.mark.slow
def test_masks_are_measured_in_processes_of_their_own() -> None:
    rows = [row.to_json() for row in masks(TINY)]
    assert [row["limit_of"] for row in rows] == ["median_ms", "ratio of bytes"] * 2
    assert [row["samples"] for row in rows] == [2, 0, 2, 0]
    assert rows[1]["reference_bytes"] == 4 * (266_200 + 410)


def test_masks_of_a_small_network_in_this_process() -> None:
    cost = measure(quickly_initialised(LeNet300100), repeats=1, pruner=True)
    assert (cost.weights, len(cost.seconds)) == (266_200, 1)


@pytest.mark.slow
def test_a_cut_takes_no_copy_of_the_weights() -> None:
    # Masks before, masks made and masks kept: a quarter of the float32 weights each; the limit is 1.5.
    cost = measure_in_new_process("alexnet", repeats=1, threads=1, pruner=True)
    assert cost.weights > 60_000_000
    assert cost.extra_bytes <= 1.1 * cost.model_bytes


def test_quick_initialisation_leaves_nothing_uninitialised() -> None:
    torch.manual_seed(0)
    model = quickly_initialised(LeNet300100)
    assert float(model.get_parameter("fc1.weight").detach().std()) == pytest.approx(
        (2 / 784) ** 0.5, rel=0.02
    )
    assert int(model.get_parameter("fc1.bias").count_nonzero()) == 0


def test_parts_are_in_one_order_and_unknown_ones_refused() -> None:
    assert parts_of(None) == ["step-lenet", "step-vgg", "epoch", "masks"]
    assert parts_of("masks, step-lenet") == ["step-lenet", "masks"]
    with pytest.raises(ConfigurationError, match=r"'mask' is no part; expected some of step-lenet, step-vgg"):
        parts_of("mask")


@pytest.mark.usefixtures("threads_restored")
def test_the_command_writes_a_whole_result_and_no_folder_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(overhead, "QUICK", TINY)
    if torch.cuda.is_available():
        pytest.skip("a benchmark of the CPU refuses to run beside a GPU")
    main(["--only", "step-lenet", "--threads", "1", "--quick", "--json", str(tmp_path / "o.json")])
    content = json.loads((tmp_path / "o.json").read_text())
    assert set(content) == {"provenance", "command", "settings", "load_average_before", "rows"}
    assert (
        content["command"]
        == "python -m benchmarks.overhead --json o.json --only step-lenet --threads 1 --quick"
    )
    assert content["provenance"]["threads"] == 1
    assert len(content["rows"]) == 8
    assert str(tmp_path) not in json.dumps(content)
    assert "lenet-300-100 step, SGD" in capsys.readouterr().out


def test_other_settings_have_another_hash() -> None:
    hashes = {
        result([], ["masks"], effort, "", 0.0)["provenance"]["configuration_hash"]
        for effort in (TINY, TINY, Effort())
    }
    assert len(hashes) == 2
