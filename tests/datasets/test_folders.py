from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.datasets.folders import find_parts, list_pictures
from secateur.errors import ConfigurationError, DataError
from tests.datasets.picture_files import CLASSES, make_folder, picture, truncate


def test_pictures_are_listed_by_class_and_name(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 3})
    deeper = tmp_path / "train" / "bee" / "wild"
    deeper.mkdir()
    picture(1, 7).save(deeper / "a.PNG")
    found = list_pictures(tmp_path / "train")
    assert found.classes == CLASSES
    names = [f"{name}/{number:03d}.jpg" for name in CLASSES for number in range(3)]
    names.insert(6, "bee/wild/a.PNG")
    assert [name.decode() for name in found.names.tolist()] == [
        name.replace("bee/0", "bee/./0").replace("./", "") for name in names
    ]
    assert found.labels.tolist() == [0] * 3 + [1] * 4 + [2] * 3 + [3] * 3
    assert found.path(6) == deeper / "a.PNG"
    assert found.sizes.tolist() == [found.path(index).stat().st_size for index in range(len(found))]
    assert (found.ignored, found.unreadable) == (0, ())


def test_files_that_are_no_pictures_are_ignored_and_counted(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, {"train": 2}) / "train"
    (folder / "ant" / "notes.txt").write_text("about ants")
    (folder / "bee" / "._000.jpg").write_text("what another system left")
    (folder / ".hidden").mkdir()
    found = list_pictures(folder)
    assert (len(found), found.ignored, found.classes) == (8, 2, CLASSES)


def test_a_link_to_where_one_is_already_adds_no_picture(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, {"train": 2}) / "train"
    (folder / "ant" / "loop").symlink_to(folder / "ant")
    (folder / "bee" / "up").symlink_to(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (folder / "cat" / "000.jpg").rename(tmp_path / "elsewhere" / "000.jpg")
    (folder / "cat" / "linked").symlink_to(tmp_path / "elsewhere")
    found = list_pictures(folder)
    assert torch.bincount(found.labels).tolist() == [2, 2, 2, 2]
    assert b"cat/linked/000.jpg" in found.names.tolist()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif"])
def test_damaged_pictures_are_left_out_and_named(tmp_path: Path, suffix: str) -> None:
    folder = make_folder(tmp_path, {"train": 5}, suffix=suffix) / "train"
    truncate(folder / "cat" / f"001{suffix}")
    (folder / "dog" / f"004{suffix}").write_bytes(b"")
    (folder / "bee" / f"link{suffix}").symlink_to(folder / "nowhere")
    found = list_pictures(folder, tolerated=0.15)
    assert found.unreadable == (f"bee/link{suffix}", f"cat/001{suffix}", f"dog/004{suffix}")
    assert torch.bincount(found.labels).tolist() == [5, 5, 4, 4]


def test_more_damage_than_is_tolerated_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, {"train": 5}) / "train"
    for number in range(2):
        truncate(folder / "ant" / f"00{number}.jpg")
    message = (
        r"train: 2 of 20 pictures are truncated or unreadable, which is more than the tolerated share of "
        r"0.001: ant/000.jpg, ant/001.jpg; fetch them again, remove them, or raise `tolerate`"
    )
    with pytest.raises(DataError, match=message):
        list_pictures(folder)
    assert len(list_pictures(folder, tolerated=0.1)) == 18
    for number in range(5):
        (folder / "ant" / f"00{number}.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"whole pictures of every class, found none of ant \(5 are"):
        list_pictures(folder, tolerated=0.5)
    with pytest.raises(ConfigurationError, match=r"expected 0\.\.1, found 1.5"):
        list_pictures(folder, tolerated=1.5)


@pytest.mark.parametrize(
    ("parts", "validation", "test"),
    [
        ({"train": 2, "test": 1}, None, "test"),
        ({"train": 2, "val": 1}, None, "val"),
        ({"train": 2, "val": 1, "test": 1}, "val", "test"),
    ],
)
def test_which_folder_is_which_part(
    tmp_path: Path, parts: dict[str, int], validation: str | None, test: str
) -> None:
    found = find_parts(make_folder(tmp_path, parts))
    assert found.train.folder == tmp_path / "train"
    assert (None if found.validation is None else found.validation.folder.name) == validation
    assert found.test.folder == tmp_path / test


def test_folders_that_are_not_there_or_empty_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the folders train and test, .*found neither of them"):
        find_parts(tmp_path)
    make_folder(tmp_path, {"train": 1})
    with pytest.raises(DataError, match=r"found train; name the folder that holds them"):
        find_parts(tmp_path)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.jpg").write_text("unlabelled")
    with pytest.raises(DataError, match=r"test: expected a folder for each .* found 0 folders and 1 files"):
        find_parts(tmp_path)
    shutil.rmtree(tmp_path / "test")
    make_folder(tmp_path, {"test": 1})
    (tmp_path / "train" / "elk").mkdir()
    with pytest.raises(
        DataError, match=r"elk: expected pictures \(\.jpg, .*\), found none; remove the folder"
    ):
        find_parts(tmp_path)


def test_a_class_that_one_part_lacks_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 1, "test": 1})
    (tmp_path / "test" / "bee").rename(tmp_path / "test" / "wasp")
    shutil.rmtree(tmp_path / "test" / "dog")
    message = (
        r"test: expected the 4 classes of .*train, found 3: missing bee, dog; not in train wasp; give every "
        r"part a folder for each class"
    )
    with pytest.raises(DataError, match=message):
        find_parts(tmp_path)


def test_what_tells_files_apart_is_their_names_sizes_and_classes_not_their_place(tmp_path: Path) -> None:
    def content(root: Path) -> bytes:
        return b"".join(list_pictures(root / "train", 0.5).content())

    here = make_folder(tmp_path / "a", {"train": 2})
    there = make_folder(tmp_path / "b", {"train": 2})
    assert content(here) == content(there)
    truncate(there / "train" / "ant" / "001.jpg")
    (there / "train" / "bee" / "001.jpg").write_bytes(
        (here / "train" / "bee" / "001.jpg").read_bytes() + b"0"
    )
    assert content(here) != content(there)
    assert content(here) != b"".join(list_pictures(here / "train").take(torch.tensor([0, 2])).content())


def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, {"train": 1}) / "train"
    for name in ("ein Käfer.jpg", "two words.jpg"):
        picture(0, 9).save(folder / "ant" / name)
    found = list_pictures(folder)
    assert {found.path(index).name for index in range(3)} == {"000.jpg", "ein Käfer.jpg", "two words.jpg"}
    assert found.take(torch.tensor([2])).path(0).exists()
    assert found.names.dtype.kind == "S"
    assert isinstance(found.sizes, np.ndarray)
