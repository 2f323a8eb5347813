"""Bundled data: policies that are there, roll-outs that are fair, whole, repeatable and gymnasium's."""

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from helpers.extras import needed
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rdlib.data import DataError, bundled, catalog, environments, load, normalised_score
from rdlib.data.bundled import POLICIES, rollout
from rdlib.engine import hardware
from rdlib.engine.nets import GaussianActor

hypothesis = needed("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
ABOUT = rollout.about("hopper")
FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")


def same(a, b):
    """Whether two lists of episodes are equal to the last bit."""
    return len(a) == len(b) and all(
        x.seed == y.seed and all(np.array_equal(getattr(x, f), getattr(y, f)) for f in FIELDS)
        for x, y in zip(a, b, strict=True)
    )


def hopper(name, size, seed=1):
    return list(rollout.roll_out(rollout.policy("hopper", name).double(), "Hopper-v5", size, seed))


# ---- the policies


def test_the_policies_ship_with_what_load_needs():
    own = [e for e in catalog.PAPER_DATASETS.values() if e.bundled.startswith("rd/")]
    assert rollout.bundled_environments() == sorted({e.environment for e in own})
    made = {f"{e}-{q}" for e in rollout.bundled_environments() for q in rollout.qualities(e)}
    assert made == {e.short for e in own} == bundled.statistics().keys()
    assert ABOUT["env_id"] == "Hopper-v5"
    names = ["random", "medium", "expert", *(f"replay/{i}" for i in range(len(ABOUT["replay"])))]
    for name in names:
        actor = rollout.policy("hopper", name)
        mean = actor(torch.zeros(1, 2, 11))[0]
        assert isinstance(actor, GaussianActor) and mean.shape == (1, 2, 3) and mean.isfinite().all()
    with safe_open(POLICIES / "hopper.safetensors", "pt") as file:
        assert {k.rsplit("/", 1)[0] for k in file.keys()} == set(names)  # and nothing else ships
    with pytest.raises(DataError, match="hopper has no bundled policy 'better'"):
        rollout.policy("hopper", "better")


def test_the_header_says_how_they_were_made():
    for quality in ("random", "medium", "expert"):
        found = ABOUT[quality]
        assert {"step", "return", "std", "score"} <= found.keys()
        assert found["score"] == pytest.approx(normalised_score("hopper", found["return"]), abs=1e-9)
    assert ABOUT["random"]["step"] == 0 and ABOUT["random"]["score"] < 5
    assert 35 <= ABOUT["medium"]["score"] <= 50 and ABOUT["expert"]["score"] > ABOUT["medium"]["score"]
    steps = ABOUT["replay"]
    assert steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] == ABOUT["medium"]["step"]


def test_the_final_policies_are_in_the_bands():
    """D4RL's protocol: medium at about a third of the expert's return, expert at least at 95."""
    assert 40 <= ABOUT["medium"]["score"] <= 48
    assert ABOUT["expert"]["score"] >= 95
    for run in ("middle_run", "expert_run"):
        assert {"recipe", "steps", "updates", "rdlib", "torch", "mujoco", "curve"} <= ABOUT[run].keys()


# ---- rolling out


class Clockwork:
    """An environment whose k-th episode lasts `lengths[k % …]` steps; it observes (k, t), and ends by
    itself where k is even, by time where it is odd."""

    def __init__(self, lengths, seed, n):
        self.lengths, self.seed, self.n = lengths, seed, n
        self.obs_dim, self.act_dim = 2, 1
        self.at = np.zeros((n, 2))
        self.steps = 0

    def reset(self, seeds, which=None):
        for slot, seed in zip(range(self.n) if which is None else which, seeds, strict=True):
            self.at[slot] = seed - 10_000_000 * self.seed, 0
        return self.at.copy()

    def step(self, actions, active):
        assert actions.shape == (self.n, 1)
        self.at[active, 1] += 1
        self.steps += int(active.sum())
        over = self.at[:, 1] >= [self.lengths[int(k) % len(self.lengths)] for k in self.at[:, 0]]
        even = self.at[:, 0] % 2 == 0
        return self.at.copy(), 10 * self.at[:, 0] + self.at[:, 1], over & even, over & ~even

    def close(self):
        pass


