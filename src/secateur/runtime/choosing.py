"""Which kernel runs a layer: what was asked for, else what was measured, else a rule of thumb. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from secateur.errors import ConfigurationError
from secateur.format.graph import Convolution, Linear
from secateur.format.model import KernelChoice
from secateur.runtime.building import Builder

Fixed = Mapping[str, str]

# Below this density a sparse kernel beats the dense ones on most layers; where it matters, measure.
_SPARSE_BELOW = 0.6
# From this batch size on, a vector of images is filled well enough to be worth the transposition.
_IMAGES_FROM = 6


@final
@dataclass(frozen=True)
class Choice:
    """A kernel and why it was taken."""

    kernel: str
    reason: str


def fixed_kernels(kernels: Fixed | None) -> dict[str, str]:
    """Kernels that a caller asked for.

    Args:
        kernels: By layer name; None for none.

    Returns:
        The same, in a dictionary of its own.

    Raises:
        ConfigurationError: They are not named by layers.

    Example:
        >>> fixed_kernels({"fc1": "outputs"}), fixed_kernels(None)
        ({'fc1': 'outputs'}, {})
    """
    if kernels is not None and not isinstance(kernels, Mapping):
        raise ConfigurationError(
            f'kernels: expected a name by layer, as {{"fc1": "outputs"}}, found {kernels!r}'
        )
    return dict(kernels or {})


def chooser(
    choices: Sequence[KernelChoice], fixed: Fixed, *, isa: str, batch: int
) -> Callable[[Builder, Convolution | Linear, Sequence[str]], Choice]:
    """What names the kernel of each weighted layer of a program.

    Args:
        choices: What the file says was measured.
        fixed: Kernels by layer name that the caller insists on.
        isa: The instruction set that will run.
        batch: The batch size that will run.

    Returns:
        A function of the builder, a node and the kernels that can run it.
    """
    measured = nearest(choices, isa=isa, batch=batch)

    def choose(builder: Builder, node: Convolution | Linear, candidates: Sequence[str]) -> Choice:
        if node.name in fixed:
            if fixed[node.name] not in candidates:
                raise ConfigurationError(
                    f"{node.name}: kernel {fixed[node.name]!r} was asked for; those that can run this layer "
                    f"are {', '.join(candidates)}"
                )
            return Choice(fixed[node.name], "asked for")
        if measured is not None and measured.kernels.get(node.name) in candidates:
            return Choice(measured.kernels[node.name], _why(measured, node.name, batch))
        return Choice(rule_of_thumb(builder, node, candidates), "by rule of thumb, not measured")

    return choose


def nearest(choices: Sequence[KernelChoice], *, isa: str, batch: int) -> KernelChoice | None:
    """The measured choice that fits best: of this instruction set, at the nearest batch size.

    Args:
        choices: What the file says was measured.
        isa: The instruction set that will run.
        batch: The batch size that will run.

    Returns:
        None where nothing was measured on this instruction set.
    """
    fitting = [each for each in choices if each.isa == isa]
    # Twice too large is as far away as twice too small.
    return min(
        fitting, key=lambda each: max(each.batch, batch) / min(max(each.batch, 1), batch), default=None
    )


def rule_of_thumb(builder: Builder, node: Convolution | Linear, candidates: Sequence[str]) -> str:
    """A kernel for a layer that nobody has measured.

    Args:
        builder: Of the program.
        node: The layer.
        candidates: The kernels that can run it, at least one.

    Returns:
        One of them.
    """
    weight = builder.weights[node.weight]
    sparse = weight.density < _SPARSE_BELOW
    if isinstance(node, Convolution):
        images = builder.geometry(node)["images"] >= _IMAGES_FROM
        kind, lanes = "sparse" if sparse else "panel", "images" if images else "columns"
        wishes = ["depthwise", f"{kind}_{lanes}", f"{kind}_columns"]
    elif builder.rows(node) >= _IMAGES_FROM:
        wishes = ["sparse_batch" if sparse else "panel_batch"]
    else:
        wishes = ["inputs", "outputs"] if sparse else ["bitmask", "dense", "inputs", "outputs"]
    return next((wish for wish in wishes if wish in candidates), candidates[0])


def _digits(microseconds: float) -> str:
    return f"{microseconds:.0f}" if microseconds >= 100 else f"{microseconds:.3g}"  # three digits


def _why(measured: KernelChoice, layer: str, batch: int) -> str:
    times = measured.microseconds.get(layer, {})
    chosen = measured.kernels[layer]
    others = [f"{kernel} {_digits(time)}" for kernel, time in sorted(times.items(), key=lambda each: each[1])]
    beside = "" if measured.batch == batch else f" at batch {measured.batch}"
    if chosen not in times:
        return f"chosen{beside} on {measured.cpu}"
    # Filters that Winograd transforms must be read, and have a limit: a slower kernel may be the better one.
    fastest = "fastest" if times[chosen] == min(times.values()) else "fastest, memory counted, as"
    return f"{fastest} measured{beside} on {measured.cpu}, in us: {', '.join(others)}"
