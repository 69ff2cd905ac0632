from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.errors import CheckpointError, StorageError
from secateur.pruning.masks import Masks
from secateur.recipes.run_folder import RunFolder, StageState

IDENTITY: dict[str, Any] = {"name": "a", "plan": {"rounds": 2, "cut": {"density": 0.5}}, "seed": 0}


def state() -> StageState:
    masks = Masks({"weight": torch.tensor([True, False])})
    return StageState({"weight": torch.tensor([1.5, 0.0])}, masks, [{"epoch": 1}], {"seconds": 1.0})


def refuse() -> StageState:
    raise AssertionError("a finished stage was made again")


def test_a_finished_stage_is_read_and_not_made_again(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run", IDENTITY)
    first.stage("dense", state)
    first.close()
    second = RunFolder(tmp_path / "run", IDENTITY)
    second.partial("dense").write_bytes(b"left over")
    found = second.stage("dense", refuse)
    second.close()
    assert torch.equal(found.model["weight"], torch.tensor([1.5, 0.0]))
    assert found.masks == state().masks
    assert (found.history, found.notes) == ([{"epoch": 1}], {"seconds": 1.0})
    assert not second.partial("dense").exists()


def test_a_folder_of_another_run_is_refused_naming_what_differs(tmp_path: Path) -> None:
    RunFolder(tmp_path, IDENTITY).close()
    before = (tmp_path / "run.json").read_bytes()
    other = {"name": "a", "plan": {"rounds": 3, "cut": {"density": 0.5}}, "seed": 1, "extra": 2}
    with pytest.raises(CheckpointError) as caught:
        RunFolder(tmp_path, other)
    assert str(caught.value) == (
        f"{tmp_path} holds another run: extra is None there and 2 here; "
        "plan.rounds is 2 there and 3 here; seed is 0 there and 1 here. Give this run another folder, or "
        "choose none and it gets one named by its content"
    )
    assert (tmp_path / "run.json").read_bytes() == before
    with pytest.raises(
        CheckpointError, match=r"extra is None there and 2 here.*\. Move that folder away, or "
    ):
        RunFolder(tmp_path, other, chosen=False)


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (
            {"plan": {"dense": [{"epochs": 2, "l2": 0.0, "l1": 1}, {"l2": 0.1}]}},
            {"plan": {"dense": [{"epochs": 2, "l2": 1e-4, "l1": 2}, {"l2": 0.1}]}},
            "plan.dense[0].l1 is 1 there and 2 here; plan.dense[0].l2 is 0.0 there and 0.0001 here.",
        ),
        ({"exclude": ["a"]}, {"exclude": ["a", "b"]}, "exclude[1] is None there and 'b' here."),
        (
            {"repr": "Net(" + 200 * "(" + "ReLU" + 200 * ")"},
            {"repr": "Net(" + 200 * "(" + "Tanh" + 200 * ")"},
            f"repr is ...{30 * '('}ReLU{80 * ')'}... there and ...{30 * '('}Tanh{80 * ')'}... here.",
        ),
    ],
)
def test_what_differs_is_shown_where_it_differs(
    tmp_path: Path, there: dict[str, Any], here: dict[str, Any], said: str
) -> None:
    RunFolder(tmp_path, IDENTITY | there).close()
    with pytest.raises(CheckpointError, match=re.escape(f"holds another run: {said} Give")):
        RunFolder(tmp_path, IDENTITY | here)


SURROUNDED = IDENTITY | {
    "data": {"source": "here", "fingerprint": "f"},
    "network": {"class": "Net", "initial_weights": "a"},
    "threads": 1,
    "torch": "2.4",
}


@pytest.mark.parametrize(("key", "value"), [("threads", 2), ("torch", "2.5")])
def test_an_unfinished_run_goes_on_only_as_it_was_begun(tmp_path: Path, key: str, value: Any) -> None:
    RunFolder(tmp_path, SURROUNDED).close()
    message = rf"an unfinished run that was begun otherwise: {key} is .* there and {value!r} here\. Only as"
    with pytest.raises(CheckpointError, match=message):
        RunFolder(tmp_path, SURROUNDED | {key: value})
    (tmp_path / "result.json").write_text("{}")
    RunFolder(tmp_path, SURROUNDED | {key: value}).close()
    with pytest.raises(CheckpointError, match="holds another run: seed is 0 there and 1 here"):
        RunFolder(tmp_path, SURROUNDED | {key: value, "seed": 1})


def test_what_another_torch_draws_does_not_make_a_finished_run_another(tmp_path: Path) -> None:
    RunFolder(tmp_path, SURROUNDED).close()
    (tmp_path / "result.json").write_text("{}")
    network = {"network": {"class": "Net", "initial_weights": "b"}}
    RunFolder(tmp_path, SURROUNDED | network | {"torch": "2.5"}).close()
    with pytest.raises(CheckpointError, match=r"holds another run: network\.initial_weights is 'a' there"):
        RunFolder(tmp_path, SURROUNDED | network)


