"""Activations against double precision: a few units in the last place, and alike on every instruction set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from secateur import _native
from tests.native.programs import INPUT, OUTPUT, Floats, run

ISAS = _native.isas()
Doubles = NDArray[np.float64]

SMALLEST = 2.0**-149
ALPHA, BETA = 0.2, 0.45
# In the order of native/include/secateur/activation.h, after `none`: the function in double precision, and
# the error that is allowed, in units in the last place of the result.
KINDS: list[tuple[str, Callable[[Doubles], Doubles], float]] = [
    ("relu", lambda x: np.maximum(x, 0), 0),
    ("leaky_relu", lambda x: np.where(x >= 0, x, np.float32(ALPHA) * x), 0.5),
    ("clip", lambda x: np.clip(x, np.float32(ALPHA), np.float32(BETA)), 0),
    ("sigmoid", special.expit, 4),
    ("hard_sigmoid", lambda x: np.clip(np.float32(ALPHA) * x + np.float32(BETA), 0, 1), 0.5),
    ("hard_swish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), np.inf),
    ("swish", lambda x: x * special.expit(x), 5),
    ("tanh", np.tanh, 3),
    ("gelu", lambda x: x * special.ndtr(x), np.inf),
    (
        "gelu_tanh",
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + np.float32(0.044715) * x**3))),
        np.inf,
    ),
    ("erf", special.erf, 3),
    ("exp", np.exp, 2),
    ("sqrt", np.sqrt, 0.5),
    ("negative", np.negative, 0),
    ("absolute", np.abs, 0),
]


def activated(kind: str, x: Floats, isa: str) -> Floats:
    number = 1 + [name for name, _, _ in KINDS].index(kind)
    return run(
        lambda p: p.elementwise(INPUT, OUTPUT, x.size, (number, ALPHA, BETA)), [x], x.shape, isa, threads=2
    )


def numbers(kind: str) -> Floats:
    """From the smallest to the largest where the function still does something, and more at random."""
    draw = np.random.default_rng(7)
    parts = [
        np.linspace(-110, 95, 100_001),
        np.linspace(-5, 5, 100_003),
        draw.standard_normal(50_000) * 10.0 ** draw.uniform(-30, 1, 50_000),
        np.array([0.0, -0.0, 0.625, 1.0, 88.7, -87.4, -103.9]),
    ]
    x = np.concatenate(parts).astype(np.float32)
    return np.abs(x) if kind == "sqrt" else x


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", [name for name, _, _ in KINDS])
def test_an_activation_is_within_its_bound(kind: str, isa: str) -> None:
    _, exact, ulps = next(row for row in KINDS if row[0] == kind)
    x = numbers(kind)
    found = activated(kind, x, isa).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        expected = exact(x.astype(np.float64))
        unit = np.abs(np.spacing(expected.astype(np.float32))).astype(np.float64)
    if kind in {"gelu", "gelu_tanh", "hard_swish"}:
        # x times a number in 0..1 that is known to a few roundings of 1: an error relative to x.
        assert (np.abs(found - expected) <= 4 * np.finfo(np.float32).eps * np.abs(x) + 1e-44).all()
        return
    overflow = expected > np.finfo(np.float32).max
    np.testing.assert_array_equal(found[overflow], np.inf)
    # Below the smallest normal number exp is a multiple of 2^-149, to the nearest or next to it.
    gradual = SMALLEST if kind in {"exp", "sigmoid"} else SMALLEST * np.abs(x) if kind == "swish" else 0.0
    assert (np.abs(found - expected) <= ulps * unit + gradual)[~overflow].all()


@pytest.mark.parametrize("kind", [name for name, _, _ in KINDS])
def test_instruction_sets_agree_to_the_bit(kind: str) -> None:
    x = numbers(kind)
    bits = {isa: activated(kind, x, isa).view(np.uint32) for isa in ISAS}
    for isa in ISAS:
        np.testing.assert_array_equal(bits[isa], bits["scalar"])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", [name for name, _, _ in KINDS])
def test_what_is_no_number_stays_so(kind: str, isa: str) -> None:
    x = np.full(11, np.nan, dtype=np.float32)
    assert np.isnan(activated(kind, x, isa)).all()


@pytest.mark.parametrize("isa", ISAS)
def test_infinities(isa: str) -> None:
    x = np.array([-np.inf, np.inf], dtype=np.float32)
    expected = {
        "relu": [0, np.inf],
        "sigmoid": [0, 1],
        "tanh": [-1, 1],
        "erf": [-1, 1],
        "exp": [0, np.inf],
        "hard_sigmoid": [0, 1],
    }
    for kind, ends in expected.items():
        np.testing.assert_array_equal(activated(kind, x, isa), ends, err_msg=kind)
