"""The book's small problem is what it says, and the cycle is to be seen in it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from rdlib.results import toy
from rdlib.results.toy import CONFIG, GAMMA, GRIP, TIMID, Line, ToyAgents

ACTIONS = np.linspace(-1, 1, 21)


def agents(name="td3n", seeds=(0, 1), config=None, plugins=None, extra=0.0) -> ToyAgents:
    n = len(seeds)
    plugins = [{}] * n if plugins is None else plugins
    return ToyAgents(name, [Line(extra).data()] * n, seeds, [{**CONFIG, **(config or {})}] * n, plugins)


def test_strides_pay_for_where_they_end_and_long_ones_fall():
    x, a = np.array([0.5, 0.5, 0.02, 0.99, 0.5]), np.array([0.2, -GRIP, -0.5, 0.5, GRIP + 0.01])
    after, reward = Line().step(x, a)
    np.testing.assert_allclose(after, [0.52, 0.44, 0, 1, 0])
    np.testing.assert_array_equal(reward, after)
    np.testing.assert_allclose(Line(-1).step(x, a)[1], after - 1)


def test_the_data_are_timid_strides_of_the_problem():
    data = Line().data()
    assert np.abs(data.act).max() <= TIMID and np.abs(data.act).min() < 0.01
    assert not data.terminal.any()
    after, reward = Line().step(data.obs[:, 0].astype(float), data.act[:, 0].astype(float))
    np.testing.assert_allclose(data.next_obs[:, 0], after, atol=1e-6)
    np.testing.assert_allclose(data.rew, reward, atol=1e-6)


@pytest.mark.parametrize("longest", [1.0, TIMID])
def test_best_is_what_the_best_policy_is_paid(longest):
    """The longest stride that holds, to the right: by hand, and by the roll-out."""
    line, stride = Line(), min(longest, GRIP)
    starts = np.array([0.0, 0.3, 1.0])
    paid = line.worth(lambda x: np.full_like(x, stride), starts)[0]
    where = np.minimum(starts[:, None] + 0.1 * stride * np.arange(1, 500), 1)
    np.testing.assert_allclose(paid, (where * GAMMA ** np.arange(499)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(line.best(starts, np.array(stride), longest), paid, rtol=5e-3)
    shifted = Line(-1).best(starts, np.array(stride), longest)
    lower = line.best(starts, np.array(stride), longest) - line.ceiling
    np.testing.assert_allclose(shifted, lower, atol=1e-6)
    assert (line.best(starts[:, None], ACTIONS) <= line.ceiling + 1e-9).all()


def test_a_look_is_what_the_networks_say():
    made = agents("td3n_rd", plugins=[{}, {"weight": 0.0}], config={"n_critics": 2, "width": 8})
    made.train(3)
    look = made.look(0.3, ACTIONS)
    assert look.step == 3 and look.q.shape == (2, 21)
    obs = torch.full((2, 1, 1), 0.3)
    policy, ood = made.algorithm.actor(obs), made.algorithm.plugin.actor(obs)
    for action, where, value in ((policy, look.policy, look.q_policy), (ood, look.ood, look.q_ood)):
        np.testing.assert_allclose(action.detach()[:, 0, 0], where, rtol=1e-5)
        q = made.algorithm.critic(obs, action)[0].mean(1)[:, 0]
        np.testing.assert_allclose(q.detach(), value, rtol=1e-4)
    at = made.algorithm.critic(obs, torch.full((2, 1, 1), ACTIONS[4]).float())[0].mean(1)[:, 0]
    np.testing.assert_allclose(look.q[:, 4], at.detach(), rtol=1e-4)
    np.testing.assert_allclose(made.policy(np.array([[0.3]]))[:, 0], look.policy, rtol=1e-5)
    assert np.isnan(agents().look(0.3, ACTIONS).ood).all()


def test_agents_with_equal_seeds_differ_only_in_what_is_given():
    made = agents("td3n_rd", (4, 4, 5), plugins=[{"weight": 0.0}] * 3, config={"width": 8, "depth": 2})
    made.train(20)
    q = made.look(0.5, ACTIONS).q
    np.testing.assert_array_equal(q[0], q[1])
    assert (q[0] != q[2]).all()
    plain = agents("td3n", (4,), config={"width": 8, "depth": 2})
    plain.train(20)
    np.testing.assert_allclose(plain.look(0.5, ACTIONS).q[0], q[0], rtol=1e-5)


def test_the_cycle_runs_away_from_its_ceiling_and_cut_it_does_not():
    """A policy held within the data is valued rightly; held outside of it, where it is worth nothing, it is
    valued above the 10 that no policy can pass, although nobody maximises."""
    config = {"actor_lr": 0.0, "gamma": 0.9, "width": 32}
    made = agents(seeds=(0, 1, 0, 1), config=config)
    made.hold([0.1, 0.1, 1.0, 1.0])
    made.train(1200)
    found = made.look(0.5, ACTIONS).q_policy
    where = np.minimum(0.5 + 0.01 * np.arange(1, 200), 1)
    np.testing.assert_allclose(found[:2], (where * 0.9 ** np.arange(199)).sum(), rtol=0.1)
    assert found[2:].min() > 10
    assert np.abs(Line().worth(made.policy, np.array([0.5]))[2:]).max() == 0


def test_a_drawing_shows_every_agent_and_names_the_first():
    made = agents("td3n_rd", plugins=[{}, {}], config={"width": 8})
    look = made.look(0.5, ACTIONS)
    _, axes = plt.subplots()
    toy.draw(axes, look, (1, 0), Line().best(np.array(0.5), ACTIONS))
    labels = [x.get_label() for x in axes.get_lines() if not x.get_label().startswith("_")]
    assert labels == ["true: Q*(s, a)", "the critic's Q(s, a)", "policy π(s)", "OOD policy"]
    curves = [x for x in axes.get_lines() if len(x.get_xdata()) == 21]
    np.testing.assert_array_equal(curves[-1].get_ydata(), look.q[1])
    np.testing.assert_array_equal(curves[-2].get_ydata(), look.q[0])
    assert len(axes.get_lines()) == 7 and axes.get_title() == "after 0 updates"
    plt.close("all")
