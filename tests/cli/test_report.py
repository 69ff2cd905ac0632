from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from secateur.cli.main import main
from secateur.compiler.compiling import compile as compile_network
from secateur.export import network_of_run
from tests.report.conftest import lenet_folder, script_cache

__all__ = ["lenet_folder", "script_cache"]


def test_the_page_lies_in_the_runs_folder(
    lenet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(lenet_folder, tmp_path / "[b]:cat:"))  # whatever rich makes of such names
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert capsys.readouterr().out.split() == ["report", str(folder / "report.html")]


def test_a_compact_file_is_measured(lenet_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lenet_folder, tmp_path / "run"))
    trained = network_of_run(folder)
    compile_network(trained.module, trained.example).save(folder / "pruned.secateur")
    page = tmp_path / "page.html"
    assert main(["report", str(folder), "--compile", "-o", str(page)]) == 0
    html = page.read_text()
    assert f"{(folder / 'pruned.secateur').stat().st_size / 1e3:,.1f} kB" in html
    assert "than PyTorch; 80 % take" in html


def test_a_network_that_does_not_compile_has_a_page_without_its_bytes(
    lenet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(lenet_folder, tmp_path / "run"))
    (folder / "pruned.secateur").write_bytes(b"nonsense")
    assert main(["report", str(folder)]) == 1
    assert "bytes and time are left out:" in capsys.readouterr().err
    assert "Test error" in (folder / "report.html").read_text()


def test_it_opens_in_a_browser(lenet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("secateur.cli.report.webbrowser.open", shown.append)
    page = tmp_path / "page.html"
    assert main(["report", str(lenet_folder), "-o", str(page), "--open"]) == 0
    assert shown == [page.as_uri()]


def test_what_cannot_be_is_refused(
    lenet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert "holds no run.json: expected the folder of a run of `secateur run`" in capsys.readouterr().err
    (tmp_path / "a.yaml").write_text("")
    assert main(["report", str(tmp_path / "a.yaml")]) == 1
    assert "is a file: expected the folder of a run" in capsys.readouterr().err
    assert main(["report", str(lenet_folder), str(lenet_folder)]) == 1
    assert "is named twice; name every run once" in capsys.readouterr().err
