from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from secateur.benchmarking.reference import write_arrays
from secateur.benchmarking.worker import EngineAbsentError, EngineFailedError, Worker
from tests.benchmarking.conftest import fake


def loaded(worker: Worker, folder: Path, configuration: str = "threads=1 quick") -> dict[str, object]:
    inputs = write_arrays(folder / "in.npz", [np.array([1, -1], np.float32)])
    path = worker.ask("prepare", source="net.onnx", folder=str(folder), batch=2, threads=1)["path"]
    return worker.ask("load", path=path, inputs=inputs, configuration=configuration)


def processor_seconds(worker: Worker) -> float:
    fields = Path(f"/proc/{worker.process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def state(worker: Worker) -> str:
    return Path(f"/proc/{worker.process_id}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_protocol_from_start_to_burst(tmp_path: Path) -> None:
    with Worker(fake(), threads=1) as worker:
        assert "numpy" in worker.versions
        found = loaded(worker, tmp_path)
        assert set(found) == {"load_ms", "loaded_bytes", "running_bytes"}
        worker.ask("run", outputs=str(tmp_path / "out.npz"))
        with np.load(tmp_path / "out.npz") as archive:
            assert archive["arr_0"].tolist() == [1, 0]
        answer = worker.ask("burst", seconds=0.01, least=3, discarded=1)
        assert len(answer["nanoseconds"]) >= 3
        assert all(time >= 1e6 for time in answer["nanoseconds"])
        assert len(worker.ask("burst", seconds=0, least=1, discarded=0)["nanoseconds"]) == 1


def test_a_burst_ends_when_its_time_is_over(tmp_path: Path) -> None:
    with Worker(fake(), threads=1) as worker:
        loaded(worker, tmp_path)
        answer = worker.ask("burst", seconds=0.05, least=1, discarded=0)
        assert sum(answer["nanoseconds"][:-1]) < 0.05e9 <= sum(answer["nanoseconds"])


@pytest.mark.parametrize("faults", ["", "disturbed"])  # the quick one, while it is tried first
def test_the_fastest_configuration_is_found(tmp_path: Path, faults: str) -> None:
    with Worker(fake(faults), threads=2) as worker:
        inputs = write_arrays(tmp_path / "in.npz", [np.zeros(2, np.float32)])
        path = worker.ask("prepare", source="net.onnx", folder=str(tmp_path), batch=1, threads=2)["path"]
        tuned = worker.ask("tune", path=path, inputs=inputs, threads=2)
        assert tuned["configuration"] == "threads=1 quick"
        assert set(tuned["tried"]) == {"threads=2 slow", "threads=1 quick"}


def test_an_idle_worker_stands_still_and_wakes_for_an_order(tmp_path: Path) -> None:
    with Worker(fake(), threads=1) as worker:
        for _ in range(2):
            loaded(worker, tmp_path)
            used = processor_seconds(worker)
            time.sleep(0.05)
            assert state(worker) == "T"
            assert processor_seconds(worker) == used


def test_closing_ends_the_process(tmp_path: Path) -> None:
    worker = Worker(fake(), threads=1)
    loaded(worker, tmp_path)
    worker.close()
    assert not Path(f"/proc/{worker.process_id}").exists()


def test_an_absent_engine_says_how_to_get_it() -> None:
    with pytest.raises(
        EngineAbsentError,
        match=r"absent: .* has no module 'there_is_no_such_engine'; pip install fake, or name",
    ):
        Worker(fake("absent"), threads=1)


def test_an_engine_that_does_not_start_is_quoted() -> None:
    with pytest.raises(
        EngineFailedError, match="start: the process ended with status 1: RuntimeError: its shared library"
    ):
        Worker(fake("broken"), threads=1)


def test_an_error_is_an_answer_and_the_process_lives_on(tmp_path: Path) -> None:
    with Worker(fake("refuses"), threads=1) as worker:
        for _ in range(2):
            with pytest.raises(EngineFailedError, match=r"prepare: ValueError: cannot read net\.onnx"):
                loaded(worker, tmp_path)
        with pytest.raises(EngineFailedError, match="burst: RuntimeError: nothing is loaded"):
            worker.ask("burst", seconds=0.01, least=1, discarded=0)


def test_a_death_names_the_signal_and_the_last_words(tmp_path: Path) -> None:
    with Worker(fake("dies"), threads=1) as worker:
        loaded(worker, tmp_path)
        with pytest.raises(EngineFailedError, match="burst: the process was killed by SIGSEGV: out of luck"):
            worker.ask("burst", seconds=0.01, least=20, discarded=0)
        with pytest.raises(EngineFailedError, match="burst: the process was killed by SIGSEGV: out of luck"):
            worker.ask("burst", seconds=0.01, least=1, discarded=0)


def test_silence_is_not_waited_for_forever(tmp_path: Path) -> None:
    with Worker(fake(), threads=1) as worker:
        loaded(worker, tmp_path, "threads=1 slow")
        with pytest.raises(EngineFailedError, match="burst: no answer within 0 seconds"):
            worker.ask("burst", patience=0.05, seconds=30, least=1, discarded=0)
