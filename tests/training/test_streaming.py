from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from secateur.datasets.folders import find_parts
from secateur.datasets.pictures import Normalisation, PaddedCrop, ResizedCrop, View, decode, draws
from secateur.errors import ConfigurationError, DataError, PeerError
from secateur.training import streaming
from secateur.training.decoded import decoded_task
from secateur.training.distillation import LiveTeacher, Table, teach
from secateur.training.loop import run_phases
from secateur.training.phase import Phase
from secateur.training.seeding import derive_seed, seeded
from secateur.training.streaming import StreamedImages, default_workers, streamed_task
from secateur.training.task import Batch, Part
from tests.datasets.picture_files import CLASSES, make_folder, truncate
from tests.small import phase

VIEW = View(12, 14, ResizedCrop())
GREY = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("pictures"), {"train": 12, "test": 5})


def streamed(folder: Path, view: View = VIEW, workers: int = 0) -> StreamedImages:
    return streamed_task(
        find_parts(folder), view, source="corners", validation=8, normalisation=GREY, workers=workers
    )


def same(a: Batch, b: Batch) -> bool:
    names = ("images", "labels", "indices", "variants")
    return a.whole == b.whole and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


class Net(torch.nn.Module):
    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.relu = torch.nn.ReLU()
        self.flatten = torch.nn.Flatten()
        self.dropout = torch.nn.Dropout(dropout)
        self.fc = torch.nn.Linear(8 * 5 * 5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.flatten(self.relu(self.conv(x)))))


def test_the_parts_are_disjoint_and_every_class_is_held_out_alike(folder: Path) -> None:
    task = streamed(folder)
    assert (task.train_count, task.validation_count, task.test_count) == (40, 8, 20)
    assert (task.classes, task.image_shape) == (4, (3, 12, 12))
    trained = {task.training.path(int(index)) for index in task.train}
    held_out = {task.held_out.path(index) for index in range(8)}
    assert len(trained | held_out) == 48
    assert torch.bincount(task.held_out.labels).tolist() == [2] * 4
    assert task.about["classes"] == list(CLASSES)


