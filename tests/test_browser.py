"""The report and the documentation site, served and read in a headless Chromium.

They need Chromium, playwright and axe (`pip install '.[browser]'`), and the pages of the site need `make docs`.
"""

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from test_compare_report import comparison, html, of_300  # noqa: F401 - fixtures

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = pytest.mark.browser

SITE = Path(__file__).parents[1] / "build" / "docs"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_static" not in path.parts)
THEMES = ("light", "dark")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests are not printed."""


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    """Serves folders, each at an address of its own."""
    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the system, or the one that `playwright install chromium` brought."""
    with playwright.sync_playwright() as start:
        own = start.chromium.executable_path
        path = shutil.which("chromium") or shutil.which("google-chrome") or (own if Path(own).exists() else None)
        if path is None:
            pytest.skip("no Chromium: install it, or run `playwright install chromium`")
        running = start.chromium.launch(executable_path=path)
        yield running
        running.close()


class Visit:
    """A page in a window, with everything that went wrong while it was loaded."""

    def __init__(self, browser: Any, address: str, theme: str = "light", size: dict[str, int] = DESKTOP) -> None:
        self.context = browser.new_context(color_scheme=theme, viewport=size, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("response", lambda r: self.problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        here = urlsplit(address).netloc
        self.page.on("request", lambda r: self._only(here, r.url))
        self.page.goto(address, wait_until="load")

    def _only(self, here: str, url: str) -> None:
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != here:
            self.problems.append(f"asks {url}")

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def headings(self) -> list[int]:
        """Levels of the headings, in their order."""
        headings = "h1, h2, h3, h4, h5, h6"
        found: list[int] = self.page.eval_on_selector_all(headings, "all => all.map(h => +h.tagName[1])")
        return found

    def broken_pictures(self) -> list[str]:
        """Addresses of pictures that have no pixels."""
        # Pictures below the window are loaded when they are scrolled to.
        self.page.eval_on_selector_all("img", "all => all.forEach(i => { i.loading = 'eager' })")
        self.page.wait_for_function("[...document.images].every(i => i.complete)")
        broken: list[str] = self.page.eval_on_selector_all(
            "img", "all => all.filter(i => !i.naturalWidth).map(i => i.src)"
        )
        return broken

    def violations(self) -> list[str]:
        """What axe finds wrong, with the elements."""
        # Without preload axe does not fetch style sheets again, at addresses that are wrong for imported ones.
        response = axe.Axe().run(self.page, options={"preload": False}).response["violations"]
        return [
            f"{one['id']}: {one['help']}: " + "; ".join(node["html"][:160] for node in one["nodes"][:4])
            for one in response
        ]

    def width_of_content(self) -> int:
        width: int = self.page.evaluate("document.documentElement.scrollWidth")
        return width

    def links(self) -> set[str]:
        """Addresses on this server that the page links to."""
        found = self.page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
        here = urljoin(self.page.url, "/")
        return {link for link in found if link.startswith(here)}


def in_order(levels: list[int]) -> bool:
    """Whether one heading of level 1 comes first, and no level is skipped on the way down."""
    steps = pairwise(levels)
    return levels[:1] == [1] and levels.count(1) == 1 and all(later <= earlier + 1 for earlier, later in steps)


@pytest.fixture(scope="module")
def report(html: str, serve: Any, tmp_path_factory: pytest.TempPathFactory) -> str:  # noqa: F811
    folder = tmp_path_factory.mktemp("served")
    (folder / "report.html").write_text(html, encoding="utf-8")
    # Browsers ask for it; without one a 404 would stand in the console.
    (folder / "favicon.ico").touch()
    return serve(folder) + "report.html"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_report_is_accessible(browser: Any, report: str, theme: str, size: dict[str, int]) -> None:
    with Visit(browser, report, theme, size) as visit:
        visit.page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true })")
        assert visit.violations() == []
        assert visit.problems == []
        assert in_order(visit.headings())
        assert visit.broken_pictures() == []
        # Wide tables and figures scroll inside their frames; the page does not scroll sideways.
        assert visit.width_of_content() <= size["width"]


def test_every_section_of_the_report_can_be_reached_and_tables_can_be_sorted(browser: Any, report: str) -> None:
    with Visit(browser, report) as visit:
        anchors = [link for link in visit.links() if "#" in link]
        assert len(anchors) >= 5
        for anchor in anchors:
            assert visit.page.locator("#" + anchor.partition("#")[2]).count() == 1, anchor
        first = "table.sortable tbody tr:first-child td:first-child"
        visit.page.click("table.sortable th:nth-child(1) button")
        ascending = visit.page.inner_text(first)
        visit.page.click("table.sortable th:nth-child(1) button")
        assert visit.page.inner_text(first) > ascending
        assert visit.problems == []


def test_the_report_of_300_members_is_drawn(browser: Any, of_300: Any, serve: Any) -> None:  # noqa: F811
    folder, _ = of_300
    (folder / "favicon.ico").touch()
    with Visit(browser, serve(folder) + "report.html") as visit:
        assert visit.problems == []
        assert in_order(visit.headings())
        assert visit.width_of_content() <= DESKTOP["width"]
        assert visit.violations() == []


def test_the_printed_report_fits_a_sheet_of_paper(browser: Any, report: str) -> None:
    # A4 with margins of 15 mm is 680 pixels wide.
    with Visit(browser, report, size={"width": 680, "height": 960}) as visit:
        visit.page.emulate_media(media="print")
        assert visit.width_of_content() <= 680
        heads = visit.page.eval_on_selector_all("table.sortable th", "all => all.filter(h => h.offsetWidth).length")
        assert 5 <= heads <= 9


@pytest.fixture(scope="module")
def site(serve: Any) -> str:
    if not (SITE / "index.html").exists():
        pytest.skip("the documentation is not built: run `make docs`")
    return serve(SITE)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("theme", THEMES)
def test_a_page_of_the_site_is_accessible(browser: Any, site: str, theme: str, page: str) -> None:
    with Visit(browser, site + page, theme) as visit:
        assert visit.violations() == []
        assert visit.problems == []
        assert in_order(visit.headings())
        assert visit.broken_pictures() == []


def test_every_link_of_the_site_leads_to_a_page_and_a_heading(browser: Any, site: str) -> None:
    linked: dict[str, set[str]] = {}
    for page in PAGES:
        with Visit(browser, site + page) as visit:
            for link in visit.links():
                linked.setdefault(link, set()).add(page)
    assert len(linked) > len(PAGES)
    by_page: dict[str, set[str]] = {}
    for link in linked:
        address, _, anchor = link.partition("#")
        by_page.setdefault(address, set()).add(anchor)
    missing = []
    for address, anchors in by_page.items():
        path = SITE / (urlsplit(address).path.lstrip("/") or "index.html")
        text = path.read_text(encoding="utf-8") if path.suffix == ".html" and path.exists() else ""
        for anchor in anchors:
            link = f"{address}#{anchor}" if anchor else address
            if not path.exists() or (anchor and f'id="{anchor}"' not in text):
                missing.append(f"{link} from {sorted(linked[link])[:3]}")
    assert missing == []


def test_the_site_answers_a_search(browser: Any, site: str) -> None:
    with Visit(browser, site + "search.html?q=temperature") as visit:
        visit.page.wait_for_selector("#search-results li")
        assert visit.page.locator("#search-results li").count() >= 3
        assert visit.problems == []
