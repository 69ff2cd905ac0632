"""The page in a real browser: nothing fetched, nothing complained of, and everybody can read it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from secateur.report.page import report_page
from secateur.report.run import Run, read_run

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAWN = "document.querySelectorAll('.chart.drawn').length === document.querySelectorAll('.chart').length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def one(lenet: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "one.html"
    report_page([lenet]).save(path)
    return path


def opened(
    browser: Browser, path: Path, *, width: int = 1200, dark: bool = False
) -> tuple[Page, list[str], list[str]]:
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
    )
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function(DRAWN, timeout=120_000)
    return page, said, asked


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (360, False)])
def test_it_is_quiet_complete_and_accessible(browser: Browser, one: Path, width: int, dark: bool) -> None:
    page, said, asked = opened(browser, one, width=width, dark=dark)
    assert said == []
    assert asked == [one.as_uri()]
    marks = page.evaluate(
        "[...document.querySelectorAll('.chart')].map(chart => chart.querySelectorAll('svg path').length)"
    )
    assert len(marks) == 10
    assert all(count > 3 for count in marks)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []
    page.close()


def test_dark_figures_have_light_ink(browser: Browser, one: Path) -> None:
    colours = []
    for dark in (False, True):
        page, _, _ = opened(browser, one, dark=dark)
        label = page.locator(".chart svg .role-axis-label text").first
        colours.append(label.evaluate("each => getComputedStyle(each).fill"))
        page.close()
    assert colours == ["rgb(90, 101, 107)", "rgb(163, 175, 180)"]


def test_a_table_sorts_with_the_keyboard(browser: Browser, one: Path) -> None:
    page, _, _ = opened(browser, one)
    table = page.locator("table[data-sortable]").first
    kept = table.locator("thead button", has_text="Kept")

    def column() -> list[int]:
        return [
            int(text.replace(",", "")) for text in table.locator("tbody tr td:nth-child(3)").all_inner_texts()
        ]

    before = column()
    kept.focus()
    page.keyboard.press("Enter")
    assert column() == sorted(before)
    assert table.locator("th[aria-sort=ascending]").inner_text() == "Kept"
    page.keyboard.press("Enter")
    assert column() == sorted(before, reverse=True)
    assert table.locator("tfoot th").inner_text() == "total"
    page.close()


def test_values_show_on_hover(browser: Browser, one: Path) -> None:
    page, _, _ = opened(browser, one)
    page.locator(".chart svg .mark-rect path").first.hover()
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for(timeout=10_000)
    assert "weights" in tip.inner_text()
    page.close()


def test_several_runs_and_an_unfinished_one(
    browser: Browser, lenet: Run, unfinished: Path, tmp_path: Path
) -> None:
    path = tmp_path / "several.html"
    report_page([lenet, read_run(unfinished)]).save(path)
    page, said, asked = opened(browser, path, width=360)
    assert said == []
    assert asked == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    page.close()


def test_paper_is_white_and_has_the_figures_without_what_is_folded(browser: Browser, one: Path) -> None:
    page, _, _ = opened(browser, one, dark=True)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".panel details").first.is_visible()
    assert page.locator(".panel svg").first.is_visible()
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    page.close()
