"""The grid: every cell and every question is one run, described once; collecting and writing are strict."""

import csv
import dataclasses
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.extras import needed
from helpers.records import record, runs

from rdlib import algos
from rdlib.__main__ import parse
from rdlib.algos import cells
from rdlib.engine.config import ConfigError, recorded
from rdlib.engine.rng import Streams
from rdlib.results import grid, tables
from rdlib.training import plan
from rdlib.training.parameters import from_notebook
from rdlib.training.record import RecordError, load_records, save_record
from rdlib.training.request import PLUGIN_PREFIX, TrainConfig
from rdlib.training.trainer import train

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "workflow"
QUESTIONS = grid.read_questions(WORKFLOW / "ablations.csv")


def script(name):
    """A script of workflow/ as a module."""
    spec = importlib.util.spec_from_file_location(f"workflow_{name}", WORKFLOW / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


collect, write_tables = script("collect"), script("tables")
TABLE_JOBS = grid.table_jobs()


# Jobs ----------------------------------------------------------------------------------------


def test_each_cell_of_both_tables_is_trained_once():
    trained = [(job.algo, d) for job in TABLE_JOBS for d in job.datasets]
    assert set(trained) == {(c.algo, c.dataset) for c in cells.cells()}
    assert len(trained) == len(set(trained)) == 72 + 153 - 36  # 36 stand in both tables
    names = [job.name for job in TABLE_JOBS]
    assert len(set(names)) == len(names) < 60
    assert all(job.seeds == grid.SEEDS for job in TABLE_JOBS)
    for job in TABLE_JOBS:
        assert all(d.startswith(job.environment) for d in job.datasets)


def test_one_table_s_cells_alone():
    first = [(j.algo, d) for j in grid.table_jobs((0, 1), (1,)) for d in j.datasets]
    assert len(first) == len(set(first)) == 72
    assert set(first) == {(c.algo, c.dataset) for c in cells.cells() if c.table == 1}
    for wrong in ((), (3,), (0, 1)):
        with pytest.raises(ConfigError, match=r"numbers = .*\(1, 2\)"):
            grid.table_jobs((0,), wrong)


TINY = {"width": 8, "actor_width": 8, "depth": 1, "actor_depth": 1, "batch_size": 4}


@pytest.mark.parametrize("job", [j for j in TABLE_JOBS if len(j.datasets) > 1], ids=lambda j: j.name)
def test_what_is_one_job_can_be_trained_together(job):
    recipe = algos.find(job.algo)
    configs = []
    for dataset in job.datasets:
        cell = cells.find(job.algo, dataset)
        config = recipe.config(cell.config)
        known = {f.name for f in dataclasses.fields(config)}
        small = {k: v for k, v in TINY.items() if k in known}
        small |= {"n_critics": 2 + (config.n_critics > 10)} if "n_critics" in known else {}
        configs.append(dataclasses.replace(config, **small))
    assert len({cells.find(job.algo, d).steps for d in job.datasets}) == 1
    streams = Streams(range(len(configs)), "cpu")
    algos.build(recipe, configs, [recipe.plugin_config({})] * len(configs), streams, 11, 3, steps=10)


def test_a_folder_is_of_what_was_asked_and_not_of_where_it_runs():
    job, runs = TABLE_JOBS[0], Path("runs")
    first = job.asked("d4rl", "paper", runs).out
    assert first == job.asked("d4rl", "paper", runs, device="cpu").out
    others = [
        job.asked("bundled", "paper", runs), job.asked("d4rl", "quick", runs),
        job.asked("d4rl", "paper", runs, steps=7),
        dataclasses.replace(job, plugin={"weight": 1.0}).asked("d4rl", "paper", runs),
        dataclasses.replace(job, seeds=(0,)).asked("d4rl", "paper", runs),
    ]  # fmt: skip
    assert len({first, *(o.out for o in others)}) == 6
    assert grid.data_name("pen-human", "bundled") == "pen-demos"
    assert grid.data_name("pen-human", "d4rl") == "d4rl/pen-human-v1"
    with pytest.raises(ConfigError, match="source = 'minari'"):
        grid.data_name("pen-human", "minari")


def test_data_are_made_at_the_size_that_training_asks_for(monkeypatch):
    loaded = {}
    monkeypatch.setattr(plan.catalog, "load", lambda name, size=None, **_: loaded.update({name: size or 0}))
    sizes = set()
    for job in TABLE_JOBS:
        for source, scale in (("bundled", "quick"), ("bundled", "paper"), ("d4rl", "paper")):
            asked = job.asked(source, scale, Path("runs"))
            entry = algos.find(job.algo).entry
            for name in asked.dataset.split(","):
                plan.load_for(name, asked, entry.scales[scale].size)
                assert grid.transitions(asked, name) == loaded.pop(name), (name, scale)
            sizes |= {(n, scale): grid.transitions(asked, n) for n in asked.dataset.split(",")}.items()
    assert dict(sizes)["pen-cloned", "quick"] == dict(sizes)["hopper-medium", "quick"] == 100_000
    assert not dict(sizes)["pen-demos", "quick"] and not dict(sizes)["hopper-medium", "paper"]
    given = TABLE_JOBS[0].asked("bundled", "quick", Path("runs"), size=700)
    assert {grid.transitions(given, name) for name in given.dataset.split(",")} == {700}


def test_the_command_of_a_cell_that_was_not_run_is_one_that_the_command_line_takes():
    commands = grid.commands()
    assert commands.keys() == {(c.algo, c.dataset) for c in cells.cells()}
    for (algo, dataset), line in commands.items():
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "rdlib"]
        asked = parse(words[3:]).asked()
        assert (asked.algo, asked.seeds, asked.scale) == (algo, grid.SEEDS, "paper")
        assert tables.catalog.short_name(asked.dataset) == dataset


