"""The pruner: masks beside a model, enforced after every optimizer step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from secateur.errors import CheckpointError, ConfigurationError, MaskError, UnreachableTargetError
from secateur.pruning.criteria import Criterion, compute_masks
from secateur.pruning.gradual import Gradual
from secateur.pruning.layers import Selection, aliases, layer_name, prunable_weights, select_weights, unwrap
from secateur.pruning.masks import Masks
from secateur.pruning.neurons import Sweep, sweep_dead_neurons
from secateur.pruning.report import LayerReport, PruningReport

# Multiplying by a mask of the weight's own type is five to ten times faster than by a boolean one, which
# PyTorch converts number by number. A large weight's mask stays boolean, for the memory, and is converted a
# piece at a time: a sixth of the time on VGG-16.
_LARGE = 1 << 20
_PIECE = 1 << 18


@final
class Pruner:
    """Prunes a model and keeps it pruned while it trains on.

    Nothing of the model changes but the values of its weights: parameters stay leaves under their own names,
    and the masks live here. After every step of the optimizer the pruned weights are set to zero again, and
    with them every optimizer state of the weight's shape (momentum, Adam's moments), so that nothing revives
    them. A step that mixed precision skips skips this too, and needs none.

    Args:
        model: Any network; wrappers of ``torch.compile`` and data parallelism are looked through.
        optimizer: The optimizer that trains it. Leave it out to prune without training, or `attach` one
            later.
        layers: Which weights; every connection if left out. See `secateur.pruning.layers.select_weights`.
        exclude: Which of them to leave alone.

    Raises:
        LayerSelectionError: A pattern matches nothing, a layer is asked for twice, or nothing is left to
            prune.
        ConfigurationError: The optimizer holds none of the model's weights.

    Example:
        >>> model = nn.Linear(8, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> pruner = Pruner(model, optimizer)
        >>> pruner.prune(GlobalDensity(0.25)).kept
        8
        >>> model(torch.ones(1, 8)).sum().backward()
        >>> optimizer.step()
        >>> int(model.weight.count_nonzero())
        8

    Source: paper, section 4 (a mask for each weight tensor). Masking the gradients alone would let momentum
    and weight decay move pruned weights.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        *,
        layers: Selection | None = None,
        exclude: Selection | None = None,
    ) -> None:
        self._weights = select_weights(model, layers, exclude)
        self._names = aliases(prunable_weights(model))
        self._model = unwrap(model)
        self._masks = Masks.full(self._weights)
        self._factors: list[tuple[nn.Parameter, Tensor]] = []
        self._gradual: Gradual | None = None
        self._steps = 0
        self._optimizer: Optimizer | None = None
        self._hook: RemovableHandle | None = None
        self._finalized = False
        if optimizer is not None:
            self.attach(optimizer)

    @property
    def masks(self) -> Masks:
        """The masks as they are now."""
        return self._masks

    @property
    def steps(self) -> int:
        """Optimizer steps seen so far."""
        return self._steps

    def attach(self, optimizer: Optimizer) -> None:
        """Watch another optimizer from now on; the one before is let go.

        Args:
            optimizer: An optimizer of the same model, or accelerate's wrapper of one.

        Raises:
            ConfigurationError: It holds none of the weights under pruning, or the pruner was finalized.
        """
        self._refuse_if_finalized()
        optimizer = _inner(optimizer)
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if not any(id(weight) in held for weight in self._weights.values()):
            raise ConfigurationError(
                "this optimizer holds none of the weights under pruning; was it made before the model was "
                "copied or moved? Make it from the parameters of the model given to the pruner"
            )
        self.detach()
        self._optimizer = optimizer
        self._hook = optimizer.register_step_post_hook(self._after_step)
        self._set_masks(self._masks)  # once more: the model may have moved to another device or type

    def detach(self) -> None:
        """Stop watching the optimizer; the pruned weights are zero, and nothing keeps them so."""
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._optimizer = None

    def prune(self, criterion: Criterion) -> Masks:
        """Cut, now. What was pruned before stays pruned.

        Args:
            criterion: `StdThreshold`, `Density` or `GlobalDensity`.

        Returns:
            The masks after the cut.

        Raises:
            UnreachableTargetError: A layer would end empty, or more weights are asked for than are alive.
            LayerSelectionError: A layer given a value of its own is not there, or is there twice.
            ConfigurationError: The pruner was finalized.
        """
        self._refuse_if_finalized()
        masks = compute_masks(self._weights, criterion, self._masks, self._names)
        self._set_masks(masks)
        return masks

    def prune_gradually(self, gradual: Gradual | None) -> None:
        """Cut step by step while the optimizer steps; None stops it.

        Args:
            gradual: When and what. Its steps are `steps`, which a checkpoint of the pruner keeps.

        Raises:
            ConfigurationError: The pruner was finalized, or watches no optimizer.
        """
        self._refuse_if_finalized()
        if gradual is not None and self._hook is None:
            raise ConfigurationError(
                "a gradual cut counts optimizer steps, and this pruner watches no optimizer"
            )
        self._gradual = gradual

    def restrict(self, masks: Mapping[str, Tensor]) -> Masks:
        """Cut exactly what the given masks cut, on top of what is pruned already.

        Args:
            masks: Boolean tensors by parameter name, for any of the weights under pruning.

        Returns:
            The masks after the cut.

        Raises:
            MaskError: A mask is for another weight, or its shape differs.
            UnreachableTargetError: A layer would end empty.
            ConfigurationError: The pruner was finalized.
        """
        self._refuse_if_finalized()
        given = Masks(masks)
        given.check_fits(self._weights)
        masks = self._masks & Masks({name: given.get(name, mask) for name, mask in self._masks.items()})
        empty = [layer_name(name) for name in masks if not masks.kept_of(name)]
        if empty:
            raise UnreachableTargetError(
                f"these masks would leave no weight at all in {', '.join(empty)}, and nothing would "
                "pass through"
            )
        self._set_masks(masks)
        return masks

    def sweep(self, example_input_shape: tuple[int, ...]) -> Sweep:
        """Remove the connections of dead neurons, to a fixed point; the network computes what it did before.

        A neuron that nobody reads loses its inputs; one that reads nothing is a constant, which is added to
        the biases of its readers before its outgoing connections go.

        Args:
            example_input_shape: The shape of one input, without the batch: ``(1, 28, 28)``.

        Returns:
            What was found and removed, layer by layer.

        Raises:
            UnreachableTargetError: The network is cut through: a layer would end empty.
            UnsupportedModelError: The network's graph cannot be traced.

        Source: paper, section 3.5.
        """
        self._refuse_if_finalized()
        swept = sweep_dead_neurons(self._model, self._masks, example_input_shape)
        self._set_masks(self._masks & Masks(swept.masks))
        return swept

    @torch.no_grad()
    def enforce(self) -> None:
        """Set pruned weights, and the optimizer's moments at their places, to zero.

        The hook does this after every step; call it yourself after weights came from elsewhere.
        """
        small: list[Tensor] = []
        small_factors: list[Tensor] = []
        for parameter, factor in self._factors:
            tensors = list(self._tensors_of(parameter))
            if factor.dtype == torch.bool and parameter.device.type == "cpu":
                _multiply_piecewise_([each for each in tensors if each.dtype == parameter.dtype], factor)
                tensors = [each for each in tensors if each.dtype != parameter.dtype]
            for tensor in tensors:
                if factor.dtype == tensor.dtype:
                    small.append(tensor)
                    small_factors.append(factor)
                else:
                    tensor.mul_(factor)
        if small:
            torch._foreach_mul_(small, small_factors)

    def report(self) -> PruningReport:
        """How much of every layer lives."""
        return PruningReport(
            tuple(
                LayerReport(layer_name(name), tuple(weight.shape), weight.numel(), self._masks.kept_of(name))
                for name, weight in self._weights.items()
            )
        )

    def finalize(self) -> Masks:
        """Let go of the optimizer; the model is an ordinary one whose pruned weights are exactly zero.

        Returns:
            The final masks.
        """
        self._masks.apply_(self._weights)
        self.detach()
        self._gradual = None
        self._finalized = True
        return self._masks

    def state_dict(self) -> dict[str, Any]:
        """The masks and the step count: tensors and integers only, loadable with ``weights_only=True``."""
        return {"masks": self._masks.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the masks and the step count of a saved pruner.

        Args:
            state: What `state_dict` gave.

        Raises:
            CheckpointError: It is not a pruner's state, or it is of another network.
            ConfigurationError: The pruner was finalized.
        """
        self._refuse_if_finalized()
        if not isinstance(state.get("masks"), Mapping) or not isinstance(state.get("steps"), int):
            raise CheckpointError(
                "not a pruner's state: expected the keys 'masks' and 'steps', found "
                f"{', '.join(map(repr, state)) or 'none'}"
            )
        if set(state["masks"]) != set(self._weights):
            difference = ", ".join(sorted(set(state["masks"]) ^ set(self._weights)))
            raise CheckpointError(
                "this pruner's state is of another network or another choice of layers: only one of the two "
                f"prunes {difference}"
            )
        try:
            masks = Masks(state["masks"])
            masks.check_fits(self._weights)
        except MaskError as error:
            raise CheckpointError(f"this pruner's state is of another network: {error}") from error
        self._steps = state["steps"]
        self._set_masks(masks)

    def __getstate__(self) -> None:
        raise ConfigurationError(
            "a pruner watches one optimizer and cannot be copied or pickled: the copy would watch nothing; "
            "keep its state_dict() and load it into a new pruner of the copied model and optimizer"
        )

    def _set_masks(self, masks: Masks) -> None:
        self._masks = masks
        self._factors = []
        for name, weight in self._weights.items():
            mask = masks[name].to(weight.device)
            self._factors.append((weight, mask if weight.numel() > _LARGE else mask.to(weight.dtype)))
        masks.apply_(self._weights)  # exactly +0.0, which a multiplication does not give
        self.enforce()

    def _tensors_of(self, parameter: nn.Parameter) -> Iterator[Tensor]:
        yield parameter
        # Asking with [] would create an empty state, which some optimizers take for an initialised one.
        state = self._optimizer.state.get(parameter) if self._optimizer is not None else None
        for value in (state or {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                yield value

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del optimizer, args, kwargs
        self._steps += 1
        criterion = None if self._gradual is None else self._gradual.criterion_at(self._steps)
        if criterion is None:
            self.enforce()
        else:
            self.prune(criterion)

    def _refuse_if_finalized(self) -> None:
        if self._finalized:
            raise ConfigurationError("this pruner was finalized and has let go of the model; make a new one")


def _multiply_piecewise_(tensors: list[Tensor], mask: Tensor) -> None:
    # Split along the rows, since pieces of a flattened weight would be copies where its memory is strided.
    rows = max(1, _PIECE * len(mask) // mask.numel())
    factor = torch.empty_like(mask[:rows], dtype=tensors[0].dtype)
    pieces = (torch.split(tensor, rows) for tensor in (mask, *tensors))
    for piece, *parts in zip(*pieces, strict=True):
        part_factor = factor[: len(piece)].copy_(piece)
        for part in parts:
            part.mul_(part_factor)


def _inner(optimizer: Optimizer) -> Optimizer:
    # accelerate's wrapper is an Optimizer by inheritance only: the hooks and the state are those of the one
    # inside.
    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, Optimizer) else optimizer
