"""The report in a real browser: it draws, tells, filters, follows theme and keyboard, prints, and its console is empty.

Skipped where there is no chromedriver (Debian: apt-get install chromium chromium-driver).
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.history.chart_data import ChartData, Flow, Level, Noted, Share, Step, Struck
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports.charts.drawing import Drawing, Table
from poolproof.reports.formats.render import render_html
from poolproof.reports.sections.section import Grid, Section
from poolproof.reports.view import build_view

pytest.importorskip("selenium", reason="selenium is not installed (the extra dev has it)")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(DRIVER is None, reason="there is no chromedriver: apt-get install chromium-driver")

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]
PATIENCE_S = 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1366,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER, service_args=["--log-level=OFF"])
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(PATIENCE_S)
    driver.set_page_load_timeout(PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


def _picture() -> ChartData:
    return ChartData(
        steps=(Step(1.0, 0.5), Step(20.0, 1.0)),
        flow=(Flow(0.0, 0.5, 9, 0, 1.0, 4.0), Flow(0.5, 1.0, 3, 2, 2.0, 20.0)),
        stretches=4,
        levels=(Level(0.1, 30_000_000, 12, 5, 4), Level(0.9, 31_000_000, 12, 5, 4)),
        levels_total=2,
        struck=(Struck(kind="kill", at_s=0.02, until_s=0.06, landed=True, worker=2),),
        struck_total=1,
        noted=(Noted(index=7, why="slowest", client=1, command="sleep", outcome="result", intended_s=0.1),),
        notable=1,
    )


_made: dict[str, str] = {}
"""The page, written once for all tests of this module."""


@pytest.fixture
def page(
    make_comparison: MakeComparison,
    make_result: MakeResult,
    hostile: Comparison,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A page with everything in it: what passes, what fails as declared, and a hostile row that fails."""
    if "page" in _made:
        return _made["page"]
    candidate = msgspec.structs.replace(make_result("v2"), picture=_picture())
    large = msgspec.structs.replace(
        candidate, picture=msgspec.structs.replace(_picture(), stretches=999, shares=(Share(1, 0.0, 0.5, 0.4, 9),))
    )
    comparison = make_comparison(candidate=candidate)
    [row] = comparison.scenarios
    passing = msgspec.structs.replace(
        row, name="all_well", baseline=make_result("v1", Verdict.PASS), candidate=large, differences=()
    )
    nasty = msgspec.structs.replace(hostile.scenarios[0], name="hostile_row")
    comparison = msgspec.structs.replace(
        comparison, scenarios=(row, passing, nasty), reasons=hostile.reasons, warnings=hostile.warnings
    )
    curve = Table(
        ("side", "metric", "x", "y", "low", "high"), (("v1", "calls/s", 1, 5, 4, 6), ("v2", "calls/s", 2, 9, 8, 9))
    )
    part = Section(
        key="sweep",
        title="Scalability",
        drawings=(Drawing(kind="curves", tables={"curves": curve}, caption="grows", words="grows"),),
        grids=(Grid(caption="points", columns=("x",), rows=(("<b>1</b>",),)),),
    )
    file = tmp_path_factory.mktemp("browser") / "report.html"
    file.write_text(render_html(build_view(comparison, [part])))
    return _made.setdefault("page", file.as_uri())


def _open(browser: Any, page: str) -> None:
    browser.get("about:blank")  # else an address that differs only after its # would be no new page
    browser.get(page)
    ready = "return document.documentElement.dataset.ready === 'yes'"
    WebDriverWait(browser, PATIENCE_S).until(lambda found: found.execute_script(ready))


def _draw_all(browser: Any) -> list[str]:
    script = """
        const done = arguments[0];
        poolproofDrawAll().then(() => new Promise((next) => setTimeout(next, 50))).then(() =>
            done([...document.querySelectorAll(".chart")].map((place) => place.dataset.drawn)));
    """
    return list(browser.execute_async_script(script))


def _console(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def test_every_chart_is_drawn_and_the_console_is_empty(browser: Any, page: str) -> None:
    _open(browser, page)
    states = _draw_all(browser)
    assert len(states) >= 14
    assert set(states) == {"yes"}
    marks = browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map((p) => p.querySelectorAll('svg path, svg line').length)"
    )
    assert min(marks) > 3
    assert _console(browser) == []
    assert browser.execute_script("return document.querySelectorAll('img, b').length") == 0
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_the_first_screen_has_the_verdict_the_ratio_and_that_v1_is_serial(browser: Any, page: str) -> None:
    _open(browser, page)
    seen = browser.execute_script("""
        const inside = (node) => {
            const box = node.getBoundingClientRect();
            return box.top >= 0 && box.bottom <= innerHeight;
        };
        const answer = [...document.querySelectorAll(".decision, .headline, .lead, .tile")];
        return answer.filter(inside).map((node) => node.textContent).join(" ");
    """)
    for told in ("SAFE", "v2 may replace v1.", "3.98 ×", "95 % interval 3.90 to 4.01", "serial"):
        assert told in seen


