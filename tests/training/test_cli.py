"""`python -m rdlib` is the same function as in Python; its help is whole and its errors are one line."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.synthetic import write_hdf5
from safetensors.torch import load_file

import rdlib
from rdlib.__main__ import main, parse
from rdlib.data import bundled, catalog
from rdlib.training.record import load_records
from rdlib.training.request import TrainConfig

TINY = {
    "batch_size": 16, "n_critics": 2, "width": 8, "depth": 1, "actor_width": 8, "actor_depth": 1,
}  # fmt: skip
CONFIG = ",".join(f"{k}={v}" for k, v in TINY.items())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A D4RL file of Hopper's dimensions."""
    return write_hdf5(tmp_path_factory.mktemp("data") / "tiny.hdf5")


def arguments(data, out, *more):
    return [
        "train", "--algo", "td3n_rd", "--dataset", str(data), "--env", "Hopper-v5", "--steps", "20",
        "--config", CONFIG, "--episodes", "1", "--seeds", "3,1", "--device", "cpu", "--dtype",
        "float64", "--eval_every", "10", "--out", str(out), *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a run of two agents, made by the command line in a process of its own."""
    folder = tmp_path_factory.mktemp("run")
    result = shell(*arguments(data, "out"), cwd=folder)
    assert result.returncode == 0, result.stderr
    found = re.findall(r"td3n_rd on tiny, seed (\d): score (\S+) .*finished after 20", result.stdout)
    assert [seed for seed, _ in found] == ["3", "1"] and "records and checkpoint in out" in result.stdout
    return folder / "out"


def shell(*arguments, cwd=None):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "rdlib", *arguments], cwd=cwd, env=environment, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip


# ---- help

HELP = {  # by command: what its help names
    "": ["train", "evaluate", "data", "records", "bench"],
    "train": [f"--{f.name}" for f in dataclasses.fields(TrainConfig) if f.name != "variants"],
    "evaluate": ["the --out folder of a run", "--episodes", "--seed", "--env"],
    "data": ["list", "make", "inspect"],
    "data list": ["Every name"],
    "data make": ["--size"],
    "data inspect": ["--size", "--json"],
    "records": ["folders"],
    "bench": [
        "--algos",
        "--agents",
        "--seconds",
        "--config",
        "--device",
        "--compile",
        "--out",
        "--against",
    ],
}


@pytest.mark.parametrize("command", HELP)
def test_help_is_complete(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0 and shown.startswith(f"usage: rdlib {command}".rstrip())
    assert all(word in shown for word in HELP[command])


def test_every_field_of_train_says_what_it_is_in_the_words_of_its_comment(capsys):
    """New fields need no line here: the help is made from the class."""
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    source = inspect.getsource(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        [comment] = re.findall(rf"^    {field.name}: .*?  # (.*)$", source, re.MULTILINE)
        assert comment in shown, field.name
    for name in ("--rd NAME=VALUE,…", "--variant NAME=VALUE,…", "--seeds INT,…", "--compile "):
        assert name in shown


def test_every_field_can_be_given_and_has_python_s_default():
    assert parse(["train"]).asked() == TrainConfig()
    words = (
        "train --algo td3n --dataset a,b --seeds 0,1 --steps 1e5 --scale quick --config beta=2 "
        "--rd weight=0.1 --variant beta=1 --variant plugin.weight=2 --size 5 --eval_every 6 --episodes 7 "
        "--last_k 8 --env E --device cpu --dtype float64 --precision float32 --compile --together 3 "
        "--out ~/x"
    )
    asked = parse(words.split()).asked()
    assert asked == TrainConfig(
        algo="td3n", dataset="a,b", seeds=(0, 1), steps=100_000, scale="quick", config={"beta": 2},
        plugin={"weight": 0.1}, variants=({"beta": 1}, {"plugin.weight": 2}), size=5, eval_every=6,
        episodes=7, last_k=8, env="E", device="cpu", dtype="float64", precision="float32", compile=True,
        together=3, out="~/x",
    )  # fmt: skip
    assert parse(["train", "--plugin", "weight=0.1"]).asked() == TrainConfig(plugin={"weight": 0.1})
    assert parse(["train", "--seeds", "[0, 1]"]).asked().seeds == (0, 1)
    assert parse(["train", "--config", "sizes=[1,2],b=3"]).asked().config == {"sizes": [1, 2], "b": 3}


@pytest.mark.parametrize("command", ["--help", "train --help", "data list"])
def test_help_and_lists_do_not_wait_for_what_they_do_not_use(command):
    """Which modules are imported says how long it takes, on any machine."""
    code = f"""
import sys, rdlib.__main__
try:
    rdlib.__main__.main({command.split()!r})
finally:
    print(*sys.modules)"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    slow = {"torch", "pandas", "mujoco", "minari", "h5py", "matplotlib", "scipy", "papermill"}
    assert not loaded & slow
    assert "data" in command or "numpy" not in loaded


# ---- train, records, evaluate


def test_the_command_line_trains_what_python_trains(data, run, tmp_path, same_product):
    asked = TrainConfig(
        algo="td3n_rd", dataset=str(data), env="Hopper-v5", steps=20, config=TINY, episodes=1,
        seeds=(3, 1), device="cpu", dtype="float64", eval_every=10, out=str(tmp_path),
    )  # fmt: skip
    ours = rdlib.train(asked, progress=False)
    theirs = load_file(run / "checkpoint.safetensors")
    tensors = ours.algorithm.tensors()
    assert tensors.keys() <= theirs.keys() and len(tensors) > 20
    for name, value in tensors.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-12, msg=lambda m, n=name: n + m)
    records = {r.seed: r for r in load_records(run)}
    assert records.keys() == {3, 1}
    for mine in ours.records:
        other = records[mine.seed]
        assert (mine.config, mine.plugin, mine.config_hash) == (
            other.config, other.plugin, other.config_hash
        )  # fmt: skip
        assert [e["step"] for e in other.evaluations] == [0, 10, 20]
        for a, b in zip(mine.evaluations, other.evaluations, strict=True):
            np.testing.assert_allclose(a["returns"], b["returns"], rtol=1e-9)
            assert a["lengths"] == b["lengths"]


