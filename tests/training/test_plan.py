"""What is asked for is what runs, or a refusal that names the field."""

import dataclasses
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.extras import needed
from helpers.synthetic import write_hdf5

from rdlib.__main__ import parse
from rdlib.data.dataset import DataError
from rdlib.engine.config import ConfigError
from rdlib.engine.hardware import find_device
from rdlib.training.parameters import check_parameters, from_notebook
from rdlib.training.plan import make_plan
from rdlib.training.request import TrainConfig, assignments, command, dataset_names

hypothesis = needed("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of small D4RL files; those with a known name say their environment."""
    folder = tmp_path_factory.mktemp("data")
    write_hdf5(folder / "tiny.hdf5", n=60)
    write_hdf5(folder / "other.hdf5", seed=1, n=60)
    write_hdf5(folder / "hopper_medium-v2.hdf5", n=60)
    write_hdf5(folder / "halfcheetah_medium-v2.hdf5", n=60, obs_dim=17, act_dim=6)
    return folder


def plan(data, **asked):
    known = {"algo": "td3n", "dataset": str(data / "tiny.hdf5"), "env": "Hopper-v5"}
    return make_plan(TrainConfig(**{**known, "scale": "quick", "device": "cpu", **asked}))


# ---- the notebook's parameters


def test_what_a_notebook_may_say():
    assert from_notebook({}) == TrainConfig()
    names = {
        "algo": "td3n", "dataset": "door-human", "seeds": [3, 1], "steps": 5, "config": {"beta": 2},
        "rd": "", "device": "cpu", "scale": "paper", "out": "x", "episodes": 2, "env": "Hopper-v5",
    }  # fmt: skip
    asked = from_notebook({**names, "_i": 7, "_": 8})
    assert asked.seeds == (3, 1) and asked.plugin == {} and asked.config == {"beta": 2}
    plain = ("algo", "dataset", "steps", "device", "scale", "out", "episodes", "env")
    assert all(getattr(asked, k) == names[k] for k in plain)


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        (0, (0,)), (7, (7,)), ([0, 1, 2], (0, 1, 2)), ((2, 0), (2, 0)), ("5", (5,)),
        ("0,1,2", (0, 1, 2)), ("0, 1, 2 ", (0, 1, 2)), (["0", 1], (0, 1)), ("[0,1]", (0, 1)),
        ("[0, 1]", (0, 1)), (1e3, (1000,)), (None, (0,)), ("(2, 0)", (2, 0)), ("(7,)", (7,)),
    ],
)  # fmt: skip
def test_seeds_in_every_form(given, seeds):
    assert from_notebook({"seeds": given}).seeds == seeds


@pytest.mark.parametrize(
    "given",
    [
        True, [True], 0.5, [1.5], "", "0,", "a", "0;1", "1.5", "-1", -1, [], [0, 0], "1,1", {},
        [[0]], [None], 2**63, "0 1", "[0", "[]", "(0", "()", "(a, b)",
    ],
)  # fmt: skip
def test_seeds_that_are_refused(given):
    with pytest.raises(ConfigError, match="seeds"):
        from_notebook({"seeds": given})


