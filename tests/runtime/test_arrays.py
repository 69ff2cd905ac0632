from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from secateur.errors import InputError
from secateur.format.graph import Batch, Value
from secateur.runtime.arrays import batch_of, input_arrays, like, shape_text

IMAGES = Value("images", (Batch(), 3, 8, 8))
TOKENS = Value("tokens", (Batch(2), 5), "int64")


def images(batch: int = 2) -> np.ndarray:
    return np.ones((batch, 3, 8, 8), np.float32)


def test_contiguous_arrays_are_taken_in_place() -> None:
    given = images()
    (taken,) = input_arrays([given], [IMAGES])
    assert np.shares_memory(given, taken)


def test_tensors_are_taken_in_place_and_given_back() -> None:
    given = torch.ones(2, 3, 8, 8)
    (taken,) = input_arrays([given], [IMAGES])
    taken[0, 0, 0, 0] = 7
    assert given[0, 0, 0, 0] == 7
    result = like(taken, [given])
    assert isinstance(result, torch.Tensor)
    assert result.data_ptr() == given.data_ptr()


def test_arrays_are_given_back_as_arrays() -> None:
    assert isinstance(like(images(), [images()]), np.ndarray)


def test_other_orders_are_copied() -> None:
    given = np.asfortranarray(images())
    (taken,) = input_arrays([given], [IMAGES])
    assert taken.flags.c_contiguous
    assert (taken == given).all()


def test_the_batch_size() -> None:
    tokens = np.zeros((6, 5), np.int64)
    assert batch_of([images(3), tokens], [IMAGES, TOKENS]) == 3
    assert batch_of([np.zeros((0, 3, 8, 8), np.float32)], [IMAGES]) == 0
    assert batch_of([np.zeros(4, np.float32)], [Value("fixed", (4,))]) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "expected 1 inputs (images (batch, 3, 8, 8)), found 0"),
        ([images().tolist()], "input 'images': expected a NumPy array or a torch tensor, found list"),
        (
            [images().astype(np.float64)],
            "input 'images': expected float32, found float64; give array.astype(np.float32)",
        ),
        ([images()[0]], "input 'images': expected shape (batch, 3, 8, 8), found (3, 8, 8)"),
        (
            [torch.ones(1, 3, 8, 8, requires_grad=True)],
            "input 'images': expected a tensor on the CPU that needs no gradient, found one on cpu with "
            "requires_grad=True; give tensor.detach().cpu()",
        ),
        ([torch.ones(1, 3, 8, 8, dtype=torch.float16)], "input 'images': expected float32, found float16"),
        (
            [torch.ones(1, 3, 8, 8, dtype=torch.bfloat16)],
            "input 'images': expected a dense tensor of float32, found one of torch.bfloat16, torch.strided",
        ),
        (
            [torch.ones(1, 3, 8, 8).to_sparse()],
            "input 'images': expected a dense tensor of float32, found one of torch.float32, "
            "torch.sparse_coo",
        ),
        ([images().astype(">f4")], "input 'images': expected float32, found >f4"),
    ],
    ids=["number", "kind", "float64", "rank", "gradient", "float16", "bfloat16", "sparse", "byte order"],
)
def test_what_does_not_fit_is_refused(given: list[object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        input_arrays(given, [IMAGES])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            [(2, 3, 8, 9), (4, 5)],
            "input 'images': expected shape (batch, 3, 8, 8), found (2, 3, 8, 9), which differs in "
            "dimension 3",
        ),
        (
            [(2, 3, 8, 8), (3, 5)],
            "input 'tokens': expected shape (2*batch, 5), found (3, 5), which differs in dimension 0",
        ),
        (
            [(2, 3, 8, 8), (2, 5)],
            "all inputs must have one batch size; 'images' has 2, 'tokens' has 1",
        ),
    ],
    ids=["size", "multiple", "two batches"],
)
def test_shapes_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    arrays = [np.zeros(shapes[0], np.float32), np.zeros(shapes[1], np.int64)]
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        batch_of(arrays, [IMAGES, TOKENS])


def test_shapes_for_people() -> None:
    assert shape_text((5,)) == "(5,)"
    assert shape_text(()) == "()"
