"""The checks of the built book find what is wrong: each fault is planted once."""

import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers.extras import needed

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import check_pages  # noqa: E402

ADDRESS = "https://owner.github.io/name/"
PAGE = """<!DOCTYPE html><html lang="en" data-theme="light"><head><title>Page</title>
<link rel="stylesheet" href="style.css"><link rel="icon" href="data:,"></head>
<body><article class="bd-article"><h1 id="top">Page</h1>{}</article></body></html>"""


def problems(tmp_path, body, style="", **pages):
    """Of a site with this body on its first page."""
    (tmp_path / "style.css").write_text(style)
    (tmp_path / "there.png").write_bytes(b"")
    for name, text in {"index": body, "other": "<p id='here'></p>", **pages}.items():
        (tmp_path / f"{name}.html").write_text(PAGE.format(text))
    return list(check_pages.check_site(tmp_path, "owner/name", ADDRESS))


SLIDER = '<label>λ <input type="range" id="s"></label>'
SOUND = f"""<a href="other.html#here">x</a> <a href="#top">x</a> <a href="/name/other.html">x</a>
<a href="https://example.org/elsewhere">x</a> <a href="mailto:a@example.org">x</a>
<a href="https://github.com/owner/name/blob/main/README.md">x</a>
<a href="https://github.com/somebody/else/blob/main/absent.md">x</a>
<img src="there.png" alt="Two curves"> <img src="data:image/png;base64,AAAA" alt="A dot">
<video src="data:video/mp4;base64,AAAA" poster="there.png" aria-label="Hopper hops"></video>
<figure class="interactive">{SLIDER}<img src="there.png" alt="Two curves"></figure>"""


def test_a_sound_page_has_no_problem(tmp_path):
    assert problems(tmp_path, SOUND) == []


