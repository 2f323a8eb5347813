"""What can be wrong with a built page without a browser: python book/check_pages.py [_build/html]

No link or anchor that leads nowhere, within the site or into this repository; nothing that a page would
fetch from elsewhere; every picture with its text, every video with a poster and a label, every slider
labelled and beside a picture that is there without scripts; ids that are unique. Prints each problem, exits
with 1 if any.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

ROOT = Path(__file__).parent.parent
VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
}
FETCHED = {
    "img": ("src",), "script": ("src",), "source": ("src",), "video": ("src", "poster"), "audio": ("src",),
    "iframe": ("src",), "object": ("data",), "embed": ("src",), "input": ("src",), "track": ("src",),
}  # fmt: skip
FETCHING_RELS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest"}
CSS_URL = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")
# Where a page of ours sends the reader into the repository: the path must be a file of it.
INTO_REPOSITORY = re.compile(
    r"https://(?:github\.com/(?P<g>[\w.-]+/[\w.-]+)/(?:blob|edit|tree|raw)"
    r"|raw\.githubusercontent\.com/(?P<r>[\w.-]+/[\w.-]+)"
    r"|colab\.research\.google\.com/github/(?P<c>[\w.-]+/[\w.-]+)/blob)/main/(?P<path>[^?#]+)"
)


class Page(HTMLParser):
    """What a page holds and refers to."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.base = ""
        self.ids: list[str] = []
        self.links: list[str] = []  # where the reader may go
        self.fetched: list[str] = []  # what the browser loads
        self.problems: list[str] = []
        self.title = ""
        self.headings = 0  # of the article; the theme prints another one on paper
        self.redirects = False
        self._open: list[tuple[str, dict[str, str]]] = []
        self._labelled: set[str] = set()
        self._sliders: list[tuple[dict[str, str], dict | None, bool]] = []
        self._pictured: list[dict] = []  # interactive figures with a picture in them
        self.feed(html)
        self.close()
        self._check_sliders()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value or "" for name, value in attrs}
        if tag == "base":
            self.base = a.get("href", "")
        self.ids += [a[name] for name in ("id",) if a.get(name)]
        if tag == "a" and a.get("name"):
            self.ids.append(a["name"])
        if tag in ("a", "area") and a.get("href"):
            self.links.append(a["href"])
        if tag == "link" and FETCHING_RELS & set(a.get("rel", "").split()):
            self.fetched.append(a.get("href", ""))
        if tag == "meta" and a.get("http-equiv", "").lower() == "refresh":
            self.redirects = True
            self.links.append(a["content"].partition("url=")[2])
        self.fetched += [a[name] for name in FETCHED.get(tag, ()) if a.get(name)]
        if "style" in a:
            self.fetched += CSS_URL.findall(a["style"])
        self._check(tag, a)
        figure = self._figure()
        if figure is not None and tag in ("img", "svg"):
            self._pictured.append(figure)
        if tag not in VOID:
            self._open.append((tag, a))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in [name for name, _ in self._open]:
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "title" and not any(t == "svg" for t, _ in self._open):
            self.title += data
        if self._open and self._open[-1][0] == "style":
            self.fetched += CSS_URL.findall(data)

    def _figure(self) -> dict[str, str] | None:
        found = [a for tag, a in self._open if "interactive" in a.get("class", "").split()]
        return found[-1] if found else None

    def _check(self, tag: str, a: dict[str, str]) -> None:
        where = a.get("src") or a.get("id") or a.get("class") or ""
        if tag == "html" and not a.get("lang"):
            self.problems.append("the page does not say its language")
        if tag == "h1" and any(name == "article" for name, _ in self._open):
            self.headings += 1
        if tag == "img" and not described(a.get("alt", "")) and a.get("aria-hidden") != "true":
            self.problems.append(f"picture without alt text: {where[:80]}")
        if tag == "video" and not (a.get("poster") and a.get("aria-label")):
            self.problems.append(f"video without poster or aria-label: {where[:80]}")
        if tag == "iframe" and not a.get("title"):
            self.problems.append(f"frame without title: {where[:80]}")
        if tag == "label" and a.get("for"):
            self._labelled.add(a["for"])
        if tag == "input" and a.get("type") == "range":
            within = any(name == "label" for name, _ in self._open)
            self._sliders.append((a, self._figure(), within))

    def _check_sliders(self) -> None:
        for a, figure, within in self._sliders:
            name = a.get("id") or a.get("class") or "one without id"
            if not (within or a.get("aria-label") or a.get("id") in self._labelled):
                self.problems.append(f"slider without a label: {name}")
            if figure is None:
                self.problems.append(f'slider outside of a <figure class="interactive">: {name}')
            elif not any(figure is other for other in self._pictured):
                self.problems.append(f"interactive figure without a picture when scripts are off: {name}")


