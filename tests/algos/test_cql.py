"""CQL against NumPy written from the paper, and against a plain implementation."""

import math

import numpy as np
import pytest
import torch
from helpers.synthetic import DOUBLE, U, agents, one_update
from reference import arrays
from reference.agents import host, nets, spread
from reference.plain import assert_same_weights
from reference.plain_cql import PlainCQL

from rdlib import algos
from rdlib.engine.config import ConfigError

STILL = {"actor_lr": 0.0, "critic_lr": 0.0, "alpha_lr": 0.0, "tau": 0.0}


def soft_maximum(critics, obs, proposals, temperature: float) -> np.ndarray:
    """T log Σ_k exp((Q_i(s,a_k) - log p(a_k)) / T), one critic and state at a time: (N, B)."""
    found = np.zeros((len(critics), len(obs)))
    for i, net in enumerate(critics):
        for s in range(len(obs)):
            total = 0.0
            for action, log_density in proposals:
                pair = np.concatenate([obs[s], action[s]])[None]
                q = arrays.forward(net, pair)[0, 0]
                total += math.exp((q - log_density[s]) / temperature)
            found[i, s] = temperature * math.log(total)
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_losses_are_numpys(temperature, monkeypatch):
    made = agents("cql", config={**STILL, "cql_temp": temperature, "n_actions": 4})
    a = made.algorithm
    spread(a)
    gradients = []
    monkeypatch.setattr(a.optimizers["alpha"], "step", lambda: gradients.append(a.log_alpha.grad.clone()))
    batch, noise, metrics = one_update(made, 0)
    assert batch.mask.min() == 0 and noise["random"].shape[1:] == (4, 16, U)
    assert noise["random"].min() < -0.9 and noise["random"].max() > 0.9
    for i in range(3):
        alpha = a.log_alpha[i].exp().item()
        obs, act, rew, next_obs, mask = host(batch, i)
        draw = {k: v[i].numpy() for k, v in noise.items()}
        actor = arrays.layers(a.actor, i)
        policy, log_prob = arrays.squashed(actor, obs, draw["policy"])
        next_act, _ = arrays.squashed(actor, next_obs, draw["next_policy"])
        y = rew + 0.99 * mask * arrays.q_values(nets(a.critic_target, i), next_obs, next_act).min(0)
        q = arrays.q_values(nets(a.critic, i), obs, act)
        # 4 uniform actions of density 2^-U, 4 of π(s') and 4 of π(s): all judged at s.
        proposals = [(x, np.full(16, math.log(0.5**U))) for x in draw["random"]]
        proposals += [arrays.squashed(actor, next_obs, z) for z in draw["next"]]
        proposals += [arrays.squashed(actor, obs, z) for z in draw["current"]]
        gap = soft_maximum(nets(a.critic, i), obs, proposals, temperature) - q
        value = arrays.q_values(nets(a.critic, i), obs, policy).min(0)
        expected = {
            "critic_loss": ((q - y) ** 2).mean(), "cql_gap": gap.mean(), "q_data": q.mean(),
            "alpha": alpha, "actor_loss": (alpha * log_prob - value).mean(),
            "entropy": -log_prob.mean(),
        }  # fmt: skip
        for key, number in expected.items():
            np.testing.assert_allclose(metrics[key][i], number, rtol=1e-10, err_msg=key)
        np.testing.assert_allclose(gradients[0][i, 0], -(log_prob - U).mean(), rtol=1e-10)


def test_the_gradient_of_a_head_is_that_of_numpys_loss(monkeypatch):
    """Of the squared error plus α_CQL times the gap, by central differences, each critic's own."""
    made = agents("cql", config={**STILL, "n_actions": 3})
    a = made.algorithm
    spread(a)
    found = []
    monkeypatch.setattr(
        a.optimizers["critic"], "step", lambda: found.append(a.critic.net.head.weight.grad.clone())
    )
    batch, noise, _ = one_update(made, 0)
    for i in range(3):
        obs, act, rew, next_obs, mask = host(batch, i)
        draw = {k: v[i].numpy() for k, v in noise.items()}
        actor = arrays.layers(a.actor, i)
        next_act, _ = arrays.squashed(actor, next_obs, draw["next_policy"])
        y = rew + 0.99 * mask * arrays.q_values(nets(a.critic_target, i), next_obs, next_act).min(0)
        proposals = [(x, np.full(16, math.log(0.5**U))) for x in draw["random"]]
        proposals += [arrays.squashed(actor, next_obs, z) for z in draw["next"]]
        proposals += [arrays.squashed(actor, obs, z) for z in draw["current"]]

        def loss(net):
            q = arrays.q_values([net], obs, act)  # noqa: B023
            gap = soft_maximum([net], obs, proposals, 1.0) - q  # noqa: B023
            return ((q - y) ** 2).mean() + a.configs[i].cql_alpha * gap.mean()  # noqa: B023

        for e, net in enumerate(nets(a.critic, i)):
            (weight, bias), step = net[-1], np.zeros((8, 1))
            step[5] = 1e-5
            up, down = ([*net[:-1], (weight + d, bias)] for d in (step, -step))
            slope = (loss(up) - loss(down)) / 2e-5
            np.testing.assert_allclose(found[0][i, e, 5, 0], slope, rtol=1e-6, atol=1e-9)


