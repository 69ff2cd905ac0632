from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secateur.datasets.pictures import Normalisation, PaddedCrop, ResizedCrop, View
from secateur.errors import ConfigurationError
from secateur.recipes.data import DataChoice, ImageChoice, load_task
from secateur.training.streaming import StreamedImages
from secateur.training.task import ImagesInMemory
from tests.datasets.picture_files import make_folder


@pytest.mark.parametrize(
    ("values", "view"),
    [
        ({}, View(224, 256, ResizedCrop((0.08, 1.0), (3 / 4, 4 / 3)), True)),
        ({"size": 227, "resize": 256}, View(227, 256, ResizedCrop(), True)),
        ({"size": 227}, View(227, 259, ResizedCrop(), True)),
        ({"scale": [0.5, 1], "ratio": [1.0, 1.0]}, View(224, 256, ResizedCrop((0.5, 1.0), (1.0, 1.0)), True)),
        ({"size": 32, "pad": 4, "flip": False}, View(32, 32, PaddedCrop(4), False)),
        ({"size": 32, "pad": 0, "resize": 40}, View(32, 40, PaddedCrop(0), True)),
    ],
)
def test_how_pictures_are_looked_at(values: dict[str, Any], view: View) -> None:
    assert ImageChoice.model_validate(values).view == view


def test_colours_are_given_or_not() -> None:
    assert ImageChoice().normalisation is None
    given = ImageChoice.model_validate({"mean": [0.5, 0.4, 0.3], "deviation": [0.1, 0.2, 0.3]})
    assert given.normalisation == Normalisation((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"image": {"pad": 4, "scale": [0.1, 1]}}, "pad is a crop of the picture's own size; leave scale"),
        ({"image": {"memory": True}}, r"pictures in memory have one size: give pad \(0 for none\)"),
        ({"image": {"mean": [0.5, 0.5, 0.5]}}, "give both mean and deviation, or neither"),
        ({"image": {"mean": [0.5] * 3, "deviation": [0.5, 0.0, 0.5]}}, "a deviation above 0"),
        ({"image": {"scale": [0.5, 2]}}, r"expected a scale within 0\.\.1"),
        ({"image": {"size": 30, "resize": 20}}, "expected 1 <= size <= resize, found 30 and 20"),
        ({"image": {"sise": 30}}, r"image.sise: there is no such key"),
        ({"shift": 2}, r"pictures in a folder have `image: \{pad: ...\}`"),
        ({"name": "mnist", "image": {}}, "image says how pictures in a folder are looked at; mnist has none"),
        ({"name": "cifar"}, "there is no such data set; there are mnist, digits, folder"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        DataChoice.model_validate({"name": "folder"} | values)


def test_what_a_run_of_other_data_is_known_by_has_not_changed() -> None:
    assert DataChoice(shift=1).model_dump(mode="json") == {"name": "mnist", "validation": 5000, "shift": 1}
    chosen = DataChoice.model_validate({"name": "folder", "image": {"size": 32, "pad": 4}})
    assert DataChoice.model_validate(chosen.model_dump(mode="json")) == chosen


def test_pictures_are_streamed_or_kept_in_memory(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "corners", {"train": 6, "test": 2})
    for memory, kind in ((False, StreamedImages), (True, ImagesInMemory)):
        image = {"size": 12, "pad": 1, "memory": memory}
        choice = DataChoice.model_validate({"name": "folder", "validation": 4, "image": image})
        task = load_task(choice, folder, workers=0)
        assert isinstance(task, kind)
        assert (task.train_count, task.validation_count, task.test_count) == (20, 4, 8)
        assert task.source == "the pictures of corners"
        assert task.image_shape == (3, 12, 12)


def test_what_is_needed_to_find_pictures_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name it with --data DIR, where DIR/train"):
        load_task(DataChoice(name="folder"))
    with pytest.raises(ConfigurationError, match="--workers must be at least 0, found -1"):
        load_task(DataChoice(name="folder"), tmp_path, workers=-1)
