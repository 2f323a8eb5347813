"""Algorithms of other packages go by their names everywhere; reading names takes no torch."""

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from helpers.synthetic import asked, write_hdf5

import rdlib
from rdlib import algos
from rdlib.algos import bc, td3bc
from rdlib.engine.config import ConfigError

SCALES = {
    "quick": algos.Scale(40, 0, 20, {"actor_width": 16}),
    "paper": algos.Scale(steps=1_000_000, size=0, eval_every=5_000, overrides={}),
}
PACKAGE = """
from rdlib.algos import AlgorithmEntry, Scale
from rdlib.algos.bc import BC, Config

SCALES = {"quick": Scale(40, 0, 20, {"actor_width": 16}), "paper": Scale(1_000_000, 0, 5_000, {})}
ENTRY = AlgorithmEntry(Config, BC, critic=False, scales=SCALES)
"""
POINTS = "[rdlib.algorithms]\nmine = my_package:ENTRY\nbroken = my_package:NOTHING\n"


@pytest.fixture
def mine():
    algos.register("mine", td3bc.Config, td3bc.TD3BC, SCALES)
    yield
    del algos.ALGORITHMS["mine"]


def run(code: list[str], path: str, **options) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{os.pathsep.join(sys.path)}"}
    return subprocess.run([sys.executable, *code], env=env, capture_output=True, text=True, **options)


def test_names_are_read_without_torch():
    code = "import sys, rdlib.algos.cells; from rdlib import algos; algos.names(); algos.find('td3n_rd')"
    done = run(["-c", f"{code}; print('torch' in sys.modules)"], "")
    assert done.stdout.split() == ["False"], done.stderr


@pytest.mark.parametrize("name", list(algos.ALGORITHMS))
def test_every_name_leads_to_a_configuration_and_agents(name):
    entry = algos.find(name).entry
    assert entry.config.__module__ == entry.agent.__module__ == f"rdlib.algos.{name}"
    assert entry.scales.keys() == {"quick", "paper"}
    assert entry.critic == hasattr(entry.config(), "n_critics")


def test_a_registered_algorithm_is_trained_and_its_policy_loaded(tmp_path, mine):
    assert {"mine", "mine_rd", "mine_dr3", "mine_ln"} <= set(algos.names())
    data = write_hdf5(tmp_path / "data.hdf5")
    ours = rdlib.train(asked(data, tmp_path / "mine", algo="mine_rd"))
    theirs = rdlib.train(asked(data, tmp_path / "theirs", algo="td3bc_rd"))
    assert [r.algo for r in ours.records] == ["mine_rd"]
    assert ours.records[0].evaluations[-1]["returns"] == theirs.records[0].evaluations[-1]["returns"]
    policy = rdlib.load_policy(tmp_path / "mine")
    obs = torch.zeros(1, 4, 11)
    assert torch.equal(policy.algorithm.act(obs), ours.algorithm.act(obs))


def test_an_installed_package_s_algorithm_is_found_by_the_command_line(tmp_path):
    (tmp_path / "my_package.py").write_text(PACKAGE)
    about = tmp_path / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    data = write_hdf5(tmp_path / "data.hdf5")
    words = f"-m rdlib train --algo mine --dataset {data} --env Hopper-v5 --scale quick --steps 20"
    more = f"--episodes 1 --device cpu --out {tmp_path / 'runs'}"
    done = run([*words.split(), *more.split()], str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "entry point broken = my_package:NOTHING (rdlib.algorithms)" in done.stderr
    [record] = rdlib.load_records(tmp_path / "runs")
    assert (record.algo, record.steps, record.config["actor_width"]) == ("mine", 20, 16)


@dataclass(frozen=True)
class NoLayerNorm:
    batch_size: int = 8
    actor_width: int = 8
    actor_depth: int = 1


@pytest.mark.parametrize(
    "name, config, scales, message",
    [
        ("td3n", bc.Config, SCALES, "'td3n': rdlib has one of this name"),
        ("my_rd", bc.Config, SCALES, "'my_rd': expected .* no suffix _rd"),
        ("My", bc.Config, SCALES, "'My': expected lower case"),
        ("my", bc.Config, {"quick": SCALES["quick"]}, "scales lack paper"),
        ("my", bc.BC, SCALES, "is no dataclass"),
        ("my", NoLayerNorm, SCALES, "its configuration lacks layer_norm"),
        ("my", td3bc.Config, {**SCALES, "quick": algos.Scale(9, 0, 9, {"widht": 8})}, "no field 'widht'"),
    ],
    ids=str,
)
def test_what_cannot_be_registered_is_told(name, config, scales, message):
    with pytest.raises(ConfigError, match=message):
        algos.register(name, config, td3bc.TD3BC, scales)
    assert name == "td3n" or name not in algos.ALGORITHMS
