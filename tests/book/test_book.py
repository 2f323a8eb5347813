"""The book's machinery: numbers from records, diffs, docstrings, citations, and files that it names."""

import dataclasses
import difflib
import hashlib
import importlib
import json
import re
import sys
import types
from pathlib import Path

import pytest
import yaml
from helpers.extras import needed

import rdlib
from rdlib.data import bundled
from rdlib.results.tables import TableError
from rdlib.training.record import RecordError, load_records

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


@pytest.fixture(scope="module")
def extension():
    """The book's extension of that name."""
    needed("sphinx")
    sys.path.insert(0, str(BOOK / "extensions"))
    yield importlib.import_module
    sys.path.remove(str(BOOK / "extensions"))


@pytest.fixture
def results(tmp_path):
    """A folder of three seeds of td3n_rd, written from a published record, scores 10, 20 and 60."""
    folder = tmp_path / "quick"
    folder.mkdir()
    [source] = [
        r for r in load_records(BOOK / "results" / "quick")
        if (r.algo, r.dataset, r.seed) == ("td3n_rd", "hopper-medium", 0)
    ]  # fmt: skip

    def write(seed, score, steps=source.steps, **changes):
        content = dataclasses.asdict(source)
        content["evaluations"] = [e for e in content["evaluations"] if e["step"] <= steps]
        content |= {"steps": steps, "stopped_at": steps}
        low, high = content["reference"]
        for evaluation in content["evaluations"]:
            evaluation["returns"] = [low + score / 100 * (high - low)] * len(evaluation["returns"])
        content |= {"seed": seed, "config_hash": f"of seed {seed} {changes}"} | changes
        (folder / f"record-{len(list(folder.iterdir()))}.json").write_text(json.dumps(content))

    for seed, score in enumerate((10, 20, 60)):
        write(seed, score)
    return types.SimpleNamespace(root=tmp_path, write=write)


@pytest.mark.parametrize(
    "text, words",
    [
        ("quick/td3n_rd/hopper-medium", "30.0 ± 21.6 (3 seeds)"),
        ("quick/td3n_rd/hopper-medium:score", "30.0 ± 21.6"),
        ("quick/td3n_rd/hopper-medium:best", "30.0 ± 21.6"),
        ("quick/td3n_rd/hopper-medium:seeds", "3 seeds"),
        ("quick/td3n_rd/hopper-medium:steps", "12,000"),
        ("quick/td3n_rd/hopper-medium:plugin.weight", "0.1"),
        ("quick/td3n_rd/hopper-medium:config.target", "lcb"),
        ("quick/td3n_rd/hopper-medium:data", f"{bundled.statistics()['hopper-medium']['score']:.1f}"),
    ],
)
def test_a_number_comes_from_the_records(extension, results, text, words):
    assert extension("records").words(results.root, text) == words


def test_an_effect_comes_from_the_records(extension, results):
    """Three scores below three others: of the 20 ways to deal six, two are as far apart."""
    for seed, score in enumerate((1, 2, 3)):
        results.write(seed, score, algo="td3n", plugin=None)
    effect, asked = extension("records").effect, "quick/td3n_rd - quick/td3n on hopper-medium"
    assert effect(results.root, asked) == "28.0, p = 0.100"
    assert effect(results.root, asked + ":mean") == "28.0"
    assert effect(results.root, asked + ":p") == "p = 0.100"
    with pytest.raises(RecordError, match="expected folder/algo - folder/algo on datasets"):
        effect(results.root, asked + ":q")
    with pytest.raises(RecordError, match="quick has no td3n_rd/hopper-expert"):
        effect(results.root, asked + ", hopper-expert")


