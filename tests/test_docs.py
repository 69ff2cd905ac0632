"""The documents are executed: every Python block, every YAML recipe, every command line, every table."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from benchmarks.readme import BEGIN, END, RUNTIME, SWEEPS, results_section, sweep_markers, sweep_section

from secateur.cli.main import main
from secateur.recipes.builtin import RECIPES
from secateur.recipes.plan import parse_recipe

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(document, "python"):
        exec(compile(block, str(document), "exec"), names)  # noqa: S102  # our own documents


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_yaml_blocks_are_recipes(document: Path) -> None:
    for block in blocks(document, "yaml"):
        parse_recipe(yaml.safe_load(block), document.name)


def test_the_readme_has_what_the_tests_above_look_for() -> None:
    assert blocks(ROOT / "README.md", "python")
    assert blocks(ROOT / "docs" / "recipes.md", "yaml")


def test_commands_of_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = [
        line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines() if line.strip()
    ]
    assert any(line.startswith("make test") for line in commands)
    for line in commands:
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), f"no such verb: {line}"
        if words[0] == "secateur":
            if words[1] == "run":
                assert words[2] in RECIPES or words[2].endswith(".yaml")
            with pytest.raises(SystemExit) as stop:
                main([words[1], "--help"])
            assert stop.value.code == 0
            offered = capsys.readouterr().out
            assert all(word in offered for word in words if word.startswith("--"))


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_numbers_of_the_readme_come_from_committed_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(BEGIN)
    section, end, _ = rest.partition(END)
    assert end
    assert section == results_section(), "run `python -m benchmarks.readme`"


@pytest.mark.parametrize("name", SWEEPS)
def test_numbers_of_the_runtime_come_from_committed_results(name: str) -> None:
    begin, end = sweep_markers(name)
    _, _, rest = RUNTIME.read_text(encoding="utf-8").partition(begin)
    section, found, _ = rest.partition(end)
    assert found
    assert section == sweep_section(name), "run `python -m benchmarks.readme`"


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in [*DOCUMENTS, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
