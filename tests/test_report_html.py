"""Pages of HTML: what they hold, and how they behave in a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from samples import AUDIT, COMPARISON, CONTRACT, FINDINGS, PLAN, certificate

from paramaudit import report
from paramaudit.records import Audit, ModuleRow, Verdict
from paramaudit.records.report import Report
from paramaudit.report import html
from paramaudit.report.html.treemap import squarified, treemap

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&{{ 7*7 }}"
WHOLE = Report(AUDIT, certificate(True), COMPARISON, ("a note",))
VOID = {"meta", "link", "img", "br", "input", "hr", "path"}


class Strict(HTMLParser):
    """Refuses tags that are not closed in order, ids that come twice, and attributes that load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in ("src", "srcset", "action"), name
            if name == "href":
                assert value == "data:," or (value or "").startswith("#")
            if name == "id":
                assert value not in self.ids
                self.ids.add(str(value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text.append(data)


def parsed(text: str) -> Strict:
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


RECORDS = [AUDIT, PLAN, certificate(True), certificate(False), certificate(None), COMPARISON, WHOLE]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_is_a_valid_page_of_its_own(record: Any) -> None:
    text = report.render(record, "html", findings=FINDINGS)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert text.endswith("</html>\n")
    assert parsed(text).tags.count("script") == 1
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert text == report.render(record, "html", findings=FINDINGS)


def test_a_report_says_all_that_its_parts_say() -> None:
    text = " ".join("".join(parsed(report.render(WHOLE, "html")).text).split())
    for said in (
        *("a note", "1.2k → 300", "-75.00 %", "equivalent", "rounding, gap 3.1e-07 spectral per |x|"),
        *(
            "front:rdft",
            "8.8e-07 spectral per |x|",
            "differs | by [0.31]",
            "a hook",
            "a size that a layer fixes",
        ),
        *("2 ms (1.9 to 2.2)", "unavailable: no CUDA", "2.00x"),
        *("spectrum, score", "float32[batch, 16]", "not all operators are counted"),
    ):
        assert said in text, said


def test_the_atlas_and_its_entries_are_pages() -> None:
    assert "Sums &amp; differences" in report.render_atlas({"a": "Sums & differences.\n\nMore."}, "html")
    assert "x &lt; y" in report.render_page("a", "x < y", "html")


def hostile() -> Report:
    row = replace(AUDIT.modules[0], type=EVIL, reason=EVIL)
    part = ModuleRow(EVIL, EVIL, 1_200, 1_200, 300, None, Verdict.UNPROVEN, EVIL)
    finding = replace(
        FINDINGS[0], path=EVIL, reason=EVIL, operator="rdft", arguments={EVIL: EVIL, "n": 16, "real": [1, 2]}
    )
    other = replace(FINDINGS[2], operator=EVIL, counterexample=EVIL)
    contract = replace(CONTRACT, mode=EVIL, outputs=(EVIL,), conditions=(EVIL,))
    model = replace(AUDIT.model, target=EVIL, exported=False, why_not=EVIL)
    audit = replace(AUDIT, model=model, modules=(row, part), findings=(finding, other), contract=contract)
    proof = replace(certificate(False), reason=EVIL, counterexample=EVIL, versions={EVIL: EVIL})
    return Report(audit, proof, COMPARISON, (EVIL,))


def test_whatever_a_model_calls_its_parts_stays_text() -> None:
    text = report.render(hostile(), "html")
    page = parsed(text)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert "<script>alert" not in text
    assert "".join(page.text).count("{{ 7*7 }}") > 10


def test_the_policy_names_the_one_script() -> None:
    text = report.render(AUDIT, "html")
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src &#39;none&#39;" in policy or "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def large(count: int) -> Audit:
    parts = tuple(
        ModuleRow(f"m{i}", "Linear", 10, 10, 10, None, Verdict.DL_REQUIRED, "learned " * 9)
        for i in range(count)
    )
    findings = tuple(replace(FINDINGS[2], id=str(i), reason="why not " * 20) for i in range(count))
    root = replace(AUDIT.modules[0], parameters=10 * count, own_parameters=0)
    return replace(AUDIT, modules=(root, *parts), findings=findings)


def test_a_page_stays_small_and_says_what_it_left_out() -> None:
    text = html.render(large(3_000), limit=1_500_000)
    assert len(text.encode()) <= 1_500_000
    left = [int(n.replace(",", "")) for n in re.findall(r"and ([\d,]+) more, left out", text)]
    assert left
    assert all(0 < n < 3_000 for n in left)
    parsed(text)


# --- the map ------------------------------------------------------------------------------------


def test_areas_are_in_proportion_and_fill_the_whole() -> None:
    boxes = squarified(
        [6, 6, 4, 3, 2, 2, 1], 6, 4
    )  # the example of the paper: areas are the sizes themselves
    assert [box.width * box.height for box in boxes] == pytest.approx([6, 6, 4, 3, 2, 2, 1])
    assert (boxes[0].width, boxes[0].height) == pytest.approx((3, 2))
    assert (boxes[2].left, boxes[2].top) == pytest.approx((3, 0))
    assert (boxes[2].width, boxes[2].height) == pytest.approx((12 / 7, 7 / 3))


def test_the_map_holds_every_parameter_once() -> None:
    root = treemap(AUDIT)
    assert root is not None
    front, body = root.kids
    assert (front.name, front.count, front.verdict) == ("front", "800", "ml-replaceable")
    assert front.box.width * front.box.height == pytest.approx(10_000 * 800 / 1_200)
    assert body.box.width * body.box.height == pytest.approx(10_000 * 400 / 1_200)
    assert [(kid.name, kid.count) for kid in body.kids] == [("deep", "350"), ("held by itself", "50")]


def test_small_parts_share_one_rectangle() -> None:
    root = treemap(
        replace(
            large(50), modules=(*large(50).modules, replace(AUDIT.modules[1], path="big", own_parameters=999))
        ),
        most=2,
    )
    assert root is not None
    assert [(kid.name, kid.count) for kid in root.kids] == [("big", "999"), ("50 small parts", "500")]


def test_no_parameters_no_map() -> None:
    rows = tuple(replace(row, own_parameters=0) for row in AUDIT.modules)
    assert treemap(replace(AUDIT, modules=rows)) is None
    assert 'class="tree"' not in report.render(replace(AUDIT, modules=rows), "html")


# --- in a browser -------------------------------------------------------------------------------


@dataclass
class Opened:
    """A page in a browser, with what it asked for and complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium on the path")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def open_(record: Any, width: int = 1200, scheme: str = "light", script: bool = True) -> Opened:
        place = tmp_path / "page.html"
        place.write_text(report.render(record, "html"), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        context.route(re.compile("^(?!file:)"), lambda route: route.abort())
        opened.page.goto(place.as_uri())
        return opened

    yield open_
    for context in contexts:
        context.close()


def seen(opened: Opened) -> list[str]:
    """The modules that can be chosen now."""
    caps = opened.page.locator(".tree .cap")
    return [cap.get_attribute("data-path") for cap in caps.all() if cap.is_visible()]


def crumbs(opened: Opened) -> list[str]:
    return list(opened.page.locator(".crumbs button").all_text_contents())


def test_the_map_is_gone_into_and_out_of(show: Any) -> None:
    opened = show(WHOLE)
    assert crumbs(opened) == ["(root)"]
    assert {"front", "body", "front.0"} <= set(seen(opened))
    assert "body.deep.layer" not in seen(opened)  # two levels at a time
    opened.page.click('.cap[data-path="body"]', position={"x": 12, "y": 12})
    assert crumbs(opened) == ["(root)", "body"]
    assert "front" not in seen(opened)
    assert {"body.deep", "body.deep.layer"} <= set(seen(opened))
    whole, part = (opened.page.locator(place).bounding_box() for place in (".tree", ".focus"))
    assert (part["width"], part["height"]) == (whole["width"], whole["height"])
    opened.page.click(".crumbs button >> nth=0")
    opened.page.click('.cap[data-path="body.deep"]')  # one level at a time, wherever it is struck
    assert crumbs(opened) == ["(root)", "body"]
    opened.page.click(".crumbs button >> nth=0")
    assert crumbs(opened) == ["(root)"]
    assert "front" in seen(opened)


def test_the_map_is_used_by_keyboard_alone(show: Any) -> None:
    opened = show(WHOLE)
    opened.page.focus('.cap[data-path="body"]')
    assert opened.page.locator(".about b").text_content() == "body"
    opened.page.keyboard.press("Enter")
    assert crumbs(opened) == ["(root)", "body"]
    assert opened.page.evaluate("document.activeElement.dataset.path") == "body.deep"
    opened.page.keyboard.press("Enter")
    assert crumbs(opened) == ["(root)", "body", "deep"]
    opened.page.keyboard.press("Escape")
    assert crumbs(opened) == ["(root)", "body"]
    assert opened.page.evaluate("document.activeElement.dataset.path") == "body.deep"


def test_tables_sort_by_what_their_cells_mean(show: Any) -> None:
    opened = show(AUDIT)
    table = opened.page.locator("section.table", has_text="Modules").locator("table")

    def column(index: int) -> list[str]:
        return [cell.strip() for cell in table.locator(f"tbody td:nth-child({index})").all_text_contents()]

    before = column(2)
    head = table.locator("th >> nth=1")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(2) == ["1,200", "800", "500", "400", "350", "300"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(2) == ["300", "350", "400", "500", "800", "1,200"]
    assert sorted(before) == sorted(column(2))
    table.locator("th >> nth=0").locator("button").click()
    assert column(1) == ["(root)", "body", "body.deep", "front", "front.0", "front.1"]
    assert table.locator("th[aria-sort]").count() == 1


@pytest.mark.parametrize("record", [WHOLE, hostile()], ids=["report", "hostile"])
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (360, "dark")])
def test_nothing_is_requested_and_nothing_overflows(show: Any, record: Any, width: int, scheme: str) -> None:
    opened = show(record, width, scheme)
    assert len(opened.requests) == 1
    assert opened.requests[0].startswith("file:")
    assert opened.complaints == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", paper)[:3])) < 3 * 128
    assert dark is (scheme == "dark")


def test_without_scripts_the_page_still_shows_everything(show: Any) -> None:
    opened = show(WHOLE, script=False)
    assert opened.page.locator(".tree").is_visible()
    assert opened.page.get_by_text("differs | by [0.31]").first.is_visible()


def test_on_paper_it_is_light_whatever_the_screen(show: Any) -> None:
    opened = show(WHOLE, scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 38)"
