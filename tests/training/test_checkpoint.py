from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.serialization import set_crc32_options

from secateur.errors import CheckpointError, StorageError
from secateur.training import checkpoint
from secateur.training.checkpoint import (
    load_checkpoint,
    load_into,
    load_state,
    load_weights,
    read_state,
    save_checkpoint,
    save_weights,
)
from tests.small import Dense, Tied


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {"tensor": torch.rand(3).to(torch.bfloat16), "nested": {"list": [1, 2.5, "text", None]}}
    save_checkpoint(tmp_path / "a.pt", content)
    found = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(found["tensor"], content["tensor"])
    assert found["nested"] == content["nested"]


def test_every_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"model": Dense().state_dict(), "history": [{"loss": 1.0}]})
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.9999):
        path.write_bytes(whole[: int(share * len(whole))])
        message = r"a\.pt is damaged or not a checkpoint of Secateur .*remove it, and the run makes it again"
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)


def test_numbers_that_were_damaged_are_found_when_a_checkpoint_is_read_in_whole(tmp_path: Path) -> None:
    path, numbers = tmp_path / "a.pt", torch.arange(1000.0)
    save_checkpoint(path, {"numbers": numbers})
    checkpoint.check_checkpoint(path)
    whole = path.read_bytes()
    at = whole.index(numbers.numpy().tobytes())
    path.write_bytes(whole[:at] + b"\1" + whole[at + 1 :])
    with pytest.raises(CheckpointError, match=r"a\.pt is damaged .*the sum of .*/0 is wrong.*makes it again"):
        checkpoint.check_checkpoint(path)
    for cut in (b"", whole[:100], whole[:-10]):
        path.write_bytes(cut)
        with pytest.raises(CheckpointError, match=r"a\.pt is damaged"):
            checkpoint.check_checkpoint(path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.check_checkpoint(tmp_path / "none.pt")


def test_a_checkpoint_without_sums_is_taken(tmp_path: Path) -> None:
    set_crc32_options(False)
    try:
        save_checkpoint(tmp_path / "a.pt", {"numbers": torch.arange(10.0)})
    finally:
        set_crc32_options(True)
    checkpoint.check_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"\n", b"text", b"\x80\x02K\x01.", b"PK\x03\x04" + b"\0" * 99])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt is"):
        load_checkpoint(tmp_path / "a.pt")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"module": nn.Linear(1, 1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


def test_other_content_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="it holds a list"):
        load_checkpoint(tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*none\.pt"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="IsADirectoryError"):
        load_checkpoint(tmp_path)


def test_weights_come_back_and_load_into_the_plain_class(tmp_path: Path) -> None:
    model = Tied()
    save_weights(tmp_path / "a.safetensors", model.state_dict())
    found = load_weights(tmp_path / "a.safetensors")
    Tied().load_state_dict(found, strict=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, Dense().state_dict())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged or not a safetensors file"):
        load_weights(path)
    with pytest.raises(CheckpointError, match="there is no file"):
        load_weights(tmp_path / "none.safetensors")


def test_another_network_is_refused_naming_every_difference() -> None:
    state = dict(Dense().state_dict())
    state["fc9.weight"] = state.pop("fc1.weight")
    state["fc2.bias"] = torch.zeros(3)
    state["fc3.weight"] = torch.zeros(5, 16)
    model = Dense()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(model, state, "old.pt")
    assert str(caught.value) == (
        "old.pt is of another network: fc2.bias is (3,) but must be (16,); fc3.weight is (5, 16) but must be "
        "(4, 16); missing fc1.weight; unexpected fc9.weight"
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_integers_for_weights_are_refused() -> None:
    state = dict(Dense().state_dict())
    state["fc1.weight"] = state["fc1.weight"].to(torch.int8)
    with pytest.raises(CheckpointError, match=r"fc1\.weight holds int8 but must hold float32"):
        load_into(Dense(), state, "old.pt")
    state["fc1.weight"] = state["fc1.weight"].to(torch.float16)
    load_into(Dense(), state, "old.pt")


def test_weights_that_are_not_finite_are_refused_and_such_buffers_are_not() -> None:
    saved = Normalised()
    state = dict(saved.state_dict()) | {"norm.running_mean": torch.full((3,), -torch.inf)}
    load_into(Normalised(), state, "old.pt")
    state["layer.bias"] = torch.tensor([0.0, torch.nan, 0.0])
    model = Normalised()
    with pytest.raises(CheckpointError, match=r"old\.pt holds values that are not finite, in layer\.bias;"):
        load_into(model, state, "old.pt")
    assert bool(model.norm.running_mean.isfinite().all())


class Normalised(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(2, width)
        self.norm = nn.BatchNorm1d(width)


def wrapped(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "net"])
def test_state_files_of_every_kind_load(tmp_path: Path, prefix: str, key: str | None) -> None:
    saved, model = Normalised(), Normalised()
    state = wrapped(dict(saved.state_dict()), prefix)
    torch.save(
        state if key is None else {key: state, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "a.pth"
    )
    load_state(model, tmp_path / "a.pth")
    assert all(torch.equal(model.state_dict()[name], saved.state_dict()[name]) for name in model.state_dict())


def test_a_safetensors_file_loads_under_translated_names(tmp_path: Path) -> None:
    saved, model = Normalised(), Normalised()
    save_weights(tmp_path / "a.safetensors", wrapped(dict(saved.state_dict()), "old."))
    load_state(
        model, tmp_path / "a.safetensors", lambda state: {n.removeprefix("old."): t for n, t in state.items()}
    )
    assert torch.equal(model.layer.weight, saved.layer.weight)


def test_counters_of_batches_may_be_missing_and_nothing_else(tmp_path: Path) -> None:
    state = dict(Normalised().state_dict())
    del state["norm.num_batches_tracked"]
    torch.save(state, tmp_path / "old.pt")
    load_state(Normalised(), tmp_path / "old.pt")
    del state["norm.running_mean"]
    torch.save(state, tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match=r"old\.pt is of another network: missing norm\.running_mean$"):
        load_state(Normalised(), tmp_path / "old.pt")


def test_every_differing_tensor_of_a_state_file_is_listed(tmp_path: Path) -> None:
    torch.save({**Normalised(4).state_dict(), "head.bias": torch.zeros(1)}, tmp_path / "wide.pt")
    model = Normalised()
    before = model.layer.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load_state(model, tmp_path / "wide.pt")
    assert str(caught.value).partition(" is of another network: ")[2].split("; ") == [
        "layer.bias is (4,) but must be (3,)",
        "layer.weight is (4, 2) but must be (3, 2)",
        "norm.bias is (4,) but must be (3,)",
        "norm.running_mean is (4,) but must be (3,)",
        "norm.running_var is (4,) but must be (3,)",
        "norm.weight is (4,) but must be (3,)",
        "unexpected head.bias",
    ]
    assert torch.equal(model.layer.weight, before)


def test_a_part_that_is_called_module_keeps_its_name(tmp_path: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(1, 1)

    saved = Holder()
    torch.save(saved.state_dict(), tmp_path / "a.pt")
    model = Holder()
    load_state(model, tmp_path / "a.pt")
    assert torch.equal(model.module.weight, saved.module.weight)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], r"expected tensors by name \(a state_dict\), found list; save model\.state_dict\(\)"),
        ({"epoch": 3, "weights": {}}, r"found epoch is a int; weights is a dict; save model\.state_dict\(\)"),
        ({"w": torch.eye(2).to_sparse()}, r"found w is a sparse_coo tensor of float32; save"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, r"found w is a tensor of complex64"),
        (nn.Linear(1, 1), r"is damaged, or holds more than tensors by name \(UnpicklingError\)"),
    ],
)
def test_what_is_no_state_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        read_state(tmp_path / "a.pt")


