"""The training loop: what a run records, how it resumes, what a diverged agent does to the others."""

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import slow_run
from helpers.runs import Killed, assert_same_run, assert_same_weights, at, contents, die, lasting, never
from helpers.synthetic import asked, dataset, snapshot, write_hdf5

import rdlib
from rdlib.__main__ import main
from rdlib.data import catalog
from rdlib.engine import hardware
from rdlib.engine.config import ConfigError
from rdlib.training import resume
from rdlib.training import trainer as train_module
from rdlib.training.checkpoint import CHECKPOINT, CheckpointError, load_progress, saved_step
from rdlib.training.evaluation import Evaluator
from rdlib.training.policy import load_policy
from rdlib.training.provenance import provenance
from rdlib.training.record import load_records
from rdlib.training.run import Run
from rdlib.training.trainer import train

pytestmark = pytest.mark.usefixtures("same_product")
VARIANTS = ({"beta": 0.5, "plugin.weight": 0.2}, {"beta": 2.0, "plugin.weight": 0.3})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("data")
    made = [write_hdf5(folder / f"{name}.hdf5", seed) for seed, name in enumerate(("one", "two"))]
    rewards = np.full(300, 1e30, dtype="f4")  # finite, and its square is not
    return [*made, write_hdf5(folder / "huge.hdf5", 2, rewards=rewards)]


# ---- what is recorded


def test_a_batch_of_datasets_variants_and_seeds_is_recorded_agent_by_agent(data, tmp_path):
    run = train(asked(data[:2], tmp_path, seeds=(3, 4), variants=VARIANTS, steps=45))
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"checkpoint.safetensors", ".lock", *(r.file_name for r in run.records)}
    assert len(run.records) == len({r.key for r in run.records}) == 8
    seen = [(r.dataset, r.config["beta"], r.plugin["weight"], r.seed) for r in run.records]
    assert seen == [
        (d, b, w, s) for d in ("one", "two") for b, w in ((0.5, 0.2), (2.0, 0.3)) for s in (3, 4)
    ]
    assert {r.key: r for r in load_records(tmp_path)} == {r.key: r for r in run.records}
    loaded = {d: catalog.load(str(p)) for d, p in zip(("one", "two"), data)}
    for r in run.records:
        source = loaded[r.dataset]
        assert (r.dataset_digest, r.dataset_size) == (source.digest, len(source))
        assert (r.algo, r.env_id, r.scale, r.agents) == ("td3n_rd", "Hopper-v5", "quick", 8)
        assert (r.status, r.steps, r.stopped_at, r.last_k) == ("finished", 45, 45, 1)
        assert r.config["width"] == 8 and r.plugin["states"] == 8
        assert r.reference == list(catalog.REFERENCE_SCORES["hopper"])
        assert r.steps_evaluated().tolist() == [0, 20, 40, 45]
        assert r.matmul == "default" and r.device.startswith("cpu") and "torch" in r.versions
        assert r.seconds > 0 and datetime.fromisoformat(r.started).tzinfo is not None
        for row in r.evaluations:
            assert len(row["returns"]) == len(row["lengths"]) == 2 and min(row["lengths"]) > 1
            assert {"q_data", "kernel_data_policy", "q_ood"} <= row["diagnostics"].keys()
            numbers = [*row["diagnostics"].values(), *row["training"].values()]
            assert all(isinstance(x, float) for x in numbers)
        assert [bool(row["training"]) for row in r.evaluations] == [False, True, True, True]
        assert {"critic_loss", "actor_loss"} <= r.evaluations[1]["training"].keys()
    everything = [tuple(r.evaluations[-1]["returns"]) for r in run.records]
    assert len(set(everything)) == 8  # nobody got another agent's returns


def test_an_agent_of_a_run_equals_the_same_run_alone(data, tmp_path):
    both = {"dtype": "float64", "eval_every": 20}
    batch = train(asked(data[:2], tmp_path / "a", seeds=(3, 4), variants=VARIANTS, **both))
    alone = train(asked(data[1], tmp_path / "b", seeds=(4,), variants=VARIANTS[1:], **both))
    (theirs,) = alone.records
    (ours,) = [r for r in batch.records if r.key == theirs.key]  # the same run by its hash, too
    for a, b in zip(ours.evaluations, theirs.evaluations):
        assert a["lengths"] == b["lengths"]
        for group in ("diagnostics", "training"):
            assert a[group] == pytest.approx(b[group], rel=1e-9, abs=1e-12)
        assert a["returns"] == pytest.approx(b["returns"], rel=1e-6)


