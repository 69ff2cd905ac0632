"""Plans and recipes: what a run does, as typed values that a YAML file can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, final

import yaml
from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from secateur.errors import ConfigurationError
from secateur.networks import NETWORKS
from secateur.recipes.cut import Cut, GlobalCut
from secateur.recipes.data import DataChoice
from secateur.recipes.target import Search, Target
from secateur.training.configuration import Frozen, mistakes
from secateur.training.phase import Fraction, Phase, Positive

NAME = r"^[A-Za-z0-9._-]+$"  # what a run may be called: folders and files are named so
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@final
class Keep(Frozen):
    """Surviving weights keep their values: the paper's way."""

    kind: Literal["keep"] = "keep"


@final
class Reinitialise(Frozen):
    """Surviving weights are drawn anew before each retraining: what the paper warns of, kept to compare."""

    kind: Literal["reinitialise"]


@final
class Rewind(Frozen):
    """Surviving weights go back to what they were after some epochs of dense training (lottery ticket)."""

    kind: Literal["rewind"]
    epoch: int = Field(default=0, ge=0)


Survivors = Annotated[Keep | Reinitialise | Rewind, Field(discriminator="kind")]


@final
class Teach(Frozen):
    """Distillation from the run's own dense network while retraining."""

    weight: Fraction
    temperature: Positive = 2.0


@final
class GradualCut(Frozen):
    """Within the retraining of each round the cut grows step by step instead of falling at once.

    Attributes:
        until: The fraction of the retraining's first phase after which the round's whole cut is made.
        every: Optimizer steps between two cuts.
    """

    until: Annotated[float, Field(gt=0, le=1)] = 0.5
    every: int = Field(default=100, ge=1)


@final
class Turn(Frozen):
    """Layers that are cut, and may retrain, before the others have their turn.

    Attributes:
        layers: Patterns of the layers that are cut, as far as the round goes.
        retrain: The phases that follow, one after another; `only` says what trains in them.
    """

    layers: tuple[str, ...] = Field(min_length=1, strict=False)
    retrain: tuple[Phase, ...] = Field(min_length=1, strict=False)