@pytest.mark.parametrize("form", [{"weight": 0.5, "ood": "noise"}, "weight=0.5, ood=noise"])
def test_rd_and_config_as_dictionary_or_text(form):
    assert from_notebook({"rd": form}).plugin == {"weight": 0.5, "ood": "noise"}
    assert from_notebook({"config": form}).config == {"weight": 0.5, "ood": "noise"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"aglo": "td3n"}, r"parameter 'aglo' is unknown; near: algo"),
        ({"seed": 1}, r"parameter 'seed' is unknown; near: seeds"),
        ({"dataest": "x"}, r"parameter 'dataest' is unknown; near: dataset"),
        ({"plugin": {}, "rd": {}}, r"rd and plugin are the same parameter"),
        ({"xyzzy": 1}, r"parameter 'xyzzy' is unknown; near: \w+, \w+, \w+$"),
        ({"steps": "many"}, r"steps: 'many' is a str, expected an int"),
        ({"steps": True}, r"steps: True is a bool"),
        ({"steps": 1.5}, r"steps: 1.5 is a float, expected an int"),
        ({"steps": -1}, r"steps = -1, expected >= 0"),
        ({"compile": "yes"}, r"compile = 'yes', expected one of auto, true, false"),
        ({"beside": 3}, r"beside: 3 is an int, expected a bool"),
        ({"together": -1}, r"together = -1, expected >= 0"),
        ({"algo": 1}, r"algo: 1 is an int, expected a str"),
        ({"algo": ["td3n"]}, r"algo: \['td3n'\]"),
        ({"out": 7}, r"out: 7"),
        ({"scale": "small"}, r"scale = 'small', expected one of auto, quick, paper"),
        ({"rd": 0.03}, r"rd: 0.03 is a float, expected"),
        ({"config": ["beta=1"]}, r"config: \['beta=1'\]"),
        ({"config": "beta"}, r"config: 'beta': expected name=value"),
        ({"config": "beta=1,beta=2"}, r"beta is given twice"),
        ({"config": "{beta: 1}"}, r"config: .* is neither name=value,… nor a JSON object"),
        ({"rd": "a=[1"}, r"rd: 'a=\[1': a bracket or quotation mark is not closed"),
        ({"episodes": 0}, r"episodes = 0, expected at least 1"),
        ({"last_k": 0}, r"last_k = 0, expected at least 1"),
        ({"dtype": "float16"}, r"dtype = 'float16', expected one of float32, float64"),
        ({"variants": ()}, r"variants"),
        ({"variants": ({}, 3)}, r"variants: 3 is an int"),
        ({"variants": []}, r"variants"),
    ],
)
def test_what_a_notebook_may_not_say(names, message):
    with pytest.raises(ConfigError, match=message):
        from_notebook(names)


@pytest.mark.parametrize(
    ("names", "field", "value"),
    [
        ({"steps": 1e5}, "steps", 100_000),
        ({"steps": "1e5"}, "steps", 100_000),  # by -r
        ({"steps": None}, "steps", 0),
        ({"rd": None}, "plugin", {}),
        ({"plugin": "weight=1"}, "plugin", {"weight": 1}),
        ({"rd": '{"weight": 0.03}'}, "plugin", {"weight": 0.03}),
        ({"compile": True}, "compile", "true"),
        ({"compile": "false"}, "compile", "false"),
        ({"compile": None}, "compile", "auto"),
        ({"variants": [{}, "beta=2"]}, "variants", ({}, {"beta": 2})),
        ({"variants": '[{"beta": 2}]'}, "variants", ({"beta": 2},)),
        ({"variants": None}, "variants", ({},)),
    ],
)
def test_what_papermill_makes_of_words_and_of_yaml(names, field, value):
    found = getattr(from_notebook(names), field)
    assert found == value and type(found) is type(value)


def test_a_notebook_is_asked_only_what_its_parameters_cell_and_papermill_set():
    """With imports of the reader's own, and again in the same kernel, where every later name is there."""
    cells = ["", "import os", "algo = 'bc'\nsteps = 0", "import json", "asked = from_notebook(globals())"]
    later = {"os": 1, "json": 2, "command": 3, "google": 4, "steps": 7, "algo": "bc"}
    assert from_notebook({**later, "In": cells}) == TrainConfig("bc", steps=7)
    assert from_notebook({**later, "In": [*cells, "command = 3", *cells[1:]]}) == TrainConfig("bc", steps=7)
    injected = [*cells[:3], "# Parameters\nstep = 5\n", "asked = from_notebook(globals())"]
    with pytest.raises(ConfigError, match="parameter 'step' is unknown; near: steps"):
        from_notebook({**later, "step": 5, "In": injected})
    typed = [*cells[:2], "algo = 'bc'\nstep = 5", cells[4]]  # by the reader, the second time
    with pytest.raises(ConfigError, match="parameter 'step' is unknown; near: steps"):
        from_notebook({**later, "step": 5, "In": [*cells, *typed]})


def test_other_notebooks_check_theirs_by_the_defaults_in_their_cell():
    cell = "size = 10  # steps\nseeds = [0, 1]\nweight = 0.5\nfast = False"
    defaults = {"size": 10, "seeds": [0, 1], "weight": 0.5, "fast": False, "numpy": None}

    def checked(**given):
        injected = "# Parameters\n" + "\n".join(f"{k} = {v!r}" for k, v in given.items())
        names = {
            **defaults,
            **given,
            "In": ["", "import numpy", cell, injected, "check_parameters(globals())"],
        }
        check_parameters(names)
        return {name: names[name] for name in defaults}

    assert checked() == defaults
    given = {"size": 1e3, "seeds": "2,3", "weight": 1, "fast": "true"}
    assert checked(**given) == {**defaults, "size": 1000, "seeds": [2, 3], "weight": 1, "fast": True}
    for given, message in (
        ({"sise": 3}, "parameter 'sise' is unknown; near: size"),
        ({"size": "many"}, "size: 'many' is a str, expected an int"),
        ({"weight": "x"}, "weight: 'x' is a str, expected a float"),
    ):
        with pytest.raises(ConfigError, match=message):
            checked(**given)


