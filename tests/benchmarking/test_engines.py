from __future__ import annotations

import sys
from importlib import util

import pytest

from secateur.benchmarking.engines import PEERS, SECATEUR, chosen_engines, parse_pythons
from secateur.benchmarking.workers import run_secateur
from secateur.errors import ConfigurationError

EVERY = [SECATEUR, *(engine for ways in PEERS.values() for engine in ways)]


@pytest.mark.parametrize("engine", EVERY, ids=[engine.name for engine in EVERY])
def test_every_worker_keeps_the_contract(engine: object) -> None:
    assert isinstance(engine, type(SECATEUR))
    spec = util.spec_from_file_location("worker", engine.worker)
    assert spec is not None
    assert spec.loader is not None
    worker = util.module_from_spec(spec)
    # Nothing but the standard library and numpy is needed to read the file itself.
    spec.loader.exec_module(worker)
    assert worker.MODULES
    assert callable(worker.prepare)
    assert callable(worker.load)
    if engine.name != "mnn-sparse":  # that one borrows from its neighbour, which it finds where it is started
        for threads in (1, 2):
            names = worker.configurations(threads)
            assert len(set(names)) == len(names) >= 1
        assert worker.configurations(1) != worker.configurations(2)


def test_secateur_is_timed_with_the_threads_that_were_asked_for() -> None:
    assert run_secateur.configurations(2) == ["threads=2"]
    assert run_secateur.configurations(1) == ["threads=1"]


def test_names_are_unique() -> None:
    names = [engine.name for engine in EVERY]
    assert len(set(names)) == len(names)


def test_interpreters_reach_all_ways_of_a_peer() -> None:
    engines = chosen_engines(["mnn", "torch"], {"mnn": "elsewhere/python"})
    assert {engine.name: engine.python for engine in engines} == {
        "secateur": sys.executable,
        "mnn": "elsewhere/python",
        "mnn-sparse": "elsewhere/python",
        "torch-eager": sys.executable,
        "torch-compiled": sys.executable,
    }
    assert [engine.name for engine in chosen_engines([], {})] == ["secateur"]


@pytest.mark.parametrize("peers", [["mnnx"], ["mnn", "mnn"], ["secateur"]])
def test_unknown_peers_are_refused(peers: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"--peers takes names among torch, onnxruntime, .* found"):
        chosen_engines(peers, {})


def test_interpreters_are_checked() -> None:
    assert parse_pythons([f"mnn={sys.executable}"]) == {"mnn": sys.executable}
    for word in ("mnn", "caffe=x", "=x"):
        with pytest.raises(
            ConfigurationError, match=r"--python takes NAME=PATH with NAME among secateur, torch"
        ):
            parse_pythons([word])
    with pytest.raises(ConfigurationError, match=r"there is no file 'nowhere/python'; give the interpreter"):
        parse_pythons(["mnn=nowhere/python"])


def test_deepsparse_is_told_not_to_report() -> None:
    (deepsparse,) = PEERS["deepsparse"]
    assert deepsparse.environment["NM_DISABLE_ANALYTICS"] == "True"