@settings(max_examples=50, deadline=None, database=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    size=st.integers(1, 600), copies=st.sampled_from([1, 2, 7, 64]), seed=st.integers(0, 9),
)  # fmt: skip
def test_roll_outs_are_whole_and_fair(lengths, size, copies, seed):
    """Episodes 0, 1, 2, … as they began, whichever ended first, up to `size` transitions: short
    episodes end earlier and must not be more frequent for it."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "COPIES", copies)
        patch.setattr(
            environments, "make", lambda *a: made.append(Clockwork(lengths, seed, a[1])) or made[0]
        )
        episodes = list(rollout.roll_out(lambda obs, noise: (noise, None), "any", size, seed))
    expected = itertools.cycle(lengths)
    left = size
    for k, episode in enumerate(episodes):
        whole = next(expected)
        length = min(whole, left)
        assert len(episode.rewards) == length and episode.seed == 10_000_000 * seed + k
        assert (episode.observations[:, 0] == k).all()
        np.testing.assert_array_equal(episode.observations[:, 1], np.arange(length + 1))
        np.testing.assert_array_equal(episode.rewards, 10 * k + np.arange(1, length + 1))
        end = np.arange(length) == length - 1
        terminal = end & (k % 2 == 0 and whole == length)
        np.testing.assert_array_equal(episode.terminations, terminal)
        np.testing.assert_array_equal(episode.truncations, end & ~terminal)
        assert episode.terminations.dtype == episode.truncations.dtype == bool
        left -= length
    assert left == 0
    assert made[0].steps <= size + copies * max(lengths)  # no more simulation than is of use


def test_roll_outs_repeat_whatever_the_threads(monkeypatch):
    first = hopper("random", 200)
    assert sum(len(e.rewards) for e in first) == 200 and len(first) > 5
    assert same(first, hopper("random", 200))
    assert not same(first, hopper("random", 200, seed=2))
    monkeypatch.setattr(hardware, "available_cores", lambda: 3)
    assert same(first, hopper("random", 200))
    torch.set_num_threads(2)
    try:
        assert same(first, hopper("random", 200))
    finally:
        torch.set_num_threads(1)


def test_roll_outs_are_the_same_whatever_products_the_cpu_takes(tmp_path):
    """MKL and PyTorch choose by the CPU. While policies acted in float32 these gave three datasets."""
    code = "from rdlib.data import load; print(load('hopper-medium', size=2000).digest)"
    digests = set()
    for number, cpu in enumerate((
        {}, {"MKL_CBWR": "AVX2"}, {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"},
    )):  # fmt: skip
        env = {**os.environ, "RDLIB_CACHE": str(tmp_path / str(number)), **cpu}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_larger_roll_out_begins_with_the_smaller():
    small, large = hopper("random", 300), hopper("random", 700)
    assert same(small[:-1], large[: len(small) - 1])
    cut = len(small[-1].rewards)
    assert np.array_equal(small[-1].observations, large[len(small) - 1].observations[: cut + 1])


@pytest.mark.parametrize(("name", "size"), [("random", 60), ("medium", 400)])
def test_roll_outs_are_gymnasium_s(name, size):
    """The same seed and actions in gymnasium's own Hopper: the same observations, rewards, ends."""
    env = gymnasium.make("Hopper-v5")
    for episode in hopper(name, size, seed=7):
        obs, _ = env.reset(seed=episode.seed)
        assert np.array_equal(obs.astype("f4"), episode.observations[0])
        for t, action in enumerate(episode.actions):
            obs, reward, terminated, truncated, _ = env.step(action)
            assert np.array_equal(obs.astype("f4"), episode.observations[t + 1]), t
            assert np.float32(reward) == episode.rewards[t]
            assert terminated == episode.terminations[t]
            assert truncated <= episode.truncations[t]
    env.close()


def test_actions_are_sampled_not_the_mean():
    [episode] = hopper("medium", 200)[:1]
    actor = rollout.policy("hopper", "medium")
    with torch.no_grad():
        mean = actor(torch.from_numpy(episode.observations[None, :-1]))[0][0].numpy()
    assert np.abs(episode.actions - mean).mean() > 0.05 and np.abs(episode.actions).max() <= 1


# ---- datasets


@pytest.mark.parametrize("quality", rollout.LOCOMOTION)
def test_every_quality_loads_and_is_kept(quality, monkeypatch):
    data = load(f"hopper-{quality}", size=2000)
    assert (len(data), data.obs_dim, data.act_dim) == (2000, 11, 3)
    assert (data.source, data.env_id, data.max_episode_steps) == ("bundled", "Hopper-v5", 1000)
    assert data.name == f"hopper-{quality}" and data.notes["licence"] == "MIT"
    assert np.abs(data.act).max() <= 1 and data.last[-1]
    inside = ~data.last[:-1]
    assert np.array_equal(data.next_obs[:-1][inside], data.obs[1:][inside])
    monkeypatch.setattr(rollout, "roll_out", lambda *a: pytest.fail("rolled out again"))
    again = load(f"rd/hopper/{quality}-v1", size=2000)
    assert again.digest == data.digest and again.name == data.name


def test_better_policies_have_better_data():
    returns = [load(f"hopper-{q}", size=2500).episode_returns()[:-1].mean() for q in (
        "random", "medium", "expert",
    )]  # fmt: skip
    assert returns[0] < 100 < returns[1] < returns[2]