@pytest.mark.parametrize(
    "body, expected",
    [
        ('<a href="absent.html">x</a>', "leads to absent.html, which does not exist"),
        ('<a href="other.html#gone">x</a>', "leads to other.html#gone, where no such anchor is"),
        ('<a href="#gone">x</a>', "leads to #gone, where no such anchor is"),
        ('<a href="/elsewhere/other.html">x</a>', "leads to /elsewhere/other.html, which does not exist"),
        ('<a href="https://github.com/owner/name/edit/main/gone.md">x</a>', "gone.md, which is no file"),
        (
            '<a href="https://colab.research.google.com/github/owner/name/blob/main/gone.ipynb">x</a>',
            "gone.ipynb, which is no file",
        ),
        ('<img src="there.png">', "picture without alt text: there.png"),
        ('<img src="there.png" alt="../_images/0f.png">', "picture without alt text: there.png"),
        ('<img src="gone.png" alt="Two curves">', "fetches gone.png, which does not exist"),
        ('<img src="https://example.org/a.png" alt="A">', "fetches https://example.org/a.png"),
        ('<script src="//example.org/a.js"></script>', "fetches //example.org/a.js"),
        ('<p style="background: url(https://example.org/a.png)"></p>', "fetches https://example.org/a.png"),
        ("<style>@import 'https://example.org/a.css';</style>", "fetches https://example.org/a.css"),
        ('<iframe src="other.html"></iframe>', "frame without title: other.html"),
        ('<video src="there.png" poster="there.png"></video>', "video without poster or aria-label"),
        ('<video src="there.png" aria-label="Hopper hops"></video>', "video without poster or aria-label"),
        ('<p id="a"></p><p id="a"></p>', "id 'a' stands 2 times"),
        ("<h1>Again</h1>", "2 main headings"),
        (SLIDER, "slider outside of a <figure"),
        (f'<figure class="interactive">{SLIDER}</figure>', "without a picture when scripts are off: s"),
        (
            '<figure class="interactive"><input type="range" id="s"><svg></svg></figure>',
            "slider without a label: s",
        ),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(tmp_path, body, expected):
    [found] = problems(tmp_path, body)
    assert found.startswith("index.html: ") and expected in found


def test_style_sheets_are_read(tmp_path):
    [found] = problems(tmp_path, "", style="a { background: url('https://example.org/b.png') }")
    assert found == "style.css: fetches https://example.org/b.png"


def test_a_base_moves_where_links_lead(tmp_path):
    """404.html is shown at any depth; its links start from its base."""
    (tmp_path / "deep").mkdir()
    body = '<a href="other.html">x</a>'
    page = PAGE.format(body).replace("<head>", '<head><base href="/name/404.html">')
    (tmp_path / "deep" / "404.html").write_text(page)
    assert problems(tmp_path, "") == []


def test_no_site_is_no_success(tmp_path):
    with pytest.raises(FileNotFoundError, match="make book"):
        list(check_pages.check_site(tmp_path, "owner/name", ADDRESS))


FAULTS = {
    "logged oops": "<script>console.error('oops')</script>",
    "threw ReferenceError": "<script>absent()</script>",
    "asked for http://example.org/a.png": '<img src="http://example.org/a.png" alt="A">',
    "picture has not come": '<img src="there.png" alt="A">',
    "px wider than the window": '<p style="width: 2000px">wide</p>',
    "runs out of its column": '<div style="overflow: hidden"><p style="width: 2000px">wide</p></div>',
    "hard to read": '<p style="color: #ddd">faint</p>',
    "there is mathematics and no MathJax": '<span class="math">x</span>',
    "1 of 1 equations are not set": "",
    "slider moves nothing": f'<figure class="interactive">{SLIDER}<svg></svg></figure>',
    "slider outside of an interactive figure": SLIDER,
    "shown dark, asked for light": "<script>document.documentElement.dataset.theme = 'dark'</script>",
}


@pytest.fixture
def check_browser():
    """The checks in a browser, where there is one."""
    needed("playwright")
    import check_browser

    if not any(map(shutil.which, check_browser.BROWSERS)):
        pytest.skip("NOT TESTED, no Chromium: what a browser finds wrong")
    return check_browser


# A page each: what is said of it at 1280 pixels, and at 390.
COLUMN = '<article class="bd-article" style="width: 300px"><p style="width: {}px">x</p></article>'
TALL = '<div class="cell_output"><div style="height: {}px; {}">x</div></div>'
WIDE = '<div style="overflow-x: auto"><table style="width: {}px"><tr><td>x</td></tr></table></div>'
LAYOUT = {
    "column": (COLUMN.format(330), "runs out of its column", "runs out of its column"),
    "output": (TALL.format(901, ""), "901 px tall, more than 900", "901 px tall, more than 900"),
    "code": (f"<pre>{'x<br>' * 99}</pre>", "px tall, more than 900", "px tall, more than 900"),
    "table": (WIDE.format(1400), "table scrolls sideways, by", None),
    "sound": (COLUMN.format(300) + TALL.format(900, "") + WIDE.format(900), None, None),
}


def test_a_browser_finds_what_is_too_wide_or_too_tall(check_browser, tmp_path):
    page = PAGE.replace('<article class="bd-article">', "<main>").replace("</article>", "</main>")
    (tmp_path / "style.css").touch()
    for name, (body, *_) in LAYOUT.items():
        (tmp_path / f"{name}.html").write_text(page.format(body))
    pages = [f"{name}.html" for name in LAYOUT]
    browser = next(filter(None, map(shutil.which, check_browser.BROWSERS)))
    found = check_browser.check(tmp_path, pages, browser, tmp_path / "shots", schemes=("light",))
    for name, (_, *expected) in LAYOUT.items():
        for said, words in zip(found[f"{name}.html"].values(), expected, strict=True):
            assert len(said) == (words is not None) and all(words in problem for problem in said), name


def test_a_browser_finds_planted_faults(check_browser, tmp_path):
    """One sound page, one with every fault; the address of none shows 404.html."""
    site = tmp_path / "site"
    site.mkdir()
    turn = "oninput=\"this.closest('figure').querySelector('circle').setAttribute('r', this.value)\""
    works = SLIDER.replace("<input", f"<input {turn}")
    sound = f'<p>fine</p><figure class="interactive">{works}<svg><circle r="50"/></svg></figure>'
    problems(site, "", sound=sound, faulty="".join(FAULTS.values()))
    home = urlsplit(check_pages.public()[1]).path
    missing = PAGE.format("<p>not here</p>").replace("<head>", f'<head><base href="{home}404.html">')
    (site / "404.html").write_text(missing)
    pages = ["sound.html", "faulty.html", check_browser.MISSING]
    browser = next(filter(None, map(shutil.which, check_browser.BROWSERS)))
    found = check_browser.check(site, pages, browser, tmp_path / "shots", schemes=("light",))
    assert found["sound.html"] == found[check_browser.MISSING] == {"1280 light": [], "390 light": []}
    for mode, said in found["faulty.html"].items():
        for expected in FAULTS:
            assert any(expected in problem for problem in said), (expected, mode, said)
    assert len(list((tmp_path / "shots").iterdir())) == 2 * len(pages)


def test_no_page_of_that_name_is_said(check_browser, tmp_path, monkeypatch, capsys):
    problems(tmp_path, "")
    monkeypatch.setattr(sys, "argv", ["check_browser.py", str(tmp_path), "--pages", "nosuch"])
    assert check_browser.main() == 1
    assert f"--pages nosuch: no page of {tmp_path} has that in its name" in capsys.readouterr().err
