"""A small real problem that trains in a moment: blobs on 12x12 images, and the pieces of a run over it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from secateur.datasets.images import ImageDataset
from secateur.recipes.plan import Plan
from secateur.training.task import ImagesInMemory, image_task

CLASSES = 4
SIDE = 12


def blobs(train: int = 240, test: int = 200, seed: int = 0) -> ImageDataset:
    draw = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[3, 3], [3, 8], [8, 3], [8, 8]])
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"), dim=-1)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % CLASSES
        moved = centres[labels] + torch.randint(-1, 2, (count, 2), generator=draw)
        distance = (grid[None] - moved[:, None, None]).square().sum(-1)
        noise = torch.randint(0, 120, (count, SIDE, SIDE), generator=draw)
        images = (160 * torch.exp(-distance / 6.0) + noise).clamp(0, 255).to(torch.uint8)
        return images[:, None], labels

    train_images, train_labels = part(train)
    test_images, test_labels = part(test)
    return ImageDataset(train_images, train_labels, test_images, test_labels, CLASSES, "blobs")


def blob_task(shift: int = 0, **sizes: int) -> ImagesInMemory:
    return image_task(blobs(**sizes), validation=40, shift=shift)


class Dense(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(SIDE * SIDE, 24)
        self.relu1 = nn.ReLU()
        self.dropout1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(24, 16)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout1(self.relu1(self.fc1(self.flatten(x))))
        return self.fc3(self.relu2(self.fc2(x)))


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.pool = nn.MaxPool2d(2)
        self.relu1 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.fc1 = nn.Linear(100, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc1(self.dropout(self.flatten(self.relu1(self.pool(self.conv1(x))))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(SIDE * SIDE, 16)
        self.fc2 = nn.Linear(16, 16)
        self.fc3 = nn.Linear(16, 16)
        self.fc3.weight = self.fc2.weight
        self.fc4 = nn.Linear(16, CLASSES)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.fc1(self.flatten(x)))
        return self.fc4(self.relu3(self.fc3(self.relu2(self.fc2(x)))))


def phase(epochs: int = 2, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": 32,
        "optimizer": {"kind": "sgd", "learning_rate": 0.05},
        "schedule": {"kind": "cosine"},
        "l2": 1e-4,
    }
    return plain | changes


def plan(**changes: Any) -> Plan:
    plain: dict[str, Any] = {
        "dense": [phase()],
        "cut": {"kind": "global", "density": 0.25},
        "rounds": 2,
        "retrain": [phase(1)],
    }
    return Plan.model_validate(plain | changes)