def test_a_state_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("none.pt", "none.safetensors"):
        with pytest.raises(CheckpointError, match=f"there is no file .*{name}"):
            read_state(tmp_path / name)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"a": 1})

    class Full:
        def write(self, _content: bytes | memoryview, /) -> int:
            raise OSError(28, "No space left on device")

    real = checkpoint.write_atomically
    monkeypatch.setattr(
        checkpoint, "write_atomically", lambda path, write: real(path, lambda _: write(Full()))
    )
    with pytest.raises(StorageError, match="No space left on device"):
        save_checkpoint(path, {"a": torch.zeros(1000)})
    assert load_checkpoint(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]


def test_a_checkpoint_is_written_without_a_copy_of_it_in_memory(tmp_path: Path) -> None:
    state = {"weights": torch.zeros(16 << 20)}

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux says how much memory a process had at most")
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    save_checkpoint(tmp_path / "a.pt", state)
    assert peak() - before < 16 << 10  # KiB; the state takes four times that


def test_a_disk_that_fills_up_while_a_checkpoint_is_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"x": torch.tensor(1)})
    real = checkpoint.write_atomically

    class Filling:
        def __init__(self, file: Any) -> None:
            self.file, self.left = file, 1 << 20

        def write(self, content: memoryview) -> int:
            self.left -= len(content)
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self.file.write(content))

    monkeypatch.setattr(
        checkpoint, "write_atomically", lambda to, write: real(to, lambda file: write(Filling(file)))
    )
    with pytest.raises(StorageError, match=r"a\.pt: No space left on device"):
        save_checkpoint(path, {"x": torch.zeros(1 << 20)})
    assert load_checkpoint(path)["x"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]
