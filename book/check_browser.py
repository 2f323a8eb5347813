"""Every built page in a real browser: python book/check_browser.py [_build/html] [--pages PART]

The system's headless Chromium, driven by Playwright, opens each page at 1280 and 390 pixels, light and
dark, and the address of a page that does not exist. Nothing may be logged as an error, asked from another
host, wider than the window or its column unless it scrolls by itself, unreadable against its ground, or
left unset: equations, pictures and sliders. No code or output may be taller than 900 pixels, and no table
may need scrolling sideways at 1280. Prints a table of pages by modes, leaves screenshots in
_build/screenshots, exits with 1 if any problem was found.
"""

import argparse
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from check_pages import ROOT, public
from playwright.sync_api import Browser, Error, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OFFLINE = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
WIDTHS = {1280: 900, 390: 844}  # height of the window
SCHEMES = ("light", "dark")
PATIENCE = 60  # seconds for a page
TALLEST = 8000  # pixels of a screenshot
MISSING = "no/such/page.html"
SCRIPT = (Path(__file__).parent / "check_browser.js").read_text()


class Handler(SimpleHTTPRequestHandler):
    """The site under the path of its public address, with the host's way of showing 404.html."""

    protocol_version = "HTTP/1.1"
    home = "/"

    def translate_path(self, path: str) -> str:
        """A file of the site; what lies outside of it does not exist."""
        inside = path.startswith(self.home)
        return super().translate_path("/" + path.removeprefix(self.home) if inside else "/.outside")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """404.html in place of the server's own page."""
        body = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        """MathJax is 2 MB: let the browser keep it from page to page."""
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        """Silence."""


def listen(page: Page, origin: str, missing: bool) -> list[str]:
    """A list that fills with what the browser complains of, or asks from elsewhere, as the page is open."""
    found: list[str] = []

    def logged(message: Any) -> None:
        address = message.location.get("url", "")
        if message.type in ("error", "assert") and not (missing and address.endswith(MISSING)):
            found.append(f"logged {message.text[:200]} {address[:120]}")

    def asked(request: Any) -> None:
        if not request.url.startswith((origin, "data:", "blob:")):
            found.append(f"asked for {request.url[:160]}")

    page.on("console", logged)
    page.on("request", asked)
    page.on("pageerror", lambda error: found.append(f"threw {error.name}: {error.message}"[:200]))
    return found


def visit(browser: Browser, origin: str, name: str, width: int, scheme: Any, shots: Path) -> list[str]:
    """The problems of one page in one mode; a screenshot of its first TALLEST pixels goes to `shots`."""
    size = {"width": width, "height": WIDTHS[width]}
    page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page.set_default_timeout(1000 * PATIENCE)
    problems = listen(page, origin, missing=name == MISSING)
    try:
        page.goto(origin + name, wait_until="load")
        problems += page.evaluate(SCRIPT, {"scheme": scheme, "width": width})
        height = page.evaluate("Math.ceil(document.documentElement.scrollHeight)")
        clip: Any = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST)}
        shot = shots / f"{name.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.jpg"
        page.screenshot(path=shot, type="jpeg", quality=60, clip=clip, full_page=True)
    except Error as error:
        problems.append(f"could not be read: {error.message.splitlines()[0]}")
    page.close()
    return problems


def visit_all(
    browser: Browser, origin: str, names: list[str], shots: Path, schemes: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    """The problems of every page by mode, "1280 light" and so on; prints a row as soon as it is known."""
    modes = [(width, scheme) for width in WIDTHS for scheme in schemes]
    column = max(map(len, names))
    print(f"{'page':{column}}  " + "  ".join(f"{w} {s:5}" for w, s in modes), flush=True)
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        row = {f"{w} {s}": visit(browser, origin, name, w, s, shots) for w, s in modes}
        found[name] = row
        marks = (f"{len(problems) or 'ok':<{len(mode)}}" for mode, problems in row.items())
        print(f"{name:{column}}  " + "  ".join(marks), flush=True)
    return found


def check(
    site: Path, names: list[str], browser: str, shots: Path, schemes: Sequence[str] = SCHEMES
) -> dict[str, dict[str, list[str]]]:
    """`visit_all` of these pages of the site in folder `site`, screenshots into `shots`."""
    home = urlsplit(public()[1]).path or "/"
    handler = type("Here", (Handler,), {"home": home})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shots.mkdir(parents=True, exist_ok=True)
    try:
        with sync_playwright() as playwright:
            opened = playwright.chromium.launch(executable_path=browser, args=OFFLINE)
            origin = f"http://127.0.0.1:{server.server_port}{home}"
            return visit_all(opened, origin, names, shots, schemes)
    finally:
        server.shutdown()


def main() -> int:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, nargs="?", default=ROOT / "_build" / "html")
    parser.add_argument("--pages", default="", help="only those with this in their names")
    parser.add_argument(
        "--if-possible",
        action="store_true",
        help="say so and succeed where there is no browser (never on CI)",
    )
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(
            "NOT TESTED: no page was opened in a browser. On Debian and Ubuntu: apt install chromium",
            file=sys.stderr,
        )
        return 0 if options.if_possible and not os.environ.get("CI") else 1
    if not (options.site / "index.html").is_file():
        print(f"{options.site / 'index.html'} does not exist: make book", file=sys.stderr)
        return 1
    redirects = ('http-equiv="refresh"', "http-equiv='refresh'")
    names = [
        path.relative_to(options.site).as_posix()
        for path in sorted(options.site.rglob("*.html"))
        if path.relative_to(options.site).parts[0] not in ("_static", "_sources")
        and not any(text in path.read_text().lower() for text in redirects)
    ] + [MISSING]
    names = [name for name in names if options.pages in name]
    if not names:
        print(f"--pages {options.pages}: no page of {options.site} has that in its name", file=sys.stderr)
        return 1
    began = time.monotonic()
    shots = options.site.parent / "screenshots"
    shutil.rmtree(shots, ignore_errors=True)
    found = check(options.site, names, browser, shots)
    problems = [f"{n} at {m}: {p}" for n, row in found.items() for m, ps in row.items() for p in ps]
    for problem in problems:
        print(problem, file=sys.stderr)
    visits, seconds = sum(len(row) for row in found.values()), time.monotonic() - began
    print(f"{visits} visits of {len(names)} pages in {seconds:.0f} s: {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
