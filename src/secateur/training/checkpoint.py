"""Checkpoints: plain dictionaries of tensors and values, written whole and read without running code."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from secateur.errors import CheckpointError
from secateur.storage import ByteSink, write_atomically

# What torch raises when it reads something that is no whole checkpoint, by where the file breaks off.
UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)

Translate = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
_WRAPPERS = ("module.", "_orig_mod.")
_STATES = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put it


@final
class _Sink:
    """Passes bytes on until they are refused.

    A refusal that goes through torch's own writer comes out as a RuntimeError that hides the cause. To write
    into memory first was tried, and doubled what training a network takes.
    """

    def __init__(self, file: ByteSink) -> None:
        self.refusal: OSError | None = None
        self._file = file

    def write(self, content: memoryview) -> int:
        if self.refusal is None:
            try:
                self._file.write(content)
            except OSError as error:
                self.refusal = error
        return len(content)

    def flush(self) -> None:
        """Whoever opened the file does that."""


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries of them.

    Args:
        path: Where; what is there stays until the new file is whole.
        content: What to keep.

    Raises:
        StorageError: The file system refused; what was there is untouched.
    """

    def write(file: ByteSink) -> None:
        sink = _Sink(file)
        torch.save(dict(content), sink)  # type: ignore[arg-type]  # it asks for write and flush alone
        if sink.refusal is not None:
            raise sink.refusal

    write_atomically(path, write)


def load_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, on the CPU; nothing in the file is executed.

    Args:
        path: The file.
        mapped: Whether tensors stay in the file until they are looked at, which takes no memory and does not
            notice damaged numbers.

    Returns:
        Its content.

    Raises:
        CheckpointError: There is no such file, or it is damaged or something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except UNREADABLE as error:
        first_line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _damaged(path, first_line) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a checkpoint of Secateur: it holds a {type(content).__name__}")
    return content


def check_checkpoint(path: Path) -> None:
    """Read a checkpoint once in whole, a piece at a time, so that damage to its numbers is found now.

    To load it and let it go was tried: PyTorch does not compare the sums of numbers, and what stayed of a
    stage came to lie in the hole that its copy left, so that the next copy did not fit there: in one process
    of three most stages took their size in memory.

    Args:
        path: The file.

    Raises:
        CheckpointError: There is no such file, or it is damaged or something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            first, wrong = archive.namelist()[0], archive.testzip()
    except UNREADABLE:
        load_checkpoint(path)  # says what it is
        return
    # A file written without sums (torch.serialization.set_crc32_options) is wrong from the first record on;
    # that is the description, whose damage shows when it is read.
    if wrong not in (None, first):
        raise _damaged(path, f"the sum of {wrong} is wrong")


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or not a checkpoint of Secateur ({how}); remove it, and the run makes it again"
    )


def save_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as a safetensors file.

    Args:
        path: Where; what is there stays until the new file is whole.
        tensors: By name; tied tensors are written once for each name.

    Raises:
        StorageError: The file system refused; what was there is untouched.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, lambda file: file.write(save(plain)))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        path: The file.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: There is no such file, or it is damaged or something else.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error


def holds_weights(path: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a safetensors file holds these tensors and no others, to the bit; looked at one by one.

    Args:
        path: The file; one that is absent or damaged holds nothing.
        tensors: By name.

    Returns:
        Whether it does.

    Example:
        >>> holds_weights(Path("none.safetensors"), {})
        False
    """
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys()) == set(tensors) and all(
                same_bits(file.get_tensor(name), tensor) for name, tensor in tensors.items()
            )
    except (SafetensorError, OSError):
        return False


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of one type and shape and hold the same bits: NaN is the same as itself.

    Args:
        one: A tensor.
        other: Another one.

    Returns:
        Whether they are.

    Example:
        >>> nan = torch.tensor([float("nan")])
        >>> same_bits(nan, nan.clone()), same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.int32))
        (True, False)
    """
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    dense = [
        each.to_dense() if each.layout != torch.strided else each for each in (one.detach(), other.detach())
    ]
    plain = [each.cpu().contiguous().flatten().view(torch.uint8) for each in dense]
    return torch.equal(*plain)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a network's state from whatever file it was saved in; nothing in the file is executed.

    Args:
        path: A safetensors file, or what ``torch.save`` wrote: tensors by name, or a dictionary with them
            under ``state_dict``, ``model_state_dict``, ``model`` or ``net``, as training scripts do.

    Returns:
        Tensors by the names in the file, on the CPU.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it holds something else.
    """
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors by name ({type(error).__name__}); save "
            "model.state_dict()"
        ) from error
    for key in _STATES:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: expected tensors by name (a state_dict), found {type(content).__name__}; save "
            "model.state_dict()"
        )
    others = [f"{name} is {_kind_of(value)}" for name, value in content.items() if not _is_plain(name, value)]
    if others:
        raise CheckpointError(
            f"{path}: expected tensors by name (a state_dict), found {'; '.join(others[:5])}; save "
            f"model.state_dict(), by itself or under one of the keys {', '.join(_STATES)}"
        )
    return dict(content)