def test_folders_of_runs():
    """Where `out` says, with ~ expanded, or by algorithm and dataset: never hidden, never above runs/."""
    home = Path.home()
    assert TrainConfig(out="~/x").folder == home / "x"
    for dataset, name in {
        "hopper-medium": "hopper-medium", "d4rl/hopper-medium-v2": "d4rl-hopper-medium-v2",
        "../../data/a.hdf5": "data-a.hdf5", "~/data/a.hdf5": "data-a.hdf5", "./.a.hdf5": "a.hdf5",
        "/": "data", "hopper-medium,hopper-expert": "hopper-medium,hopper-expert",
    }.items():  # fmt: skip
        assert TrainConfig("bc", dataset).folder == Path("runs") / "bc" / name


def test_a_comma_may_stand_in_a_path(data):
    odd = write_hdf5(data / "a,b.hdf5", n=60)
    both = f"{odd}, {data / 'tiny.hdf5'}"
    assert dataset_names(both) == [str(odd), str(data / "tiny.hdf5")]
    assert [a.dataset.name for a in plan(data, dataset=both).agents] == ["a,b", "tiny"]
    assert dataset_names("hopper-medium,hopper-expert") == ["hopper-medium", "hopper-expert"]


def test_assignments():
    text = "a=1, b = 0.5,c=true,d=word,e=1e-3,f=-2,g=,h=x=y"
    expected = {"a": 1, "b": 0.5, "c": True, "d": "word", "e": 1e-3, "f": -2, "g": "", "h": "x=y"}
    found = assignments(text)
    assert found == expected and {type(v) for v in found.values()} == {int, float, bool, str}
    assert assignments("") == {}
    lists = 'sizes=[1, 2],name="a,b",deep={"x": [1, {"y": 2}]},last=3'
    assert assignments(lists) == {
        "sizes": [1, 2], "name": "a,b", "deep": {"x": [1, {"y": 2}]}, "last": 3
    }  # fmt: skip
    assert assignments('{"a": [1, 2]}') == {"a": [1, 2]}