def test_the_range_of_a_diagnostic_is_that_of_the_last_evaluations(extension, results):
    def end(values):
        """Write the mean value of the data's actions at the end of each seed's run."""
        for path, value in zip(sorted((results.root / "quick").iterdir()), values, strict=True):
            content = json.loads(path.read_text())
            content["evaluations"][-1]["diagnostics"]["q_data"] = value
            path.write_text(json.dumps(content))
        extension("records").loaded.cache_clear()

    words, asked = extension("records").words, "quick/td3n_rd/hopper-medium:end."
    end((-100.4, 3.0, 1234.0))
    assert words(results.root, asked + "q_data") == "-100 to 1,234"
    end((0.954, 0.9, 0.979))
    assert words(results.root, asked + "q_data") == "0.90 to 0.98"
    with pytest.raises(RecordError, match="td3n_rd has no diagnostic 'q_dat': it has .*q_data"):
        words(results.root, asked + "q_dat")
    end((-100.4, None, 1234.0))
    with pytest.raises(RecordError, match="q_data of td3n_rd on hopper-medium is not finite"):
        words(results.root, asked + "q_data")


def test_a_diverged_seed_counts_as_nothing_and_is_named(extension, results):
    results.write(3, 1e9, status="diverged")
    words = extension("records").words(results.root, "quick/td3n_rd/hopper-medium")
    assert words == "22.5 ± 22.8, 1 of 4 diverged (4 seeds)"


@pytest.mark.parametrize(
    "text, message",
    [
        ("quick/td3n/hopper-medium", "quick has no td3n/hopper-medium; it has td3n_rd/hopper-medium"),
        ("paper/td3n_rd/hopper-medium", "no records"),
        ("quick/td3n_rd", "expected folder/algorithm/dataset"),
        ("quick/td3n_rd/hopper-medium:stepz", "no field 'stepz'"),
        ("quick/td3n_rd/hopper-medium:config.beeta", "config of td3n_rd has no 'beeta'"),
        ("quick/td3n_rd/hopper-medium:steps.more", "it has nothing"),
        ("quick/td3n_rd/hopper-medium:seed", "differ in seed"),
    ],
)
def test_a_number_without_a_record_is_an_error(extension, results, text, message):
    with pytest.raises(RecordError, match=message):
        extension("records").words(results.root, text)


def test_two_settings_are_not_averaged(extension, results):
    results.write(3, 30, steps=6000)
    with pytest.raises(TableError, match="td3n_rd on hopper-medium: records of different lengths"):
        extension("records").words(results.root, "quick/td3n_rd/hopper-medium")
    records = load_records(results.root / "quick")
    assert [row[3:5] for row in extension("records").rows(records)] == [
        ["0, 1, 2", "12,000"], ["3", "6,000"],
    ]  # fmt: skip


def test_the_status_page_can_show_every_published_record(extension):
    for folder in extension("records").published(BOOK / "results"):
        records = load_records(BOOK / "results" / folder)
        rows = extension("records").rows(records)
        assert sum(len(row[3].split(", ")) for row in rows) == len(records)
        assert len({tuple(row[:5]) for row in rows}) == len(rows)  # no two look the same


def test_what_was_spent_is_each_run_s_share_of_its_batch(extension, results):
    results.write(3, 50, seconds=7200.0, agents=4, status="diverged", earlier=[{"commit": "abc"}])
    [run] = [r for r in load_records(results.root / "quick") if r.seed == 3]
    assert extension("records").spent([run]) == ["1", "12,000", "0.5", "1", "1"]
    assert extension("records").spent([run, run]) == ["2", "24,000", "1.0", "2", "2"]


def test_what_ran_on_what_counts_datasets_and_seeds(extension, results):
    results.write(0, 10, algo="td3n_dr3", dataset="hopper-expert", dataset_digest="of another")
    rows = extension("overview").ran({"quick": load_records(results.root / "quick")})
    assert rows[0] == ["TD3-N-UNC", "RD, DR3", "quick 2 × 3", "", "", ""]
    assert rows[1] == ["SAC-N-UNC", "", "", "", "", ""]