def test_the_same_command_again_only_reads(data, run, capsys, same_product):
    before = {p.name: p.stat().st_mtime_ns for p in run.iterdir() if p.name != ".lock"}
    assert main(arguments(data, run)) == 0
    assert capsys.readouterr().out.count("finished after 20 updates") == 2
    assert before == {p.name: p.stat().st_mtime_ns for p in run.iterdir() if p.name != ".lock"}


def test_evaluate_repeats_the_last_evaluation(run, capsys):
    """With a training seed: evaluation episodes are a function of the seed alone."""
    records = {r.seed: r for r in load_records(run)}
    assert main(["evaluate", str(run), "--episodes", "1", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and [line.split(":")[0] for line in lines] == [
        "tiny, seed 3", "tiny, seed 1"
    ]  # fmt: skip
    value, score = re.search(r"return (\S+) ± 0.0, score (\S+) ± 0.0 over 1 ep", lines[0]).groups()
    [last] = records[3].evaluations[-1]["returns"]
    assert float(value) == pytest.approx(last, abs=0.06)
    assert float(score) == pytest.approx(records[3].scores()[-1], abs=0.06)


def test_a_sweep_says_what_differs(data, tmp_path, monkeypatch, capsys):
    """In the lines of train, evaluate and records, which also reads the folders below."""
    monkeypatch.chdir(tmp_path)
    sweep = ["--variant", "beta=1", "--variant", "beta=2,plugin.weight=0.3", "--seeds", "3"]
    assert main(arguments(data, "deep/sweep", *sweep)) == 0
    assert main(["evaluate", "deep/sweep", "--episodes", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "tiny, seed 3" in line]
    words = ["beta=1.0,plugin.weight=0.1", "beta=2.0,plugin.weight=0.3"]
    assert [re.search(r"seed 3, (\S+):", line)[1] for line in lines] == words * 2
    assert main(["records", "."]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.endswith("differs in") and [row.split()[-1] for row in rows] == words
    assert len(load_records("deep/sweep")) == 2


def test_evaluate_on_another_version_of_the_environment(run, capsys):
    assert main(["evaluate", str(run), "--episodes", "2", "--env", "Hopper-v4"]) == 0
    steps = re.findall(r"over 2 episodes of (\d+) steps", capsys.readouterr().out)
    assert len(steps) == 2 and all(2 <= int(n) <= 1000 for n in steps)


# ---- data


def test_data_list(capsys):
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[3:]  # what the scores are, a blank line, the head
    assert [line.split()[0] for line in lines] == [n.name for n in catalog.names()]
    [medium] = [line.split() for line in lines if line.startswith("hopper-medium ")]
    known = catalog.PAPER_DATASETS["hopper-medium"]
    scores = (bundled.statistics()["hopper-medium"]["score"], known.d4rl_score)
    assert medium[1:] == ["bundled", "Hopper-v5", *(f"{score:.1f}" for score in scores), "MIT"]


def test_data_inspect(data, capsys):
    assert main(["data", "inspect", "door-human"]) == 0
    out = capsys.readouterr().out
    for text in ("6,729 transitions", "episodes 25, of 223 to 300 steps", "returns 795.7", "CC-BY-4.0",
                 "mean score 29.0", "AdroitHandDoor-v1", catalog.load("door-human").digest,
                 "warning: episodes of up to 300 steps, where AdroitHandDoor-v1"):  # fmt: skip
        assert text in out
    assert out.splitlines()[-1] == "usable"
    assert main(["data", "inspect", str(data)]) == 0
    assert "episodes 12, of 24 to 25 steps" in capsys.readouterr().out


def test_data_inspect_is_told_what_the_data_do_not_say(tmp_path, capsys):
    actions = np.zeros((300, 3), np.float32)
    actions[3] = 9
    path = write_hdf5(tmp_path / "own.hdf5", timeouts=None, terminals=np.zeros(300, bool), actions=actions)
    assert main(["data", "inspect", str(path)]) == 2
    assert re.search(r"'timeouts' is missing.* give horizon .* or env ", capsys.readouterr().err)
    assert main(["data", "inspect", str(path), "--horizon", "100"]) == 0
    assert "episodes 3, of 99 to 99 steps" in capsys.readouterr().out
    assert main(["data", "inspect", str(path), "--env", "Hopper-v5"]) == 2
    assert re.search(r"row 3 holds 9 .*; clip_actions sets them", capsys.readouterr().err)
    assert main(["data", "inspect", str(path), "--env", "Hopper-v5", "--clip_actions"]) == 0
    assert "clipped: the actions of 1 rows to the limits" in capsys.readouterr().out


def test_data_inspect_as_json(data, capsys):
    assert main(["data", "inspect", "door-human", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["usable"] and shown["digest"] == catalog.load("door-human").digest
    assert shown["episodes"] == shown["timeouts"] == 25 and shown["shapes"]["obs"] == [6729, 39]
    assert shown["score"] == pytest.approx(29.01, abs=0.01)
    act = catalog.load("door-human").act[:, 27]
    assert shown["columns"]["act 27"] == pytest.approx(
        {"min": act.min(), "mean": act.mean(), "max": act.max(), "std": act.std()}, rel=1e-4
    )


def test_data_inspect_says_what_cannot_be_used(tmp_path, capsys):
    """A file that is refused, and one that is read but does not fit its environment."""
    obs = np.zeros((300, 11), dtype=np.float32)
    obs[7, 3] = np.nan
    broken = write_hdf5(tmp_path / "broken.hdf5", observations=obs)
    assert main(["data", "inspect", str(broken)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert re.search(r"error: not usable: .*broken.hdf5: 'observations' row 7 holds nan", shown.err)
    assert main(["data", "inspect", str(broken), "--json"]) == 2
    refused = json.loads(capsys.readouterr().out)
    assert refused["usable"] is False and "'observations' row 7" in refused["problems"][0]

    odd = write_hdf5(tmp_path / "hopper_medium-v2.hdf5", obs_dim=17, act_dim=6)
    assert main(["data", "inspect", str(odd)]) == 2
    shown = capsys.readouterr()
    why = "observations of 17 and actions of 6; Hopper-v4 has 11 and 3"
    last = shown.out.splitlines()[-1]
    assert last.startswith("not usable: ") and why in last
    assert shown.err.startswith("rdlib: error: ") and why in shown.err
    assert main(["data", "inspect", str(odd), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["usable"] is False


def test_data_make(capsys):
    assert main(["data", "make", "hopper-random", "--size", "50"]) == 0
    [file] = (catalog.minari.Path(os.environ["RDLIB_CACHE"])).rglob("main_data.hdf5")
    assert "random-50-v1" in str(file)
    [line] = capsys.readouterr().out.splitlines()
    data = catalog.load("hopper-random", size=50)
    score = catalog.normalised_score("hopper", data.episode_returns()).mean()
    assert line.startswith("hopper-random: 50 transitions") and f"mean score {score:.1f}; in " in line
    assert line.endswith(str(file.parent.parent))


# ---- bench


def test_bench(capsys, tmp_path):
    words = ["bench", "--algos", "td3n,td3n_rd", "--agents", "1,2", "--seconds", "0.01"]
    words += ["--config", CONFIG, "--device", "cpu", "--out", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    for size in (256, 512, 1024):
        assert re.search(rf"mm {size} \d+", out)
    assert re.search(r"bmm 10x256 \d+", out) and re.search(r"relative error \d\.\de-0\d", out)
    assert re.search(r"1e6 Hopper transitions: \d+ MiB", out)
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("algorithm"))
    rows = [line.split() for line in lines[start + 1 : start + 5]]
    assert [row[:2] for row in rows] == [[a, n] for a in ("td3n", "td3n_rd") for n in "12"]
    for row in rows:
        agents, ms, predicted, rate = int(row[1]), *map(float, row[2:5])
        assert ms > 0 and predicted > 0 and rate == pytest.approx(1e3 * agents / ms, rel=0.02)
        assert row[7].endswith("%") and row[9].endswith("%") and len(row) == 10
    assert "table 1 at the paper's scale" in out and "not measured: cql" in out
    assert {row["algo"] for row in json.loads((tmp_path / "bench.json").read_text())["rows"]} == {
        "td3n", "td3n_rd"
    }  # fmt: skip


# ---- errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --algo td3n_rdd", r"algo: no algorithm 'td3n_rdd'; near: td3n_rd"),
        ("train --algo", r"--algo"),
        ("train --dataset hoper-medium", r"unknown dataset 'hoper-medium'; near names: hopper-medium"),
        ("train --dataset nope.hdf5", r"nope.hdf5"),
        ("train --dataset door-human --size 5", r"size=5"),
        ("train --config width", r"'width': expected name=value"),
        ("train --config =8", r"no field ''"),
        ("train --config width=8;depth=1", r"'width' = '8;depth=1' is a str"),
        ("train --config widht=8", r"no field 'widht'; near: width"),
        ("train --config width=a", r"'width' = 'a' is a str, expected an int"),
        ("train --config beta=true", r"'beta' = True is a bool, expected a float"),
        ("train --config beta=NaN", r"'beta' = nan"),
        ("train --config width=8,width=16", r"width is given twice"),
        ("train --plugin wait=1", r"plug-in: no field 'wait'; near: weight"),
        ("train --algo td3n --plugin weight=1", r"\['weight'\] configure a plug-in"),
        ("train --variant betta=3", r"no field 'betta'; near: beta"),
        ("train --variant width=8 --variant width=9 --dataset DATA --env Hopper-v5 --out OUT",
         r"width: agents trained together must agree"),
        ("train --steps many", r"--steps: 'many' is a str, expected an int; see rdlib --help"),
        ("train --steps 1.5", r"--steps: 1.5 is a float, expected an int"),
        ("train --steps -1", r"steps = -1"),
        ("train --seeds 0,a", r"--seeds: 'a' is a str, expected an int"),
        ("train --seeds 0,0", r"seeds = \(0, 0\)"),
        ("train --seeds -1", r"seeds"),
        ("train --episodes 0", r"episodes = 0"),
        ("train --scale tiny", r"scale = 'tiny', expected one of auto, quick, paper"),
        ("train --dtype half", r"dtype = 'half'"),
        ("train --device gpu", r"device = 'gpu'"),
        ("train --device cuda:99", r"device = 'cuda:99', but this machine has \d GPUs"),
        ("train --unknown 1", r"Unrecognized options: --unknown"),
        ("train --dataset DATA", r"set env to a gymnasium id"),
        ("train --dataset DATA --env Hoper-v5", r"environment 'Hoper-v5' is not known"),
        ("train --dataset DATA --env Walker2d-v5", r"observations of 11 and actions of 3; Walker2d-v5"),
        ("train --dataset DATA --env CartPole-v1", r"CartPole-v1: the action space is Discrete"),
        ("evaluate nowhere", r"nowhere/checkpoint.safetensors"),
        ("evaluate RUN --episodes 0", r"episodes = 0, expected at least 1"),
        ("evaluate RUN --episodes -3", r"episodes = -3"),
        ("evaluate RUN --env Walker2d-v5", r"Walker2d-v5.*17 and actions of 6.*takes 11 and 3"),
        ("evaluate RUN --env Nope-v1", r"environment 'Nope-v1' is not known"),
        ("evaluate", r"Missing from rdlib evaluate: PATH the --out folder of a run"),
        ("data inspect hoper-medium", r"near names: hopper-medium"),
        ("data inspect hopper-medium --size -1", r"size is -1"),
        ("data inspect hopper-medium --size x", r"--size"),
        ("data make pen-human", r"unknown dataset 'pen-human'.*pen-demos"),
        ("data", r"Expected one of {list, make, inspect, check}"),
        ("data lost", r"Unrecognized options: lost; Available subcommands: list, make, inspect"),
        ("bench --algos td3n,nope --seconds 0", r"algo: no algorithm 'nope'"),
        ("bench --agents 0 --seconds 0", r"agents = \(0,\), expected at least 1"),
        ("bench --agents x", r"--agents"),
        ("bench --config widht=8", r"no field 'widht'"),
        ("bench --device gpu", r"device = 'gpu'"),
        ("bench --algos bc --against lost", r"against = lost, expected a checkout: it has no rdlib/__init"),
        ("", r"Expected one of {train, evaluate, data, records, bench}; see"),
        ("trian", r"Unrecognized options: trian; Available subcommands: train, evaluate"),
    ],
)  # fmt: skip
def test_errors_are_one_line(words, message, data, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rdlib.data.bundled.rollout.make", lambda *a, **k: pytest.fail("rolled out"))
    names = {"DATA": str(data), "OUT": "out", "RUN": str(run)}
    given = [names.get(word, word) for word in words.split()]
    if "hopper" not in words and "--dataset" not in given and given[:1] == ["train"]:
        given += ["--dataset", str(data), "--env", "Hopper-v5"]
    try:
        status = main(given)
    except SystemExit as stop:
        status = stop.code
    shown = capsys.readouterr()
    assert (status, shown.out) == (2, "")
    assert shown.err.startswith("rdlib: error: ") and shown.err.count("\n") == 1, shown.err
    assert re.search(message, shown.err), shown.err
    assert not list(tmp_path.rglob("*")), "something was written"


def test_an_error_in_a_real_process():
    result = shell("train", "--algo", "td3m")
    assert (result.returncode, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("rdlib: error: algo: no algorithm 'td3m'; near: td3n")


def test_records_prints_a_line_for_each_run(run, capsys):
    from rdlib.__main__ import main

    assert main(["records", str(run)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert {"algo", "dataset", "seed", "last", "best"} <= set(head.split())
    assert len(rows) == len(load_records(run))
    assert main(["records", str(run / "nothing")]) == 2
    assert "no records" in capsys.readouterr().err