@pytest.mark.parametrize("algo", ["bc", "td3n", "sacn", "sacn_dr3", "td3n_ln"])
def test_every_backbone_runs_and_its_saved_policy_has_the_recorded_returns(data, tmp_path, algo):
    run = train(asked(data[0], tmp_path, algo=algo, seeds=(1, 2), steps=20, eval_every=10))
    policy = load_policy(str(tmp_path))
    assert (policy.step, policy.seeds, policy.datasets) == (20, [1, 2], ["one", "one"])
    assert (run.records[0].plugin is not None) == algo.endswith("dr3")
    evaluator = Evaluator(policy.env, policy.seeds, 2)
    found = evaluator.run(policy.algorithm.player(2), policy.normaliser)
    evaluator.close()
    for returns, record in zip(found.returns, run.records):
        assert returns.tolist() == record.evaluations[-1]["returns"]


def test_a_loaded_policy_acts_in_the_environment_s_units(data, tmp_path):
    """As in the evaluation, for one observation or many, of any agent."""
    train(asked(data[:2], tmp_path, algo="td3bc", steps=20))
    policy, rng = load_policy(tmp_path), np.random.default_rng(0)
    many, norm = rng.normal(size=(5, 11)), policy.normaliser
    for agent in (0, 1):
        seen = torch.from_numpy(many).float().expand(2, -1, -1)
        with torch.no_grad():
            expected = norm.to_env(policy.algorithm.act(norm.observe(seen)))[agent]
        acted = policy.act(many, agent)
        np.testing.assert_allclose(acted, expected, rtol=1e-6)
        one = policy.act(many[2].tolist(), agent=agent)
        assert one.shape == (3,) and one.dtype == np.float32
        np.testing.assert_allclose(one, acted[2], rtol=1e-5)
    assert not np.allclose(policy.act(many, 0), policy.act(many, 1))
    assert np.abs(policy.act(1e6 * many)).max() <= 1
    for agent, obs, message in ((2, many, "agent = 2"), (0, many[:, :3], r"\(5, 3\), expected \(11,\)")):
        with pytest.raises(ConfigError, match=message):
            policy.act(obs, agent)