def test_an_epoch_shows_every_picture_once_in_its_own_view(folder: Path) -> None:
    task = streamed(folder)
    batches = list(task.batches(16, 7, "dense", 0, 2))
    assert [len(batch.labels) for batch in batches] == [16, 16, 8]
    indices = torch.cat([batch.indices for batch in batches])
    assert sorted(indices.tolist()) == task.train.tolist()
    assert torch.equal(torch.cat([batch.labels for batch in batches]), task.training.labels[indices])
    key, chosen = derive_seed(7, "dense", 0, 2, "views"), batches[1].indices.tolist()
    paths = [task.training.path(index) for index in chosen]
    assert torch.equal(batches[1].images, GREY(decode(paths, VIEW, [draws(key, index) for index in chosen])))
    later = list(task.batches(16, 7, "dense", 0, 3))
    assert not torch.equal(torch.cat([batch.indices for batch in later]), indices)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_pixel(folder: Path, workers: int) -> None:
    alone, together = streamed(folder), streamed(folder, workers=workers)
    pairs = zip(alone.batches(16, 0, "dense"), together.batches(16, 0, "dense"), strict=True)
    assert all(same(a, b) for a, b in pairs)
    for (a, labels), (b, others) in zip(alone.test(), together.test(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(labels, others)


@pytest.mark.parametrize("start", [1, 2, 3])
def test_an_epoch_taken_up_again_decodes_only_the_rest(
    folder: Path, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = streamed(folder)
    whole = list(task.batches(16, 0, "dense"))
    decoded: list[Path] = []

    def counting(paths: list[Path], view: View, drawn: object) -> torch.Tensor:
        decoded.extend(paths)
        return decode(paths, view, drawn)  # type: ignore[arg-type]  # whatever was given

    monkeypatch.setattr("secateur.training.streaming.decode", counting)
    rest = list(task.batches(16, 0, "dense", start=start))
    assert all(same(a, b) for a, b in zip(whole[start:], rest, strict=True))
    assert len(decoded) == max(40 - 16 * start, 0)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_every_batch(folder: Path, count: int) -> None:
    task = streamed(folder)
    parts = [task.batches(16, 0, "dense", part=Part(rank, count)) for rank in range(count)]
    for whole, *pieces in zip(task.batches(16, 0, "dense"), *parts, strict=True):
        assert torch.equal(torch.cat([piece.images for piece in pieces]), whole.images)
        assert torch.equal(torch.cat([piece.indices for piece in pieces]), whole.indices)
        assert {piece.whole for piece in pieces} == {whole.whole}
    tested = [torch.cat([images for images, _ in task.test(Part(rank, count))]) for rank in range(count)]
    assert torch.equal(torch.cat(tested), torch.cat([images for images, _ in task.test()]))


def test_no_draw_is_taken_from_the_global_generator(folder: Path) -> None:
    task = streamed(folder, workers=1)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    list(task.batches(16, 0, "dense"))
    list(task.validation())
    assert torch.equal(torch.rand(3), expected)


def test_samples_examples_and_subsets(folder: Path) -> None:
    task = streamed(folder)
    images, labels = task.sample()
    assert torch.equal(images, torch.cat([images for images, _ in task.validation()]))
    assert torch.equal(labels, task.held_out.labels)
    assert torch.equal(task.example(), images[:1])
    assert torch.equal(task.example(10)[8:], images[:2])
    some = task.subset(11, torch.Generator().manual_seed(1))
    assert some.train_count == len(set(some.train.tolist())) == 11
    assert sum(len(batch.labels) for batch in some.batches(4, 0, "trial")) == 11


def test_a_sample_that_would_be_too_large_is_spread_over_the_classes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.training.streaming._SAMPLE_BYTES", 4 * 4 * 3 * 12 * 12)
    images, labels = streamed(folder).sample()
    assert len(images) == 4
    assert labels.tolist() == [0, 1, 2, 3]


def test_the_fingerprint_tells_tasks_apart_and_not_where_they_lie(folder: Path, tmp_path: Path) -> None:
    task = streamed(folder)
    moved = streamed(make_folder(tmp_path, {"train": 12, "test": 5}), workers=2)
    assert moved.fingerprint == task.fingerprint
    others = [
        streamed(folder, View(12, 12, ResizedCrop())),
        replace(task, normalisation=Normalisation((0.4, 0.5, 0.5), (0.25, 0.25, 0.25))),
        replace(task, train=task.train[1:]),
        replace(task, tested=task.held_out),
    ]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_colours_are_estimated_where_they_are_not_given(folder: Path) -> None:
    task = streamed_task(find_parts(folder), VIEW, source="corners", validation=8, workers=0)
    pixels = decode([task.training.path(index) for index in range(40)], VIEW, None)
    assert task.normalisation.mean[0] == pytest.approx(float(pixels[:, 0].double().mean()) / 255)
    assert task.about["mean"] == list(task.normalisation.mean)


def test_damage_that_only_decoding_shows_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 12, "test": 5})
    task = streamed(tmp_path)
    broken = truncate(task.training.path(int(task.train[5])))
    for workers in (0, 1):
        message = rf"^{broken}: expected a whole picture, found OSError: [^\n]*; put the undamaged file back"
        with pytest.raises(DataError, match=message):
            list(replace(task, workers=workers).batches(16, 0, "dense"))


def test_a_decoder_that_is_killed_is_said_to_be_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = os.getpid()

    def killed(*_: object) -> torch.Tensor:
        assert os.getpid() != trainer
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(streaming, "decode", killed)
    phases = [Phase.model_validate(phase(1, batch_size=8, optimizer={"kind": "sgd", "learning_rate": 0.02}))]
    with pytest.raises(
        PeerError, match=r"decodes pictures is gone .* give fewer --workers .* goes on from there"
    ):
        run_phases(Net(), streamed(folder, workers=1), phases, seed=0, stage="dense")


def test_what_was_left_out_is_on_record(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 12, "test": 5})
    truncate(tmp_path / "train" / "ant" / "003.jpg")
    truncate(tmp_path / "test" / "bee" / "001.jpg")
    (tmp_path / "test" / "bee" / "list.txt").touch()
    task = streamed_task(find_parts(tmp_path, 0.05), VIEW, source="corners", validation=8, workers=0)
    assert task.about["ignored_files"] == 1
    assert task.about["unreadable_pictures"] == ["train/ant/003.jpg", "test/bee/001.jpg"]
    assert (task.train_count, task.test_count) == (39, 19)