def test_twenty_updates_equal_separate_networks_of_nn_linear():
    config = {"actor_lr": 1e-3, "critic_lr": 2e-3, "alpha_lr": 3e-3, "tau": 0.05, "n_actions": 3}
    made = agents("cql", config=config)
    references = [PlainCQL(made.algorithm, i) for i in range(3)]
    for number in range(20):
        batch, noise, _ = one_update(made, number)
        for i, reference in enumerate(references):
            draws = {k: v[i] for k, v in noise.items()}
            reference.update(number, *(x[i] for x in batch), **draws)
    a = made.algorithm
    for i, reference in enumerate(references):
        assert_same_weights(a.actor.net, reference.actor, (i,))
        for e in range(a.critic.members):
            assert_same_weights(a.critic.net, reference.critics.nets[e], (i, e))
            assert_same_weights(a.critic_target.net, reference.critics.targets[e], (i, e))
        torch.testing.assert_close(a.log_alpha[i], reference.log_alpha, rtol=1e-6, atol=1e-9)


def test_without_the_conservative_term_the_candidates_do_not_matter():
    """α_CQL = 0 is SAC without entropy in the backup: whatever the candidates are."""
    some, other = (agents("cql", config={"cql_alpha": 0.0, "n_actions": n}) for n in (1, 5))
    for made in (some, other):
        made.engine.run(0, 5)
    for p, q in zip(some.algorithm.parameters(), other.algorithm.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_the_log_sum_exp_estimates_the_integral_over_actions():
    """With importance weights, 3n terms estimate 3n ∫ exp Q da, whatever the policy: at a constant Q = 0
    and many samples the soft maximum is log(3n 2^U)."""
    made = agents("cql", (0,), config={"n_actions": 4000, "batch_size": 2})
    a = made.algorithm
    moments = tuple(torch.full((1, 2, U), x, dtype=DOUBLE) for x in (0.3, -0.5))
    noise = {k: v[0] for k, v in a.noise(made.streams, 0, 1).items()}
    _, log_density = a.candidates(moments, moments, noise)
    assert log_density.shape == (1, 12000, 2)
    for kind in log_density.chunk(3, 1):
        # The mean of 1/p over samples of p is the volume of [-1, 1]^U.
        if kind.std() < 1e-12:
            torch.testing.assert_close(kind.neg().exp(), torch.full_like(kind, 2.0**U))
        else:
            assert kind.neg().exp().mean() == pytest.approx(2.0**U, rel=0.15)


def test_heads_start_as_corls():
    made = agents("cql", config={"width": 64, "actor_width": 64, "depth": 3})
    critic, head = made.algorithm.critic.net, made.algorithm.actor.net.head
    for layer in critic.hidden[1:]:
        product = layer.weight.mT @ layer.weight
        torch.testing.assert_close(product, (2 * torch.eye(64, dtype=DOUBLE)).expand_as(product))
        assert not layer.bias.any()
    norm = critic.head.weight.norm(dim=-2)
    torch.testing.assert_close(norm, torch.full_like(norm, 1e-2))  # one orthonormal column, gain 0.01
    assert head.weight.abs().max() <= 1e-2 * math.sqrt(6 / (64 + 2 * U))
    assert head.weight.abs().max() > 0.9e-2 * math.sqrt(6 / (64 + 2 * U))
    assert not head.bias[..., :U].any() and (head.bias[..., U:] == -1).all()


@pytest.mark.parametrize(
    "overrides, field",
    [
        ({"n_critics": 0}, "n_critics"), ({"n_actions": 0}, "n_actions"),
        ({"n_actions": 2.5}, "n_actions"), ({"cql_alpha": -1.0}, "cql_alpha"),
        ({"cql_temp": 0.0}, "cql_temp"), ({"rewards": "scaled"}, "rewards"),
        ({"cql_alhpa": 1.0}, "cql_alpha"), ({"alpha_lr": -1.0}, "alpha_lr"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_fields_are_refused_by_name(overrides, field):
    with pytest.raises(ConfigError, match=field):
        algos.find("cql").config(overrides)