# ---- fields of the algorithm and the plug-in


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"algo": "td3n_rdd"}, r"algo: no algorithm 'td3n_rdd'; near: td3n_rd"),
        ({"algo": "bc_rd"}, r"algo: 'bc_rd': bc has no critic"),
        ({"algo": "td3n_rd_dr3"}, r"no algorithm 'td3n_rd_dr3': one plug-in at a time"),
        ({"algo": "td3n_ln_ln"}, r"no algorithm 'td3n_ln_ln'"),
        ({"config": {"widht": 8}}, r"td3n: no field 'widht'; near: width"),
        ({"config": {"width": "8"}}, r"field 'width' = '8' is a str, expected an int"),
        ({"config": {"width": 8.0}}, r"field 'width' = 8.0 is a float, expected an int"),
        ({"config": {"width": True}}, r"field 'width' = True is a bool"),
        ({"config": {"beta": "true"}}, r"field 'beta' = 'true' is a str, expected a float"),
        ({"config": {"beta": True}}, r"field 'beta' = True is a bool, expected a float"),
        ({"config": {"actor_lr": False}}, r"field 'actor_lr' = False is a bool"),
        ({"config": {"layer_norm": 1}}, r"field 'layer_norm' = 1 is an int, expected a bool"),
        ({"config": {"beta": float("nan")}}, r"field 'beta' = nan"),
        ({"config": {"beta": float("inf")}}, r"field 'beta' = inf"),
        ({"config": {"beta": 10**400}}, r"field 'beta' = 1000+\.\.\.0+, expected a finite number"),
        ({"config": {"width": 10**30}}, r"field 'width' = 10+, expected a whole number below 2\^31"),
        ({"config": {"n_critics": 2**31}}, r"field 'n_critics' = 2147483648, expected a whole"),
        ({"config": {"batch_size": 0}}, r"field 'batch_size' = 0, expected .* in \[1, inf\]"),
        ({"config": {"gamma": 1.5}}, r"field 'gamma' = 1.5"),
        ({"config": {"n_critics": 0}}, r"td3n: n_critics = 0"),
        ({"algo": "td3n_rd", "plugin": {"weight": -1.0}}, r"td3n_rd plug-in: weight = -1.0"),
        ({"algo": "bc", "plugin": {"weight": 1.0}}, r"bc: \['weight'\] .* nor a critic"),
        ({"algo": "dt", "variants": ({"plugin.weight": 1.0},)}, r"dt: \['weight'\] .* nor a critic"),
        ({"config": {"target": "max"}}, r"target = 'max'"),
        ({"config": {1: 2}}, r"no field 1"),
        ({"plugin": {"weight": 1.0}}, r"td3n: \['weight'\] configure a plug-in"),
        ({"algo": "td3n_rd", "plugin": {"wieght": 1.0}}, r"plug-in: no field 'wieght'; near: weight"),
        ({"algo": "td3n_rd", "plugin": {"weight": "1"}}, r"plug-in: field 'weight' = '1' is a str"),
        ({"algo": "td3n_rd", "plugin": {"stages": "third"}}, r"stages = 'third'.*both, first, second"),
        ({"algo": "td3n_ln", "config": {"layer_norm": False}}, r"contradicts the name"),
        ({"variants": ({"bata": 1.0},)}, r"no field 'bata'; near: beta"),
        ({"variants": ({"plugin.weight": 1.0},)}, r"configure a plug-in"),
        ({"algo": "td3n_rd", "variants": ({"plugin.wait": 1.0},)}, r"plug-in: no field 'wait'"),
        ({"variants": ({"beta": 1.0}, {"beta": 1})}, r"variants.*two agents would be the same run"),
    ],
)  # fmt: skip
def test_overrides_that_are_refused(data, asked, message):
    with pytest.raises(ConfigError, match=message):
        plan(data, **asked)


def test_agents_are_datasets_by_variants_by_seeds(data):
    files = f"{data}/tiny.hdf5, {data}/other.hdf5"
    betas = ({"beta": 0.5}, {"beta": 2, "plugin.weight": 0.3})
    p = plan(
        data, algo="td3n_rd", dataset=files, seeds=(4, 2), variants=betas,
        config={"beta": 9.0, "width": 8}, plugin={"weight": 0.7},
    )  # fmt: skip
    found = [(a.dataset.name, a.config.beta, a.plugin.weight, a.seed) for a in p.agents]
    assert found == [
        (d, b, w, s) for d in ("tiny", "other") for b, w in ((0.5, 0.7), (2.0, 0.3)) for s in (4, 2)
    ]
    assert {a.config.width for a in p.agents} == {8}
    assert len({id(a.dataset) for a in p.agents}) == 2  # each loaded once
    assert p.env_id == "Hopper-v5" and str(p.out).startswith("runs/td3n_rd/")


# ---- datasets and environments


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (("tiny", "tiny"), ConfigError, r"dataset = .* names one twice"),
        (("hopper_medium-v2", "halfcheetah_medium-v2"), ConfigError, r"mixes env.*Cheetah.*Hopper"),
        (("tiny",), ConfigError, r"does not say what to evaluate on: set env"),
        (("hopper_medium-v2", "tiny"), ConfigError, r"mixes environments"),
        (("nope",), DataError, r"no such file"),
    ],
)  # fmt: skip
def test_datasets_that_are_refused(data, names, error, message):
    with pytest.raises(error, match=message):
        plan(data, dataset=",".join(f"{data}/{name}.hdf5" for name in names), env="")


def test_two_datasets_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for i, folder in enumerate(("first", "second", "third/first")):
        (tmp_path / folder).mkdir(parents=True)
        write_hdf5(tmp_path / folder / "buffer.hdf5", seed=i, n=60)
    two = plan(tmp_path, dataset=f"{tmp_path}/first/buffer.hdf5,{tmp_path}/second/buffer.hdf5")
    assert [a.dataset.name for a in two.agents] == ["first/buffer", "second/buffer"]
    alone = plan(tmp_path, dataset=f"{tmp_path}/first/buffer.hdf5")
    assert [a.dataset.name for a in alone.agents] == ["buffer"]
    with pytest.raises(ConfigError, match="two are called 'first/buffer'.*rename a file or its folder"):
        plan(tmp_path, dataset=f"{tmp_path}/first/buffer.hdf5,{tmp_path}/third/first/buffer.hdf5")