def test_medium_expert_is_half_each():
    data = load("hopper-medium-expert", size=601)
    whole = {q: load(f"hopper-{q}", size=n) for q, n in (("medium", 300), ("expert", 301))}
    for field in ("obs", "act", "rew", "next_obs", "terminal", "last"):
        parts = [getattr(whole[q], field) for q in ("medium", "expert")]
        assert np.array_equal(getattr(data, field), np.concatenate(parts)), field


def test_medium_replay_has_a_part_of_every_snapshot():
    count, size = len(ABOUT["replay"]), 1000
    parts = rollout.parts_of("hopper", "medium-replay", size)
    assert [name for name, _, _ in parts] == [f"replay/{i}" for i in range(count)]
    sizes = [n for _, n, _ in parts]
    assert sum(sizes) == size and max(sizes) - min(sizes) <= 1
    assert len({seed for _, _, seed in parts}) == count
    assert rollout.default_size("hopper", "medium-replay") == ABOUT["medium"]["step"]


@pytest.mark.parametrize("name", [*(f"hopper-{q}" for q in rollout.LOCOMOTION), "pen-cloned"])
def test_one_transition(name):
    assert len(load(name, size=1)) == 1


def test_a_dataset_does_not_hang_on_what_ran_before():
    """Another matrix product rounds otherwise, and a hopper falls otherwise for it."""
    digests = []
    for i, path in enumerate(("default", "onednn")):
        hardware.use_matmul(path)
        try:
            digests.append(load("hopper-random", size=300, root=f"{rollout.cache_root()}/{i}").digest)
            kept = torch.backends.mkldnn.matmul.fp32_precision if hardware._onednn is not None else None
            assert kept == {"default": "none", "onednn": "bf16"}[path] or hardware._onednn is None
        finally:
            hardware.use_matmul("default")
    assert digests[0] == digests[1]


def test_minari_itself_reads_it(monkeypatch):
    import minari

    data = load("hopper-random", size=300)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(rollout.cache_root() / "minari"))
    theirs = minari.load_dataset("rd/hopper/random-300-v1")
    episodes = list(theirs.iterate_episodes())
    assert theirs.total_steps == 300 and theirs.total_episodes == len(data.episode_lengths())
    assert np.array_equal(np.concatenate([e.observations[:-1] for e in episodes]), data.obs)
    assert np.array_equal(np.concatenate([e.actions for e in episodes]), data.act)
    assert np.array_equal(np.concatenate([e.terminations for e in episodes]), data.terminal)
    assert np.array_equal(np.concatenate([e.rewards for e in episodes]).astype("f4"), data.rew)
    env = theirs.recover_environment()
    assert env.spec.id == "Hopper-v5" and env.observation_space.shape == (11,)


@pytest.mark.parametrize(("environment", "quality"), [("ant", "medium"), ("hopper", "best")])
def test_what_is_not_bundled(environment, quality):
    with pytest.raises(DataError, match=f"no bundled dataset {environment}-{quality}; env.*hopper.*; qual"):
        rollout.load(environment, quality, size=10)


def test_names_of_other_sizes_differ():
    default = rollout.default_size("hopper", "medium")
    assert default == 1_000_000 and rollout.default_size("hopper", "medium-expert") == 2_000_000
    assert rollout.dataset_id("hopper", "medium", default) == "rd/hopper/medium-v1"
    assert rollout.dataset_id("hopper", "medium", 10) == "rd/hopper/medium-10-v1"


def test_a_roll_out_of_other_policies_is_replaced(tmp_path, monkeypatch):
    """Caches go by name and size; which policies made them stands in the metadata."""
    content = load_file(POLICIES / "hopper.safetensors")
    with safe_open(POLICIES / "hopper.safetensors", framework="pt") as file:
        about = file.metadata()
    monkeypatch.setattr("rdlib.data.bundled.POLICIES", tmp_path)
    made, make = [], rollout.make
    monkeypatch.setattr(rollout, "make", lambda *a: made.append(a) or make(*a))
    digests = []
    for change in (0.0, 1.0, 0.0):
        content["random/net.head.bias"] += change
        save_file(content, tmp_path / "hopper.safetensors", about)
        digests.append(rollout.load("hopper", "random", 200, tmp_path / "cache").digest)
    assert digests[0] != digests[1] == digests[2] and len(made) == 2


def test_two_that_need_a_roll_out_at_once_make_it_once(tmp_path, monkeypatch):
    real, made = rollout.make, []
    monkeypatch.setattr(rollout, "make", lambda *given: made.append(given) or real(*given))
    with ThreadPoolExecutor(2) as pool:
        load = partial(rollout.load, "hopper", "random", root=tmp_path)
        first, second = pool.map(load, [200, 200])
    assert first.digest == second.digest and len(made) == 1
