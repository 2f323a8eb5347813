"""The check of prose finds each fault where it is, and passes what MyST, notebooks and code may hold."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book"))
import check_prose  # noqa: E402

LONG = " ".join(["word"] * 31)
SOUND = """---
title: a front matter. With two sentences.
---
(sec-page)=
# A heading

RD pulls {record}`a/b with many words. And more` towards 0, e.g. with $a. B$ and `x. Y`.
It is by Kumar et al. (2022), and [a link. Of two](../there.md) is text.

- *Values*: an item
- An item of two lines.
  Its second sentence.

Term
: A definition.
  Another sentence.

    an indented line of code. And another.

| a table. With | sentences. In cells. |
|---|---|

```python
x = 1  # a comment. Of two sentences.
```

````{note}
:class: an option. Of two

A note.
````

```{math}
:label: eq-one
a. B. C
```

$$
a. B. C
$$

<!-- A comment. Of two. -->
![A picture. Of two sentences.](there.svg)
"""


def faults(page):
    return list(check_prose.sentences(page))


def test_a_sound_page_has_no_fault():
    assert faults(SOUND.replace("[a link. Of two]", "[a link]")) == []


@pytest.mark.parametrize(
    "page, line, fault",
    [
        (f"Short.\n{LONG}.", 2, "a sentence of 31 words"),
        (f"Word\n{LONG}.", 1, "a sentence of 32 words"),
        (f"- an item\n- {LONG}", 2, "a sentence of 31 words"),
        (f"# {LONG}", 1, "a sentence of 31 words"),
        (f"```{{note}}\n{LONG}.\n```", 2, "a sentence of 31 words"),
        (f"Term\n: {LONG}.", 2, "a sentence of 31 words"),
        ("One.\n\nTwo. Three.", 3, "more than one sentence"),
        ("See `x`. `y` is next.", 1, "more than one sentence"),
        ('Is it so? "Yes."', 1, "more than one sentence"),
        ("*Values.* They rise.", 1, "more than one sentence"),
        ("See [a link. Of two](there.md).", 1, "more than one sentence"),
        ("A sentence that\ngoes on.", 1, "the sentence goes on"),
    ],
)
def test_a_planted_fault_is_found(page, line, fault):
    assert any(n == line and said.startswith(fault) for n, said in faults(page)), faults(page)


def test_thirty_words_are_allowed_and_a_role_is_one():
    assert faults(f"{LONG.removeprefix('word ')}.") == []
    role = "{effect}`quick/a - quick/b on x, y, z`"
    assert faults(f"{LONG.removeprefix('word word ')} {role}.") == []
    assert len(faults(f"{LONG.removeprefix('word ')} {role}.")) == 1


@pytest.mark.parametrize("word", ["door", "Doors", "room", "floors", "house"])
def test_a_metaphor_is_found(word):
    [(line, fault)] = check_prose.metaphors([(7, f"The three {word} refuse.")])
    assert line == 7 and word in fault


@pytest.mark.parametrize(
    "text",
    [
        "`the door`, ``a room``",
        "the demonstrations of door-human",
        "D4RL/door/human-v2 and door-cloned-v1",
        "D4RL's door-v0, the Adroit door",
        "indoors, headroom, a floored value",
    ],
)
def test_code_and_the_names_of_datasets_are_no_metaphor(text):
    assert list(check_prose.metaphors([(1, text)])) == []


def test_only_public_docstrings_and_text_cells_are_read():
    source = '''"""Module's floor."""

import x  # a door


class Public:
    """A room."""

    def method(self):
        """Two lines,
        a house."""

    def _hidden(self):
        """A door."""


def _private():
    """A door."""


NAME = "a door"
'''
    found = list(check_prose.metaphors(check_prose.docstrings(source)))
    assert [line for line, _ in found] == [1, 7, 11]
    notebook = "# %% [markdown]\n# A door.\n\n# %%\n# a room\nx = 1\n# %% [markdown]\n# A house."
    assert [n for n, _ in check_prose.metaphors(check_prose.cells(notebook))] == [2, 8]


@pytest.fixture
def project(tmp_path):
    """A project without a fault."""
    for name in check_prose.PLAIN:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# A page\n\nA sentence.\n")
    for folder in ("notebooks", "rdlib/engine"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def run(root):
    script = ROOT / "book" / "check_prose.py"
    return subprocess.run([sys.executable, script, root], capture_output=True, text=True, check=False)


def test_the_script_says_where_and_fails(project):
    assert run(project).returncode == 0
    planted = {
        "README.md": ("Two. Sentences.", 1),
        "book/rd.md": ("Fine. Here.\n\nAll doors.", 3),  # no file of PLAIN: only words are read
        "book/algorithms/bc.md": ("| a room |", 1),
        "notebooks/train.py": ("# %% [markdown]\n# A floor.", 2),
        "rdlib/engine/nets.py": ('"""A house."""', 1),
    }
    for name, (text, _) in planted.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    done = run(project)
    assert done.returncode == 1
    where = {line.split(": ")[0] for line in done.stdout.splitlines()}
    assert where == {f"{name}:{line}" for name, (_, line) in planted.items()}


def test_a_file_that_is_gone_is_no_success(project):
    (project / "CONTRIBUTING.md").unlink()
    assert run(project).returncode == 1


def test_the_project_has_no_fault():
    assert list(check_prose.check(ROOT)) == []


def test_lint_runs_it():
    if shutil.which("make") is None:
        pytest.skip("no make")
    said = subprocess.run(
        ["make", "-n", "-o", ".venv/.ready", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "book/check_prose.py" in said.stdout


def test_a_tag_is_no_sentence():
    picture = '<picture>\n  <img alt="' + "A word of its. " * 20 + '" src="a.svg">\n</picture>\n'
    assert list(check_prose.sentences(f"One.\n\n{picture}\nTwo.\n")) == []
    assert list(check_prose.sentences("<https://a.b> is one. It is two.\n")) != []
