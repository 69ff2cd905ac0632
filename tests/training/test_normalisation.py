from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from secateur.training.normalisation import has_statistics, reestimate_statistics, training_batches
from tests.small import Conv, blob_task


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 3),
        nn.BatchNorm2d(2),
    )  # fmt: skip


def test_the_first_layers_statistics_are_those_of_its_inputs() -> None:
    model, batches = network(), [torch.randn(8, 1, 6, 6) for _ in range(5)]
    reestimate_statistics(model, batches)
    with torch.no_grad():
        maps = [model[0](images).transpose(0, 1).flatten(1) for images in batches]
    norm = model[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([each.mean(1) for each in maps]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([each.var(1) for each in maps]).mean(0))


def test_one_batch_makes_evaluation_what_training_is_on_it() -> None:
    model, images = network(), torch.randn(64, 1, 6, 6)
    model[3].p = 0.0
    reestimate_statistics(model, [images])
    with torch.no_grad():
        as_trained = model.train()(images)
        # The running variance is the unbiased one: so much smaller is what evaluation divides by.
        torch.testing.assert_close(model.eval()(images), as_trained, rtol=0.02, atol=0.01)


def test_it_is_the_same_again_whatever_was_there_before_and_changes_nothing_else() -> None:
    batches = [torch.randn(8, 1, 6, 6) for _ in range(3)]
    first, second = network(), network()
    second[1].running_mean.fill_(9.0)
    second[5].eval()
    for model in (first, second):
        torch.manual_seed(1)  # dropout is off, so the generator's state decides nothing
        reestimate_statistics(model, batches)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert [module.training for module in first] == [True] * 6
    assert [module.training for module in second] == [True, True, True, True, True, False]
    assert (first[1].momentum, first[5].momentum) == (0.3, 0.1)
    assert all(parameter.grad is None for parameter in first.parameters())


def test_a_failure_leaves_modes_and_momenta_as_they_were() -> None:
    model = network()
    with pytest.raises(RuntimeError):
        reestimate_statistics(model, [torch.randn(8, 3, 6, 6)])
    assert model[1].momentum == 0.3
    assert model[1].training


def test_without_batch_normalisation_the_images_are_not_even_asked_for() -> None:
    def refuse() -> Iterator[Tensor]:
        pytest.fail("images were asked for")
        yield torch.empty(0)

    for model in (Conv(), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, track_running_stats=False))):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        assert not has_statistics(model)
        reestimate_statistics(model, refuse())
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_batches_are_drawn_for_their_place_and_are_enough() -> None:
    task = blob_task(train=3000)
    batches = list(training_batches(task, 0, "round-01"))
    assert [len(images) for images in batches] == [128] * 16
    again, elsewhere = training_batches(task, 0, "round-01"), training_batches(task, 0, "round-02")
    assert torch.equal(batches[0], next(again))
    assert not torch.equal(batches[0], next(elsewhere))
    few = blob_task()
    assert [len(images) for images in training_batches(few, 0, "a")] == [128]
    fewest = few.subset(50, torch.Generator())
    assert [len(images) for images in training_batches(fewest, 0, "a")] == [50]
