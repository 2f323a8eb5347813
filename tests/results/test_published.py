"""The records that README and book show are whole, and of committed code or it is said what was not."""

import importlib.util

import matplotlib.pyplot as plt
import pytest
from helpers.records import PAPER, RESULTS

from rdlib import algos
from rdlib.data.env_spec import EnvSpec
from rdlib.training.record import files_in, fingerprint, load_records

QUICK = RESULTS / "quick"
FOLDERS = sorted(folder.name for folder in RESULTS.iterdir() if files_in(folder))


def test_every_algorithm_is_published():
    assert {algos.find(r.algo).name for r in load_records(QUICK)} >= set(algos.ALGORITHMS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_published_records_are_of_committed_code_and_known_settings(folder):
    said = (RESULTS / "README.md").read_text()
    for record in load_records(RESULTS / folder):
        for commit in (record.commit, *(p["commit"] for p in record.earlier or [])):
            assert commit, record.file_name
            if commit.endswith("+"):
                assert f"`{commit[:7]}+`" in said, record.file_name
        recipe = algos.find(record.algo)
        assert recipe.config(record.config)
        assert (record.plugin is None) == (recipe.plugin is None)


@pytest.mark.parametrize("folder", FOLDERS)
def test_published_records_were_asked_for_as_they_say(folder):
    """The hash was taken of the plan, before the run, so a field edited since contradicts it. Records of
    the first schema lack two of its parts."""
    for r in load_records(RESULTS / folder):
        env = EnvSpec(r.env_id, r.max_episode_steps, r.env_kwargs or {}, tuple(r.env_wrappers or ()))
        asked = {
            "algo": r.algo, "config": r.config, "plugin": r.plugin,
            "dataset": [r.dataset, r.dataset_digest], "seed": r.seed,
            "env": env.identity(), "steps": r.steps,
            "evaluation": [int(r.steps_evaluated()[1]), len(r.evaluations[0]["returns"]), r.last_k],
            "dtype": r.dtype,
        }  # fmt: skip
        if r.dtype is not None:
            assert fingerprint(asked) == r.config_hash, r.file_name


def script_of(name):
    """book/static/NAME.py as a module."""
    plt.switch_backend("agg")
    spec = importlib.util.spec_from_file_location(name, RESULTS.parent / "static" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_readme_s_forest_has_every_dataset_for_light_and_for_dark_pages(tmp_path, monkeypatch):
    script = script_of("readme")
    monkeypatch.setattr(script, "HERE", tmp_path)
    script.forest()
    light, dark = ((tmp_path / name).read_text() for name in ("forest.svg", "forest-dark.svg"))
    for dataset in {p.dataset for p in PAPER if p.table == 1}:
        assert f"<!-- {dataset} -->" in light and f"<!-- {dataset} -->" in dark
    assert light != dark
    plt.close("all")


def test_the_figure_of_last_and_best_is_the_records():
    axes = script_of("concepts").last().axes[0]
    last, best = (c.get_offsets()[:, 0] for c in axes.collections)
    assert (last <= best).all() and (sorted(last) == last).all()
    bc = [r for r in load_records(QUICK) if (r.algo, r.dataset) == ("bc", "hopper-medium")]
    row = [t.get_text() for t in axes.get_yticklabels()].index("BC")
    assert last[row] == pytest.approx(sum(r.last_score() for r in bc) / len(bc))
    assert best[row] == pytest.approx(sum(r.best_score() for r in bc) / len(bc))
    plt.close("all")


def test_the_drawings_are_there_for_light_and_for_dark_pages(tmp_path):
    script = script_of("concepts")
    for draw in (script.cycle, script.stages):
        script.save(draw, tmp_path)
        for ending in ("", "-dark"):
            name = f"{draw.__name__}{ending}.svg"
            assert (RESULTS.parent / "static" / name).is_file() and "<svg" in (tmp_path / name).read_text()


def test_the_readme_s_figure_has_its_seeds():
    records = [r for r in load_records(QUICK) if r.dataset == "hopper-medium"]
    for algo in ("td3n", "td3n_rd"):
        mine = [r for r in records if r.algo == algo]
        assert [r.seed for r in mine] and sorted(r.seed for r in mine) == [0, 1, 2, 3, 4]
        assert len({(r.steps, str(r.config), r.dataset_digest) for r in mine}) == 1
