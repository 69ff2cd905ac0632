"""The pruner: masks beside a model, enforced after every optimizer step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, final

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from secateur.errors import ConfigurationError, UnreachableTargetError
from secateur.pruning.criteria import Criterion, compute_masks
from secateur.pruning.default import weights_to_prune
from secateur.pruning.enforcement import (
    Factors,
    check_parameters_of,
    checked_optimizer,
    has_hooks,
    make_factors,
    multiply_,
    on_devices_of,
    refuse_without_values,
    revived,
    zero_,
)
from secateur.pruning.gradual import Gradual, check_gradual
from secateur.pruning.layers import Selection, aliases, layer_name, prunable_weights, unwrap
from secateur.pruning.masks import Masks
from secateur.pruning.neurons import Sweep, sweep_dead_neurons
from secateur.pruning.report import LayerReport, PruningReport
from secateur.pruning.state import checked_state
from secateur.pruning.stepping import StepGuard


@final
class Pruner:
    """Prunes a model and keeps it pruned while it trains on.

    Nothing of the model changes but the values of its weights: parameters stay leaves under their own names,
    and the masks live here. After every step of the optimizer the pruned weights are zero, and with them
    every optimizer state of the weight's shape (momentum, Adam's moments), so that nothing revives them. A
    step that mixed precision skips skips this too, and needs none.

    They are set to zero after the step; or, where it comes to the same for less (`StepGuard` says where), the
    gradients of pruned weights are set to zero before it, in place: ``weight.grad`` shows zeros there after
    the step, and all gradients before it, as clipping does. Whatever else writes to weights or states is
    undone by the next step. One thing PyTorch shows nobody, a write into a weight or state through ``.data``
    or NumPy's view of it: it is undone at the next cut or within 64 steps, or at once by `enforce`.

    One pruner watches one optimizer, which must hold every trainable weight under pruning. With several
    optimizers make a pruner for each, with its layers as ``layers``.

    After a step the setting to zero is a multiplication, for speed: should it meet infinity or NaN at a
    pruned place, NaN stays there and `report` counts it, and a negative number leaves -0.0, which equals
    zero. `prune`, `attach` and `finalize` set all such places to +0.0.

    Args:
        model: Any network; wrappers of ``torch.compile`` and data parallelism are looked through.
        optimizer: The optimizer that trains it. Leave it out to prune without training, or `attach` one
            later.
        layers: Which weights; every connection but depthwise filters if left out. See
            `secateur.pruning.default.weights_to_prune`.
        exclude: Which of them to leave alone.
        on_cut: Told of the masks after every cut. Where several processes train one network, give
            ``secateur.training.processes.join().check_masks``, which ends the run if they cut differently.

    Raises:
        LayerSelectionError: A pattern matches nothing, a layer is asked for twice, or nothing is left to
            prune.
        ConfigurationError: The model is no module, its weights are on the meta device or sharded, or the
            optimizer lacks trainable weights under pruning.

    Example:
        >>> import torch
        >>> from secateur.pruning.criteria import GlobalDensity
        >>> model = nn.Linear(8, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> pruner = Pruner(model, optimizer)
        >>> pruner.prune(GlobalDensity(0.25)).kept
        8
        >>> model(torch.ones(1, 8)).sum().backward()
        >>> optimizer.step()
        >>> int(model.weight.count_nonzero())
        8

    Source: paper, section 4 (a mask for each weight tensor). Masking the gradients alone, without regard to
    what momentum and other code have left in weights and states, would let pruned weights move.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        *,
        layers: Selection | None = None,
        exclude: Selection | None = None,
        on_cut: Callable[[Masks], object] | None = None,
    ) -> None:
        given: object = model
        if not isinstance(given, nn.Module):
            raise ConfigurationError(
                f"expected a network (torch.nn.Module), found {type(given).__name__}; give the network "
                "itself, not its parameters"
            )
        self._weights = weights_to_prune(model, layers, exclude)
        refuse_without_values(self._weights)
        self._names = aliases(prunable_weights(model))
        self._model = unwrap(model)
        self._masks = Masks.full(self._weights)
        self._factors: Factors = []
        self._gradual: Gradual | None = None
        self._steps = 0
        self._skipped: Tensor | int = 0  # steps that mixed precision skipped within the optimizer
        self._optimizer: Optimizer | None = None
        self._guard: StepGuard | None = None
        self._held = False  # whether masked gradients hold the pruned weights at zero in the step at hand
        self._hooks: tuple[RemovableHandle, ...] = ()
        self._finalized = False
        self._on_cut = on_cut
        if optimizer is not None:
            self.attach(optimizer)

    def __repr__(self) -> str:
        return f"Pruner({type(self._model).__name__}, {self.masks!r}, {self.steps} steps)"

    @property
    def masks(self) -> Masks:
        """The masks as they are now, each on its weight's device."""
        self._masks = on_devices_of(self._weights, self._masks)
        return self._masks

    @property
    def steps(self) -> int:
        """Optimizer steps seen so far."""
        return self._steps - int(self._skipped)

    def attach(self, optimizer: Optimizer) -> None:
        """Watch another optimizer from now on; the one before is let go.

        Args:
            optimizer: An optimizer of the same model, or a wrapper of one, accelerate's or SAM.

        Raises:
            ConfigurationError: It holds none of the weights under pruning, it lacks one that requires a
                gradient, the model's weights were replaced by other parameters, or the pruner was finalized.
        """
        self._refuse_if_unusable()
        wrapper, optimizer = optimizer, checked_optimizer(optimizer, self._weights)
        self.detach()
        self._optimizer = optimizer
        self._guard = StepGuard(optimizer, self._model)
        self._hooks = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )
        if wrapper is not optimizer and has_hooks(wrapper):
            # What it does after the step inside, such as Lookahead's average, may revive weights.
            self._hooks += (wrapper.register_step_post_hook(lambda *_: self._enforce()),)
        self._set_masks(self._masks)  # once more: the model may have moved to another device or type

    def detach(self) -> None:
        """Stop watching the optimizer; the pruned weights are zero, and nothing keeps them so."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = ()
        self._optimizer = self._guard = None

    def prune(self, criterion: Criterion) -> Masks:
        """Cut, now. What was pruned before stays pruned.

        Args:
            criterion: `StdThreshold`, `Density` or `GlobalDensity`.

        Returns:
            The masks after the cut.

        Raises:
            UnreachableTargetError: A layer would end empty, or more weights are asked for than are alive.
            LayerSelectionError: A layer given a value of its own is not there, or is there twice.
            ConfigurationError: It is no criterion, a weight is NaN, the model's weights were replaced by
                other parameters, or the pruner was finalized.
        """
        self._refuse_if_unusable()
        return self._cut_to(compute_masks(self._weights, criterion, self.masks, self._names))

    def prune_gradually(self, gradual: Gradual | None) -> None:
        """Cut step by step while the optimizer steps; None stops it.

        Args:
            gradual: When and what. Its steps are `steps`, which a checkpoint of the pruner keeps.

        Raises:
            ConfigurationError: It is no `Gradual`, its steps are over, the pruner was finalized, or it
                watches no optimizer.
            UnreachableTargetError: The first cut asks for more weights than are alive.
        """
        self._refuse_if_unusable()
        if gradual is not None and self._optimizer is None:
            raise ConfigurationError(
                "a gradual cut counts optimizer steps, and this pruner watches no optimizer"
            )
        if gradual is not None:
            check_gradual(gradual, self.steps, self._weights, self.masks, self._names)
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
            ConfigurationError: The pruner was finalized, or the model's weights were replaced by other
                parameters.
        """
        self._refuse_if_unusable()
        given = Masks(masks)
        given.check_fits(self._weights)
        given = on_devices_of(self._weights, given)
        masks = self.masks & Masks({name: given.get(name, mask) for name, mask in self.masks.items()})
        empty = [layer_name(name) for name in masks if not masks.kept_of(name)]
        if empty:
            raise UnreachableTargetError(
                f"these masks would leave no weight at all in {', '.join(empty)}, and nothing would "
                "pass through"
            )
        return self._cut_to(masks)

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
            ConfigurationError: The pruner was finalized, or the model's weights were replaced by other
                parameters.

        Source: paper, section 3.5.
        """
        self._refuse_if_unusable()
        swept = sweep_dead_neurons(self._model, self.masks, example_input_shape)
        self._cut_to(self._masks & on_devices_of(self._weights, Masks(swept.masks)))
        return swept

    def enforce(self) -> None:
        """Set pruned weights, and the optimizer's moments at their places, to zero.

        The hook does this after every step; call it yourself after weights came from elsewhere.

        Raises:
            ConfigurationError: The model's weights were replaced by other parameters since.
        """
        check_parameters_of(self._model, self._weights)
        self._enforce()

    def _enforce(self) -> None:
        if any(factor.device != weight.device for weight, factor in self._factors):
            self._set_masks(self._masks)  # the model moved since
        multiply_(self._factors, self._optimizer)

    def report(self) -> PruningReport:
        """How much of every layer lives, and how many pruned weights are not zero (none should be).

        Raises:
            ConfigurationError: The model's weights were replaced by other parameters since.
        """
        check_parameters_of(self._model, self._weights)
        return PruningReport(
            tuple(
                LayerReport(
                    layer_name(name),
                    tuple(weight.shape),
                    weight.numel(),
                    self._masks.kept_of(name),
                    revived(weight, self.masks[name]),
                )
                for name, weight in self._weights.items()
            )
        )

    def finalize(self) -> Masks:
        """Let go of the optimizer; the model is an ordinary one whose pruned weights are exactly zero.

        Pruned weights that something else has revived are set to zero with a warning: the network was
        trained, and perhaps measured, with them.

        Returns:
            The final masks.

        Raises:
            ConfigurationError: The model's weights were replaced by other parameters.
        """
        found = self.report()
        if found.revived:
            warnings.warn(f"finalize() sets them to zero now: {found.warning}", UserWarning, stacklevel=2)
        self._masks.apply_(self._weights)
        self.detach()
        self._gradual = None
        self._finalized = True
        return self._masks

    def state_dict(self) -> dict[str, Any]:
        """The masks and the step count: tensors and integers only, loadable with ``weights_only=True``."""
        return {"masks": self._masks.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the masks and the step count of a saved pruner.

        Args:
            state: What `state_dict` gave.

        Raises:
            CheckpointError: It is not a pruner's state, or it is of another network.
            ConfigurationError: The pruner was finalized, or the model's weights were replaced by other
                parameters.
        """
        self._refuse_if_unusable()
        masks, self._steps = checked_state(state, self._weights)
        self._skipped = 0
        self._set_masks(masks)

    def __getstate__(self) -> None:
        raise ConfigurationError(
            "a pruner watches one optimizer and cannot be copied or pickled: the copy would watch nothing; "
            "keep its state_dict() and load it into a new pruner of the copied model and optimizer"
        )

    def _cut_to(self, masks: Masks) -> Masks:
        self._set_masks(masks)
        if self._on_cut is not None:
            self._on_cut(self._masks)
        return self._masks

    def _set_masks(self, masks: Masks) -> None:
        masks.check_fits(self._weights)
        self._masks = on_devices_of(self._weights, masks)
        self._factors = make_factors(self._weights, self._masks)
        zero_(self._weights, self._masks, self._optimizer)

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del optimizer
        guard = self._guard
        self._held = guard is not None and guard.mask_gradients(self._factors, self._steps, args, kwargs)

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        self._steps += 1
        # A fused optimizer is stepped even where mixed precision skips the step, and is told to do nothing.
        skipped: object = vars(optimizer).get("found_inf")
        if isinstance(skipped, Tensor):
            # Added up where it is: reading it would have the GPU waited for in every step.
            self._skipped = self._skipped + (skipped > 0).sum()
        criterion = None if self._gradual is None else self._due(self._gradual, skipped)
        if criterion is not None:
            self.prune(criterion)
        elif not self._held:
            self._enforce()
        if self._guard is not None:
            self._guard.settle(self._factors, held=self._held and criterion is None)
        self._held = False

    def _due(self, gradual: Gradual, skipped: object) -> Criterion | None:
        if isinstance(skipped, Tensor) and bool(skipped):
            return None  # what was due after the step before was cut then
        return gradual.criterion_at(self.steps)

    def _refuse_if_unusable(self) -> None:
        if self._finalized:
            raise ConfigurationError("this pruner was finalized and has let go of the model; make a new one")
        check_parameters_of(self._model, self._weights)