def described(alt: str) -> bool:
    """Whether it is a text: where a notebook gives none, its picture's file name stands in."""
    return bool(alt.strip()) and not re.fullmatch(r"\S+\.(png|svg|jpe?g|gif)", alt.strip())


def external(address: str) -> bool:
    """Whether it leads off the site."""
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ftp")


def check_site(site: Path, repository: str, address: str) -> Iterator[str]:
    """Every problem of the site built in the folder `site`; `repository` is owner/name on GitHub, `address`
    the public address of the site. Raises FileNotFoundError if there is no site."""
    files = sorted(
        p for p in site.rglob("*.html") if p.relative_to(site).parts[0] not in ("_static", "_sources")
    )
    if not (site / "index.html").is_file():
        raise FileNotFoundError(f"{site / 'index.html'} does not exist: make book")
    pages = {path.relative_to(site).as_posix(): Page(path.read_text()) for path in files}
    for name, page in pages.items():
        for problem in check_page(name, page, pages, site, repository, address):
            yield f"{name}: {problem}"
    for sheet in sorted(site.rglob("*.css")):
        for target in CSS_URL.findall(sheet.read_text()):
            if external(target):
                yield f"{sheet.relative_to(site)}: fetches {target}"


def check_page(
    name: str, page: Page, pages: dict[str, Page], site: Path, repository: str, address: str
) -> Iterator[str]:
    """The problems of one page among `pages`."""
    yield from page.problems
    if not page.redirects and not page.title.strip():
        yield "no title"
    if page.headings != 1 and not page.redirects and name != "search.html":  # which is the theme's own
        yield f"{page.headings} main headings"
    for doubled, count in Counter(page.ids).items():
        if count > 1:
            yield f"id {doubled!r} stands {count} times"
    for target in page.fetched:
        if external(target):
            yield f"fetches {target}"
        elif (
            not target.startswith(("data:", "blob:", "#"))
            and not resolve(target, name, page, site, address)[0]
        ):
            yield f"fetches {target}, which does not exist"
    for target in page.links:
        yield from check_link(target, name, page, pages, site, repository, address)


def resolve(target: str, name: str, page: Page, site: Path, address: str) -> tuple[str | None, str]:
    """The file within the site that a relative address leads to (None: there is none), and its anchor."""
    home = urlsplit(address).path or "/"
    path, anchor = urldefrag(urljoin(urljoin(home + name, page.base), target))
    if not path.startswith(home):
        return None, anchor
    found = unquote(urlsplit(path).path)[len(home) :]
    if found.endswith("/") or not found:
        found += "index.html"
    return (found if (site / found).is_file() else None), unquote(anchor)


def check_link(
    target: str, name: str, page: Page, pages: dict[str, Page], site: Path, repository: str, address: str
) -> Iterator[str]:
    """The problem with a link, if there is one."""
    if into := INTO_REPOSITORY.match(target):
        owner = into["g"] or into["r"] or into["c"]
        if owner == repository and not (ROOT / unquote(into["path"])).exists():
            yield f"leads to {into['path']}, which is no file of the repository"
        return
    if external(target) or urlsplit(target).scheme in ("mailto", "data", "javascript"):
        return
    found, anchor = resolve(target, name, page, site, address)
    if found is None:
        yield f"leads to {target}, which does not exist"
    elif anchor and found in pages and anchor not in pages[found].ids:
        yield f"leads to {target}, where no such anchor is"


def public() -> tuple[str, str]:
    """owner/name of the repository and the site's address, from _config.yml."""
    import yaml

    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    return config["repository"]["url"].removeprefix("https://github.com/"), config["html"]["baseurl"]


def main() -> int:
    """Prints the problems and how many pages were read."""
    site = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "_build" / "html"
    problems = list(check_site(site, *public()))
    for problem in problems:
        print(problem, file=sys.stderr)
    pages = len(list(site.rglob("*.html")))
    print(f"{pages} pages read: " + (f"{len(problems)} problems" if problems else "no problem"))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