def test_the_same_data_from_elsewhere_are_the_same(tmp_path: Path) -> None:
    RunFolder(tmp_path, SURROUNDED).close()
    RunFolder(tmp_path, SURROUNDED | {"data": {"source": "there", "fingerprint": "f"}}).close()
    with pytest.raises(CheckpointError, match=r"data\.fingerprint is 'f' there and 'g' here"):
        RunFolder(tmp_path, SURROUNDED | {"data": {"source": "here", "fingerprint": "g"}})


@pytest.mark.parametrize("content", ["", '{"name": ', "\x00"])
def test_a_damaged_identity_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json is damaged .*give the run another folder"):
        RunFolder(tmp_path, IDENTITY)


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(
        CheckpointError, match="is not empty and not the folder of a run; give the run a folder"
    ):
        RunFolder(tmp_path, IDENTITY)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file is a file; give the run a folder of its own"):
        RunFolder(tmp_path / "file", IDENTITY)
    with pytest.raises(StorageError, match="cannot write"):
        RunFolder(tmp_path / "file" / "below", IDENTITY)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, IDENTITY)
    script = (
        "import json, sys; from pathlib import Path; from secateur.recipes.run_folder import RunFolder\n"
        "RunFolder(Path(sys.argv[1]), json.loads(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path), json.dumps(IDENTITY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # the script above
    assert f"CheckpointError: another process is running in {tmp_path}; wait for it" in done.stderr
    folder.close()
    RunFolder(tmp_path, IDENTITY).close()


def test_a_refused_folder_is_not_kept_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise StorageError("no space")

    with monkeypatch.context() as patch:
        patch.setattr("secateur.recipes.run_folder.write_json", broken)
        with pytest.raises(StorageError, match="no space"):
            RunFolder(tmp_path, IDENTITY)
    RunFolder(tmp_path, IDENTITY).close()


def test_leftovers_of_a_killed_process_go_and_are_never_read(tmp_path: Path) -> None:
    RunFolder(tmp_path, IDENTITY).close()
    (tmp_path / "stages").mkdir()
    leftovers = [tmp_path / "stages" / ".dense.pt.x1.tmp", tmp_path / ".result.json.y2.tmp"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    folder = RunFolder(tmp_path, IDENTITY)
    assert folder.stage("dense", state).history == [{"epoch": 1}]
    folder.close()
    assert not any(leftover.exists() for leftover in leftovers)


def test_a_truncated_stage_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, IDENTITY)
    folder.stage("dense", state)
    path = tmp_path / "stages" / "dense.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=r"dense\.pt is damaged .*remove it, and the run makes it again"
    ):
        folder.stage("dense", refuse)
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match=r"dense\.pt does not hold a stage of a run; remove it"):
        folder.stage("dense", refuse)
    folder.close()


def test_the_log_says_what_is_finished_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, IDENTITY)
    folder.log({"epoch": 1})
    folder.log({"epoch": 2})
    folder.close()
    again = RunFolder(tmp_path, IDENTITY)
    again.log({"epoch": 1})
    assert (tmp_path / "log.jsonl").read_text() == '{"epoch": 1}\n'
    again.finished([{"epoch": 1}])
    again.log({"epoch": 2})
    again.finished([{"epoch": 2}])
    again.close()
    assert (tmp_path / "log.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_the_log_outlives_a_stage_that_cannot_be_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, IDENTITY)
    folder.log({"epoch": 1})
    folder.finished(folder.stage("dense", state).history)
    folder.close()
    (tmp_path / "stages" / "dense.pt").write_bytes(b"damaged")
    again = RunFolder(tmp_path, IDENTITY)
    with pytest.raises(CheckpointError, match="damaged"):
        again.stage("dense", refuse)
    again.close()
    assert (tmp_path / "log.jsonl").read_text() == '{"epoch": 1}\n'


def test_a_log_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, IDENTITY)
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*log\.jsonl"):
        folder.log({"epoch": 1})
    folder.close()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system keeps no such account")
def test_finished_stages_stay_in_their_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    made = StageState({"weight": torch.randn(4, 1_000_000)}, Masks({}), [], {})
    before = _own_bytes()
    kept = [folder.stage(f"stage-{number}", lambda: made) for number in range(8)]
    assert _own_bytes() - before < 2 * 16_000_000  # of eight times sixteen million
    assert all(torch.equal(state.model["weight"], made.model["weight"]) for state in kept)
    folder.close()


def test_what_is_read_of_a_stage_can_be_let_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    kept = folder.stage("dense", state)
    again = kept.mapped_anew()
    assert torch.equal(again.model["weight"], kept.model["weight"])
    assert again.model["weight"].data_ptr() != kept.model["weight"].data_ptr()
    assert again.masks["weight"].tolist() == [True, False]
    assert state().mapped_anew().model["weight"].tolist() == [1.5, 0.0]  # of no file: the same
    folder.close()


def _own_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
