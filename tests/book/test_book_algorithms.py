"""The book's pages on algorithms say what the code does: metrics, settings, deviations."""

import ast
import csv
import importlib.util
import re
from pathlib import Path

import pytest
from helpers.extras import needed
from helpers.synthetic import agents

from rdlib import algos
from rdlib.algos.cells import Settings, cells

BOOK = Path(__file__).parents[2] / "book"
BASES = list(algos.ALGORITHMS)
CRITICS = [name for name in BASES if algos.ALGORITHMS[name].critic]


def _extension():
    needed("sphinx")
    path = BOOK / "extensions" / "algorithms.py"
    spec = importlib.util.spec_from_file_location("book_algorithms", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = _extension()


def metrics_of(page: str) -> set[str]:
    """The names in the first column of the page's table of metrics."""
    text = (BOOK / "algorithms" / f"{page}.md").read_text()
    _, _, section = re.split(r"^(## Metrics.*)$", text, flags=re.MULTILINE, maxsplit=1)
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))


@pytest.mark.parametrize("name", BASES)
def test_a_page_explains_the_metrics_that_its_algorithm_reports(name):
    assert metrics_of(name) == set(agents(name).engine.run(0, 4))


@pytest.mark.parametrize("name", CRITICS)
def test_the_index_explains_the_metrics_of_plug_ins(name):
    base = metrics_of(name)
    added = {k for s in ("rd", "dr3") for k in agents(f"{name}_{s}").engine.run(0, 4)} - base
    assert metrics_of("index") - {"critic_loss", "q_data", "actor_loss"} == added


def test_every_algorithm_has_a_page_and_the_index_leads_to_it():
    index = (BOOK / "algorithms" / "index.md").read_text()
    for name in BASES:
        page = (BOOK / "algorithms" / f"{name}.md").read_text()
        assert page.startswith(f"(sec-{name})=\n") and f"](sec-{name})" in index
        for part in (f"{{deviations}} {name}\n", f"{{cells}} {name}\n", f"algos/{name}.py\n"):
            assert part in page, (name, part)


@pytest.mark.parametrize("name", BASES)
def test_a_page_gives_shapes_of_what_the_code_names(name):
    """And the shapes of whatever the page shows of the shared layers (`self.beta` stands for `beta`)."""
    text = (BOOK / "algorithms" / f"{name}.md").read_text()
    shapes = re.findall(r"^\| (`.*?) \| .*\([AB],?.*$", text, flags=re.MULTILINE)
    found = {word for line in shapes for word in re.findall(r"`([\w.]+)", line)}
    code = pages.source(name).read_text()
    assert shapes or name == "bc"
    assert {word for word in found if not re.search(rf"\b{re.escape(word)}\b", code)} == set()


@pytest.mark.parametrize("name", BASES)
def test_deviations_are_read_whole(name):
    header = ast.get_docstring(ast.parse(pages.source(name).read_text()))
    items, below = pages.deviations(header)
    told = re.sub(r"^\d+\. ", "", header.partition("\nDeviations\n")[2], flags=re.MULTILINE)
    assert " ".join([*items, below]).split() == (told.split() or ["None."])


def test_deviations_that_are_not_told_or_not_numbered_are_refused():
    assert pages.deviations("BC.\n\nDeviations\n1. One\n   two.\n2. `x`.\nMore.\n") == (
        ["One two.", "`x`."], "More.",
    )  # fmt: skip
    with pytest.raises(ValueError, match="neither"):
        pages.deviations("BC: cloning.")
    with pytest.raises(ValueError, match="deviation 3 comes where 2 is due"):
        pages.deviations("BC.\n\nDeviations\n1. One.\n3. Three.\n")


@pytest.mark.parametrize("name", BASES)
def test_the_table_of_cells_covers_each_dataset_once(name):
    own = {c.dataset for c in cells() if c.algo in (name, f"{name}_rd")}
    found = []
    for row in pages.rows(name, cells()):
        for part in row[0].split("; "):
            environments, qualities = (x.split(", ") for x in part.split(": "))
            found += [f"{e}-{q}" for e in environments for q in qualities]
    assert sorted(found) == sorted(own)


def test_cells_share_a_row_only_if_everything_is_the_same():
    every = [
        Settings(1, "edac", "hopper-medium", 0, {"eta": 1.0}, "x"),
        Settings(1, "edac", "hopper-expert", 0, {"eta": 1.0}, "x"),
        Settings(1, "edac", "pen-human", 5_000, {"eta": 1.0}, "x"),
        Settings(1, "edac", "walker2d-medium", 0, {}, "x"),
        Settings(2, "edac_rd", "hopper-medium", 0, {"eta": 1.0}, "x"),
    ]  # fmt: skip
    assert pages.rows("edac", every) == [
        ["hopper: medium", "table 1: edac; table 2: edac_rd", "3,000,000", "eta = 1.0", "x"],
        ["hopper: expert", "table 1: edac", "3,000,000", "eta = 1.0", "x"],
        ["pen: human", "table 1: edac", "5,000", "eta = 1.0", "x"],
        ["walker2d: medium", "table 1: edac", "3,000,000", "none", "x"],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no cell of bc"):
        pages.rows("bc", every)


def test_settings_are_the_configuration_s():
    config = algos.ALGORITHMS["td3bc"].config()
    assert pages.setting("td3bc.alpha") == str(config.alpha)
    assert pages.setting("td3bc.actor_lr") == "0.0003" and config.actor_lr == 3e-4
    assert pages.setting("dt.steps") == "100,000" and pages.setting("sacn.target") == "lcb"
    assert pages.setting("bc.quick") == "5,000 updates; actor_width = 128"
    assert "target = lcb" in pages.setting("edac.quick")
    assert (
        pages.setting("bc.key")
        == f"actor_lr = 0.0003, batch_size = {algos.ALGORITHMS['bc'].config().batch_size}"
    )
    for bad, message in (("tdbc.alpha", "no algorithm"), ("td3bc.alfa", "no setting 'alfa'")):
        with pytest.raises(ValueError, match=message):
            pages.setting(bad)


def test_the_settings_that_differ_from_corls_are_the_cells():
    """Each row of the index's table says what its cells have, and differs from CORL's."""
    with open(BOOK / "algorithms" / "corl_settings.csv") as file:
        table = list(csv.DictReader(file))
    assert table
    for row in table:
        chosen = [c for c in cells() if c.algo == row["algorithm"] and meant(c.dataset, row["datasets"])]
        assert chosen, row
        for cell in chosen:
            entry = algos.ALGORITHMS[cell.algo]
            values = vars(algos.find(cell.algo).config(cell.config)) | {
                "steps": cell.steps or entry.scales["paper"].steps
            }
            assert str(values[row["setting"]]) == row["here"] != row["in CORL"], (cell.dataset, row)


def meant(dataset: str, words: str) -> bool:
    """Whether one of `words` is the dataset, its environment, its quality or its kind (pen, locomotion)."""
    environment, _, quality = dataset.partition("-")
    kind = "pen" if environment == "pen" else "locomotion"
    return not {dataset, environment, kind, quality}.isdisjoint(words.split())
