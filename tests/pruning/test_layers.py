import re
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from secateur.errors import LayerSelectionError
from secateur.pruning.layers import (
    aliases,
    layer_name,
    prunable_weights,
    resolve_layer_values,
    select_weights,
    unwrap,
)


def without_addresses(value: object) -> str:
    """A test's name that is the same in every process: pytest-xdist compares them."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


class Small(nn.Module):
    """Layers of every kind that matters to a choice by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.head = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))


class Tied(nn.Module):
    """An embedding whose weight is the decoder's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.decoder = nn.Linear(4, 7, bias=False)
        self.decoder.weight = self.embedding.weight


KINDS = {
    "Linear": (nn.Linear(3, 2), {"weight"}),
    "Bilinear": (nn.Bilinear(3, 2, 2), {"weight"}),
    "Conv1d": (nn.Conv1d(2, 3, 3), {"weight"}),
    "Conv2d": (nn.Conv2d(2, 3, 3), {"weight"}),
    "Conv3d": (nn.Conv3d(2, 3, 3), {"weight"}),
    "ConvTranspose1d": (nn.ConvTranspose1d(2, 3, 3), {"weight"}),
    "ConvTranspose2d": (nn.ConvTranspose2d(2, 3, 3), {"weight"}),
    "ConvTranspose3d": (nn.ConvTranspose3d(2, 3, 3), {"weight"}),
    "RNN": (nn.RNN(3, 2), {"weight_ih_l0", "weight_hh_l0"}),
    "GRU": (nn.GRU(3, 2), {"weight_ih_l0", "weight_hh_l0"}),
    "LSTM": (nn.LSTM(3, 4, proj_size=2), {"weight_ih_l0", "weight_hh_l0", "weight_hr_l0"}),
    "LSTMCell": (nn.LSTMCell(3, 2), {"weight_ih", "weight_hh"}),
    "MultiheadAttention": (nn.MultiheadAttention(4, 2), {"in_proj_weight", "out_proj.weight"}),
    "MultiheadAttention of three widths": (
        nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
        {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"},
    ),
}


@pytest.mark.parametrize(("module", "expected"), KINDS.values(), ids=KINDS.keys())
def test_connections_are_the_weights_of_layers(module: nn.Module, expected: set[str]) -> None:
    found = prunable_weights(module)
    assert {weight.name for weight in found if weight.is_connection} == expected
    assert {weight.name for weight in found} == {name for name, _ in module.named_parameters()}
    assert set(select_weights(module)) == expected


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm2d(3), nn.LayerNorm([2, 3]), nn.GroupNorm(1, 3), nn.PReLU(), nn.Embedding(3, 2)],
    ids=lambda module: type(module).__name__,
)
def test_what_is_no_connection_is_not_pruned_unasked(module: nn.Module) -> None:
    with pytest.raises(LayerSelectionError, match="nothing to prune: no weight is left of a network without"):
        select_weights(module)


def test_order_is_the_networks() -> None:
    names = ["conv1.weight", "conv2.weight", "head.0.weight", "head.2.weight"]
    assert list(select_weights(Small())) == names
    assert list(select_weights(Small(), layers=["head.2", "conv1"])) == ["conv1.weight", "head.2.weight"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("conv1", ["conv1.weight"]),
        ("conv1.weight", ["conv1.weight"]),
        ("conv*", ["conv1.weight", "conv2.weight"]),
        ("conv[2-9]", ["conv2.weight"]),
        ("*.weight", ["conv1.weight", "conv2.weight", "head.0.weight", "head.2.weight"]),
        ("head.*", ["head.0.weight", "head.2.weight"]),
        (r"re:conv\d", ["conv1.weight", "conv2.weight"]),
        (r"re:.*\.2", ["head.2.weight"]),
        (["conv1", "head.?"], ["conv1.weight", "head.0.weight", "head.2.weight"]),
        ("conv1.bias", ["conv1.bias"]),
        ("conv*.bias", ["conv1.bias", "conv2.bias"]),
        ("norm.weight", ["norm.weight"]),
        (["conv1", "conv1.bias"], ["conv1.weight", "conv1.bias"]),
        (lambda name, weight: weight.dim() == 1 and "norm" in name, ["norm.weight", "norm.bias"]),
        (lambda name, weight: "." in name and weight.numel() == 16, ["head.2.weight"]),
    ],
    ids=without_addresses,
)
def test_selection(layers: object, expected: list[str]) -> None:
    assert list(select_weights(Small(), layers=layers)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ("conv*", ["head.0.weight", "head.2.weight"]),
        (["conv1", "head.0"], ["conv2.weight", "head.2.weight"]),
        ([r"re:head\..", "*d.0"], ["conv1.weight", "conv2.weight"]),
        (lambda name, weight: name and weight.dim() == 4, ["head.0.weight", "head.2.weight"]),
    ],
    ids=without_addresses,
)
def test_exclusion(exclude: object, expected: list[str]) -> None:
    assert list(select_weights(Small(), exclude=exclude)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"layers": "fc1"},
            r"layers: 'fc1' matches nothing; the weights are conv1, conv2, head\.0, head\.2$",
        ),
        ({"layers": ["conv1", "fc*"]}, r"layers: 'fc\*' matches nothing"),
        ({"layers": "norm"}, "layers: 'norm' matches nothing"),
        ({"exclude": "fc1"}, "exclude: 'fc1' matches nothing"),
        ({"layers": []}, "layers: an empty list chooses nothing; leave it out to mean every layer"),
        ({"layers": ["conv1", "conv1"]}, "'conv1' is asked for twice: by 'conv1' and by 'conv1'"),
        ({"layers": ["conv*", "conv2"]}, r"'conv2' is asked for twice: by 'conv\*' and by 'conv2'"),
        ({"layers": "re:("}, r"'re:\(' is not a regular expression: missing \)"),
        ({"layers": lambda name, weight: False}, "layers: the predicate chose none of conv1"),  # noqa: ARG005
        ({"layers": "conv1", "exclude": "conv*"}, "nothing to prune: no weight is left of conv1, conv2"),
    ],
    ids=without_addresses,
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(LayerSelectionError, match=message):
        select_weights(Small(), **arguments)  # type: ignore[arg-type]


def test_tied_weights_are_one_weight_with_two_names() -> None:
    model = Tied()
    weights = {weight.name: weight for weight in prunable_weights(model)}
    assert weights["embedding.weight"].aliases == ("decoder.weight",)
    assert list(select_weights(model)) == ["embedding.weight", "hidden.weight"]
    for name in ("embedding", "decoder", "decoder.weight", "dec*", "re:emb.*"):
        assert list(select_weights(model, layers=name)) == ["embedding.weight"]
    with pytest.raises(LayerSelectionError, match="asked for twice: by 'embedding' and by 'decoder'"):
        select_weights(model, layers=["embedding", "decoder"])


def test_a_module_used_twice_is_one_layer() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert list(select_weights(model)) == ["0.weight"]
    assert select_weights(model, layers="2").keys() == {"0.weight"}


def test_values_by_layer_may_use_any_name() -> None:
    names = aliases(prunable_weights(Tied()))
    chosen = list(select_weights(Tied()))
    assert resolve_layer_values(chosen, {"decoder": 0.1, "hid*": 0.2}, names) == {
        "embedding.weight": 0.1,
        "hidden.weight": 0.2,
    }
    with pytest.raises(LayerSelectionError, match="'embedding' is asked for twice: by 'decoder' and by 'emb"):
        resolve_layer_values(chosen, {"decoder": 0.1, "embedding": 0.2}, names)
    with pytest.raises(LayerSelectionError, match="'hidden' is given a value of its own but matches nothing"):
        resolve_layer_values(["embedding.weight"], {"hidden": 0.1}, names)


def test_layer_names() -> None:
    assert layer_name("head.0.weight") == "head.0"
    assert layer_name("head.0.bias") == "head.0.bias"
    assert layer_name("weight") == "weight"


@pytest.mark.parametrize("lazy", [nn.LazyLinear(3), nn.LazyConv2d(3, 3)], ids=["linear", "conv"])
def test_refuses_lazy_layers(lazy: nn.Module) -> None:
    message = r"'1\.weight' is a lazy parameter without a shape; run one batch through"
    with pytest.raises(LayerSelectionError, match=message):
        select_weights(nn.Sequential(nn.Linear(2, 2), lazy))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (parametrizations.weight_norm, "bias"),
        (parametrizations.spectral_norm, "bias"),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "bias, weight_orig"),
        (nn.utils.weight_norm, "bias, weight_g, weight_v"),
        (nn.utils.spectral_norm, "bias, weight_orig"),
    ],
    ids=["parametrized weight norm", "parametrized spectral norm", "prune", "weight norm", "spectral norm"],
)
def test_refuses_computed_weights_but_prunes_around_them(wrap: object, names: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    wrap(model[1])  # type: ignore[operator]
    message = rf"layer '1': its weight is computed from other parameters \({names}\), .* make it plain first"
    with pytest.raises(LayerSelectionError, match=message):
        select_weights(model)
    with pytest.raises(LayerSelectionError, match=message):
        select_weights(model, layers=["0", "1"])
    assert list(select_weights(model, layers="0")) == ["0.weight"]
    assert list(select_weights(model, exclude="1")) == ["0.weight"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_refuses_a_recurrent_layer_under_weight_norm() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.utils.weight_norm(nn.LSTM(2, 2), "weight_hh_l0"))
    with pytest.raises(LayerSelectionError, match=r"layer '1': its weight is computed .*weight_hh_l0_g"):
        select_weights(model)


def test_a_parameter_of_ones_own_beside_a_plain_weight_is_no_obstacle() -> None:
    layer = nn.Linear(2, 2)
    layer.lora_v = nn.Parameter(torch.ones(2))
    layer.weight_g = nn.Parameter(torch.ones(2))
    assert list(select_weights(layer)) == ["weight"]


def test_names_are_looked_up_through_data_parallelism() -> None:
    model = Small()
    assert unwrap(nn.DataParallel(model)) is model
    assert list(select_weights(nn.DataParallel(model), layers="conv1")) == ["conv1.weight"]


def test_names_are_looked_up_through_compilation() -> None:
    model = Small()
    compiled = torch.compile(model, backend="eager")
    assert unwrap(compiled) is model
    assert unwrap(nn.DataParallel(compiled)) is model
    assert list(select_weights(compiled, layers="conv1")) == ["conv1.weight"]


def test_the_compiler_is_not_imported() -> None:
    # It takes over a second, and most who prune do not compile.
    code = (
        "import sys, secateur.pruning.layers, torch; "
        "secateur.pruning.layers.select_weights(torch.nn.Linear(2, 2)); "
        "print('torch._dynamo.eval_frame' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own text
    assert done.stdout.strip() == "False"


class Nested(nn.Module):
    """Modules that hold several connections each."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))


