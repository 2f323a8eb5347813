"""The trainer of the behaviour policies: it learns from what it saw, resumes, and keeps its snapshots."""

import dataclasses
import json
import subprocess
import sys

import behaviour_policies as online
import numpy as np
import pytest
import torch
from behaviour_policies import OnlineRun, Replay, Snapshots, select, train_online
from safetensors.torch import load_file

from rdlib.algos import sacn
from rdlib.data import normalised_score
from rdlib.data.bundled import rollout

SAC = sacn.Config(n_critics=2, target="min", depth=1, width=16, actor_width=8, actor_depth=1, batch_size=16)
TINY = OnlineRun(
    steps=320, copies=4, random_steps=40, snapshot_every=40, episodes=2, updates_per_step=0.25, sac=SAC
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a whole run; 320 steps are no multiple of ten snapshots."""
    out = tmp_path_factory.mktemp("online") / "deep" / "run"
    train_online(TINY, out)
    return out


def curve(out):
    return json.loads((out / "curve.json").read_text())


def test_everything_is_kept_to_the_last_step(run):
    past = curve(run)
    assert [row["step"] for row in past["curve"]] == list(range(0, 321, 40))
    assert all(len(row["returns"]) == 2 and np.isfinite(row["returns"]).all() for row in past["curve"])
    assert (past["steps"], past["updates"]) == (320, 70)  # a quarter of the 280 steps after random ones
    assert past["stages"] == [{"from": 0, "recipe": dataclasses.asdict(TINY)}]
    steps = {int(name.split("/")[0]) for name in load_file(run / "snapshots.safetensors")}
    assert steps == set(range(0, 321, 40))
    rows = load_file(run / "checkpoint.safetensors")["replay"]
    assert rows.shape == (320, 2 * 11 + 3 + 2) and rows.isfinite().all() and rows[:, 11:14].abs().max() <= 1
    assert set(rows[:, -1].tolist()) <= {0.0, 1.0}


def test_the_first_snapshot_is_untrained_and_later_ones_learn(run):
    snapshots = Snapshots(run)
    fresh = sacn.SACN([SAC], online.Streams([TINY.seed]), 11, 3).actor.state_dict()
    for name, value in fresh.items():
        torch.testing.assert_close(snapshots.weights(0)[name], value, rtol=0, atol=0)
    head = [snapshots.weights(s)["net.head.weight"] for s in (0, 40, 80, 320)]
    assert torch.equal(head[0], head[1])  # uniform actions only
    assert not torch.equal(head[1], head[2]) and not torch.equal(head[2], head[3])


def test_a_finished_run_is_left_alone(run):
    before = {p.name: p.stat().st_mtime_ns for p in run.iterdir()}
    train_online(TINY, run)
    assert before == {p.name: p.stat().st_mtime_ns for p in run.iterdir()}


def test_a_run_goes_on_where_it_stood(run, tmp_path):
    out = tmp_path / "run"
    train_online(dataclasses.replace(TINY, steps=120), out)
    first, rows = curve(out), load_file(out / "checkpoint.safetensors")["replay"]
    assert (first["steps"], first["updates"], len(rows)) == (120, 20, 120)
    train_online(dataclasses.replace(TINY, steps=200), out)
    then, longer = curve(out), load_file(out / "checkpoint.safetensors")
    assert [row["step"] for row in then["curve"]] == [0, 40, 80, 120, 160, 200]  # none twice
    assert then["curve"][:4] == first["curve"] and (then["steps"], then["updates"]) == (200, 40)
    assert torch.equal(longer["replay"][:120], rows) and len(longer["replay"]) == 200
    seconds = [row["seconds"] for row in then["curve"]]
    assert seconds == sorted(seconds)
    # Up to where it was stopped, the same run as the one that was not.
    assert torch.equal(load_file(run / "checkpoint.safetensors")["replay"][:120], rows)
    whole, parts = load_file(run / "snapshots.safetensors"), load_file(out / "snapshots.safetensors")
    assert all(torch.equal(whole[k], v) for k, v in parts.items() if int(k.split("/")[0]) <= 120)
    # Adam's step count is that of the updates: moments were taken over, not begun anew.
    assert {float(v) for k, v in longer.items() if k.endswith("/step")} == {40.0}


def test_a_run_that_goes_on_in_another_way_says_from_where(run, tmp_path):
    out = tmp_path / "run"
    train_online(dataclasses.replace(TINY, steps=160), out)
    last = dataclasses.replace(TINY, entropy=-3.0, sac=dataclasses.replace(SAC, actor_lr=1e-4))
    train_online(last, out)
    stages = curve(out)["stages"]
    assert [s["from"] for s in stages] == [0, 160] and stages[1]["recipe"] == dataclasses.asdict(last)
    assert Snapshots(out).about()["stages"] == stages
    for name, value in Snapshots(run).weights(160).items():
        assert torch.equal(value, Snapshots(out).weights(160)[name]), name
    assert not torch.equal(Snapshots(run).weights(320)["net.head.weight"],
                           Snapshots(out).weights(320)["net.head.weight"])  # fmt: skip


def test_replay_returns_what_was_put_in():
    replay, rng = Replay(6, 2, 1), np.random.default_rng(0)
    columns = [rng.normal(size=s).astype("f4") for s in ((3, 2), (3, 1), 3, (3, 2), 3)]
    replay.add(*columns)
    replay.add(*(c + 1 for c in columns))
    assert int(replay.filled) == 6
    batch = replay.gather(torch.tensor([[4, 0]]))
    for found, column in zip(batch, columns, strict=True):
        np.testing.assert_array_equal(found[0].numpy(), np.stack([column[1] + 1, column[0]]))


def test_replay_draws_from_the_latest():
    replay = Replay(9, 1, 1, recent=4)
    for first in (0, 3, 6):
        step = np.arange(first, first + 3, dtype="f4")
        replay.add(step[:, None], step[:, None], step, step[:, None], step)
        assert int(replay.drawn) == min(first + 3, 4)
    assert replay.gather(torch.arange(4)[None]).rew.tolist() == [[5, 6, 7, 8]]
    again = Replay(9, 1, 1, recent=2)
    again.put(replay.rows[:9])
    assert int(again.drawn) == 2 and again.gather(torch.tensor([[0]])).rew.item() == 7


# ---- selecting what is bundled


def test_select_by_band(run, tmp_path, monkeypatch):
    target = tmp_path / "deep" / "hopper.safetensors"
    whole = online.sampled_returns  # a tenth of the 100 episodes will do here
    monkeypatch.setattr(online, "sampled_returns", lambda a, e, seeds, h: whole(a, e, seeds[:10], h))
    measured = {s: Snapshots(run).measure(s)["score"] for s in range(0, 321, 40)}
    middle = next(s for s in range(0, 321, 40) if measured[s] >= measured[160])
    low = measured[middle]
    chosen = select(run, run, (low, low + 1e-9), target, replay=3)
    assert chosen["medium"]["step"] == middle and chosen["random"]["step"] == 0
    best = sorted(range(0, 321, 40), key=lambda s: -Snapshots(run).means[s])[:5]
    assert chosen["expert"]["step"] == max(best, key=lambda s: measured[s])

    monkeypatch.setattr("rdlib.data.bundled.POLICIES", target.parent)
    rollout.about.cache_clear()
    try:
        about = rollout.about("hopper")
        runs = {"middle_run", "expert_run"}
        assert about.keys() == {"env_id", "random", "medium", "expert", "replay", *runs}
        for quality in ("random", "medium", "expert"):
            found = about[quality]
            assert found == pytest.approx(chosen[quality])
            assert found["score"] == pytest.approx(normalised_score("hopper", found["return"]))
        assert about["replay"] == [s for s in about["replay"] if s <= middle]
        assert about["replay"][0] == 0 and about["replay"][-1] == middle and len(about["replay"]) <= 3
        for side in runs:
            assert about[side].keys() >= {"stages", "steps", "updates", "rdlib", "torch", "mujoco", "curve"}
            assert [step for step, _ in about[side]["curve"]] == list(range(0, 321, 40))
            assert about[side]["stages"][0]["recipe"]["sac"]["n_critics"] == 2
        for name, step in [("random", 0), ("medium", middle), ("expert", chosen["expert"]["step"]),
                           ("replay/0", 0)]:  # fmt: skip
            mine, theirs = rollout.policy("hopper", name), Snapshots(run).weights(step)
            assert all(torch.equal(v, theirs[k]) for k, v in mine.state_dict().items()), name
        assert len(rollout.load("hopper", "medium-replay", size=20)) == 20
    finally:
        rollout.about.cache_clear()


@pytest.mark.parametrize("band", [(40, 45), (-9, -8)])
def test_select_where_nothing_fits(run, tmp_path, band):
    with pytest.raises(ValueError, match=f"no snapshot scores between {band[0]} and {band[1]}"):
        select(run, run, band, tmp_path / "hopper.safetensors")
    assert not (tmp_path / "hopper.safetensors").exists()


# ---- the pen


def pen_episodes(count, steps=40):
    """Episodes of a linear policy of the observation, with a little noise."""
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(45, 24)).astype("f4") / 20
    for _ in range(count):
        obs = rng.normal(1.0, 2.0, size=(steps + 1, 45)).astype("f4")
        act = np.tanh(obs[:-1] @ mix + 0.05 * rng.normal(size=(steps, 24))).astype("f4")
        yield online.Episode(obs, act, np.zeros(steps, "f4"), np.zeros(steps, bool),
                             np.arange(steps) == steps - 1, None)  # fmt: skip


def test_a_clone_acts_as_bc_on_normalised_states():
    demos = list(pen_episodes(10))
    state = online.clone(demos, updates=1500)
    actor = rollout.actor_like(state)
    obs = torch.from_numpy(np.concatenate([e.observations[:-1] for e in demos]))[None]
    act = torch.from_numpy(np.concatenate([e.actions for e in demos]))[None]
    mean, log_std = actor.moments(obs)
    missed = (mean.tanh() - act).square().mean(1).sqrt()
    assert missed.max() < 0.2 < act.std()  # it has learnt them, on raw states
    # Its noise is what it misses, the same at every state; no actor's is below e^-5.
    expected = missed.log().clamp(min=-5)[:, None].expand_as(log_std)
    torch.testing.assert_close(log_std, expected, rtol=1e-3, atol=1e-3)


def test_demonstrate(tmp_path, monkeypatch):
    recipe = dataclasses.replace(
        TINY, env_id="AdroitHandPen-v1", steps=80, max_episode_steps=10, reward_scale=0.1
    )
    run, target = tmp_path / "run", tmp_path / "pen.safetensors"
    train_online(recipe, run)
    assert curve(run)["stages"][0]["recipe"]["max_episode_steps"] == 10
    # Rewards are kept scaled; the pen's, within 5 of its dropping, are not so small.
    assert load_file(run / "checkpoint.safetensors")["replay"][:, 69].abs().median() < 1
    monkeypatch.setattr(online, "PEN_STEPS", 8)
    whole, cloned = online.sampled_returns, online.clone
    monkeypatch.setattr(online, "sampled_returns", lambda a, e, seeds, h: whole(a, e, seeds[:4], h))
    monkeypatch.setattr(online, "clone", lambda demos: cloned(demos, updates=20))
    with pytest.raises(ValueError, match="no snapshot scores between 900 and 901"):
        online.demonstrate(run, target, (900, 901))
    assert not target.exists()
    chosen = online.demonstrate(run, target, (-100, 100))
    assert chosen["demonstrator"]["step"] == 40  # the first trained one that fits
    monkeypatch.setattr("rdlib.data.bundled.POLICIES", tmp_path)
    rollout.about.cache_clear()
    try:
        demos = rollout.load("pen", "demos", root=tmp_path / "cache")
        assert len(demos) == 25 * 8 and demos.max_episode_steps == 8
        assert demos.episode_lengths().tolist() == [8] * 25
        both = rollout.load("pen", "cloned", size=500, root=tmp_path / "cache")
        assert len(both) == 500
        np.testing.assert_array_equal(both.act[:200], demos.act)  # copied once and a quarter
        np.testing.assert_array_equal(both.act[200:250], demos.act[:50])
        # Whole rows: of one dimension, 250 numbers of a grid of 2^16 often meet one of 200 others.
        assert not (both.act[250:, None] == demos.act).all(-1).any()
        with pytest.raises(ValueError, match="pen-demos: size is 201; it has 25 episodes, 200 tr"):
            rollout.load("pen", "demos", size=201)
    finally:
        rollout.about.cache_clear()


def test_measure_notes_what_whole_datasets_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(rollout, "default_size", lambda environment, quality, *_: 150)
    target = tmp_path / "measured.json"
    target.write_text('{"elsewhere-medium": {"score": 1.0}}')
    found = online.measure(["hopper"], target)
    assert json.loads(target.read_text()) == found and list(found) == sorted(found)
    assert found.keys() - {f"hopper-{q}" for q in rollout.LOCOMOTION} == {"elsewhere-medium"}
    data = rollout.load("hopper", "medium", root=tmp_path)
    noted = found["hopper-medium"]
    assert (noted["episodes"], noted["transitions"]) == (len(data.episode_returns()), 150)
    assert noted["return"] == pytest.approx(data.episode_returns().mean())
    assert noted["score"] == pytest.approx(normalised_score("hopper", noted["return"]))


def test_measured_returns_repeat(run):
    assert Snapshots(run).measure(40) == Snapshots(run).measure(40)


def test_help_of_the_module():
    call = [sys.executable, online.__file__, "train", "--help"]
    shown = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True).stdout
    for name in ("--env_id", "--seed", "--steps", "--snapshot_every", "--layer_norm", "--gamma", "--out"):
        assert name in shown


def test_a_run_killed_between_its_files_goes_on_from_its_checkpoint(run, tmp_path, monkeypatch):
    out, recipe = tmp_path / "run", dataclasses.replace(TINY, snapshot_every=8)
    whole = tmp_path / "whole"
    train_online(recipe, whole)  # saved at 80, 160, 240 and 320 steps
    real, calls = online.save_checkpoint, []

    def die(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(online, "save_checkpoint", die)
        with pytest.raises(KeyboardInterrupt):
            train_online(recipe, out)
    assert curve(out)["steps"] == 160  # ahead of the checkpoint, which is of 80
    train_online(recipe, out)
    assert [r["step"] for r in curve(out)["curve"]] == [r["step"] for r in curve(whole)["curve"]]
    ours, theirs = (load_file(f / "snapshots.safetensors") for f in (out, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(theirs[k], v) for k, v in ours.items() if int(k.split("/")[0]) <= 80)