def load_state(model: nn.Module, path: Path | str, translate: Translate | None = None) -> None:
    """Load a state file into a network, strictly, naming every tensor that differs.

    What `fitted` forgives is forgiven.

    Args:
        model: The network to fill; on an error it is left as it was.
        path: What `read_state` reads.
        translate: Gives the tensors the names that the network uses, where they are known by others.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is of another network.

    Example:
        >>> import tempfile
        >>> model = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": {"module.weight": torch.ones(1, 2), "module.bias": torch.zeros(1)}},
        ...                f"{folder}/a.pt")
        ...     load_state(model, f"{folder}/a.pt")
        >>> model.weight.tolist()
        [[1.0, 1.0]]
    """
    load_into(model, fitted(model, read_state(Path(path)), translate), str(path))


def fitted(
    model: nn.Module, state: Mapping[str, Tensor], translate: Translate | None = None
) -> dict[str, Tensor]:
    """A state under the names of a network, as far as they differ for no reason of the network's.

    Prefixes ``module.`` (of data parallelism) and ``_orig_mod.`` (of ``torch.compile``) on all names go, and
    missing ``num_batches_tracked``, which files from before PyTorch 0.4.1 do not have and nothing here needs,
    are the network's own.

    Args:
        model: The network.
        state: Tensors by name.
        translate: As for `load_state`.

    Returns:
        Tensors by name; whether they fit is left to strict loading.
    """
    own = model.state_dict()
    plain = _without_wrappers(state, own)
    named = plain if translate is None else translate(plain)
    missing = own.keys() - named.keys()
    return named | {name: own[name] for name in missing if name.endswith("num_batches_tracked")}


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state strictly, naming every tensor that differs.

    Args:
        model: The network to fill.
        state: Its tensors by name.
        source: Where the state comes from, for the message.

    Raises:
        CheckpointError: As `check_state`.
    """
    check_state(model, state, source)
    model.load_state_dict(dict(state))


def check_state(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse a state that is not of a network, naming every tensor that differs.

    Args:
        model: The network, of which names, shapes and types count: it may be on PyTorch's ``meta`` device.
        state: Tensors by name.
        source: Where the state comes from, for the message.

    Raises:
        CheckpointError: A tensor is missing, is too much, has another shape, holds integers for floating
            point numbers or the reverse, or a parameter is not finite.
    """
    own = model.state_dict()
    problems = [f"missing {name}" for name in own.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
    shared = own.keys() & state.keys()
    problems += [
        f"{name} is {tuple(state[name].shape)} but must be {tuple(own[name].shape)}"
        for name in shared
        if own[name].shape != state[name].shape
    ]
    # Copying would make numbers of them: of an int8 weight its integers, without the scale they stand for.
    problems += [
        f"{name} holds {_plain(state[name].dtype)} but must hold {_plain(own[name].dtype)}"
        for name in shared
        if own[name].is_floating_point() != state[name].is_floating_point()
    ]
    if problems:
        raise CheckpointError(f"{source} is of another network: {'; '.join(sorted(problems))}")
    # Buffers may be infinite for a reason, such as a mask of attention.
    parameters = (name for name, _ in model.named_parameters(remove_duplicate=False))
    broken = [name for name in parameters if name in state and not bool(state[name].isfinite().all())]
    if broken:
        raise CheckpointError(
            f"{source} holds values that are not finite, in {', '.join(broken)}; give weights from before "
            "training went wrong"
        )


def _is_plain(name: object, value: object) -> bool:
    if not (isinstance(name, str) and isinstance(value, Tensor)):
        return False
    return value.layout == torch.strided and not value.is_quantized and not value.is_complex()


def _kind_of(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    layout = "" if value.layout == torch.strided else f"{str(value.layout).removeprefix('torch.')} "
    return f"a {layout}tensor of {_plain(value.dtype)}"


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _without_wrappers(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = list(state)
    for _ in names:  # a wrapper may be wrapped
        prefix = next((each for each in _WRAPPERS if all(name.startswith(each) for name in names)), None)
        if prefix is None or all(
            name.startswith(prefix) for name in own
        ):  # the network's own name for a part
            break
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, state.values(), strict=True))
