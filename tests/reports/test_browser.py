"""The pages in a real Chromium: two widths, dark mode, paper, keyboard, and no complaint."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader

from reports.site import write_site
from tests.browser import browser, file_url
from tests.reports import sample

pytestmark = pytest.mark.xdist_group("chromium")
LONG = "Unbreakable" * 30


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    out = tmp_path_factory.mktemp("site")
    from tests.reports.test_health_page import health_report, sick
    from tests.reports.test_hostile import hostile

    written = write_site(out, replace(sample.site(), health=health_report(sick())))

    strange = write_site(
        tmp_path_factory.mktemp("strange"), replace(hostile(LONG), health=health_report(sick(LONG)))
    )
    return [path for path in (*written, *strange) if path.suffix == ".html"]


@pytest.mark.parametrize("width", [1280, 700, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_and_nobody_complains(pages: list[Path], width: int, scheme: str) -> None:
    with browser(width, scheme=scheme) as context:  # type: ignore[arg-type]
        tab = context.new_page()
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: said.append(request.url)
               if not request.url.startswith(("file:", "data:")) else None)  # fmt: skip
        for page in pages:
            tab.goto(file_url(page))
            wide = tab.evaluate("document.scrollingElement.scrollWidth")
            assert wide <= width, page.name
            assert said == [], page.name
            shown = tab.evaluate(
                "[...document.querySelectorAll('svg[role=img]')]"
                ".filter(s => getComputedStyle(s).display !== 'none').map(s => s.classList[0])"
            )
            assert set(shown) <= {"narrow" if width <= 640 else "wide"}, page.name


def test_colours_follow_the_reader(pages: list[Path]) -> None:
    def paper(scheme: str) -> str:
        with browser(scheme=scheme) as context:  # type: ignore[arg-type]
            tab = context.new_page()
            tab.goto(file_url(pages[-1]))
            return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert paper("light") == "rgb(255, 254, 251)"
    assert paper("dark") == "rgb(20, 24, 26)"


def test_labels_stay_inside_their_drawing(pages: list[Path]) -> None:
    """Estimated text widths hold in the fonts of this machine: no label leaves its picture."""
    script = """() => [...document.querySelectorAll('svg[role=img]')]
        .filter(s => getComputedStyle(s).display !== 'none')
        .flatMap(s => [...s.querySelectorAll('text')].map(t => [t.textContent, t.getBBox(), s]))
        .filter(([, b, s]) => b.x < -3 || b.x + b.width > s.viewBox.baseVal.width + 3)
        .map(([text]) => text)"""
    for width in (1280, 400):
        with browser(width) as context:
            tab = context.new_page()
            for page in pages:
                tab.goto(file_url(page))
                assert tab.evaluate(script) == [], page.name


def test_contrast_of_text(pages: list[Path]) -> None:
    """WCAG 2.1, 1.4.3: at least 4.5 to 1 for every text on its background, in both schemes."""
    script = """() => {
      const parse = c => c.match(/[\\d.]+/g).map(Number);
      const lum = c => { const [r, g, b] = parse(c).slice(0, 3).map(v => { v /= 255;
        return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const ground = e => { for (; e; e = e.parentElement) {
        const c = getComputedStyle(e).backgroundColor; if (parse(c)[3] !== 0) return c; }
        return 'rgb(255,255,255)'; };
      const bad = [];
      for (const e of document.querySelectorAll('body *')) {
        if (['title', 'desc'].includes(e.tagName)) continue;
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const s = getComputedStyle(e); if (e.closest('svg')
          ? getComputedStyle(e.closest('svg')).display === 'none' : !e.offsetParent) continue;
        const ink = e.closest('svg') ? s.fill : s.color; if (parse(ink)[3] === 0) continue;
        const [a, b] = [lum(ink), lum(ground(e))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) bad.push([e.textContent.slice(0, 40), ink]);
      } return bad; }"""
    for scheme in ("light", "dark"):
        with browser(scheme=scheme) as context:  # type: ignore[arg-type]
            tab = context.new_page()
            for page in pages:
                tab.goto(file_url(page))
                assert tab.evaluate(script) == [], (page.name, scheme)


def test_the_keyboard_reaches_the_report(pages: list[Path]) -> None:
    page = next(path for path in pages if path.name == "experiment-win-back-2025.html")
    with browser() as context:
        tab = context.new_page()
        tab.goto(file_url(page))
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        tab.keyboard.press("Enter")
        assert tab.evaluate("location.hash") == "#main"
        tab.locator("details.twin summary").first.focus()
        tab.keyboard.press("Enter")
        assert tab.locator("details.twin[open] table").first.is_visible()


def test_pages_print_on_a4_with_page_numbers(pages: list[Path]) -> None:
    with browser() as context:
        tab = context.new_page()
        for page in pages:
            tab.goto(file_url(page))
            document = PdfReader(BytesIO(tab.pdf(prefer_css_page_size=True)))
            size = document.pages[0].mediabox
            assert (round(size.width), round(size.height)) == (595, 842)
            last = len(document.pages)
            assert f"{last} / {last}" in document.pages[-1].extract_text()
            assert 1 <= last <= 12
