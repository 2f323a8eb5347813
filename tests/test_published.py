"""The records that README and book show are whole, and of committed code or it is said what was not."""

from pathlib import Path

from rdlib import algos
from rdlib.results import load_records

QUICK = Path(__file__).parent.parent / "book" / "results" / "quick"


def test_published_records_are_of_committed_code_and_known_algorithms():
    records, said = load_records(QUICK), (QUICK.parent / "README.md").read_text()
    assert {algos.find(r.algo).name for r in records} >= set(algos.ALGORITHMS)
    for record in records:
        assert record.commit, record.file_name
        if record.commit.endswith("+"):
            assert f"`{record.commit[:7]}+`" in said, record.file_name
        recipe = algos.find(record.algo)
        assert recipe.config(record.config)
        assert (record.plugin is None) == (recipe.plugin is None)


def test_the_readme_s_figure_has_its_seeds():
    records = [r for r in load_records(QUICK) if r.dataset == "hopper-medium"]
    for algo in ("td3n", "td3n_rd"):
        mine = [r for r in records if r.algo == algo]
        assert [r.seed for r in mine] and sorted(r.seed for r in mine) == [0, 1, 2]
        assert len({(r.steps, str(r.config), r.dataset_digest) for r in mine}) == 1