def test_one_dataset_under_two_names(data, tmp_path):
    copy = tmp_path / "tiny.hdf5"
    copy.write_bytes((data / "tiny.hdf5").read_bytes())
    with pytest.raises(ConfigError, match=r"two agents would be the same run"):
        plan(data, dataset=f"{data}/tiny.hdf5,{copy}")


@pytest.mark.parametrize("name", ["{}/tiny.hdf5,", ",x", "", "hopper-meduim"])
def test_dataset_names_that_are_refused(data, name):
    with pytest.raises(DataError, match=r"unknown dataset '(hopper-meduim'; near.* hopper-medium|')"):
        plan(data, dataset=name.format(data))


def test_the_environment_that_the_data_names(data):
    p = plan(data, dataset=f"{data}/hopper_medium-v2.hdf5", env="")
    assert (p.env_id, p.env.max_episode_steps) == ("Hopper-v4", 1000)
    assert plan(data, dataset=f"{data}/hopper_medium-v2.hdf5").env_id == "Hopper-v5"


def test_an_environment_given_by_name_has_the_data_s_time_limit_if_it_is_the_data_s(data):
    same = plan(data, dataset=f"{data}/hopper_medium-v2.hdf5", env="Hopper-v4")
    assert (same.env_id, same.env.max_episode_steps) == ("Hopper-v4", 1000)
    assert (
        plan(data, dataset=f"{data}/hopper_medium-v2.hdf5", env="Hopper-v5").env.max_episode_steps is None
    )


# ---- scale and device


def test_scale(data, monkeypatch):
    quick = plan(data, scale="auto")
    assert quick.scale == "quick" and quick.agents[0].config.n_critics < 10
    paper = plan(data, scale="paper")
    assert (paper.steps, paper.agents[0].config.n_critics) == (1_000_000, 10)
    assert plan(data, config={"n_critics": 7}).agents[0].config.n_critics == 7
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = plan(data, scale="auto", device="auto")
    assert (chosen.scale, chosen.device.type) == ("quick", "cuda")  # not a million updates unasked
    assert plan(data, scale="quick", device="auto").steps == quick.steps


def test_steps_and_evaluations(data):
    assert (plan(data, steps=7).steps, plan(data, steps=7).eval_every) == (7, 7)
    assert plan(data, steps=7, eval_every=3).eval_every == 3
    assert plan(data, steps=7, eval_every=30).eval_every == 7


@pytest.mark.parametrize("name", ["gpu", "", "cpu:1", "meta", "mps", "cuda:x", "cuda:-1", "CPU"])
def test_devices_that_do_not_exist(name):
    with pytest.raises(ConfigError, match=f"device = '{name}', expected auto, cpu, cuda or cuda:N"):
        find_device(name)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("cuda:1") == torch.device("cuda:1") and find_device("auto").type == "cuda"
    with pytest.raises(ConfigError, match="device = 'cuda:2', but this machine has 2 GPUs"):
        find_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device = 'cuda', but this machine has 0 GPUs"):
        find_device("cuda")


# ---- fingerprints

BASE = {"algo": "td3n_rd", "steps": 20, "config": {"width": 8, "beta": 2.0}, "plugin": {"weight": 0.5}}


def test_what_does_not_matter_leaves_the_fingerprint(data):
    base = plan(data, **BASE).fingerprint
    for same in (
        {"config": {"beta": 2.0, "width": 8}}, {"config": {"beta": 2, "width": 8}}, {"out": "elsewhere"},
        {"device": "auto"}, {"compile": True}, {"together": 1}, {"eval_every": 20},
        {"variants": ({"plugin.weight": 0.5},)}, {"plugin": {"weight": 0.5, "ood": "learned"}},
        {"variants": ({"width": 8},)}, {"clip_actions": True},  # of data within the limits
    ):  # fmt: skip
        assert plan(data, **{**BASE, **same}).fingerprint == base, same