def test_the_book_s_example_of_a_policy_runs(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(asked(data[0], "runs/td3n_rd/hopper-medium", steps=2))
    page = (Path(__file__).parents[2] / "book" / "training.md").read_text()
    [code] = [block.split("```")[0] for block in page.split("```python\n") if "policy.act" in block]
    names: dict = {}
    exec(code, names)
    assert names["obs"].shape == (11,) and np.isfinite(names["reward"])


def test_another_mujoco_is_warned_of(data, tmp_path, monkeypatch):
    """3.5.0 changed Hopper's contacts: scores across it do not compare."""
    train(asked(data[0], tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_policy(tmp_path)
    monkeypatch.setattr("mujoco.__version__", "3.5.0")
    with pytest.warns(UserWarning, match=r"comes from MuJoCo .* and this is 3\.5\.0"):
        load_policy(tmp_path)


def test_a_run_goes_on_in_the_simulator_that_it_began_with(data, tmp_path, monkeypatch, eager_checkpoints):
    config = asked(data[0], tmp_path)
    with pytest.raises(Killed):
        train(config, observer=at("save", 3, die))
    now, stood_at = provenance(), saved_step(tmp_path)

    def elsewhere(commit: str, **versions: str) -> dict:
        return {"commit": commit, "versions": {**now["versions"], **versions}}

    monkeypatch.setattr(resume, "provenance", lambda: elsewhere("ab", mujoco="3.5.0"))
    with pytest.raises(CheckpointError, match=r"begun with MuJoCo .* this is 3\.5\.0.* install mujoco=="):
        train(config)
    said = []
    monkeypatch.setattr(resume.tqdm, "write", said.append)
    monkeypatch.setattr(resume, "provenance", lambda: elsewhere("ab", torch="9.9"))
    [record] = train(config).records
    assert record.commit == "ab" and "was begun with commit" in said[0] and "torch" in said[0]
    [before] = record.earlier
    assert before["commit"] == now["commit"] and before["versions"] == now["versions"]
    assert before["until"] == stood_at > 0 and before["device"] == record.device


def test_records_written_again_name_the_device_that_trained(data, tmp_path, monkeypatch):
    config = asked(data[0], tmp_path)
    [first] = train(config).records
    (tmp_path / first.file_name).unlink()
    monkeypatch.setattr(hardware, "device_name", lambda device: "another")
    [again] = train(config).records
    assert again.device == first.device != "another"


def test_what_the_package_offers_is_what_its_modules_have(data, tmp_path):
    run = rdlib.train(asked(data[0], tmp_path, steps=2))
    assert isinstance(run, rdlib.Run) and rdlib.Run is Run and rdlib.load_policy is load_policy


def test_a_run_prints_as_five_lines(data, tmp_path):
    run = train(asked(data[:2], tmp_path, seeds=(3, 4), steps=45, last_k=9))
    what, length, found, ended, where = str(run).splitlines()
    assert what == "td3n_rd on one, two: 4 agents, seeds [3, 4]"
    assert length == "45 updates at quick scale, evaluated in Hopper-v5"
    mean = np.mean([r.last_score() for r in run.records])
    assert found.startswith(f"last score {mean:.1f} ± ") and "(last 3 evaluations)" in found  # there were 3
    assert ended.startswith("4 finished, 0 diverged, ") and where.endswith(str(tmp_path))


def test_training_in_another_thread(data, tmp_path):
    """Only the main thread may handle signals: elsewhere a run goes without."""
    found = []
    thread = threading.Thread(target=lambda: found.append(train(asked(data[0], tmp_path, steps=2))))
    thread.start()
    thread.join()
    assert found[0].records[0].status == "finished"


# ---- the same folder again


def test_a_finished_run_is_returned_without_training(data, tmp_path):
    first = train(asked(data[0], tmp_path))
    before = contents(tmp_path)
    again = train(asked(data[0], tmp_path), observer=never("update", "begin", "save"))
    assert again.records == first.records and contents(tmp_path) == before
    assert_same_run(again, first)
    (tmp_path / first.records[0].file_name).unlink()
    assert_same_run(train(asked(data[0], tmp_path)), first)


OTHERS = [
    {"steps": 1}, {"seeds": (1,)}, {"seeds": (0, 1)}, {"config": {"beta": 3.75}}, {"algo": "td3n_dr3"},
    {"plugin": {"states": 4}}, {"episodes": 1}, {"last_k": 2}, {"dtype": "float64"},
    {"eval_every": 1}, {"env": "Hopper-v4"}, {"variants": ({"beta": 0.5},)},
]  # fmt: skip


def test_another_run_into_the_same_folder_is_refused(data, tmp_path):
    train(asked(data[0], tmp_path, steps=2))
    before = contents(tmp_path)
    runs = [asked(data[0], tmp_path, **{"steps": 2, **other}) for other in OTHERS]
    runs.append(asked(data[1], tmp_path, steps=2))
    for other in runs:
        with pytest.raises(CheckpointError, match="holds another run") as error:
            train(other)
        assert str(tmp_path) in str(error.value) and "td3n_rd on one, seeds [0]" in str(error.value)
        assert contents(tmp_path) == before
    (tmp_path / "checkpoint.safetensors").unlink()
    with pytest.raises(CheckpointError, match="already holds record-"):
        train(asked(data[0], tmp_path, steps=2))


@pytest.mark.parametrize("first", [40, 30])  # the second ends between two evaluations
def test_a_finished_run_goes_on_to_more_steps(data, tmp_path, first):
    """To the run that it would have been, whose only records are those of the longer one."""
    whole = train(asked(data[:2], tmp_path / "whole", steps=70))
    train(asked(data[:2], tmp_path / "longer", steps=first))
    seen = []
    longer = train(
        asked(data[:2], tmp_path / "longer", steps=70),
        observer=lambda event, trainer: seen.append(trainer.progress.step) if event == "update" else None,
    )
    assert min(seen) > first and max(seen) == 70
    assert_same_weights(longer, whole)
    for ours, theirs in zip(longer.records, whole.records):
        assert ours.key == theirs.key and len(ours.evaluations) == len(theirs.evaluations)
        for a, b in zip(ours.evaluations, theirs.evaluations):
            assert a.pop("training") == pytest.approx(b.pop("training"), rel=1e-5)  # sums of other calls
            assert a == b
    assert {r.key for r in load_records(tmp_path / "longer")} == {r.key for r in whole.records}


@pytest.mark.parametrize(
    "more, message",
    [
        ({"algo": "iql"}, "steps = 40, and had other learning rates from the start.* steps = 60"),
        ({"algo": "bc", "steps": 21}, "steps = 40, and is longer.* steps = 21"),
    ],
)
def test_a_run_that_cannot_go_on_says_that_it_is_steps_that_differs(data, tmp_path, more, message):
    train(asked(data[0], tmp_path, algo=more["algo"]))
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        train(asked(data[0], tmp_path, **{"steps": 60, **more}))
    assert contents(tmp_path) == before


def test_an_unfinished_run_of_other_steps_says_so(data, tmp_path, eager_checkpoints):
    with pytest.raises(Killed):
        train(asked(data[0], tmp_path), observer=at("save", 2, die))
    with pytest.raises(CheckpointError, match="differs in steps = 40, and is not finished"):
        train(asked(data[0], tmp_path, steps=60))


def test_a_dataset_of_one_s_own(data, tmp_path):
    """Arrays need no file, and give what a file of them does."""
    file = train(asked(data[0], tmp_path / "file"))
    again = train(asked("nothing", tmp_path / "arrays"), dataset=catalog.load(str(data[0])))
    assert_same_run(again, file)
    small = dataset(0, obs_dim=11, act_dim=3, env_id="Hopper-v5")
    own = train(asked("nothing", tmp_path / "own", env=""), dataset=small)
    assert own.records[0].dataset == small.name == own.plan.asked.dataset


def test_where_a_run_stands_is_read_without_its_weights(data, tmp_path, monkeypatch):
    train(asked(data[0], tmp_path))
    monkeypatch.setattr("rdlib.training.checkpoint.load_checkpoint", None)
    progress = load_progress(tmp_path / CHECKPOINT)
    assert (progress.step, progress.steps, progress.policy.seeds) == (40, 40, [0])


# ---- interrupted runs


@pytest.fixture
def eager_checkpoints(monkeypatch):
    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(train_module, "UPDATES_PER_CALL", 7)


@pytest.fixture
def uninterrupted(data, tmp_path, eager_checkpoints) -> Run:
    return train(asked(data[:2], tmp_path / "whole", seeds=(0, 1)))


def test_a_run_that_dies_after_any_checkpoint_resumes_to_the_same_end(data, tmp_path, uninterrupted):
    """Saves: the start, 6 calls of 7 or 6 updates, the end."""
    for number in range(8):
        out = tmp_path / f"died-{number}"
        with pytest.raises(Killed):
            train(asked(data[:2], out, seeds=(0, 1)), observer=at("save", number, die))
        assert not list(out.glob("record-*"))
        resumed = train(asked(data[:2], out, seeds=(0, 1)))
        assert_same_run(resumed, uninterrupted)
    assert resumed.records[0].steps_evaluated().tolist() == [0, 20, 40]


@pytest.mark.parametrize("event", ["update", "begin", "evaluate"])
def test_a_run_that_dies_between_checkpoints_resumes_to_the_same_end(data, tmp_path, uninterrupted, event):
    for number in range(3):
        out = tmp_path / f"died-{number}"
        with pytest.raises(Killed):
            train(asked(data[:2], out, seeds=(0, 1)), observer=at(event, number, die))
        assert_same_run(train(asked(data[:2], out, seeds=(0, 1))), uninterrupted)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_sigterm_saves_at_the_next_update_and_the_same_command_resumes(
    data, tmp_path, monkeypatch, uninterrupted, sent
):
    """Also in the last updates, after which only an evaluation is missing."""
    before = signal.getsignal(sent)
    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", 1e9)
    for number, step in ((0, 7), (2, 20), (5, 40)):
        out = tmp_path / f"stopped-{number}"
        interrupt = at("update", number, lambda: signal.raise_signal(sent))
        with pytest.raises(KeyboardInterrupt, match=f"stopped at update {step}; the same"):
            train(asked(data[:2], out, seeds=(0, 1)), observer=interrupt)
        assert saved_step(out) == step
        assert signal.getsignal(sent) is before
        assert_same_run(train(asked(data[:2], out, seeds=(0, 1))), uninterrupted)


def test_a_second_ctrl_c_interrupts_at_once(data, tmp_path, uninterrupted):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    with pytest.raises(KeyboardInterrupt):
        train(asked(data[:2], tmp_path / "a", seeds=(0, 1)), observer=at("update", 1, twice))
    assert_same_run(train(asked(data[:2], tmp_path / "a", seeds=(0, 1))), uninterrupted)


def start(data: Path, out: Path, sent: str, update: int) -> subprocess.Popen:
    """A run in a process of its own, which sends itself a signal after so many updates."""
    script = Path(slow_run.__file__)
    return subprocess.Popen(
        [sys.executable, script.name, data, out, sent, str(update)],
        cwd=script.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(script.parents[1]), *sys.path])},
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_a_real_process_killed_and_interrupted_resumes_to_the_same_end(data, tmp_path, monkeypatch):
    """Killed before its third checkpoint; stopped while another run asks for its folder; interrupted."""
    monkeypatch.setattr(train_module, "UPDATES_PER_CALL", slow_run.PER_CALL)
    out = tmp_path / "out"
    killed = start(data[0], out, "SIGKILL", 15)
    errors = killed.communicate()[1]
    assert killed.returncode == -signal.SIGKILL, errors
    assert saved_step(out) == 10

    stopped = start(data[0], out, "SIGSTOP", 30)
    assert os.WIFSTOPPED(os.waitpid(stopped.pid, os.WUNTRACED)[1])
    try:
        with pytest.raises(CheckpointError, match="another run is writing into") as error:
            train(slow_run.config(data[0], out))
        assert str(out) in str(error.value)
    finally:
        stopped.send_signal(signal.SIGINT)
        stopped.send_signal(signal.SIGCONT)
        errors = stopped.communicate()[1]
    assert stopped.returncode not in (0, -signal.SIGKILL)
    assert "KeyboardInterrupt: stopped at update" in errors
    assert 25 <= saved_step(out) < slow_run.STEPS and not list(out.glob("record-*"))

    resumed = train(slow_run.config(data[0], out))
    assert_same_run(resumed, train(slow_run.config(data[0], tmp_path / "whole")))
    assert resumed.records[0].steps_evaluated().tolist() == [0, 20, 40, 60]


# ---- divergence


def test_a_diverged_agent_stops_and_leaves_the_others_alone(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_module, "UPDATES_PER_CALL", 10)
    one, two, huge = data
    sick = train(asked([one, huge], tmp_path / "sick", seeds=(0, 1)))
    said = "".join(capsys.readouterr())
    assert said.count("not finite at update 10; this agent stops, the others go on") == 2
    assert "td3n_rd on huge, seed 0" in said and "on huge, seed 1" in said
    healthy = train(asked([one, two], tmp_path / "healthy", seeds=(0, 1)))
    alone = train(asked(one, tmp_path / "alone", seeds=(0, 1)))
    for ours, theirs, apart in zip(sick.records[:2], healthy.records, alone.records):
        assert lasting(ours) == lasting(theirs)
        assert [e["lengths"] for e in ours.evaluations] == [e["lengths"] for e in apart.evaluations]
        for a, b in zip(ours.evaluations, apart.evaluations):
            assert a["returns"] == pytest.approx(b["returns"], rel=1e-3)
    tensors, others = snapshot(sick.algorithm), snapshot(healthy.algorithm)
    for key in tensors:
        if tensors[key].dim():
            assert torch.equal(tensors[key][:2], others[key][:2]), key
    for record in sick.records[2:]:
        assert (record.status, record.stopped_at, record.steps) == ("diverged", 10, 40)
        assert record.steps_evaluated().tolist() == [0]
        assert np.isnan(record.last_score())
        json.dumps(vars(record), allow_nan=False)
    again = train(asked([one, huge], tmp_path / "sick", seeds=(0, 1)))
    assert again.records == sick.records
    with pytest.raises(ConfigError, match="agent = 2 diverged at update 10"):
        load_policy(tmp_path / "sick").act(np.zeros(11), agent=2)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "sick"), "--episodes", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["return" in line for line in lines] == [True, True, False, False]
    assert lines[3] == "huge, seed 1: diverged at update 10, so there is no policy"


