"""Two pages that no chapter is: 404.html, and redirects from addresses that were.

`site_redirects` in _config.yml maps an old page to a page of the book (names without .html).
"""

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
MISSING = """
<section id="not-found">
<h1>This page does not exist</h1>
<p>It may have moved. <a href="book/index.html">The first page</a> lists every chapter, and
<a href="search.html">the search</a> reads them all.</p>
</section>
"""
MOVED = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Moved</title>
<meta http-equiv="refresh" content="0; url={to}"><link rel="canonical" href="{to}"></head>
<body><p>This page has moved to <a href="{to}">{to}</a>.</p></body></html>
"""


def not_found(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The page that the host shows for any address that is none, in the book's own dress."""
    yield "404", {"title": "Page not found", "body": MISSING}, "page.html"


def finish(app: Sphinx, error: Exception | None) -> None:
    """404.html is shown at any depth, so its links start from the site's root; then the redirects."""
    if error or app.builder.format != "html":
        return
    out = Path(app.outdir)
    page = out / "404.html"
    root = urlsplit(app.config.html_baseurl).path or "/"
    page.write_text(page.read_text().replace("<head>", f'<head>\n    <base href="{root}404.html">', 1))
    for old, new in app.config.site_redirects.items():
        target = out / f"{old}.html"
        if new not in app.env.found_docs:
            logger.warning(f"site_redirects: {old} leads to {new}, which is no page of the book")
        elif target.exists() and old in app.env.found_docs:
            logger.warning(f"site_redirects: {old} is itself a page of the book")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            to = posixpath.relpath(f"{new}.html", posixpath.dirname(old) or ".")
            target.write_text(MOVED.format(to=to))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the setting and both steps."""
    app.add_config_value("site_redirects", {}, "html", dict)
    app.connect("html-collect-pages", not_found)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
