from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.nn import functional

from secateur.datasets.images import ImageDataset
from secateur.networks import build_network
from secateur.recipes.driver import train_prune_retrain
from secateur.report.run import Run, read_run
from secateur.training.task import image_task
from tests.small import blobs, plan


@pytest.fixture(scope="session")
def lenet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of LeNet-5, on blobs as large as digits."""
    small = blobs(train=160, test=100)
    images = [functional.pad(each, (8, 8, 8, 8)) for each in (small.train_images, small.test_images)]
    data = ImageDataset(images[0], small.train_labels, images[1], small.test_labels, small.classes, "blobs")
    folder = tmp_path_factory.mktemp("runs") / "lenet"
    train_prune_retrain(
        lambda: build_network("lenet-5", num_classes=small.classes),
        image_task(data, validation=40),
        plan(),
        folder,
        seed=3,
        name="blobs",
        settings={"model": "lenet-5"},
    )
    return folder


@pytest.fixture
def folder(lenet_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(lenet_folder, tmp_path / "run"))


@pytest.fixture
def unfinished(folder: Path) -> Path:
    """What is there of a run that was stopped in its second round."""
    for name in ("result.json", "dense.safetensors", "pruned.safetensors", "masks.safetensors"):
        (folder / name).unlink()
    log = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(log[:3]) + log[3][:20])
    return folder


@pytest.fixture(scope="session")
def lenet(lenet_folder: Path) -> Run:
    return read_run(lenet_folder)


@pytest.fixture(autouse=True, scope="session")
def script_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The figures' script is bundled once a session, and not in the user's home."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECATEUR_CACHE", str(cache))
        yield cache