LSTM = ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]
ATTENTION = ["attention.in_proj_weight", "attention.out_proj.weight"]
HEAD = ["head.0.weight", "head.2.weight"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("lstm", LSTM),
        ("attention", ATTENTION),
        ("attention.out_proj", ATTENTION[1:]),
        ("head", HEAD),
        ("[hl]???", LSTM + HEAD),
        ("re:(lstm|head)", LSTM + HEAD),
        (["lstm", "head.2"], LSTM + HEAD[1:]),
        ("lstm.bias_ih_l0", ["lstm.bias_ih_l0"]),
    ],
    ids=without_addresses,
)
def test_a_modules_path_names_all_its_connections(layers: str | list[str], expected: list[str]) -> None:
    assert list(select_weights(Nested(), layers=layers)) == expected
    if not any("bias" in name for name in expected):
        everything = LSTM + ATTENTION + HEAD
        left = [name for name in everything if name not in expected]
        assert list(select_weights(Nested(), exclude=layers)) == left


def test_a_module_and_a_layer_in_it_ask_twice() -> None:
    with pytest.raises(
        LayerSelectionError, match=r"'head\.2' is asked for twice: by 'head' and by 'head\.2'"
    ):
        select_weights(Nested(), layers=["head", "head.2"])


def test_a_value_for_a_module_is_a_value_for_all_its_weights() -> None:
    names = aliases(prunable_weights(Nested()))
    chosen = list(select_weights(Nested()))
    values = resolve_layer_values(chosen, {"lstm": 0.1, "attention": 0.2, "head.0": 0.3}, names)
    assert values == dict.fromkeys(LSTM, 0.1) | dict.fromkeys(ATTENTION, 0.2) | {"head.0.weight": 0.3}
    with pytest.raises(LayerSelectionError, match=r"'attention\.out_proj' is asked for twice"):
        resolve_layer_values(chosen, {"attention": 0.2, "attention.out_proj": 0.3}, names)


