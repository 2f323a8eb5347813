"""TD3+BC against plain versions of it (tests/reference)."""

import numpy as np
import pytest
import torch
from helpers.synthetic import agents, one_update
from reference import arrays
from reference.agents import STILL, host, nets, spread
from reference.plain import assert_same_weights
from reference.plain_td3bc import PlainTD3BC

from rdlib import algos
from rdlib.engine.config import ConfigError


def test_losses_are_numpys():
    made = agents("td3bc", config={**STILL, "policy_noise": 0.6})
    a = made.algorithm
    spread(a)
    batch, noise, metrics = one_update(made, 0)
    assert batch.mask.min() == 0
    for i, alpha in enumerate((1.0, 2.5, 5.0)):
        obs, act, rew, next_obs, mask = host(batch, i)
        eps = np.clip(noise["smoothing"][i].numpy() * 0.6, -0.5, 0.5)
        next_act = np.tanh(arrays.forward(arrays.layers(a.actor_target, i), next_obs))
        next_q = arrays.q_values(nets(a.critic_target, i), next_obs, np.clip(next_act + eps, -1, 1))
        y = rew + 0.99 * mask * next_q.min(0)
        q = arrays.q_values(nets(a.critic, i), obs, act)
        np.testing.assert_allclose(metrics["critic_loss"][i], ((q - y) ** 2).mean(), rtol=1e-12)
        np.testing.assert_allclose(metrics["q_data"][i], q.mean(), rtol=1e-12)
        policy = np.tanh(arrays.forward(arrays.layers(a.actor, i), obs))
        value = arrays.q_values(nets(a.critic, i)[:1], obs, policy)[0]  # of the first critic
        loss = ((policy - act) ** 2).mean() - alpha / np.abs(value).mean() * value.mean()
        np.testing.assert_allclose(metrics["actor_loss"][i], loss, rtol=1e-12)


@pytest.mark.parametrize("config", [{}, {"n_critics": 1, "policy_delay": 3}], ids=str)
def test_twenty_updates_equal_separate_networks_of_nn_linear(config):
    rates = {"actor_lr": 1e-3, "critic_lr": 2e-3, "tau": 0.05}
    made = agents("td3bc", config={"n_critics": 2, **rates, **config})
    a = made.algorithm
    references = [PlainTD3BC(a, i) for i in range(3)]
    for number in range(20):
        batch, noise, _ = one_update(made, number)
        for i, reference in enumerate(references):
            reference.update(number, *(x[i] for x in batch), noise["smoothing"][i])
    for i, reference in enumerate(references):
        assert_same_weights(a.actor.net, reference.actor, (i,))
        assert_same_weights(a.actor_target.net, reference.actor_target, (i,))
        for e in range(a.critic.members):
            assert_same_weights(a.critic.net, reference.critics.nets[e], (i, e))
            assert_same_weights(a.critic_target.net, reference.critics.targets[e], (i, e))


def actor_gradients(scale: torch.Tensor) -> torch.Tensor:
    """Of the actor's head (A,…), with each agent's critics giving `scale` (A,) times their values."""
    made = agents("td3bc", config=STILL)
    a = made.algorithm
    with torch.no_grad():
        a.critic.net.head.weight *= scale[:, None, None, None]
        a.critic.net.head.bias *= scale[:, None, None, None]
    one_update(made, 0)
    return a.actor.net.head.weight.grad


def test_the_actor_does_not_see_the_size_of_its_agents_values():
    """λ divides by mean|Q| of the agent itself: values 1000 times larger change nothing, for nobody."""
    ones = torch.ones(3, dtype=torch.float64)
    larger = torch.tensor([1000.0, 1.0, 0.01], dtype=torch.float64)
    torch.testing.assert_close(actor_gradients(ones), actor_gradients(larger), rtol=1e-9, atol=1e-12)


def test_lambda_is_a_constant_of_the_gradient():
    """Where all values are positive, λ mean Q = α: were λ differentiated, nothing would be left of the
    value's gradient."""
    made = agents("td3bc", config={**STILL, "alpha": 1e6})
    with torch.no_grad():
        made.algorithm.critic.net.head.bias += 100.0
    one_update(made, 0)
    assert made.algorithm.actor.net.head.weight.grad.abs().amax((1, 2)).min() > 1


def test_without_a_value_it_is_bc():
    ours, theirs = agents("td3bc", config={"alpha": 0.0, "policy_delay": 1}), agents("bc")
    for made in (ours, theirs):
        for name, weight in made.algorithm.actor.named_parameters():
            weight.data.copy_(agents("bc").algorithm.actor.get_parameter(name))
        for number in range(5):
            one_update(made, number)
    for name, weight in theirs.algorithm.actor.named_parameters():
        # BC's loss is td3bc's, from the same minibatches.
        torch.testing.assert_close(ours.algorithm.actor.get_parameter(name), weight, msg=name)


def test_the_first_critic_alone_is_the_first_of_all():
    for name in ("td3bc", "td3bc_ln"):
        made = agents(name)
        batch, _, _ = one_update(made, 0)
        critic = made.algorithm.critic
        torch.testing.assert_close(
            critic.first(batch.obs, batch.act), critic(batch.obs, batch.act)[0][:, 0]
        )


@pytest.mark.parametrize(
    "overrides, field",
    [
        ({"alpha": -1.0}, "alpha"), ({"alpha": float("inf")}, "alpha"), ({"beta": 1.0}, "beta"),
        ({"n_critics": 0}, "n_critics"), ({"policy_noise": -0.1}, "policy_noise"),
        ({"noise_clip": -0.1}, "noise_clip"), ({"policy_delay": 0}, "policy_delay"),
        ({"alpha": True}, "alpha"), ({"alhpa": 1.0}, "alpha"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_fields_are_refused_by_name(overrides, field):
    with pytest.raises(ConfigError, match=field):
        algos.find("td3bc").config(overrides)


def test_the_papers_settings():
    c = algos.find("td3bc").config({})
    assert (c.n_critics, c.alpha, c.gamma, c.tau, c.policy_delay) == (2, 2.5, 0.99, 0.005, 2)
    assert (c.policy_noise, c.noise_clip, c.batch_size) == (0.2, 0.5, 256)
    assert (c.width, c.depth, c.actor_width, c.actor_depth) == (256, 2, 256, 2)
    assert c.actor_lr == c.critic_lr == 3e-4 and c.normalize_states
