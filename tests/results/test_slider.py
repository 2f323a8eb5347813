"""The slider is one piece of HTML that shows one picture at a time and needs nothing else."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from rdlib.results.slider import Slider, svg

PICTURES = ["<svg>a</svg>", '<svg style="fill: #fff">100% &amp; π</svg>', "<svg>c</svg>"]
LABELS = ["after 0 updates", 'after "1"', "after <2>"]


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict]:
        return [attrs for tag, attrs in self.found if tag == name]


def test_one_picture_shows_and_all_have_names():
    tags = Tags(Slider(PICTURES, LABELS, "Q & A", at=1)._repr_html_())
    images = tags.of("img")
    assert ["block" in x["style"] for x in images] == [False, True, False]
    assert [x["alt"] for x in images] == [f"Q & A: {label}" for label in LABELS]
    assert [x["data-label"] for x in images] == LABELS
    texts = [unquote(x["src"].partition("svg+xml,")[2]) for x in images]
    assert texts == PICTURES
    [slider] = tags.of("input")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "1")
    assert slider["aria-label"] == "Q & A" and slider["aria-valuetext"] == LABELS[1]
    [figure] = tags.of("figure")
    assert figure["class"] == "interactive"


def test_nothing_comes_from_elsewhere():
    text = Slider(PICTURES, LABELS, "Q")._repr_html_()
    assert "#" not in text  # in an address it would begin a fragment, and the picture would end there
    tags = Tags(text)
    assert not tags.of("script") and not tags.of("link")
    assert not re.search(r"https?:", text)
    assert not [attrs for _, attrs in tags.found if "id" in attrs]  # two on one page do not collide


@pytest.mark.parametrize(
    ("pictures", "labels", "at", "message"),
    [([], [], 0, "0 pictures"), (PICTURES, LABELS[:2], 0, "3 pictures and 2 labels"),
     (PICTURES, LABELS, 3, "at = 3, expected 0 to 2"), (PICTURES, LABELS, -1, "at = -1")],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(pictures, labels, at, message):
    with pytest.raises(ValueError, match=message):
        Slider(pictures, labels, "Q", at)


def test_a_figure_becomes_text_that_is_the_same_again():
    def picture() -> str:
        figure, axes = plt.subplots()
        axes.plot([0, 1], [0, 1], label="Q")
        axes.legend()
        return svg(figure)

    before = len(plt.get_fignums())
    first = picture()
    assert first == picture() and len(plt.get_fignums()) == before
    assert re.search(r">\s*Q\s*</text>", first)  # not drawn letter by letter
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert not re.search(r"\.\d{3}", first) and "metadata" not in first