def test_a_bar_tells_what_it_is_when_it_is_pointed_at(browser: Any, page: str) -> None:
    _open(browser, page)
    _draw_all(browser)
    bars = browser.find_elements("css selector", "[data-drawing='hero'] g.mark-rect path")
    ActionChains(browser).move_to_element(bars[-1]).perform()
    script = "return document.getElementById('vg-tooltip-element')?.textContent ?? ''"
    WebDriverWait(browser, PATIENCE_S).until(lambda found: "worker" in found.execute_script(script))


def test_filters_leave_what_was_asked_for_in_the_matrix_and_in_the_evidence(browser: Any, page: str) -> None:
    _open(browser, page)

    def shown() -> list[str]:
        rows = browser.find_elements("css selector", "tr[data-row]")
        return [row.get_attribute("data-row") for row in rows if row.is_displayed()]

    assert shown() == ["hostile_row", "parallel_calls", "all_well"]
    browser.find_element("css selector", "button[data-state='good']").click()
    assert shown() == ["all_well"]
    assert not browser.find_element("id", "s-hostile_row").is_displayed()
    browser.find_element("css selector", "button[data-state='']").click()
    browser.find_element("id", "filter").send_keys("own_answer fails")
    assert shown() == ["hostile_row"]
    assert browser.find_element("id", "shown").text == "1 of 3 shown"