def test_a_network_learns_from_a_stream_and_the_same_bits_each_time(folder: Path) -> None:
    phases = [Phase.model_validate(phase(12, batch_size=8, optimizer={"kind": "sgd", "learning_rate": 0.02}))]
    states = []
    for workers in (0, 1):
        with seeded(0, "test"):
            model = Net()
        records = run_phases(model, streamed(folder, workers=workers), phases, seed=0, stage="dense")
        states.append(model.state_dict())
    assert records[-1].loss < 0.7 * records[0].loss
    assert records[-1].validation_error < 40
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_teacher_looks_at_streamed_pictures_itself(folder: Path) -> None:
    task, model = streamed(folder), Net()
    assert isinstance(teach(model, task, 2.0), LiveTeacher)
    small = decoded_task(
        find_parts(folder), View(12, 12, PaddedCrop(1)), source="corners", validation=8, workers=0
    )
    assert isinstance(teach(model, small, 2.0), Table)
    large = decoded_task(
        find_parts(folder), View(12, 12, PaddedCrop(6)), source="corners", validation=8, workers=0
    )
    assert isinstance(teach(model, large, 2.0), LiveTeacher)


def test_decoded_pictures_are_the_streamed_ones(folder: Path) -> None:
    view = View(12, 12, PaddedCrop(0), flip=False)
    stream = streamed(folder, view)
    memory = decoded_task(
        find_parts(folder), view, source="corners", validation=8, normalisation=GREY, workers=0
    )
    assert memory.about == stream.about
    assert (memory.train_count, memory.validation_count, memory.test_count) == (40, 8, 20)
    for part in ("validation", "test"):
        images, labels = (torch.cat(column) for column in zip(*getattr(stream, part)(), strict=True))
        others, numbers = (torch.cat(column) for column in zip(*getattr(memory, part)(), strict=True))
        assert torch.equal(images, others)
        assert torch.equal(labels, numbers)
    a, b = (next(task.batches(40, 0, "dense")) for task in (stream, memory))
    order, other = (torch.argsort(batch.images.sum((1, 2, 3))) for batch in (a, b))
    assert torch.equal(a.images[order], b.images[other])
    assert torch.equal(a.labels[order], b.labels[other])


def test_decoded_pictures_with_a_folder_for_decisions(tmp_path: Path) -> None:
    parts = find_parts(make_folder(tmp_path, {"train": 6, "val": 3, "test": 2}))
    for make in (decoded_task, streamed_task):
        task = make(parts, View(12, 12, PaddedCrop(2)), source="corners", validation=5000, workers=0)
        assert (task.train_count, task.validation_count, task.test_count) == (24, 12, 8)
        assert torch.cat([labels for _, labels in task.validation()]).tolist() == sorted([0, 1, 2, 3] * 3)


def test_crops_of_any_size_are_not_kept_in_memory(folder: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"expected padded crops, .* give `pad` \(0 for none\), or stream"
    ):
        decoded_task(find_parts(folder), VIEW, source="corners", validation=8)


def test_flips_and_shifts_in_memory_are_part_of_the_fingerprint(folder: Path) -> None:
    views = [View(12, 12, PaddedCrop(pad), flip=flip) for pad in (0, 1) for flip in (True, False)]
    parts = find_parts(folder)
    tasks = [decoded_task(parts, view, source="corners", validation=8, workers=0) for view in views]
    assert len({task.fingerprint for task in tasks}) == 4


@pytest.mark.parametrize(
    ("processors", "beside", "workers"), [(1, 1, 1), (4, 1, 3), (64, 1, 8), (16, 4, 3), (4, 8, 1)]
)
def test_training_processes_share_the_processors(
    processors: int, beside: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(beside))
    assert default_workers() == workers