@final
class Plan(Frozen):
    """Train, then prune and retrain: for a number of rounds, or until a budget is used up.

    Attributes:
        dense: How the dense network is trained: its phases, one after another.
        cut: What is cut.
        target: Instead of a cut, a budget; what is cut is then searched for.
        search: How it is searched for.
        rounds: How often; each round cuts further and retrains.
        turns: Layers that each round cuts and retrains first, one turn after another; then the layers that
            are in no turn are cut, and `retrain` follows (the paper's way with deep networks, section 3.3).
        retrain: How each round retrains: its phases, one after another.
        final: How the last round retrains, if differently.
        exclude: Layer patterns that are left alone.
        survivors: What becomes of the surviving weights before retraining.
        sweep: Whether the connections of dead neurons go as well.
        compact: Whether retraining runs on a copy without the dead neurons (the same result to rounding,
            in less time).
        dropout: The dropout rate of dense training, for networks that have dropout.
        dropout_rule: Whether retraining lowers it by ``D_r = D_o sqrt(C_ir / C_io)``.
        teach: Distillation, if any.
        gradual: A gradual cut within each round, if any.
    """

    dense: tuple[Phase, ...] = Field(min_length=1, strict=False)
    cut: Cut | None = None
    target: Target | None = None
    search: Search = Search()
    rounds: int = Field(default=1, ge=1)
    turns: tuple[Turn, ...] = Field(default=(), strict=False)
    retrain: tuple[Phase, ...] = Field(min_length=1, strict=False)
    final: tuple[Phase, ...] | None = Field(default=None, strict=False)
    exclude: tuple[str, ...] = Field(default=(), strict=False)
    survivors: Survivors = Keep()
    sweep: bool = True
    compact: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    dropout_rule: bool = True
    teach: Teach | None = None
    gradual: GradualCut | None = None

    @model_validator(mode="after")
    def _cuts_or_searches(self) -> Plan:
        if (self.cut is None) == (self.target is None):
            raise ValueError(
                "give either `cut`, which says how far to go, or `target`, a budget that a search uses up"
                + ("" if self.cut is None else "; here they contradict each other")
            )
        if self.target is not None:
            if "rounds" in self.model_fields_set:
                raise ValueError("rounds belong to a cut; with a target give `search: {rounds: ...}`")
            if self.gradual is not None or not isinstance(self.survivors, Keep):
                raise ValueError("a search cuts at once and keeps the survivors: no gradual, no survivors")
        elif "search" in self.model_fields_set:
            raise ValueError("search says how a target is searched for; without a target leave it away")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Plan:
        if isinstance(self.survivors, Rewind) and self.survivors.epoch > sum(
            phase.epochs for phase in self.dense
        ):
            raise ValueError("survivors rewind to an epoch that dense training does not reach")
        if self.gradual is not None and self.compact:
            raise ValueError("a gradual cut changes the masks while training; compact needs them to stay")
        if self.gradual is not None and not isinstance(self.survivors, Keep):
            raise ValueError("a gradual cut keeps the survivors; it cannot reinitialise or rewind them")
        if self.gradual is not None and any(
            phases[0].epochs == 0 for phases in (self.retrain, self.final or self.retrain)
        ):
            raise ValueError("a gradual cut is made in the first phase of retraining, which has no epochs")
        return self

    @model_validator(mode="after")
    def _takes_turns(self) -> Plan:
        if not self.turns:
            return self
        if self.target is not None or isinstance(self.cut, GlobalCut):
            raise ValueError(
                "turns cut some layers before the others, and a search or one ranking over all layers looks "
                "at all of them: give a cut of kind quality or density, or leave turns away"
            )
        if self.gradual is not None or not isinstance(self.survivors, Keep):
            raise ValueError("turns cut at once and keep the survivors: no gradual, no survivors")
        return self

    @model_serializer(mode="wrap")
    def _without_the_other_way(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A run is known by these values: what does not concern it must not change its name.
        values: dict[str, Any] = serialise(self)
        for key in ("cut", "rounds") if self.cut is None else ("target", "search"):
            values.pop(key, None)
        if not self.turns:
            values.pop("turns", None)
        return values

    def phases_of(self, number: int) -> tuple[Phase, ...]:
        """The retraining phases of a round, counted from 1."""
        return self.final if self.final is not None and number == self.rounds else self.retrain


@final
class Recipe(Frozen):
    """A whole run: the network, the data, the plan.

    Attributes:
        name: What the run is called.
        model: A built-in network's name, or ``package.module:factory`` for a function that makes the network.
        model_arguments: What the function is called with, by keyword; of a built-in network, its ``dropout``.
        weights: A file of trained weights that the run starts from.
        data: Which images.
        plan: What is done.
    """

    name: str = Field(pattern=NAME)
    model: str
    model_arguments: Mapping[str, JsonValue] = {}
    weights: str | None = None
    data: DataChoice = DataChoice()
    plan: Plan

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if ":" not in model:
            return _one_of(
                model, "built-in network", NETWORKS, "; name one of your own as package.module:factory"
            )
        if not _FACTORY.fullmatch(model):
            raise ValueError("expected package.module:factory, which names a function of a module")
        return model

    @model_validator(mode="after")
    def _fits_the_weights(self) -> Recipe:
        if self.weights is not None and isinstance(self.plan.survivors, Reinitialise):
            raise ValueError(
                "weights are what the run starts from, and survivors are to be drawn anew: they would be "
                "read from the file again; leave one of the two away"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As for a plan: what is not used must not change a run's name.
        values: dict[str, Any] = serialise(self)
        return {
            key: value
            for key, value in values.items()
            if key not in ("model_arguments", "weights") or value not in ({}, None)
        }


def parse_recipe(content: Any, source: str) -> Recipe:
    """A recipe from plain values, every mistake named at once.

    Args:
        content: What a YAML file holds.
        source: Where it comes from, for the message.

    Returns:
        The recipe.

    Raises:
        ConfigurationError: A key is unknown or missing, or a value has the wrong type or cannot be.
    """
    try:
        # Not the house's own validation, whose message does not say where the content comes from.
        recipe: Recipe = TypeAdapter(Recipe).validate_python(content)
        return recipe
    except ValidationError as error:
        lines = mistakes(error, content, "the recipe")
        raise ConfigurationError("\n".join([f"{source} is not a valid recipe:", *lines])) from error


def read_recipe(path: Path | str) -> Recipe:
    """A recipe from a YAML file.

    Args:
        path: The file.

    Returns:
        The recipe.

    Raises:
        ConfigurationError: The file cannot be read, is not YAML, or is not a recipe.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    return parse_recipe(content, str(path))


@final
class _StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML silently keeps the last."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        # Before anything is constructed: `<<: *x` merges x's keys into x's own mapping, or the one around it,
        # and what stands there then was not given twice.
        _refuse_doubles(node)
        return node


def _refuse_doubles(root: yaml.Node | None) -> None:
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias is the node that it names, which may even be around it
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            names = [key.value for key in keys]
            for place, key in enumerate(keys):
                if key.value in names[:place]:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice; give it once", key.start_mark
                    )
            waiting += [value for _, value in reversed(node.value)]


def _one_of(name: str, what: str, known: Mapping[str, object], or_else: str = "") -> str:
    if name not in known:
        raise ValueError(f"there is no such {what}; there are {', '.join(known)}{or_else}")
    return name
