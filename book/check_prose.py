"""Holds the project's texts to its rules of prose. `make lint` runs it: python book/check_prose.py

In the files of PLAIN: no sentence above 30 words, one sentence a line, no sentence over two lines.
In all that readers see (these, the book's pages, the text cells of notebooks, public docstrings):
no door, room, floor or house in the place of interface, layer or module.
Prints file:line for each fault and exits with 1.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLAIN = (
    "README.md",
    "CONTRIBUTING.md",
    "book/results_overview.md",
    "book/training.md",
    "book/reproduce.md",
    "book/status.md",
    "book/deviations.md",
    "book/results/README.md",
    "workflow/protocol.md",
)
LONGEST = 30  # words

# Directives whose body is text for readers; the body of any other is code, mathematics or data.
TEXT = set(
    "admonition attention caution danger dropdown error figure glossary hint important margin note "
    "seealso sidebar tab-item tab-set tip topic warning".split()
)
FENCE = re.compile(r"\s*(`{3,}|~{3,}|:{3,})\s*(?:\{([\w:-]+)\})?")
MARKER = re.compile(r"\s*(?:[-*+]|\d+\.|:|>)\s+")
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
ROLE = re.compile(r"\{[\w:-]+\}" + CODE.pattern)
IMAGE = re.compile(r"!\[([^]]*)\]\([^)]*\)")
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
MATHS = re.compile(r"(?<!\\)\$[^$]+\$")

METAPHOR = re.compile(r"\b(doors?|rooms?|floors?|houses?)\b", re.IGNORECASE)
# The Adroit task and its datasets: door-human, D4RL/door/human-v2, door-v0, Adroit door.
DATASET = re.compile(
    r"\b(?:D4RL/)?door[-/](?:(?:human|cloned|expert)(?:-v\d+)?|v\d+)\b|\bAdroit(?:'s)? door\b",
    re.IGNORECASE,
)

SHORT = r"(?<!\be\.g)(?<!\bi\.e)(?<!\bcf)(?<!\bvs)(?<!\bal)(?<!\bEq)(?<!\bFig)(?<!\b[A-Z])"
CLOSED = r"[\"')\]*_”’]*"
END = re.compile(rf"{SHORT}[.!?]{CLOSED}$|[:;]{CLOSED}$")
BETWEEN = re.compile(rf"{SHORT}[.!?]{CLOSED}\s+(?=[\"'(\[*_“‘]*[A-Z0-9$])")


@dataclass(frozen=True)
class Line:
    """A line that readers see. Its kind: head, table, start (of a paragraph or an item), text."""

    number: int
    text: str
    kind: str


def lines_of(page: str) -> list[Line]:
    """Of a MyST page, without front matter, code, mathematics, options, labels, tags and comments."""
    source = page.splitlines()
    found: list[Line] = []
    fences: list[tuple[str, bool]] = []  # that are open: what closes each; is its body text?
    at, options, display, comment, indented, fresh = 0, False, False, False, False, True
    if source and source[0] == "---" and "---" in source[1:]:
        at = source.index("---", 1) + 1
    for number, line in enumerate(source[at:], at + 1):
        bare = line.strip()
        if comment or bare.startswith("<!--"):
            comment, fresh = "-->" not in bare, True
            continue
        if display or bare.startswith("$$"):
            display, fresh = (bare.count("$$") + display) % 2 == 1, True
            continue
        if fences and bare and set(bare) == {fences[-1][0][0]} and len(bare) >= len(fences[-1][0]):
            fences.pop()
            fresh = True
            continue
        if not (fences and not fences[-1][1]) and (opening := FENCE.match(line)):
            fences.append((opening[1], opening[2] in TEXT))
            options = fresh = True
            continue
        if fences and not fences[-1][1]:
            continue
        if options and fences and re.match(r":[\w-]+:|---$", bare):
            continue
        options = False
        marked = MARKER.match(line)
        deep = line.startswith("    ") and (indented or (fresh and not marked))
        indented = deep or (indented and not bare)
        if (
            not bare
            or indented
            or re.fullmatch(r"\([\w-]+\)=|</?[a-z]+( .*)?>", bare)
            or bare.startswith("%")
        ):
            fresh = True
        elif bare.startswith("|"):
            found.append(Line(number, bare, "table"))
            fresh = True
        elif bare.startswith("#"):
            found.append(Line(number, bare.lstrip("# "), "head"))
            fresh = True
        else:
            text = line[marked.end() :] if marked else line
            found.append(Line(number, text.strip(), "start" if marked or fresh else "text"))
            fresh = False
    return found


def as_words(text: str) -> str:
    """With one word for a role, code and mathematics, links as their text, no emphasis, no image."""
    for pattern, word in {ROLE: "Role", CODE: "Code", MATHS: "Maths", IMAGE: "", LINK: r"\1"}.items():
        text = pattern.sub(word, text)
    return re.sub(r"<https?://[^>]*>", "Address", text).replace("*", "").strip()


def count(text: str) -> int:
    """Its words: what stands between spaces and has a letter or a digit."""
    return sum(any(c.isalnum() for c in word) for word in text.split())


def sentences(page: str) -> Iterator[tuple[int, str]]:
    """The line and the fault, of each sentence that is too long or not on one line of its own."""
    lines = [line for line in lines_of(page) if line.kind != "table"]
    said, begun = "", 0
    for line, following in zip(lines, [*lines[1:], None]):
        text = as_words(line.text)
        if len(BETWEEN.split(text)) > 1:
            yield line.number, "more than one sentence on the line"
        begun = begun if said else line.number
        said = f"{said} {text}".strip()
        if following and following.kind == "text" and text and not END.search(text):
            yield line.number, "the sentence goes on in the next line"
            continue
        for sentence in BETWEEN.split(said):
            if (n := count(sentence)) > LONGEST:
                yield begun, f"a sentence of {n} words, and {LONGEST} are allowed"
        said = ""


def metaphors(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The line and the fault, of each word that is a metaphor of ours for software."""
    for number, text in lines:
        plain = DATASET.sub("", CODE.sub("", ROLE.sub("", text)))
        for word in METAPHOR.findall(plain):
            yield number, f"{word!r}: say interface, layer, module or what it is"


