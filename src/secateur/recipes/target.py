"""Targets: what a search is asked for. One of five, never two: they would contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, final

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from secateur.training.configuration import Frozen
from secateur.training.phase import NotNegative, Positive


@final
class MaxErrorIncrease(Frozen):
    """The smallest network whose validation error is at most so many points above the dense network's.

    Attributes:
        max_error_increase: In percentage points; 0 means no worse than dense.
    """

    max_error_increase: NotNegative


@final
class MaxError(Frozen):
    """The smallest network whose validation error is at most this.

    Attributes:
        error: In per cent.
    """

    error: Annotated[float, Field(gt=0, lt=100)]


@final
class MaxWeights(Frozen):
    """The best network of at most so many weights.

    Attributes:
        weights: Of the whole network, excluded layers among them.
    """

    weights: int = Field(ge=1)


@final
class MaxBytes(Frozen):
    """The best network whose packed weights and other parameters take at most so many bytes.

    Attributes:
        bytes: Each weight in its smallest layout, everything else as float32; the graph's description, about
            a kilobyte in a compact file, is not counted.
    """

    bytes: int = Field(ge=1)


@final
class MaxMilliseconds(Frozen):
    """The best network whose compiled program takes at most so long on this machine.

    Attributes:
        milliseconds: Median of many runs.
        batch: Images in a run.
        threads: Threads of a run.
    """

    milliseconds: Positive
    batch: int = Field(default=1, ge=1, le=65_536)
    threads: int = Field(default=1, ge=1)


_KINDS: Mapping[str, type[MaxErrorIncrease | MaxError | MaxWeights | MaxBytes | MaxMilliseconds]] = {
    "max_error_increase": MaxErrorIncrease,
    "error": MaxError,
    "weights": MaxWeights,
    "bytes": MaxBytes,
    "milliseconds": MaxMilliseconds,
}


def _one_target(value: Any) -> Any:
    if isinstance(value, tuple(_KINDS.values())):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(
            f"a target is one of {', '.join(_KINDS)} and its value, such as {{max_error_increase: 0.1}}"
        )
    asked = [key for key in _KINDS if key in value]
    if len(asked) > 1:
        raise ValueError(
            f"{' and '.join(asked)} contradict each other: a search is asked for one of them; keep one"
        )
    if not asked:
        raise ValueError(f"there is no such target; there are {', '.join(_KINDS)}")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"the target {next(key for key in _KINDS if key in value)}"
    return f"the target {next(key for key, kind in _KINDS.items() if isinstance(value, kind))}"


Target = Annotated[
    Annotated[MaxErrorIncrease, Tag("the target max_error_increase")]
    | Annotated[MaxError, Tag("the target error")]
    | Annotated[MaxWeights, Tag("the target weights")]
    | Annotated[MaxBytes, Tag("the target bytes")]
    | Annotated[MaxMilliseconds, Tag("the target milliseconds")],
    Discriminator(_kind),
    BeforeValidator(_one_target),
]
SizeTarget = MaxWeights | MaxBytes | MaxMilliseconds
ErrorTarget = MaxErrorIncrease | MaxError


@final
class Search(Frozen):
    """How a search goes about it.

    Attributes:
        rounds: Networks that are cut and retrained at most.
        step: What a round leaves of the price of the network before it, at first; after a failure it leaves
            more. A budget of size takes equal steps instead, which end there.
        finest: The search ends when a step would leave more than this.
        price: What an error budget is spent on: fewer weights, or fewer bytes of packed weights.
        first: How far the dense network is cut in the first round without looking at ``step``: until its
            validation error, not yet retrained, has risen by this many points; 0 starts with ``step``.
        trial: On how many training images a cut is tried out before one is chosen: once for each layer and
            once for each allocation. 0 takes the scan's allocation untried.
    """

    rounds: int = Field(default=12, ge=1)
    step: Annotated[float, Field(gt=0, lt=1)] = 0.6
    finest: Annotated[float, Field(gt=0, lt=1)] = 0.95
    price: Literal["weights", "bytes"] = "weights"
    first: NotNegative = 2.0
    trial: int = Field(default=10_000, ge=0)

    @model_validator(mode="after")
    def _steps_get_finer(self) -> Search:
        if self.finest < self.step:
            raise ValueError(f"finest ({self.finest}) must not be below step ({self.step})")
        return self
