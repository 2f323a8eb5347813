"""The resident transitions and the one place that normalises."""

import numpy as np
import pytest
import torch
from helpers.synthetic import DATA, DOUBLE, O, U, dataset, limits, write_hdf5

from rdlib.data import catalog
from rdlib.data.batches import EPSILON, Normaliser, Transitions
from rdlib.data.dataset import DataError

AGENTS = (DATA[0], DATA[1], DATA[0], DATA[1], DATA[0])


def made(states: bool = True, dtype=DOUBLE, box=None, data=AGENTS, scales=None):
    scales = [(1.0, 0.0)] * len(data) if scales is None else scales
    normaliser = Normaliser(data, box or limits(), states, scales, dtype)
    return normaliser, Transitions(data, normaliser)


def test_states_are_standardised_by_numpys_moments_of_each_agents_own_data():
    normaliser, _ = made()
    assert EPSILON == 1e-3
    for i, d in enumerate(AGENTS):
        obs = d.obs.astype(np.float64)
        np.testing.assert_allclose(normaliser.obs_mean[i, 0], obs.mean(0), rtol=1e-12)
        np.testing.assert_allclose(normaliser.obs_std[i, 0], obs.std(0) + 1e-3, rtol=1e-12)
    assert not torch.equal(normaliser.obs_mean[0], normaliser.obs_mean[1])


def test_moments_of_large_offsets_and_many_rows_are_exact():
    """float32 sums, or E[x²] - E[x]², would lose the deviation here; several chunks are summed."""
    rng = np.random.default_rng(0)
    obs = (1000 + 0.01 * rng.normal(size=(250_001, 1))).astype(np.float32)
    n = len(obs)
    flags = np.arange(n) == n - 1
    d = dataset(
        n=n, obs=obs, next_obs=obs, act=np.zeros((n, 1)), rew=np.zeros(n), terminal=flags, last=flags
    )
    normaliser = Normaliser([d], limits(1), True, [(1.0, 0.0)], DOUBLE)
    exact = obs.astype(np.float64)
    np.testing.assert_allclose(normaliser.obs_mean[0, 0], exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(normaliser.obs_std[0, 0], exact.std(0) + 1e-3, rtol=1e-9)
    rows = Transitions([d], normaliser).rows
    expected = (exact - exact.mean(0)) / (exact.std(0) + 1e-3)
    np.testing.assert_allclose(rows[:, :1], expected, rtol=1e-6, atol=1e-9)


def test_without_standardisation_states_are_kept():
    normaliser, transitions = made(states=False)
    batch = transitions.gather(torch.arange(10).repeat(len(AGENTS), 1))
    np.testing.assert_array_equal(batch.obs[1], DATA[1].obs[:10])
    assert torch.equal(normaliser.observe(batch.obs), batch.obs)


def test_every_agent_gathers_the_rows_of_its_own_data():
    normaliser, transitions = made()
    assert transitions.sizes.tolist() == [len(d) for d in AGENTS]
    rng = np.random.default_rng(0)
    indices = np.stack([rng.integers(0, len(d), 50) for d in AGENTS])
    indices[:, 0] = [len(d) - 1 for d in AGENTS]  # the last row, beside the next dataset's first
    indices[:, 1] = 0
    batch = transitions.gather(torch.from_numpy(indices))
    assert batch.obs.shape == (5, 50, O) and batch.act.shape == (5, 50, U)
    assert batch.rew.shape == batch.mask.shape == (5, 50)
    for i, d in enumerate(AGENTS):
        rows = indices[i]
        mean, std = normaliser.obs_mean[i].numpy(), normaliser.obs_std[i].numpy()
        np.testing.assert_allclose(batch.obs[i], (d.obs[rows] - mean) / std, rtol=1e-9)
        np.testing.assert_allclose(batch.next_obs[i], (d.next_obs[rows] - mean) / std, rtol=1e-9)
        np.testing.assert_array_equal(batch.act[i], d.act[rows])
        np.testing.assert_array_equal(batch.rew[i], d.rew[rows])
        np.testing.assert_array_equal(batch.mask[i], 1 - d.terminal[rows])


def test_each_distinct_dataset_is_on_the_device_once():
    _, transitions = made()
    assert transitions.rows.shape == (len(DATA[0]) + len(DATA[1]), 2 * O + U + 2)


def test_a_time_limit_is_no_terminal():
    """`last` ends an episode, only `terminal` ends the return."""
    d = DATA[0]
    timed_out = np.flatnonzero(d.last & ~d.terminal)
    assert len(timed_out) > 3 and d.terminal.sum() > 3
    _, transitions = made()
    mask = transitions.gather(torch.arange(len(d)).repeat(5, 1)).mask[0].numpy()
    assert (mask[timed_out] == 1).all()
    assert (mask[d.terminal] == 0).all() and mask.sum() == (~d.terminal).sum()


def test_a_timeout_of_a_d4rl_file_is_no_terminal_either(tmp_path):
    d = catalog.load(str(write_hdf5(tmp_path / "a.hdf5")))
    normaliser = Normaliser([d], limits(3), True, [(1.0, 0.0)])
    transitions = Transitions([d], normaliser)
    mask = transitions.gather(torch.arange(len(d))[None]).mask[0].numpy()
    np.testing.assert_array_equal(mask == 0, d.terminal)
    assert (mask[d.last & ~d.terminal] == 1).all()


def test_actions_are_mapped_to_the_unit_box_and_back():
    low, high = np.array([-0.4, 0.0], "f4"), np.array([0.4, 3.0], "f4")
    rng = np.random.default_rng(0)
    act = rng.uniform(low, high, (200, 2)).astype("f4")
    d = dataset(act=act)
    normaliser, transitions = made(box=(low, high), data=(d,))
    mine = transitions.gather(torch.arange(200)[None]).act
    assert mine.abs().max() <= 1 + 1e-6 and mine.abs().max() > 0.9
    np.testing.assert_allclose(normaliser.to_env(mine)[0], act, atol=1e-6)
    corners = torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]], dtype=DOUBLE)
    np.testing.assert_allclose(normaliser.to_env(corners)[0], [low, high], atol=1e-7)


