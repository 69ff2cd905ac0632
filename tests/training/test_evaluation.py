from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from secateur.training.evaluation import Evaluation, evaluate, predict
from secateur.training.task import in_chunks
from tests.small import Dense


@pytest.mark.parametrize("training", [True, False])
def test_it_runs_in_evaluation_mode_and_puts_the_mode_back(training: bool) -> None:
    model = Dense(dropout=0.9).train(training)
    images, labels = torch.rand(1003, 1, 12, 12), torch.arange(1003)
    (first, found), (again, _) = (predict(model, in_chunks(images, labels)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(found, labels)
    assert model.training is training
    assert model.dropout1.training is training


def test_the_mode_is_put_back_on_an_error() -> None:
    model = Dense().train()
    with pytest.raises(RuntimeError):
        predict(model, [(torch.rand(2, 3), torch.zeros(2))])
    assert model.training


def test_loss_and_errors() -> None:
    outputs = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, 1, 1, 0])
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
        model.bias.zero_()
    found = evaluate(model, [(outputs[:1], labels[:1]), (outputs[1:], labels[1:])])
    assert found.wrong.tolist() == [False, False, True, False]
    assert found.error == 25.0
    assert found.loss == pytest.approx(float(functional.cross_entropy(outputs, labels)))


def test_error_is_per_cent() -> None:
    assert Evaluation(0.0, torch.tensor([True, False, False, True])).error == 50.0
