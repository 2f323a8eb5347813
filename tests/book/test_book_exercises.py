"""The solutions of book/exercises.md run and hold, each on the page's workbench."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "exercises.md").read_text()
TITLES = re.findall(r"^### (.*)$", PAGE, flags=re.MULTILINE)
PARTS = re.split(r"^### .*$", PAGE, flags=re.MULTILINE)


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


[WORKBENCH] = [code for code in blocks(PAGE) if "def walk" in code]
CODED = {
    title: code for title, part in zip(TITLES, PARTS[1:]) for code in blocks(part) if code != WORKBENCH
}


def test_exercises_are_numbered_and_each_has_one_solution():
    assert [int(t.split(".")[0]) for t in TITLES] == list(range(1, len(TITLES) + 1))
    assert all(part.count("{dropdown} Solution\n") == 1 for part in PARTS[1:])
    assert len(CODED) == len(blocks(PAGE)) - 1


def test_each_exercise_is_linked_from_the_text_that_it_links_to():
    pages = [p.read_text() for p in (ROOT / "book").rglob("*.md") if p.name != "exercises.md"]
    for title, part in zip(TITLES, PARTS[1:]):
        number = title.split(".")[0]
        [label] = re.findall(r"^\*To \{ref\}`([\w-]+)`\.\*$", part, flags=re.MULTILINE)
        [page] = [text for text in pages if f"({label})=" in text]
        assert f"<ex-{number}>`" in page, (title, label)


@pytest.mark.parametrize("title", CODED)
def test_the_solution_holds(title, monkeypatch):
    monkeypatch.chdir(ROOT)
    names: dict = {"__name__": "solution"}
    exec(compile(WORKBENCH, "workbench", "exec"), names)
    exec(compile(CODED[title], title, "exec"), names)