def test_a_run_of_diverged_agents_only_ends_there(data, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "UPDATES_PER_CALL", 10)
    run = train(asked(data[2], tmp_path, steps=10_000_000, eval_every=10_000_000))
    assert [(r.status, r.stopped_at) for r in run.records] == [("diverged", 10)]
    assert train(asked(data[2], tmp_path, steps=10_000_000, eval_every=10_000_000)).records == run.records


def test_divergence_is_remembered_by_a_resumed_run(data, tmp_path, eager_checkpoints):
    batch = [data[0], data[2]]
    whole = train(asked(batch, tmp_path / "whole"))
    with pytest.raises(Killed):
        train(asked(batch, tmp_path / "died"), observer=at("update", 3, die))
    assert [lasting(r) for r in train(asked(batch, tmp_path / "died")).records] == [
        lasting(r) for r in whole.records
    ]


def test_weights_that_are_not_finite_stop_an_agent_though_its_loss_is(data, tmp_path, monkeypatch):
    """Evaluation replaces NaN by zero actions: the last update's must not pass for a policy."""
    monkeypatch.setattr(train_module, "UPDATES_PER_CALL", 10)

    def spoil(event, trainer):
        if event == "update" and trainer.progress.step == 30:
            trainer.agents.algorithm.actor.net.head.weight.data[0, 0, 0] = float("nan")

    run = train(asked(data[0], tmp_path, seeds=(0, 1)), observer=spoil)
    assert [(r.status, r.stopped_at) for r in run.records] == [("diverged", 40), ("finished", 40)]