# The protocol --------------------------------------------------------------------------------


def agents_of(question):
    """What makes each run of a question the run that it is."""
    recipe = algos.find(question.algo)
    for variant in question.variants:
        own = {k: v for k, v in variant.items() if not k.startswith(PLUGIN_PREFIX)}
        extra = {k.removeprefix(PLUGIN_PREFIX): v for k, v in variant.items() if k not in own}
        config = recipe.config({**question.config, **own})
        plugin = recipe.plugin_config({**question.plugin, **extra})
        for dataset in question.datasets:
            for seed in question.seeds:
                yield question.algo, dataset, seed, str(config), str(plugin)


def test_no_run_of_the_protocol_is_made_twice_or_is_a_table_s():
    runs = [run for q in QUESTIONS for run in agents_of(q)]
    assert len(set(runs)) == len(runs)
    of_tables = {
        (j.algo, d, s, str(algos.find(j.algo).config({})), str(algos.find(j.algo).plugin_config({})))
        for j in TABLE_JOBS for d in j.datasets for s in j.seeds
    }  # fmt: skip
    assert not of_tables & set(runs)


def test_choices_see_neither_the_tables_seeds_nor_other_environments():
    for q in QUESTIONS:
        if q.stage in ("select", "rival"):
            assert not set(q.seeds) & set(grid.SEEDS), q.name
            assert {d.split("-")[0] for d in q.datasets} == {"hopper"}, q.name
        else:
            assert q.stage == "ablate" and q.seeds == grid.SEEDS, q.name


def test_rivals_have_as_many_values_to_choose_from_as_lambda():
    by_name = {q.name: q for q in QUESTIONS}
    weights = [
        [v["plugin.weight"] for v in by_name[f"lambda-{b}"].variants]
        for b in ("td3n", "sacn", "td3bc", "cql")
    ]
    assert all(w == weights[0] for w in weights) and len(weights[0]) == 8
    assert len(by_name["dr3"].variants) == len(by_name["beta"].variants) == 8
    protocol = (WORKFLOW / "protocol.md").read_text()
    assert ", ".join(f"{w:g}" for w in weights[0]) in protocol
    for q in QUESTIONS:
        if q.stage != "ablate" and not q.name.startswith("n-"):
            assert f"`{q.name}`" in protocol or q.name in ("dr3", "layer-norm", "beta"), q.name