def test_a_progress_bar_is_its_last_line(extension):
    bars = [f"td3n:  {n}%|█   | {n}/100 [00:01<00:05, 9.1update/s, score 1.0]" for n in (0, 50, 100)]
    text = "\n".join(
        [bars[0], "td3n: 9 updates/s here", bars[1], "bc:   9%|█ | 9/99 [00:01<?]", bars[2], ""]
    )
    ended = extension("outputs").ended(text)
    assert ended.split("\n") == ["td3n: 9 updates/s here", "bc:   9%|█ | 9/99 [00:01<?]", bars[2], ""]


def test_a_diff_counts_what_changed(extension, tmp_path):
    delta = extension("delta")
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text('"""Header."""\n\nA = 1\n\n\ndef f():\n    return A\n')
    new.write_text('"""Another."""\n\nA = 2\n\n\ndef f():\n    return A\n\n\ndef g():\n    return 3\n')

    def diff(**options):
        return list(difflib.unified_diff(*(delta.chosen(p, **options) for p in (old, new)), lineterm=""))

    assert delta.changes(diff(name=None, docstring=True)) == (6, 2)
    assert delta.changes(diff(name=None, docstring=False)) == (5, 1)
    assert delta.chosen(new, "g", True) == ["def g():", "    return 3"]
    with pytest.raises(ValueError, match=r"new\.py has no class or function 'h'"):
        delta.chosen(new, "h", True)
    with pytest.raises(ValueError, match=r"no file .*absent\.py"):
        delta.chosen(tmp_path / "absent.py", None, True)


@pytest.mark.parametrize("old, new", [("TD3N", "TD3BC"), ("SACN", "EDAC")])
def test_what_an_algorithm_adds_is_what_a_reader_sees_of_it(extension, old, new):
    """The classes differ in 40 lines at most: all else is the algorithm that it comes from."""
    delta, folder = extension("delta"), Path(rdlib.__file__).parent / "algos"
    texts = [delta.chosen(folder / f"{n.lower()}.py", n, True) for n in (old, new)]
    added, removed = delta.changes(list(difflib.unified_diff(*texts, lineterm="")))
    assert 0 < added + removed <= 40


def test_docstrings_stay_what_they_say(extension):
    """|x| is no substitution, `x` is code, blocks stay as they stand, lists are lists."""
    publish_doctree = needed("docutils", "core").publish_doctree

    text = """First |a - b|² of `x_1`, see y_2 and *args.

    a  block   |c|
      deeper

Deviations
1. One, over
   two lines with `code`.
2. Two.
After the list.

>>> 1 + 1
2
"""
    rst = "\n".join(extension("docstrings").to_rst(text.splitlines()))
    tree = publish_doctree(rst, settings_overrides={"report_level": 1, "halt_level": 2})
    kinds = [node.tagname for node in tree.children]
    assert kinds == [
        "paragraph", "literal_block", "paragraph", "enumerated_list", "paragraph", "doctest_block"
    ]  # fmt: skip
    assert tree[0].astext() == "First |a - b|² of x_1, see y_2 and *args."
    assert tree[1].astext() == "a  block   |c|\n  deeper"
    assert [item.astext().replace("\n", " ") for item in tree[3]] == [
        "One, over two lines with code.", "Two."
    ]  # fmt: skip


def test_every_docstring_of_the_package_can_be_shown(extension):
    import ast

    publish_doctree = needed("docutils", "core").publish_doctree

    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    texts = [
        text for path in sorted((ROOT / "rdlib").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds) and (text := ast.get_docstring(node))
    ]  # fmt: skip
    assert len(texts) > 300
    shown = "\n\nnext\n\n".join(
        "\n".join(extension("docstrings").to_rst(text.splitlines())) for text in texts
    )
    publish_doctree(shown, settings_overrides={"report_level": 1, "halt_level": 2})


