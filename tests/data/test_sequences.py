"""Windows of transitions against a slow walk over the episodes."""

import numpy as np
import pytest
import torch
from helpers.synthetic import DOUBLE, O, U, dataset, limits

from rdlib.data.batches import Normaliser, Sequences, Transitions, resident
from rdlib.engine.config import ConfigError
from rdlib.engine.rng import Streams


def ragged(seed: int, lengths: list[int]):
    """Episodes of these lengths; the last of every other one is terminal."""
    n = sum(lengths)
    last = np.zeros(n, dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    return dataset(seed, n, last=last, terminal=last & (np.cumsum(last) % 2 == 0))


LENGTHS = ([1, 7, 3, 12, 1, 4, 5], [9, 2, 30])
DATA = [ragged(i, lengths) for i, lengths in enumerate(LENGTHS)]


def made(context: int, data=DATA, dtype=DOUBLE):
    normaliser = Normaliser(data, limits(), True, [(1.0, 0.0)] * len(data), dtype)
    return normaliser, Sequences(data, normaliser, context)


def slow_window(d, mean, std, row: int, context: int):
    """One window, transition by transition: what of each step of it is, oldest first, None in padding."""
    steps = []
    for r in range(row, len(d)):
        begin = r
        while begin > 0 and not d.last[begin - 1]:
            begin -= 1
        end, to_go = r, float(d.rew[r])
        while not d.last[end]:
            end += 1
            to_go += float(d.rew[end])
        steps.append(((d.obs[r] - mean) / std, d.act[r], to_go, r - begin))
        if d.last[r] or len(steps) == context:
            break
    return [None] * (context - len(steps)) + steps


@pytest.mark.parametrize("context", [1, 2, 5, 40])
def test_windows_of_every_row_are_those_of_a_walk_over_the_episodes(context):
    data = [DATA[0], DATA[1], DATA[0]]
    normaliser, sequences = made(context, data)
    assert sequences.sizes.tolist() == [len(d) for d in data]
    for row in range(len(DATA[0])):  # the shorter dataset
        windows = sequences.windows(torch.tensor([[row, 0], [row, 40], [32 - row, 3]]))
        assert windows.obs.shape == (3, 2, context, O) and windows.act.shape == (3, 2, context, U)
        for i, r in ((0, row), (1, row), (2, 32 - row)):
            mean, std = (x[i, 0].numpy() for x in (normaliser.obs_mean, normaliser.obs_std))
            for j, step in enumerate(slow_window(data[i], mean, std, r, context)):
                found = [x[i, 0, j].numpy() for x in windows]
                assert found[-1] == (step is not None)
                for ours, theirs in zip(found[:4], step or (0, 0, 0, 0)):
                    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_padding_is_on_the_left_and_empty():
    _, sequences = made(6)
    w = sequences.windows(torch.tensor([[7], [1]]))  # last row of seven; second of nine
    assert w.valid[0, 0].tolist() == [False] * 5 + [True]
    assert w.time[0, 0].tolist() == [0] * 5 + [6]
    assert all(not x[0, 0, :5].any() for x in w)
    assert w.valid[1, 0].all() and w.time[1, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_returns_to_go_are_raw_whatever_the_units_of_rewards():
    normaliser = Normaliser(DATA, limits(), True, [(0.1, -3.0)] * 2, DOUBLE)
    sequences = Sequences(DATA, normaliser, 3)
    first = [torch.tensor([[int(i)]]) for i in np.cumsum(LENGTHS[0]) - LENGTHS[0]]
    begun = [sequences.windows(i.expand(2, 1) % 41)[2][0, 0] for i in first]
    returns = [x[x != 0][0].item() for x in begun]
    np.testing.assert_allclose(returns, DATA[0].episode_returns(), rtol=1e-6)


def test_single_transitions_are_still_there():
    """Diagnostics look at states one by one."""
    normaliser, sequences = made(5)
    rows = torch.arange(20).expand(2, -1)
    plain = Transitions(DATA, normaliser).gather(rows)
    assert all(torch.equal(a, b) for a, b in zip(sequences.gather(rows), plain))


def test_returns_to_go_of_long_data_do_not_drift():
    """A running float32 sum over the dataset would."""
    n = 200_000
    last = np.arange(n) % 1000 == 999
    rew = np.full(n, 3.1, dtype=np.float32)
    d = dataset(0, n, rew=rew, last=last, terminal=np.zeros(n, bool))
    normaliser = Normaliser([d], limits(), True, [(1.0, 0.0)])
    to_go = Sequences([d], normaliser, 2).to_go
    np.testing.assert_allclose(to_go[-1000:], 3.1 * np.arange(1000, 0, -1), rtol=1e-6)


def test_a_uniform_draw_takes_each_episode_as_often_as_it_is_long():
    """The official code draws episodes in proportion to their length, then a start in them."""
    _, sequences = made(5)
    draws = Streams([3, 4]).integers("batch", 0, 200, 256, sequences.sizes)
    starts = draws[:, 0].flatten()
    counts = torch.bincount(starts, minlength=len(DATA[0])) / len(starts)
    torch.testing.assert_close(counts, torch.full_like(counts, 1 / len(DATA[0])), atol=3e-3, rtol=0)


def test_the_store_is_chosen_by_the_context():
    normaliser, _ = made(1)
    store, minibatch = resident(DATA, normaliser, 0)
    assert type(store) is Transitions and minibatch == store.gather
    store, minibatch = resident(DATA, normaliser, 4)
    assert type(store) is Sequences and minibatch == store.windows and store.context == 4
    with pytest.raises(ConfigError, match="context = -1"):
        resident(DATA, normaliser, -1)
