from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import InputError
from secateur.format.graph import Batch, Gather, Graph, Value
from secateur.format.model import Model
from secateur.runtime.program import Program


def embedding(batch_first: bool = False) -> Program:
    """Rows of a table of eleven, or of the batch itself."""
    inputs = (Value("ids", (Batch(), 4), "int64"),)
    if batch_first:
        inputs += (Value("table", (Batch(), 3)),)
    graph = Graph(
        inputs=tuple(value.name for value in inputs),
        outputs=("y",),
        values=(*inputs, Value("y", (Batch(), 4, 3))),
        constants=() if batch_first else ("table",),
        nodes=(Gather("look", "table", "ids", "y", 0),),
    )
    table = np.arange(33, dtype=np.float32).reshape(11, 3)
    return Program(Model(graph, {}, {} if batch_first else {"table": table}))


def test_indices_within_the_table_from_both_ends() -> None:
    ids = np.array([[0, 10, -1, -11]])
    table = np.arange(33, dtype=np.float32).reshape(11, 3)
    np.testing.assert_array_equal(embedding()(ids), table[ids])
    assert embedding()(np.empty((0, 4), np.int64)).shape == (0, 4, 3)


@pytest.mark.parametrize("index", [11, -12, 2**40, -(2**62)])
def test_an_index_outside_is_refused(index: int) -> None:
    with pytest.raises(InputError, match=rf"input 'ids': expected indices from -11 to 10, found {index}"):
        embedding()(np.array([[0, index, 1, 2]]))


def test_a_table_that_grows_with_the_batch() -> None:
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    ids = np.array([[0, 1, -1, -2]] * 2)
    np.testing.assert_array_equal(embedding(batch_first=True)(ids, table), table[ids])
    with pytest.raises(InputError, match="from -2 to 1, found 2"):
        embedding(batch_first=True)(ids + 1, table)
