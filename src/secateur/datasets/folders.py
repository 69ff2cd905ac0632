"""Folders of pictures in ImageNet's layout: found, looked over and numbered, without decoding them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.datasets.pictures import is_whole
from secateur.errors import ConfigurationError, DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")
TOLERATED = 0.001
_NAMED = 10  # files in a message


@final
@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Labelled picture files of one part, in a fixed order: by class, then by name.

    Args:
        folder: Where they lie.
        names: bytes [n], paths below the folder. An array, since a list of ImageNet's 1.3 million names takes
            four times the memory, in every worker process again.
        sizes: int64 [n], bytes of each file.
        labels: int64 [n], the place of each one's class among the classes.
        classes: Names of the classes, sorted.
        ignored: How many other files lie in the class folders.
        unreadable: Names of pictures that are left out because they are damaged.
    """

    folder: Path
    names: NDArray[np.bytes_] = field(repr=False)
    sizes: NDArray[np.int64] = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...]
    ignored: int = 0
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> Path:
        """Where a picture lies."""
        return self.folder / os.fsdecode(bytes(self.names[index]))

    def take(self, indices: Tensor) -> PictureFiles:
        """Some of them.

        Args:
            indices: int64 [k].
        """
        chosen = indices.numpy()
        return PictureFiles(
            self.folder,
            self.names[chosen],
            self.sizes[chosen],
            self.labels[indices],
            self.classes,
            self.ignored,
            self.unreadable,
        )

    def content(self) -> Iterator[bytes]:
        """What tells these files from others: classes, names, sizes and labels, wherever they lie."""
        yield repr((self.classes, len(self))).encode()
        yield b"\0".join(self.names.tolist())
        yield self.sizes.astype("<i8").tobytes()
        yield self.labels.numpy().astype("<i8").tobytes()


@final
@dataclass(frozen=True, eq=False)
class FolderParts:
    """The parts of a data set.

    Attributes:
        train: Pictures to train on.
        validation: Pictures to decide on, where a folder of their own holds them.
        test: Pictures to test with.
    """

    train: PictureFiles
    validation: PictureFiles | None
    test: PictureFiles


def find_parts(root: Path, tolerated: float = TOLERATED) -> FolderParts:
    """Find the parts of a data set: ``train`` beside ``test`` or ``val`` or both, a folder a class in each.

    With both, ``val`` is for decisions and ``test`` for the end. With one of them that is the test part, as
    ImageNet's ``val`` is in all published results; pictures for decisions are then held out of ``train``.

    Args:
        root: The folder.
        tolerated: The share of a part's pictures that may be damaged, in 0..1; see `list_pictures`.

    Returns:
        The parts, which have the same classes.

    Raises:
        DataError: A folder is missing or empty, a class is missing in one part, or too many pictures are
            damaged.
    """
    found = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    if "train" not in found or len(found) == 1:
        there = ", ".join(found) or "neither of them"
        raise DataError(
            f"{root}: expected the folders train and test, or train and val, with a folder a class in each, "
            f"found {there}; name the folder that holds them"
        )
    parts = {name: list_pictures(folder, tolerated) for name, folder in found.items()}
    for part in parts.values():
        _check_classes(parts["train"], part)
    validation = parts["val"] if "test" in parts and "val" in parts else None
    return FolderParts(parts["train"], validation, parts["test" if "test" in parts else "val"])