def docstrings(source: str) -> list[tuple[int, str]]:
    """The lines of the docstrings of a module and of all that is public in it."""
    found: list[tuple[int, str]] = []

    def visit(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if ast.get_docstring(node):
            text = node.body[0]
            span = source.splitlines()[text.lineno - 1 : text.end_lineno]
            found.extend(enumerate(span, text.lineno))
        for child in node.body:
            named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if named and not child.name.startswith("_"):
                visit(child)

    visit(ast.parse(source))
    return found


def cells(source: str) -> list[tuple[int, str]]:
    """The lines of the text cells of a notebook in jupytext's percent format."""
    found, text = [], False
    for number, line in enumerate(source.splitlines(), 1):
        if line.startswith("# %%"):
            text = "[markdown]" in line
        elif text:
            found.append((number, line.removeprefix("#").removeprefix(" ")))
    return found


def check(root: Path) -> Iterator[str]:
    """The faults in the project at `root`. Raises FileNotFoundError if a file of PLAIN is not there."""
    for name in PLAIN:
        for number, fault in sentences((root / name).read_text(encoding="utf-8")):
            yield f"{name}:{number}: {fault}"
    pages = {root / name for name in PLAIN} | {*root.glob("*.md"), *root.glob("book/**/*.md")}
    for path in sorted(pages - {*root.glob("book/_static/**/*.md")}):
        seen = [(line.number, line.text) for line in lines_of(path.read_text(encoding="utf-8"))]
        for number, fault in metaphors(seen):
            yield f"{path.relative_to(root)}:{number}: {fault}"
    for folder, pick in (("notebooks", cells), ("rdlib", docstrings)):
        for path in sorted((root / folder).rglob("*.py")):
            for number, fault in metaphors(pick(path.read_text(encoding="utf-8"))):
                yield f"{path.relative_to(root)}:{number}: {fault}"


def main() -> int:
    """Prints the faults; 1 if there are any."""
    found = list(check(Path(sys.argv[1]) if sys.argv[1:] else ROOT))
    print(*found, sep="\n") if found else print("prose: no fault")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
