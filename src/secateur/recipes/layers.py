"""The layers of a run's pruned network, as in the paper's Tables 2 to 5."""

from __future__ import annotations

from typing import Any

from torch import nn

from secateur.analysis.activation import TableRow, activation_densities, layer_table, total_row
from secateur.analysis.costs import LayerCost, layer_costs
from secateur.pruning.layers import aliases, layer_name, prunable_weights, select_weights
from secateur.recipes.run_folder import StageState
from secateur.training.task import Task

# What somebody else's forward may raise on the meta device, SecateurErrors (all ValueErrors here) among them.
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)

Row = dict[str, Any]


def table(model: nn.Module, task: Task, stage: StageState) -> tuple[list[Row], Row, list[str]]:
    """Weights, FLOP and activation of every layer; only weights where the others cannot be counted.

    Args:
        model: A network of the run's architecture; its weights are replaced.
        task: The task.
        stage: The stage whose network it is.

    Returns:
        A row a layer, the row of totals, and notes on what could not be counted.
    """
    stage = stage.mapped_anew()
    model.load_state_dict(dict(stage.model))
    try:
        rows = _counted(model, task, stage)
    except _FAILURES as error:
        # A finished run is not lost because its network looks at values, say, which the meta device has not.
        note = f"FLOP and activation densities could not be counted ({type(error).__name__}: {error})"
        return (*_weights_only(model, stage), [note])
    counted, total = [_plain(row) for row in rows], _plain(total_row(rows))
    # Recurrent and attention weights have no row in the paper's tables, but they are weights.
    canonical = aliases(prunable_weights(model))
    known = {canonical.get(row["name"], row["name"]) for row in counted}
    others = [row for row, name in _uncounted(model, stage) if name not in known]
    for row in others:
        total["weights"] += row["weights"]
        total["kept"] += row["kept"]
    notes = (
        [f"FLOP and activation densities do not count {', '.join(r['name'] for r in others)}"]
        if others
        else []
    )
    return counted + others, total, notes


def _counted(model: nn.Module, task: Task, stage: StageState) -> tuple[TableRow, ...]:
    costs = layer_costs(model, task.image_shape)
    names = [cost.name for cost in costs]
    canonical = aliases(prunable_weights(model))

    def left(cost: LayerCost) -> int:
        name = canonical.get(cost.name, cost.name)
        # A layer without weights of its own shares those of one that ran before it; they count there.
        return stage.masks.kept_of(name) if cost.weights and name in stage.masks else cost.weights

    kept = {cost.name: left(cost) for cost in costs}
    # Act% is a property of the network on its kind of input; the validation images show it as well as any.
    activation = activation_densities(model, (images for images, _ in task.validation()), names)
    tied = {
        cost.name: stage.masks.kept_of(name) / stage.masks[name].numel()
        for cost in costs
        if not cost.weights and (name := canonical.get(cost.name, cost.name)) in stage.masks
    }
    return layer_table(costs, kept, activation, densities=tied)


def _weights_only(model: nn.Module, stage: StageState) -> tuple[list[Row], Row]:
    rows = [row for row, _ in _uncounted(model, stage)]
    return rows, _row("total", sum(row["weights"] for row in rows), sum(row["kept"] for row in rows))


def _uncounted(model: nn.Module, stage: StageState) -> list[tuple[Row, str]]:
    return [
        (
            _row(
                layer_name(name),
                weight.numel(),
                stage.masks.kept_of(name) if name in stage.masks else weight.numel(),
            ),
            name,
        )
        for name, weight in select_weights(model).items()
    ]


def _row(name: str, weights: int, kept: int) -> Row:
    uncounted = dict.fromkeys(("flop", "activation_density", "flop_kept"))
    return {"name": name, "weights": weights, "kept": kept, **uncounted}


def _plain(row: TableRow) -> Row:
    return {
        "name": row.name,
        "weights": row.weights,
        "kept": row.kept,
        "flop": row.flop,
        "activation_density": row.activation_density,
        "flop_kept": row.flop_kept,
    }