def test_rewards_are_scaled_and_shifted_per_agent_and_nothing_else_is():
    data = (DATA[0], DATA[1])
    _, scaled = made(scales=[(0.1, 0.0), (3.0, -1.0)], data=data)
    _, plain = made(data=data)
    rows = torch.arange(20).repeat(2, 1)
    ours, theirs = scaled.gather(rows), plain.gather(rows)
    expected = theirs.rew * torch.tensor([[0.1], [3.0]]) + torch.tensor([[0.0], [-1.0]])
    np.testing.assert_allclose(ours.rew, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours.obs, theirs.obs) and torch.equal(ours.mask, theirs.mask)


def test_actions_out_of_limits_are_refused_by_name():
    act = np.zeros((200, U))
    act[17, 1] = -1.5
    message = r"made-up-0: 'act' row 17 holds -1\.5 in dimension 1; .*limits there are -1 and 1 \(1 such"
    with pytest.raises(DataError, match=message):
        made(data=(dataset(act=act),))
    box = np.array([-1, -2], "f4"), np.array([1, 2], "f4")
    made(data=(dataset(act=act),), box=box)  # an environment with wider limits takes it
    act[17, 1] = 1.0005  # rounding of a file is not
    made(data=(dataset(act=act),))


def test_datasets_of_other_dimensions_are_refused():
    with pytest.raises(DataError, match="made-up-1.*observations of 5.*one environment"):
        data = (DATA[0], dataset(1, obs_dim=5))
        Transitions(data, Normaliser((DATA[0], DATA[0]), limits(), True, [(1.0, 0.0), (1.0, 0.0)]))


def test_what_evaluation_sees_is_what_training_saw():
    """A bug that shipped elsewhere: normalisation that differs between training and evaluation."""
    normaliser, transitions = made(dtype=torch.float32)
    batch = transitions.gather(torch.arange(30).repeat(5, 1))
    raw = torch.from_numpy(np.stack([d.obs[:30] for d in AGENTS]))
    assert torch.equal(normaliser.observe(raw), batch.obs)


def test_a_normaliser_survives_saving():
    normaliser, _ = made(dtype=torch.float32)
    other = Normaliser.restore({k: v.clone() for k, v in normaliser.state_dict().items()})
    x = torch.randn(5, 7, O)
    assert torch.equal(other.observe(x), normaliser.observe(x))
    assert torch.equal(other.to_env(x[..., :U]), normaliser.to_env(x[..., :U]))
