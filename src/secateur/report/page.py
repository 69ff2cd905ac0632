"""One self-contained HTML page of one run or of several: nothing on it is fetched from anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any, final

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from secateur.errors import ConfigurationError, StorageError
from secateur.report import facts
from secateur.report.panels.panel import Panel
from secateur.report.panels.results import result_panels, trade_off
from secateur.report.panels.training import training_panels
from secateur.report.run import Run
from secateur.storage import write_atomically

# Vega's own glue: what the page calls, bundled by vl-convert with all it needs.
_GLUE = "window.vegaEmbed = vegaEmbed;"
CACHE_VARIABLE = "SECATEUR_CACHE"


@final
@dataclass(frozen=True)
class Part:
    """What the page says of one run.

    Attributes:
        run: The run.
        unfinished: What is there of it, if it is not finished.
        panels: Figures of what came out.
        training: Training curves.
    """

    run: Run
    unfinished: str
    panels: tuple[Panel, ...]
    training: tuple[Panel, ...]


@final
@dataclass(frozen=True)
class Page:
    """A page that shows itself in a notebook.

    Attributes:
        title: Its title.
        html: All of it.
    """

    title: str
    html: str = field(repr=False)

    def save(self, path: Path) -> None:
        """Write it as a file.

        Args:
            path: Where to.

        Raises:
            StorageError: It cannot be written.
        """
        write_atomically(path, lambda file: file.write(self.html.encode()))

    def _repr_html_(self) -> str:
        # A frame of its own: the page's style and scripts would change the notebook's.
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.title)}" '
            'style="width:100%;height:80vh;border:0"></iframe>'
        )


def report_page(runs: Sequence[Run]) -> Page:
    """The page of one run, or of several side by side.

    Args:
        runs: At least one, from `secateur.report.run.read_run`.

    Returns:
        The page.

    Raises:
        ConfigurationError: There are no runs.
        StorageError: The cache of the figures' script cannot be written.
    """
    if not runs:
        raise ConfigurationError("a report is of one run or of several; found none")
    names = [run.name for run in runs]
    runs = [
        replace(run, name=f"{run.name}, in {run.folder.name}") if names.count(run.name) > 1 else run
        for run in runs
    ]
    parts = [_part(run) for run in runs]
    finished = [run for run in runs if run.record is not None]
    shared: list[Panel] = []
    if len(runs) > 1:
        shared = [*([trade_off(finished)] if finished else []), *training_panels(runs)]
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    environment = Environment(
        loader=PackageLoader("secateur.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embedded": _embedded, "identity": id, "pretty": _pretty, "sentence": _sentence}
    panels = [*shared, *(panel for part in parts for panel in (*part.panels, *part.training))]
    html = environment.get_template("page.html.j2").render(
        title=title,
        runs=runs,
        parts=parts,
        shared=shared,
        comparison=facts.comparison(runs) if len(runs) > 1 else None,
        facts=facts,
        number={id(panel): number for number, panel in enumerate(panels)},
        # Between script tags nothing else could end it early.
        script=Markup(_bundle().replace("</script", "<\\/script")),  # noqa: S704  # Vega's own code, from vl-convert
    )
    return Page(title, html)


def _part(run: Run) -> Part:
    return Part(run, facts.unfinished(run), tuple(result_panels(run)), tuple(training_panels([run])))


def _embedded(content: Any) -> Markup:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))  # noqa: S704  # nothing in it ends a script


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _bundle() -> str:
    # Bundling takes two seconds of processor time and always gives the same.
    cache = _cache_folder() / f"vega-{metadata.version('vl-convert-python')}.js"
    try:
        return cache.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise StorageError(f"{cache} cannot be read ({error}); remove it, and it is made again") from error
    script = vl_convert.javascript_bundle(_GLUE)
    write_atomically(cache, lambda file: file.write(script.encode()))
    return script


def _cache_folder() -> Path:
    named = os.environ.get(CACHE_VARIABLE, "")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "secateur" / "report"
