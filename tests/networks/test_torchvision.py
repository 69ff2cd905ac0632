"""torchvision's state dictionaries load strictly; their names and shapes are written down here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secateur.networks import NETWORKS, build_network
from secateur.networks.vgg import vgg16_from_torchvision

Shapes = dict[str, tuple[int, ...]]


def layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(name: str, channels: int) -> Shapes:
    each = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**each, f"{name}.num_batches_tracked": ()}


def alexnet() -> Shapes:
    convolutions = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    shapes: Shapes = {}
    for number, (outputs, inputs, kernel) in convolutions.items():
        shapes |= layer(f"features.{number}", outputs, inputs, kernel, kernel)
    for number, size in {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}.items():
        shapes |= layer(f"classifier.{number}", *size)
    return shapes


def vgg16() -> Shapes:
    shapes: Shapes = {}
    inputs, number = 3, 0
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            shapes |= layer(f"features.{number}", width, inputs, 3, 3)
            inputs, number = width, number + 2  # ReLU between
        number += 1  # pooling
    for number, size in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        shapes |= layer(f"classifier.{number}", *size)
    return shapes


def resnet(blocks: tuple[int, ...], *, bottleneck: bool) -> Shapes:
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    inputs = 64
    for stage, count in enumerate(blocks, start=1):
        width = 32 * 2**stage
        outputs = 4 * width if bottleneck else width
        for number in range(count):
            path = f"layer{stage}.{number}"
            sizes = [(width, inputs, 3), (width, width, 3)]
            if bottleneck:
                sizes = [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            for place, (made, read, kernel) in enumerate(sizes, start=1):
                shapes[f"{path}.conv{place}.weight"] = (made, read, kernel, kernel)
                shapes |= norm(f"{path}.bn{place}", made)
            if inputs != outputs:
                shapes[f"{path}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= norm(f"{path}.downsample.1", outputs)
            inputs = outputs
    return {**shapes, **layer("fc", 1000, inputs)}


def mobilenet_v2() -> Shapes:
    shapes: Shapes = {"features.0.0.weight": (32, 3, 3, 3), **norm("features.0.1", 32)}
    inputs, number = 32, 1
    plan = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
    for widen, outputs, count in plan:
        for _ in range(count):
            path, wide, place = f"features.{number}.conv", inputs * widen, 0
            if widen != 1:
                shapes[f"{path}.0.0.weight"] = (wide, inputs, 1, 1)
                shapes |= norm(f"{path}.0.1", wide)
                place = 1
            shapes[f"{path}.{place}.0.weight"] = (wide, 1, 3, 3)
            shapes |= norm(f"{path}.{place}.1", wide)
            shapes[f"{path}.{place + 1}.weight"] = (outputs, wide, 1, 1)
            shapes |= norm(f"{path}.{place + 2}", outputs)
            inputs, number = outputs, number + 1
    shapes["features.18.0.weight"] = (1280, 320, 1, 1)
    return {**shapes, **norm("features.18.1", 1280), **layer("classifier.1", 1000, 1280)}


PUBLISHED = {
    "alexnet-torchvision": alexnet(),
    "vgg-16": vgg16(),
    "resnet-18": resnet((2, 2, 2, 2), bottleneck=False),
    "resnet-50": resnet((3, 4, 6, 3), bottleneck=True),
    "mobilenet-v2": mobilenet_v2(),
}


def state(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return {
            key: torch.empty(shape, dtype=torch.float32 if shape else torch.int64)
            for key, shape in PUBLISHED[name].items()
        }


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("alexnet-torchvision", 16),
        ("vgg-16", 32),
        ("resnet-18", 122),
        ("resnet-50", 320),
        ("mobilenet-v2", 314),
    ],
)
def test_the_published_names_and_shapes_load_strictly(name: str, tensors: int) -> None:
    assert len(PUBLISHED[name]) == tensors
    with torch.device("meta"):
        model = build_network(name)
    translate = NETWORKS[name].translate or dict
    model.load_state_dict(translate(state(name)), strict=True)


def test_vgg_16_under_its_own_names_stays_as_it_is() -> None:
    with torch.device("meta"):
        own = build_network("vgg-16").state_dict()
    assert vgg16_from_torchvision(own).keys() == own.keys()


def test_what_is_no_name_of_vgg_16_is_left_for_strict_loading_to_refuse() -> None:
    assert list(vgg16_from_torchvision({"features.1.weight": torch.zeros(1), "scale": torch.zeros(1)})) == [
        "features.1.weight",
        "scale",
    ]
