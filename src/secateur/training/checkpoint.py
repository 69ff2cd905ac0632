"""Checkpoints: plain dictionaries of tensors and values, written whole and read without running code."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from secateur.errors import CheckpointError
from secateur.storage import write_atomically

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


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries of them.

    Args:
        path: Where; what is there stays until the new file is whole.
        content: What to keep.

    Raises:
        StorageError: The file system refused; what was there is untouched.
    """
    # Through memory, because torch's own writer turns a full disk into a RuntimeError that hides the cause.
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, on the CPU; nothing in the file is executed.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        CheckpointError: There is no such file, or it is damaged or something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except UNREADABLE as error:
        first_line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint of Secateur ({first_line}); "
            "remove it, and the run makes it again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a checkpoint of Secateur: it holds a {type(content).__name__}")
    return content


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


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state strictly, naming every tensor that differs.

    Args:
        model: The network to fill.
        state: Its tensors by name.
        source: Where the state comes from, for the message.

    Raises:
        CheckpointError: A tensor is missing, is too much, or has another shape.
    """
    own = model.state_dict()
    problems = [f"missing {name}" for name in own.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)} but must be {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if problems:
        raise CheckpointError(f"{source} is of another network: {'; '.join(sorted(problems))}")
    model.load_state_dict(dict(state))
