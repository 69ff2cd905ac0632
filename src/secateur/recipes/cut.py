"""Cuts: what a recipe prunes, as typed values that know how far each round goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, assert_never, final

from pydantic import Field, model_validator

from secateur.pruning.allocation import ALLOCATIONS
from secateur.pruning.criteria import Criterion, Density, GlobalDensity, StdThreshold
from secateur.pruning.schedules import Cubic, Geometric, GrowingQuality, Linear, OneShot
from secateur.pruning.scores import ProbabilisticMagnitude, Random, Score, lamp, magnitude
from secateur.training.configuration import Frozen
from secateur.training.phase import NotNegative, Positive

DensityValue = Annotated[float, Field(gt=0, le=1)]
ScoreName = Literal["magnitude", "lamp", "random", "probabilistic"]
PathName = Literal["geometric", "linear", "cubic", "one-shot"]
_PATHS: Mapping[PathName, type[Geometric | Linear | Cubic | OneShot]] = {
    "geometric": Geometric,
    "linear": Linear,
    "cubic": Cubic,
    "one-shot": OneShot,
}


@final
class QualityCut(Frozen):
    """The paper's threshold, ``quality x standard deviation`` of each layer, growing round by round.

    Attributes:
        quality: The quality parameter of the last round.
        initial: That of the round before the first; the rounds between rise in equal steps.
        layers: The last round's quality by layer pattern; earlier rounds scale it in proportion.
    """

    kind: Literal["quality"] = "quality"
    quality: Positive
    initial: NotNegative = 0.0
    layers: Mapping[str, Positive] = {}

    @model_validator(mode="after")
    def _grows(self) -> QualityCut:
        if self.initial > self.quality:
            raise ValueError(f"initial ({self.initial}) must not be above quality ({self.quality})")
        return self

    def at(self, progress: float, seed: int) -> Criterion:
        """The criterion at a fraction of the rounds."""
        del seed
        quality = GrowingQuality(final=self.quality, initial=self.initial)(progress)
        share = quality / self.quality
        return StdThreshold(quality, {layer: own * share for layer, own in self.layers.items()})


@final
class DensityCut(Frozen):
    """An exact density in every layer.

    Attributes:
        density: Of all weights, at the end.
        layers: Density at the end by layer pattern, where it differs.
        path: How the rounds lead there.
        score: What is kept first.
        allocation: How ``density`` is shared out among layers without one of their own.
    """

    kind: Literal["density"] = "density"
    density: DensityValue
    layers: Mapping[str, DensityValue] = {}
    path: PathName = "geometric"
    score: ScoreName = "magnitude"
    allocation: Literal["uniform", "erdos-renyi", "erdos-renyi-kernel"] = "uniform"

    def at(self, progress: float, seed: int) -> Criterion:
        """The criterion at a fraction of the rounds."""
        path = _PATHS[self.path]
        return Density(
            path(self.density)(progress),
            {layer: path(final)(progress) for layer, final in self.layers.items()},
            _score(self.score, seed),
            ALLOCATIONS[self.allocation],
        )


@final
class GlobalCut(Frozen):
    """One ranking over all layers.

    Attributes:
        density: Of all weights, at the end.
        path: How the rounds lead there.
        score: What is kept first; it must be comparable across layers.
    """

    kind: Literal["global"] = "global"
    density: DensityValue
    path: PathName = "geometric"
    score: ScoreName = "magnitude"

    def at(self, progress: float, seed: int) -> Criterion:
        """The criterion at a fraction of the rounds."""
        return GlobalDensity(_PATHS[self.path](self.density)(progress), _score(self.score, seed))


Cut = Annotated[QualityCut | DensityCut | GlobalCut, Field(discriminator="kind")]


def _score(name: ScoreName, seed: int) -> Score:
    match name:
        case "magnitude":
            return magnitude
        case "lamp":
            return lamp
        case "random":
            return Random(seed)
        case "probabilistic":
            return ProbabilisticMagnitude(seed)
        case _:
            assert_never(name)