# ---- which matrix product


def test_a_run_asks_for_a_precision_and_keeps_it(data, tmp_path):
    run = train(asked(data[0], tmp_path, precision="bf16", steps=4))
    assert run.records[0].matmul == "bf16"
    plain = train(asked(data[0], tmp_path / "plain", precision="float32", steps=4))
    assert plain.records[0].matmul == "default"
    assert plain.records[0].config_hash == run.records[0].config_hash  # how, not what
    assert plain.records[0].evaluations != run.records[0].evaluations
    with pytest.raises(CheckpointError, match="begun with.*'bf16'.*'float32' asks for another"):
        train(asked(data[0], tmp_path, precision="float32", steps=4))
    assert train(asked(data[0], tmp_path, steps=4)).records == run.records


@pytest.mark.parametrize(
    "more, message",
    [
        ({"precision": "fp8"}, "precision = 'fp8'.*auto, float32, tf32, bf16"),
        ({"precision": "tf32"}, "'tf32' needs a GPU that has it"),
        ({"precision": "bf16", "dtype": "float64"}, "rounds float32; dtype is 'float64'"),
    ],
)
def test_a_precision_that_cannot_be_is_refused(data, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        train(asked(data[0], tmp_path / "none", **more))
    assert not (tmp_path / "none").exists()


def test_the_chosen_matrix_product_is_accurate(monkeypatch):
    monkeypatch.undo()  # the real choice, not the tests' own
    try:
        assert hardware.choose_matmul(torch.device("cpu")) in ("default", "onednn")
        assert hardware.matmul_rate_and_error(1)[1] < hardware.MATMUL_TOLERANCE
        monkeypatch.setattr(hardware, "matmul_rate_and_error", lambda: (1.0, 1e-3))
        assert hardware.choose_matmul(torch.device("cpu")) == "default"  # quick or not, it must be accurate
        with pytest.raises(ValueError, match="fp8.*default, onednn, tf32, bf16"):
            hardware.use_matmul("fp8")
    finally:
        hardware.use_matmul("default")