def test_a_layers_own_name_is_not_that_of_what_a_subclass_holds_beside_it() -> None:
    model = nn.ModuleDict({"fc": nn.Linear(4, 4)})
    model["fc"].adapter = nn.Linear(4, 4)
    assert list(select_weights(model, layers="fc")) == ["fc.weight"]
    names = aliases(prunable_weights(model))
    assert resolve_layer_values(["fc.weight", "fc.adapter.weight"], {"fc": 0.1}, names) == {"fc.weight": 0.1}


def test_computed_weights_are_refused_by_the_path_of_a_module_around_them() -> None:
    model = nn.ModuleDict({"head": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "fc": nn.Linear(4, 4)})
    parametrizations.weight_norm(model["head"][1])
    with pytest.raises(LayerSelectionError, match=r"layer 'head\.1': its weight is computed"):
        select_weights(model, layers="head")
    assert list(select_weights(model, exclude="head")) == ["fc.weight"]


def test_a_parametrized_bias_leaves_the_weight_plain() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    parametrize.register_parametrization(model[0], "bias", nn.Identity())
    assert list(select_weights(model)) == ["0.weight"]
    parametrize.register_parametrization(model[0], "weight", nn.Identity())
    with pytest.raises(LayerSelectionError, match="'0': its weight is computed from other parameters"):
        select_weights(model)


def test_a_weight_without_numbers_is_no_connection() -> None:
    model = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 2))
    model[0].weight = nn.Parameter(torch.empty(8, 0))
    assert list(select_weights(model)) == ["1.weight"]
