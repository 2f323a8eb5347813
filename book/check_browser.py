"""Every built page in a real browser: python book/check_browser.py [_build/html] [--pages PART]

Headless Chromium, driven by its own protocol, opens each page at 1280 and 390 pixels, light and dark, and
the address of a page that does not exist. Nothing may be logged as an error, asked from another host, wider
than a phone, cut off, unreadable against its ground, or left unset: equations, pictures, sliders. Prints a
table of pages by modes, leaves screenshots in _build/screenshots, exits with 1 if anything was found.
"""

import argparse
import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from check_pages import ROOT, public
from tornado.websocket import WebSocketClientConnection, websocket_connect

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
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


class Tab:
    """One page of the browser: commands out, answers and events in."""

    def __init__(self, socket: WebSocketClientConnection):
        self.socket = socket
        self.answers: dict[int, asyncio.Future] = {}
        self.events: list[dict[str, Any]] = []
        self.loaded = asyncio.Event()
        self.count = 0
        self.reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while (text := await self.socket.read_message()) is not None:
            message = json.loads(text)
            if "id" in message:
                self.answers.pop(message["id"]).set_result(message)
            else:
                self.events.append(message)
                if message["method"] == "Page.loadEventFired":
                    self.loaded.set()

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command. RuntimeError where the browser refuses it."""
        self.count += 1
        self.answers[self.count] = answer = asyncio.get_running_loop().create_future()
        await self.socket.write_message(
            json.dumps({"id": self.count, "method": method, "params": parameters})
        )
        message = await asyncio.wait_for(answer, PATIENCE)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    async def evaluate(self, expression: str) -> Any:
        """The value that a (promised) expression has in the page. RuntimeError where it throws."""
        result = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(
                result["exceptionDetails"].get("exception", {}).get("description", "it threw")
            )
        return result["result"].get("value")

    async def open(self, url: str) -> None:
        """Navigate and wait for the load event."""
        self.events.clear()
        self.loaded.clear()
        await self.send("Page.navigate", url=url)
        await asyncio.wait_for(self.loaded.wait(), PATIENCE)


def heard(events: Iterable[dict[str, Any]], origin: str, missing: bool) -> list[str]:
    """What the browser complained of or asked from elsewhere while a page was open."""
    found = []
    for event in events:
        p = event["params"]
        match event["method"]:
            case "Runtime.exceptionThrown":
                details = p["exceptionDetails"]
                found.append(
                    "threw " + details.get("exception", {}).get("description", details["text"])[:200]
                )
            case "Runtime.consoleAPICalled" if p["type"] in ("error", "assert"):
                said = " ".join(str(a.get("value", a.get("description", ""))) for a in p["args"])
                found.append(f"logged {said[:200]}")
            case "Log.entryAdded" if p["entry"]["level"] == "error":
                if not (missing and p["entry"].get("url", "").endswith(MISSING)):
                    found.append(f"logged {p['entry']['text'][:160]} {p['entry'].get('url', '')[:120]}")
            case "Network.requestWillBeSent":
                url = p["request"]["url"]
                if not url.startswith((origin, "data:", "blob:")):
                    found.append(f"asked for {url[:160]}")
    return found


async def visit(tab: Tab, origin: str, name: str, width: int, scheme: str, shots: Path) -> list[str]:
    """The problems of one page in one mode."""
    await tab.send(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=WIDTHS[width], deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    await tab.send(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    try:
        await tab.open(origin + name)
        problems = await tab.evaluate(f"({SCRIPT})({json.dumps({'scheme': scheme, 'width': width})})")
    except (TimeoutError, RuntimeError) as error:
        problems = [f"could not be read: {error or f'not loaded within {PATIENCE} s'}"]
    problems += heard(tab.events, origin, missing=name == MISSING)
    await shoot(tab, shots / f"{name.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.jpg", width)
    return problems


async def shoot(tab: Tab, path: Path, width: int) -> None:
    """The whole page, or its first TALLEST pixels."""
    height = await tab.evaluate("Math.ceil(document.documentElement.scrollHeight)")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST), "scale": 1}
    image = await tab.send(
        "Page.captureScreenshot", format="jpeg", quality=60, clip=clip, captureBeyondViewport=True
    )
    path.write_bytes(base64.b64decode(image["data"]))


async def visit_all(
    port: int, origin: str, names: list[str], shots: Path, schemes: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    """The problems of every page by mode, "1280 light" and so on; prints a row as soon as it is known."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        [target] = [t for t in json.load(answer) if t["type"] == "page"]
    tab = Tab(await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=1 << 28))
    for domain in ("Page", "Runtime", "Log", "Network"):
        await tab.send(f"{domain}.enable")
    modes = [(width, scheme) for width in WIDTHS for scheme in schemes]
    column = max(map(len, names))
    print(f"{'page':{column}}  " + "  ".join(f"{w} {s:5}" for w, s in modes), flush=True)
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        row = {f"{w} {s}": await visit(tab, origin, name, w, s, shots) for w, s in modes}
        found[name] = row
        cells = (f"{len(problems) or 'ok':<{len(mode)}}" for mode, problems in row.items())
        print(f"{name:{column}}  " + "  ".join(cells), flush=True)
    return found


def start(browser: str, profile: Path) -> tuple[subprocess.Popen, int]:
    """The browser and the port that it listens on. TimeoutError if it does not come up."""
    process = subprocess.Popen(
        [browser, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}",
         "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    said = profile / "DevToolsActivePort"
    for _ in range(10 * PATIENCE):
        if said.exists() and said.read_text().strip():
            return process, int(said.read_text().split()[0])
        time.sleep(0.1)
    process.kill()
    raise TimeoutError(f"{browser} did not come up within {PATIENCE} s")


def check(
    site: Path, names: list[str], browser: str, shots: Path, schemes: Sequence[str] = SCHEMES
) -> dict[str, dict[str, list[str]]]:
    """`visit_all` of these pages of the site in folder `site`, screenshots into `shots`."""
    home = urlsplit(public()[1]).path or "/"
    handler = type("Here", (Handler,), {"home": home})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process, port = start(browser, Path(profile))
        try:
            origin = f"http://127.0.0.1:{server.server_port}{home}"
            return asyncio.run(visit_all(port, origin, names, shots, schemes))
        finally:
            process.terminate()
            process.wait()
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