def list_pictures(folder: Path, tolerated: float = TOLERATED) -> PictureFiles:
    """List and look over the pictures of one part, of which each class has a folder.

    A file is a picture by its extension; others, and names that begin with a point, are ignored and counted.
    Damaged pictures, mostly truncated ones, are left out and named, as long as they are few: a run that
    stopped for one bad file in a million would have to be begun again, and one that went on with a tenth of
    its pictures gone would be of other data than its user thinks.

    Args:
        folder: The part's folder.
        tolerated: The share of its pictures that may be damaged, in 0..1.

    Returns:
        The pictures, by class and by name.

    Raises:
        ConfigurationError: The share is outside 0..1.
        DataError: There is no class folder or only one, a class has no pictures, or too many are damaged.
    """
    if not 0.0 <= tolerated <= 1.0:
        raise ConfigurationError(f"tolerated share of damaged pictures: expected 0..1, found {tolerated}")
    classes = _class_names(folder)
    names: list[bytes] = []
    sizes: list[int] = []
    labels: list[int] = []
    unreadable: list[str] = []
    ignored = 0
    for label, name in enumerate(classes):
        before = len(names) + len(unreadable)
        for below in _files(folder, name):
            if not below.lower().endswith(EXTENSIONS) or below.rpartition(os.sep)[2].startswith("."):
                ignored += 1
                continue
            size = is_whole(os.path.join(folder, below))
            if size is None:
                unreadable.append(below)
                continue
            names.append(os.fsencode(below))
            sizes.append(size)
            labels.append(label)
        if len(names) + len(unreadable) == before:
            raise DataError(
                f"{folder / name}: expected pictures ({', '.join(EXTENSIONS)}), found none; "
                "remove the folder, or put its class's pictures there"
            )
    _refuse_damage(folder, unreadable, len(names) + len(unreadable), tolerated)
    _refuse_emptied(folder, classes, labels, unreadable)
    return PictureFiles(
        folder,
        np.array(names, dtype=np.bytes_),
        np.array(sizes, dtype=np.int64),
        torch.tensor(labels, dtype=torch.int64),
        classes,
        ignored,
        tuple(unreadable),
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    classes = sorted(entry.name for entry in entries if entry.is_dir())
    if len(classes) < 2:
        raise DataError(
            f"{folder}: expected a folder for each of at least 2 classes with its pictures in it, found "
            f"{len(classes)} folders and {len(entries) - len(classes)} files; sort the pictures by class, or "
            "move a part without labels elsewhere"
        )
    return tuple(classes)


def _files(folder: Path, below: str) -> Iterator[str]:
    """Paths below a folder, as strings: a Path for each of a million files is slow."""
    start = folder / below
    # A link may lead to where one is already; what lies there would be counted again, or for ever.
    seen = {_identity(path) for path in (start, folder, *folder.absolute().parents)}
    for base, folders, files in os.walk(start, followlinks=True):
        new = {name: _identity(os.path.join(base, name)) for name in sorted(folders)}
        folders[:] = [name for name, identity in new.items() if identity not in seen]
        seen.update(new.values())
        inside = os.path.relpath(base, folder)
        for name in sorted(files):
            yield os.path.join(inside, name)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _check_classes(train: PictureFiles, part: PictureFiles) -> None:
    missing = sorted(set(train.classes) - set(part.classes))
    unknown = sorted(set(part.classes) - set(train.classes))
    said = [
        f"{what} {', '.join(names[:_NAMED])}" + (", ..." if len(names) > _NAMED else "")
        for what, names in (("missing", missing), ("not in train", unknown))
        if names
    ]
    if said:
        raise DataError(
            f"{part.folder}: expected the {len(train.classes)} classes of {train.folder}, found "
            f"{len(part.classes)}: {'; '.join(said)}; give every part a folder for each class"
        )


def _refuse_damage(folder: Path, unreadable: Sequence[str], count: int, tolerated: float) -> None:
    if len(unreadable) > tolerated * count:
        named = ", ".join(unreadable[:_NAMED]) + (", ..." if len(unreadable) > _NAMED else "")
        raise DataError(
            f"{folder}: {len(unreadable):,} of {count:,} pictures are truncated or unreadable, which is more "
            f"than the tolerated share of {tolerated:g}: {named}; fetch them again, remove them, or raise "
            "`tolerate`"
        )


def _refuse_emptied(
    folder: Path, classes: Sequence[str], labels: Sequence[int], unreadable: Sequence[str]
) -> None:
    emptied = sorted(set(range(len(classes))) - set(labels))
    if emptied:
        raise DataError(
            f"{folder}: expected whole pictures of every class, found none of {classes[emptied[0]]} "
            f"({len(unreadable)} are truncated or unreadable); fetch them again"
        )