@pytest.mark.parametrize(
    "change, message",
    [
        ({"algo": "td4"}, "line 2: .*no algorithm 'td4'"),
        ({"datasets": "hopper-big"}, "line 2: unknown datasets"),
        ({"plugin": '{"wieght": 1.0}'}, "line 2: .*wieght"),
        ({"config": "{"}, "line 2: config = '{'"), ({"config": "[1]"}, r"line 2: config = '\[1\]'"),
        ({"seeds": "a"}, "line 2: .*'a'"), ({"seeds": "0 0"}, "line 2: seeds"), ({"seeds": ""}, "line 2: "),
        ({"datasets": ""}, "line 2: needs"), ({"stage": "abalte"}, "line 2: stage = 'abalte'"),
        ({"variants": "3"}, "line 2: variants = '3'"), ({"variants": "[]"}, "line 2: variants"),
        ({"variants": '[{"plugin.weigth": 1.0}]'}, "line 2: .*weigth"),
        ({"variants": '[{"btea": 1.0}]'}, "line 2: .*btea"),
        ({"variants": '[{"beta": 2}, {"beta": 2.0}]'}, "line 2: a dataset or a variant .* twice"),
        ({"datasets": "hopper-medium hopper-medium"}, "line 2: a dataset or a variant .* twice"),
    ],
    ids=str,
)  # fmt: skip
def test_a_row_that_asks_for_nothing_known_is_told_by_its_line(tmp_path, change, message):
    row = dict.fromkeys(grid.COLUMNS, "") | {
        "stage": "ablate", "name": "x", "algo": "td3n_rd", "datasets": "hopper-medium", "seeds": "0",
    }  # fmt: skip

    def write(*rows):
        with open(tmp_path / "q.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, grid.COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return grid.read_questions(tmp_path / "q.csv")

    assert write(row)[0].variants == ({},)
    with pytest.raises(ConfigError, match=message):
        write(row | change)
    with pytest.raises(ConfigError, match="line 3: x stands in line 2 already"):
        write(row, row)


def test_a_record_answers_the_variant_that_asked_for_it_and_no_other():
    question = next(q for q in QUESTIONS if q.name == "lambda-td3n")
    quick = algos.find("td3n_rd").entry.scales["quick"].overrides
    recipe = algos.find("td3n_rd")
    records = [
        record(
            "td3n_rd", seed=100, scale="quick", config=recorded(recipe.config(quick)),
            plugin=recorded(recipe.plugin_config({"weight": w})),
        )
        for w in (0.001, 0.3, 0.2)
    ]  # fmt: skip
    found = {v["plugin.weight"]: question.answers(v, records) for v in question.variants}
    assert {w: [r.plugin["weight"] for r in rs] for w, rs in found.items() if rs} == {
        0.001: [0.001],
        0.3: [0.3],
    }
    for change in ({"seed": 0}, {"dataset": "hopper-expert"}, {"algo": "sacn_rd"}, {"config": {}},
                   {"plugin": {**records[1].plugin, "sigma": 1.0}}):  # fmt: skip
        other = dataclasses.replace(records[1], **change)
        assert not any(question.answers(v, [other]) for v in question.variants), change


# Collecting and writing ----------------------------------------------------------------------


def listed(folder, records):
    paths = [save_record(r, folder) for r in records]
    (folder / "records.txt").write_text("\n".join(map(str, paths)) + "\n")
    return folder / "records.txt"


def test_records_are_collected_whole_or_not_at_all(tmp_path):
    first = listed(tmp_path / "a folder", runs("td3n", [1.0, 2.0]))
    second = listed(tmp_path / "b", runs("td3n_rd", [3.0]))
    with pytest.raises(tables.TableError, match=r"td3n_rd on hopper-medium: seeds \[1\] are missing"):
        collect.collect([first, second], tmp_path / "to", 4, [0, 1])
    with pytest.raises(RecordError, match="same run"):
        collect.collect([first, first], tmp_path / "to", 4, [])
    with pytest.raises(RecordError, match="3 records are listed, and 4 runs were asked for"):
        collect.collect([first, second], tmp_path / "to", 4, [])
    with pytest.raises(RecordError, match="absent.txt"):
        collect.collect([first, tmp_path / "absent.txt"], tmp_path / "to", 2, [])
    second.write_text("")
    with pytest.raises(RecordError, match="2 records are listed, and 3 runs"):
        collect.collect([first, second], tmp_path / "to", 3, [])
    assert not (tmp_path / "to").exists()
    [packed] = collect.collect([first, second], tmp_path / "to", 2, [])
    assert len(packed.read_text().splitlines()) == len(load_records(tmp_path / "to")) == 2


def test_a_published_record_is_not_replaced_by_another_of_the_same_run(tmp_path):
    first, second = runs("td3n", [1.0, 2.0])
    published = save_record(first, tmp_path / "to")
    published.write_text(published.read_text() + " ")  # the same record, written otherwise
    before = published.read_bytes()
    again = listed(tmp_path / "again", [first, second])
    packed = tmp_path / "to" / second.packed_name
    assert collect.collect([again], tmp_path / "to", 2, [0, 1]) == [packed]
    assert published.read_bytes() == before and len(load_records(tmp_path / "to")) == 2
    assert collect.collect([again], tmp_path / "to", 2, [0, 1]) == []
    third = dataclasses.replace(first, seed=2)
    other = listed(tmp_path / "b", [third, dataclasses.replace(second, seconds=9.0, commit="b")])
    with pytest.raises(RecordError, match=rf"to/{packed.name}, line 1: .* with another commit, seconds;"):
        collect.collect([other], tmp_path / "to", 2, [])
    assert load_records(tmp_path / "to")[0].seconds != 9.0 and len(load_records(tmp_path / "to")) == 2
    published.write_text("{")
    with pytest.raises(RecordError, match=f"{published.name}: not a readable record"):
        collect.collect([again], tmp_path / "to", 2, [])


def test_make_tables_writes_from_records_alone_and_refuses_by_name(tmp_path, monkeypatch, capsys):
    written = write_tables.write(write_tables.PUBLISHED, tmp_path / "to")
    assert set(written) == set((tmp_path / "to").iterdir()) and len(written) >= 9
    for table, height in ((1, 72), (2, 153)):
        with open(tmp_path / f"to/table{table}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        missing = [r for r in rows if r["status"] == "not run"]
        assert len(rows) >= height and all(r["command"] for r in missing)
        assert (tmp_path / f"to/table{table}.md").read_text().count("\n| ") >= 9
    save_record(record(scale="quick"), tmp_path / "bad" / "paper")
    with pytest.raises(tables.TableError, match="of scale 'quick', not 'paper'"):
        write_tables.write(tmp_path / "bad", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    for results, to, message in (
        ("absent", "none", "absent: has no folder of records"),
        (write_tables.PUBLISHED, "file", "file"),
    ):
        (tmp_path / "file").write_text("ours")
        monkeypatch.setattr(
            "sys.argv", ["tables.py", "--results", str(tmp_path / results), "--to", str(tmp_path / to)]
        )
        assert write_tables.main() == 2
        error = capsys.readouterr().err
        assert error.startswith("tables: ") and message in error
    assert (tmp_path / "file").read_text() == "ours"


def dry_run(*words):
    """What snakemake would do: exit status, and all that it says."""
    needed("snakemake")
    snakemake = Path(sys.executable).with_name("snakemake")
    words = [snakemake, "--profile", "workflow/profiles/local", "-n", "-p", *words]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=500)
    return found.returncode, found.stdout + found.stderr


@pytest.mark.parametrize(
    "given, message",
    [
        ("sed=1", "'sed' was unexpected"), ("only=tdn3_rd-", "begins with 'tdn3_rd-'"),
        ("scale=papr", "'papr' is not one of"), ("numbers=1,3", "3 is not one of [1, 2]"),
        ("seeds=0,-1", "-1 is less than the minimum of 0"), ("only=[", "only: '[' is not YAML"),
        ("papermill=bc-hoper", "is called 'bc-hoper'; near: bc-hopper"),
        ("train={steps: many}", "'many' is not of type 'integer'"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_of_the_grid_is_told_before_anything_runs(given, message):
    status, text = dry_run("tables", "--config", given)
    assert status != 0 and message in text
    assert "Traceback" not in text


def test_at_the_papers_scale_seeds_that_no_table_takes_are_refused_before_they_are_trained():
    status, text = dry_run("tables", "--config", "seeds=3,4")
    assert status != 0 and "seeds: [3, 4]; a table of the paper's scale has [0, 1, 2, 3, 4]" in text


def test_one_command_runs_the_pen_at_quick_scale_beside_nothing_that_is_published():
    """`train.size` would be asked of the demonstrations too, which have 2,500 transitions."""
    pen = ["environments=pen", "numbers=2", "only=bc-", "papermill=[bc-pen]", "train={steps: 20}"]
    status, text = dry_run("--configfile", "workflow/quick.yaml", "--config", *pen, "--", "tables")
    assert status == 0, text
    made = re.findall(r"rdlib data make (.*?) *>", text)
    assert set(made) == {"pen-cloned --size 100000", "pen-demos"} and len(made) == 2
    [line] = [line for line in text.splitlines() if "papermill notebooks/train.ipynb" in line]
    words = shlex.split(line)
    given = json.loads(words[words.index("-y") + 1])
    assert given.pop("out").startswith("runs/quick/bc-pen-")
    assert given == {
        "algo": "bc", "dataset": "pen-demos,pen-cloned", "seeds": list(grid.SEEDS), "scale": "quick",
        "device": "cpu", "compile": "true", "steps": 20,
    }  # fmt: skip
    assert "collect.py --to runs/quick/results/quick" in text and "book/results" not in text
    quick = yaml.safe_load((WORKFLOW / "quick.yaml").read_text())
    assert "size" not in quick["train"] and quick["results"].startswith(quick["runs"])


def test_tables_train_no_question_and_each_page_what_it_shows():
    small = ["source=bundled", "scale=quick", "environments=hopper", "only=bc-,layer-norm"]
    status, text = dry_run("tables", "--config", *small, "papermill=false")
    assert status == 0 and re.findall(r"rdlib train --algo (\w+)", text) == ["bc"], text
    status, text = dry_run("pages", "--config", *small, "papermill=false")
    assert status == 0 and set(re.findall(r"rdlib train --algo (\w+)", text)) == {"bc", "td3n_ln"}, text
    pages = re.findall(r"papermill notebooks/(\w+).ipynb runs/tables/\1.ipynb -r results", text)
    assert set(pages) == {"table1", "table2", "ablations"}
    inputs = re.findall(r"input: (.*), notebooks/(\w+).ipynb", text)
    assert {page: "collected-ablations" in records for records, page in inputs} == {
        "table1": False, "table2": False, "ablations": True,
    }  # fmt: skip


def test_the_snakefile_asks_for_every_job_in_words_that_are_understood():
    runs = "runs/the grid's"
    status, text = dry_run("tables", "ablations", "--config", f"runs={runs}", f"tables={runs}/a b")
    assert status == 0, text[-4000:]
    lines = [shlex.split(line) for line in text.splitlines() if "papermill notebooks/train.ipynb" in line]
    jobs = TABLE_JOBS + [job for q in QUESTIONS for job in q.jobs()]
    assert len(lines) == len(jobs)
    given = [json.loads(words[words.index("-y") + 1]) for words in lines]
    defaults = dataclasses.asdict(TrainConfig())
    plugin = defaults.pop("plugin")
    asked = [from_notebook({**defaults, "rd": plugin, **g}) for g in given]
    expected = [job.asked("d4rl", "paper", Path(runs)) for job in jobs]
    assert sorted(map(str, asked)) == sorted(map(str, expected))
    assert len(re.findall(r"rdlib data make d4rl/", text)) == 17
    for words in lines:  # a folder's name stays one word wherever it stands
        assert all(runs in word for word in words if "grid's" in word), words
    for script in ("collect", "tables"):
        [_, *words] = shlex.split(re.search(rf"python (workflow/{script}.py .*)", text)[1])
        assert [w for w in words if w.startswith(runs)], words
        assert all(w.startswith(runs) for w in words if "grid's" in w), words


def test_records_are_collected_again_for_another_folder_of_results(tmp_path):
    needed("snakemake")
    [job] = [j for j in grid.table_jobs((0,), (1,)) if j.name == "td3bc-hopper"]
    made = [record(job.algo, d, scale="quick") for d in job.datasets]
    out = Path(job.asked("bundled", "quick", tmp_path / "runs", size=1000).out)
    listed(out, made)
    target = tmp_path / "runs" / "collected-tables.txt"

    def snakemake(results, *words):
        given = {
            "source": "bundled", "scale": "quick", "environments": ["hopper"], "seeds": [0], "numbers": [1],
            "only": [job.name], "papermill": False, "train": {"size": 1000}, "runs": str(tmp_path / "runs"),
            "results": str(tmp_path / results),
        }  # fmt: skip
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(given))
        call = [Path(sys.executable).with_name("snakemake"), "--profile", "workflow/profiles/local"]
        call += ["-p", "--configfile", tmp_path / "config.yaml", "--nolock", *words, "--", target]
        found = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=500)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout + found.stderr

    assert "collect.py" in snakemake("first")
    assert "collect.py" not in snakemake("first", "-n")
    assert f"collect.py --to {tmp_path}/second/quick" in snakemake("second", "-n")
    assert load_records(tmp_path / "first" / "quick") == sorted(made, key=lambda r: r.key)


def test_a_job_that_was_stopped_is_tried_again_and_ends_as_if_it_had_not_been(tmp_path):
    """As a cluster stops one, with SIGTERM: it saves, and snakemake's next try goes on from there."""
    needed("snakemake")
    short = {"device": "cpu", "size": 1000, "steps": 500, "eval_every": 500, "episodes": 1}
    short["precision"] = "float32"  # two processes may measure differently which product is the quicker
    [job] = [j for j in grid.table_jobs((0,), (1,)) if j.name == "td3bc-hopper"]
    given = {
        "source": "bundled", "scale": "quick", "environments": ["hopper"], "seeds": [0], "numbers": [1],
        "only": [job.name], "papermill": False, "train": short, "runs": str(tmp_path / "the runs"),
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(given))
    words = ["--profile", "workflow/profiles/local", "--configfile", tmp_path / "config.yaml", "--nolock"]
    snakemake = subprocess.Popen(
        [Path(sys.executable).with_name("snakemake"), *words, "--", "runs"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        while not list(tmp_path.glob("the runs/*/checkpoint.safetensors")):
            assert snakemake.poll() is None, snakemake.communicate()[0]
            time.sleep(0.05)
        [training] = [
            child for child in needed("psutil").Process(snakemake.pid).children(recursive=True)
            if child.cmdline()[1:4] == ["-m", "rdlib", "train"]
        ]  # fmt: skip
        training.terminate()
        said = snakemake.communicate(timeout=300)[0]
    finally:
        snakemake.kill()
    assert snakemake.returncode == 0 and "Trying to restart job" in said, said
    [folder] = (tmp_path / "the runs").glob("td3bc-hopper-*")
    stopped = re.search(r"stopped at update (\d+); the same command resumes", said)
    assert stopped and int(stopped[1]) < 500, said
    logged = (folder / "tries.log").read_text()
    assert logged.index(stopped[0]) < logged.index("finished after 500 updates")
    found = load_records(folder)
    assert (folder / "records.txt").read_text().splitlines() == [str(folder / r.file_name) for r in found]
    whole = train(job.asked("bundled", "quick", tmp_path / "whole", **short)).records
    assert len(found) == len(whole) == 3
    for a, b in zip(found, sorted(whole, key=lambda r: r.file_name), strict=True):
        assert (a.key, a.evaluations) == (b.key, b.evaluations)


def test_the_profiles_do_not_queue_everything_again_after_a_cosmetic_edit():
    for name in ("local", "slurm"):
        profile = yaml.safe_load((WORKFLOW / "profiles" / name / "config.yaml").read_text())
        assert profile["rerun-triggers"] == ["mtime", "params"] and profile["rerun-incomplete"]
    rule = (WORKFLOW / "Snakefile").read_text().split("rule train:")[1].split("rule ")[0]
    assert "checkpoint" not in rule and "ancient(" in rule