def test_what_matters_changes_the_fingerprint(data):
    changes = [
        {}, {"algo": "td3n_dr3"}, {"config": {"width": 16, "beta": 2.0}}, {"plugin": {"weight": 0.4}},
        {"config": {"width": 8, "beta": 2.5}}, {"dataset": f"{data}/other.hdf5"}, {"seeds": (1,)},
        {"seeds": (0, 1)}, {"seeds": (1, 0)}, {"steps": 21}, {"eval_every": 10}, {"episodes": 9},
        {"last_k": 2}, {"env": "Hopper-v4"}, {"dtype": "float64"}, {"scale": "paper"},
        {"env_kwargs": {"ctrl_cost_weight": 0}}, {"horizon": 500},
        {"variants": ({}, {"beta": 3.0})}, {"variants": ({"beta": 3.0},)},
    ]  # fmt: skip
    found = {plan(data, **{**BASE, **change}).fingerprint for change in changes}
    assert len(found) == len(changes)


def test_every_field_is_in_one_of_the_two_tests_above():
    known = {
        "algo", "dataset", "seeds", "steps", "scale", "config", "plugin", "variants", "eval_every",
        "episodes", "last_k", "env", "env_kwargs", "device", "dtype", "precision", "compile", "together",
        "horizon", "clip_actions", "out", "size",  # through the data's digest
    }  # fmt: skip
    assert known == {f.name for f in dataclasses.fields(TrainConfig)}


# ---- the literal command


def parsed(text):
    """The TrainConfig that a shell command line leads to."""
    words = shlex.split(text)
    assert words[:4] == ["python", "-m", "rdlib", "train"]
    return parse(words[3:]).asked()


names = st.text("abcdefgh_", min_size=1, max_size=8)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
words = st.sampled_from(["min", "lcb", "", "1", "true", "a,b", "[", '"', " x", "é=1", "NaN"])
fields = st.dictionaries(names, numbers | words, max_size=3)
texts = st.text("abc/ $'\"\\*?;é-_.", min_size=1).filter(lambda t: not t.startswith("-"))
configs = st.builds(
    TrainConfig, algo=st.sampled_from(["td3n", "td3n_rd", "bc"]), dataset=texts, config=fields,
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True).map(tuple),
    steps=st.integers(0, 10**6), scale=st.sampled_from(["auto", "quick", "paper"]), plugin=fields,
    variants=st.lists(st.dictionaries(names.map("plugin.{}".format) | names, numbers, max_size=2),
                      min_size=1, max_size=3).map(tuple),
    size=st.integers(0, 10**6), eval_every=st.integers(0, 100), episodes=st.integers(1, 20),
    last_k=st.integers(1, 9), env=st.sampled_from(["", "Hopper-v5"]), out=texts,
    device=st.sampled_from(["auto", "cpu", "cuda:1"]), dtype=st.sampled_from(["float32", "float64"]),
    compile=st.booleans() | st.just("auto"), together=st.integers(0, 9),
)  # fmt: skip


@settings(max_examples=60, deadline=None, database=None)
@given(asked=configs)
def test_the_printed_command_asks_for_the_same(asked):
    assert parsed(command(asked)) == asked


def test_the_command_of_the_defaults():
    assert command(TrainConfig()) == "python -m rdlib train --algo td3n_rd"
    assert parsed(command(TrainConfig())) == TrainConfig()


# ---- data that do not say enough


def test_the_horizon_is_that_of_the_data_and_of_the_evaluation(data):
    uncut = str(write_hdf5(data / "uncut.hdf5", n=60, timeouts=None, terminals=np.zeros(60, bool)))
    asked = plan(data, dataset=uncut, horizon=20)
    [agent] = asked.agents
    assert agent.dataset.episode_lengths().tolist() == [19, 19, 19]
    assert asked.env.max_episode_steps == 20
    assert plan(data, dataset=uncut).agents[0].dataset.episode_lengths().tolist() == [59]  # Hopper's 1000
    with pytest.raises(DataError, match=r"uncut\.hdf5: 'timeouts' is missing.*horizon"):
        plan(data, dataset=uncut, env="")
    assert plan(data, horizon=20).env.max_episode_steps == 20
    assert plan(data).env.max_episode_steps is None  # as registered


def test_actions_beyond_the_limits_are_clipped_where_asked(data):
    write_hdf5(data / "wild.hdf5", n=60, actions=np.full((60, 3), 1.5, np.float32))
    [agent] = plan(data, dataset=str(data / "wild.hdf5"), clip_actions=True).agents
    assert (agent.dataset.act == 1).all() and "59 rows" in agent.dataset.notes["clipped"]
    [same] = plan(data, clip_actions=True).agents
    assert same.dataset.digest == plan(data).agents[0].dataset.digest