def test_every_module_is_on_an_api_page(extension):
    modules = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for p in (ROOT / "rdlib").rglob("*.py")
        if p.name not in ("__init__.py", "__main__.py")
    }
    pages = [page.read_text() for page in BOOK.glob("api_*.md")]
    for page in pages:
        extension("modules").expand(None, "", found := [page])
        modules -= set(re.findall(r"automodule:: (\S+)", found[0]))
    assert not modules, "name their package on one of book/api_*.md"


def bibliography():
    from pybtex.database import parse_file

    return parse_file(str(BOOK / "references.bib")).entries


def test_bibliography_labels_are_authors_and_years(extension):
    authoryear = extension("authoryear")
    entries = bibliography()
    assert authoryear.label(entries["ma2023rd"]) == "Ma et al., 2023"
    assert authoryear.label(entries["ghosh2020representations"]) == "Ghosh and Bellemare, 2020"
    twice = [entries["ma2023rd"], entries["kumar2020cql"], entries["ma2023rd"]]
    assert list(authoryear.Labels().format_labels(twice)) == [
        "Ma et al., 2023a", "Kumar et al., 2020", "Ma et al., 2023b"
    ]  # fmt: skip


def test_references_can_be_found_by_their_readers():
    for key, entry in bibliography().items():
        assert entry.persons["author"] and entry.fields["title"], key
        assert re.fullmatch(r"(19|20)\d\d", entry.fields["year"]), key
        where = {"inproceedings": "booktitle", "article": "journal", "misc": "howpublished"}
        assert where[entry.type] in entry.fields, key
        if arxiv := re.search(r"arXiv:([\d.]+)", entry.fields.get("howpublished", "")):
            assert entry.fields["url"] == f"https://arxiv.org/abs/{arxiv[1]}", key


def test_what_is_cited_is_in_the_bibliography():
    keys = set(bibliography())
    for page in BOOK.rglob("*.md"):
        for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text()):
            missing = {key.strip() for key in group.split(",")} - keys
            assert not missing, f"{page.name} cites {missing}, which references.bib has not"


def entries_of_contents(node):
    if isinstance(node, dict):
        yield from (node[key] for key in ("root", "file") if key in node)
        for value in node.values():
            yield from entries_of_contents(value)
    elif isinstance(node, list):
        for value in node:
            yield from entries_of_contents(value)


def test_contents_name_each_page_once_and_each_page_is_in_them():
    named = list(entries_of_contents(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    assert len(named) == len(set(named))
    pages = [
        p.relative_to(ROOT).with_suffix("").as_posix()
        for p in [*BOOK.glob("*.md"), *BOOK.glob("algorithms/*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    ]
    assert sorted(named) == sorted(pages)
    for old, new in CONFIG["sphinx"]["config"]["redirects"].items():
        assert new.removesuffix(".html") in named and old not in named


def test_the_configuration_agrees_with_the_project():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project["urls"]["Repository"]
    owner, name = address.removeprefix("https://github.com/").split("/")
    assert CONFIG["repository"]["url"] == address
    assert CONFIG["html"]["baseurl"] == f"https://{owner}.github.io/{name}/"
    assert CONFIG["sphinx"]["config"]["notfound_urls_prefix"] == f"/{name}/"
    ours = {p.stem for p in (BOOK / "extensions").glob("*.py")}
    assert ours <= set(CONFIG["sphinx"]["config"]["extensions"])
    assert rdlib.__version__ == yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]


def test_mathjax_is_what_its_readme_says():
    folder = BOOK / "_static" / "mathjax"
    digest = hashlib.sha256((folder / "tex-svg-full.js").read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text()
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert CONFIG["sphinx"]["config"]["mathjax_path"] == "mathjax/tex-svg-full.js"


def test_workflows_pin_actions_by_major_version_and_run_what_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, path.name
        for action in re.findall(r"uses: (\S+)", text):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", action), f"{path.name}: {action}"
        assert set(re.findall(r"run: make ([a-z-]+)", text)) <= targets, path.name
