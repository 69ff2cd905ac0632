"""What one stretch of training consists of: typed, validated, and closed to unknown keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, assert_never, final

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import nn
from torch.optim import Optimizer

from secateur.pruning.regularisation import Regularisation
from secateur.training.configuration import Frozen

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Precision = Literal["float32", "bf16", "fp16"]


@final
class Sgd(Frozen):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: Positive
    momentum: Rate = 0.9
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


@final
class Adam(Frozen):
    """Adam; its L2 term is part of the gradient."""

    kind: Literal["adam"] = "adam"
    learning_rate: Positive


@final
class AdamW(Frozen):
    """Adam with decoupled weight decay: here l2 is that decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: Positive


OptimizerChoice = Annotated[Sgd | Adam | AdamW, Field(discriminator="kind")]


@final
class Constant(Frozen):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at a step."""
        del step, steps
        return 1.0


@final
class Steps(Frozen):
    """The learning rate is multiplied by a factor at given fractions of the phase."""

    kind: Literal["steps"] = "steps"
    at: tuple[Fraction, ...] = Field(min_length=1, strict=False)
    by: Positive = 0.1

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at a step."""
        return float(self.by ** sum(step >= fraction * steps for fraction in self.at))


@final
class Cosine(Frozen):
    """The learning rate rises linearly in the warm-up, then falls along half a cosine, once a cycle."""

    kind: Literal["cosine"] = "cosine"
    warmup: Rate = 0.0
    cycles: int = Field(default=1, ge=1)
    final: Fraction = 0.0

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at a step."""
        warm = self.warmup * steps
        if step < warm:
            return (step + 1) / (warm + 1)
        done = (step - warm) / max(steps - warm, 1) * self.cycles % 1.0
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))


@final
class Inverse(Frozen):
    """Caffe's "inv" policy: ``(1 + gamma step)^-power``."""

    kind: Literal["inverse"] = "inverse"
    gamma: NotNegative = 1e-4
    power: NotNegative = 0.75

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at a step."""
        del steps
        return float((1 + self.gamma * step) ** -self.power)


LearningRate = Annotated[Constant | Steps | Cosine | Inverse, Field(discriminator="kind")]


@final
class Phase(Frozen):
    """One stretch of training.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step.
        optimizer: Which optimizer, and its learning rate.
        schedule: How the learning rate moves within the phase.
        l1: Strength of the L1 penalty on connections.
        l2: Strength of the L2 penalty (weight decay) on connections.
        only: Layer patterns that train; the others are frozen, with the statistics of their batch
            normalisation (the paper's local pruning, section 3.3).
        clip: The largest norm of the gradient; 0 clips nothing.
        precision: What the forward pass computes in: float32, bf16, or on GPUs fp16. Weights, losses and
            evaluation are in float32.
        accumulate: In how many pieces a step is computed, one after another, to save memory.
        compile: Whether ``torch.compile`` compiles the network.
    """

    epochs: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    optimizer: OptimizerChoice
    schedule: LearningRate = Constant()
    l1: NotNegative = 0.0
    l2: NotNegative = 0.0
    only: tuple[str, ...] | None = Field(default=None, strict=False, min_length=1)
    clip: NotNegative = 0.0
    precision: Precision = "float32"
    accumulate: int = Field(default=1, ge=1)
    compile: bool = False

    @model_validator(mode="after")
    def _has_images_for_every_piece(self) -> Phase:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate ({self.accumulate}) must not be above batch_size ({self.batch_size}): a step's "
                "batch_size images are computed in that many pieces"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_it_was_known(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A run is known by these values: keys that came later are left out where they change nothing.
        values: dict[str, Any] = serialise(self)
        for key in ("precision", "accumulate", "compile"):
            if values.get(key) == type(self).model_fields[key].default:
                del values[key]
        return values

    @property
    def regularisation(self) -> Regularisation:
        """The part of the penalty that is not the optimizer's own."""
        return Regularisation(l1=self.l1)


def make_optimizer(
    choice: Sgd | Adam | AdamW, l2: float, weights: Sequence[nn.Parameter], others: Sequence[nn.Parameter]
) -> Optimizer:
    """An optimizer that decays the weights and leaves biases and normalisation parameters undecayed.

    Args:
        choice: Which optimizer.
        l2: Strength of the L2 penalty.
        weights: The connections.
        others: All other parameters that train.

    Returns:
        An optimizer of two parameter groups, with torch's fused kernels where the parameters allow them.
    """
    groups = [{"params": list(weights), "weight_decay": l2}, {"params": list(others), "weight_decay": 0.0}]
    # The fused kernels take floating-point parameters on these devices only.
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in (*weights, *others))
    match choice:
        case Sgd():
            return torch.optim.SGD(
                groups,
                lr=choice.learning_rate,
                momentum=choice.momentum,
                nesterov=choice.nesterov,
                fused=fused,
            )
        case Adam():
            return torch.optim.Adam(groups, lr=choice.learning_rate, fused=fused)
        case AdamW():
            return torch.optim.AdamW(groups, lr=choice.learning_rate, fused=fused)
        case _:
            assert_never(choice)