def test_the_keyboard_is_enough(browser: Any, page: str) -> None:
    _open(browser, page)
    body = browser.find_element("css selector", "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "to the scenarios"
    body.send_keys("/")
    assert browser.switch_to.active_element.get_attribute("id") == "filter"
    browser.switch_to.active_element.send_keys("zzz")
    assert browser.find_element("id", "shown").text == "0 of 3 shown"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert browser.find_element("id", "shown").text == "3 of 3 shown"
    browser.execute_script("location.hash = 's-all_well'")
    WebDriverWait(browser, PATIENCE_S).until(lambda d: d.find_element("id", "s-all_well").get_attribute("open"))
    summary = browser.switch_to.active_element
    assert summary.tag_name == "summary"
    summary.send_keys(Keys.ENTER)
    assert browser.find_element("id", "s-all_well").get_attribute("open") is None


CONTRASTS = """
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const colour = (text) => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = text;
        pen.fillRect(0, 0, 1, 1);
        const found = pen.getImageData(0, 0, 1, 1).data;
        return found[3] < 128 ? null : `rgb(${found[0]}, ${found[1]}, ${found[2]})`;
    };
    const ground = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const found = colour(getComputedStyle(at).backgroundColor);
            if (found) return found;
        }
        return "rgb(255, 255, 255)";
    };
    const texts = "h1 span, h2, p, li, td, th, small, .badge, .tile *, button, a, code, figcaption";
    const seen = new Map();
    for (const node of document.querySelectorAll(texts)) {
        if (!node.textContent.trim() || !node.offsetParent) continue;
        seen.set([colour(getComputedStyle(node).color), ground(node)].join(" on "), node.className || node.tagName);
    }
    return [...seen];
"""


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_in_both_themes(scheme: str, browser: Any, page: str) -> None:
    """WCAG 2.1 AA: 4.5 to 1 for text of this size."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    _open(browser, page)
    pairs = browser.execute_script(CONTRASTS)
    assert len(pairs) >= 6
    for pair, where in pairs:
        ink, ground = pair.split(" on ")
        low, high = sorted((_luminance(ink), _luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{where}: {pair}"
    body = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (_luminance(body) > 0.5) == (scheme == "light")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_reader_s_own_theme_wins(browser: Any, page: str) -> None:
    _open(browser, page)
    button = browser.find_element("id", "theme")
    colours = []
    for word in ("light", "dark", "system"):
        button.click()
        assert button.text == f"theme: {word}"
        colours.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert _luminance(colours[0]) > 0.5 > _luminance(colours[1])


def test_a_term_tells_its_meaning_to_pointer_and_keyboard(browser: Any, page: str) -> None:
    _open(browser, page)
    term = browser.find_element("css selector", ".matrix a.term[href='#number-G10']")
    told = "return document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent"
    for reach in (
        lambda: ActionChains(browser).move_to_element(term).perform(),
        lambda: browser.execute_script("arguments[0].focus()", term),
    ):
        reach()
        WebDriverWait(browser, PATIENCE_S).until(lambda found: "Independence" in found.execute_script(told))
        browser.find_element("css selector", "body").send_keys(Keys.ESCAPE)
        assert browser.execute_script(told) == ""


def test_every_link_of_the_page_leads_somewhere(browser: Any, page: str) -> None:
    _open(browser, page)
    lost = browser.execute_script("""
        return [...document.querySelectorAll("a[href^='#']")].map((link) => decodeURIComponent(link.hash.slice(1)))
            .filter((place) => !document.getElementById(place));
    """)
    assert lost == []


def test_the_table_is_sorted_by_name_and_back(browser: Any, page: str) -> None:
    _open(browser, page)

    def order() -> list[str]:
        return [row.get_attribute("data-row") for row in browser.find_elements("css selector", "tr[data-row]")]

    assert order() == ["hostile_row", "parallel_calls", "all_well"]
    browser.find_element("css selector", "[data-sort='name']").click()
    assert order() == ["all_well", "hostile_row", "parallel_calls"]
    browser.find_element("css selector", "[data-sort='state']").click()
    assert order() == ["hostile_row", "parallel_calls", "all_well"]


def test_the_address_of_a_finding_opens_the_part_that_has_it(browser: Any, page: str) -> None:
    _open(browser, page + "#f-parallel_calls-baseline-overlap")
    assert browser.find_element("id", "s-parallel_calls").get_attribute("open")
    assert browser.find_element("id", "f-parallel_calls-baseline-overlap").is_displayed()


MOST_PAGES = 12


def test_the_print_of_many_failures_has_the_summary_and_some_evidence_on_few_pages(
    browser: Any, make_comparison: MakeComparison, make_result: MakeResult, tmp_path: Path
) -> None:
    examples = tuple(f"call {number}: the worker answered what was not asked for" for number in range(5))
    failing = make_result("v2", Verdict.FAIL)
    found = msgspec.structs.replace(failing.findings[0], examples=examples)
    candidate = msgspec.structs.replace(failing, findings=(found,) * 8, picture=_picture())
    [row] = make_comparison(candidate=candidate, reason="").scenarios
    rows = tuple(msgspec.structs.replace(row, name=f"scenario_{number}") for number in range(44))
    comparison = make_comparison(candidate=candidate, reason="", decision=Decision.UNSAFE)
    comparison = msgspec.structs.replace(
        comparison, scenarios=rows, reasons=tuple(f"{row.name}: v2 fails overlap" for row in rows)
    )
    (tmp_path / "report.html").write_text(render_html(build_view(comparison)))
    _open(browser, (tmp_path / "report.html").as_uri())
    browser.execute_script("window.print = () => { window.printed = true; };")
    browser.find_element("id", "print").click()
    WebDriverWait(browser, PATIENCE_S).until(lambda found: found.execute_script("return Boolean(window.printed)"))
    assert browser.find_element("css selector", "[data-drawing='hero']").get_attribute("data-drawn") == "yes"
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF-")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= MOST_PAGES


LAYOUT = (Path(__file__).parent / "layout.js").read_text()


def _examine_layout(browser: Any, page: str, width: int) -> list[str]:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    _open(browser, page)
    assert set(_draw_all(browser)) == {"yes"}
    wrong = browser.execute_script(LAYOUT)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return list(wrong)


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_nothing_scrolls_is_cut_off_or_overlaps(width: int, browser: Any, page: str) -> None:
    assert _examine_layout(browser, page, width) == []


@pytest.mark.parametrize("width", [390, 768])
def test_a_pool_with_a_long_name_has_room(
    width: int, browser: Any, make_comparison: MakeComparison, make_result: MakeResult, tmp_path: Path
) -> None:
    name = "a_package_of_somebody.with_modules_in_it:TheFactoryThatMakesTheNewPool"
    comparison = make_comparison(candidate=make_result(name, Verdict.FAIL), reason="", decision=Decision.UNSAFE)
    (tmp_path / "report.html").write_text(render_html(build_view(comparison)))
    assert _examine_layout(browser, (tmp_path / "report.html").as_uri(), width) == []
