"""Losses and whole updates against plain versions of them (tests/reference)."""

import copy

import numpy as np
import pytest
import torch
from helpers.synthetic import DOUBLE, agents, fields, one_update
from reference import arrays
from reference.agents import STILL, host, nets, spread
from reference.plain import PlainBC, PlainSACN, PlainTD3N, assert_same_weights

from rdlib import algos
from rdlib.engine.optim import adam


@pytest.mark.parametrize("target", ["lcb", "min"])
def test_td3n_losses_are_numpys(target):
    made = agents("td3n", config={**STILL, "target": target, "policy_noise": 0.6})
    a = made.algorithm
    spread(a)
    batch, noise, metrics = one_update(made, 0)
    assert batch.mask.min() == 0  # or the mask would not be tested
    for i in range(3):
        c = a.configs[i]
        obs, act, rew, next_obs, mask = host(batch, i)
        eps = np.clip(noise["smoothing"][i].numpy() * 0.6, -0.5, 0.5)
        next_act = np.tanh(arrays.forward(arrays.layers(a.actor_target, i), next_obs))
        next_q = arrays.q_values(nets(a.critic_target, i), next_obs, np.clip(next_act + eps, -1, 1))
        y = rew + 0.99 * mask * arrays.bound(next_q, target, c.beta)
        q = arrays.q_values(nets(a.critic, i), obs, act)
        np.testing.assert_allclose(metrics["critic_loss"][i], ((q - y) ** 2).mean(), rtol=1e-12)
        np.testing.assert_allclose(metrics["q_data"][i], q.mean(), rtol=1e-12)
        policy = np.tanh(arrays.forward(arrays.layers(a.actor, i), obs))
        value = arrays.bound(arrays.q_values(nets(a.critic, i), obs, policy), target, c.beta)
        np.testing.assert_allclose(metrics["actor_loss"][i], -value.mean(), rtol=1e-12)


@pytest.mark.parametrize("target", ["lcb", "min"])
def test_sacn_losses_are_numpys(target, monkeypatch):
    made = agents("sacn", config={**STILL, "target": target, "alpha_lr": 0.0})
    a = made.algorithm
    spread(a)
    gradient = []
    monkeypatch.setattr(a.optimizers["alpha"], "step", lambda: gradient.append(a.log_alpha.grad.clone()))
    batch, noise, metrics = one_update(made, 0)
    for i in range(3):
        c, alpha = a.configs[i], a.log_alpha[i].exp().item()
        obs, act, rew, next_obs, mask = host(batch, i)
        actor = arrays.layers(a.actor, i)
        policy, log_prob = arrays.squashed(actor, obs, noise["policy"][i].numpy())
        next_act, next_log = arrays.squashed(actor, next_obs, noise["next_policy"][i].numpy())
        next_q = arrays.q_values(nets(a.critic_target, i), next_obs, next_act)
        y = rew + 0.99 * mask * (arrays.bound(next_q, target, c.beta) - alpha * next_log)
        q = arrays.q_values(nets(a.critic, i), obs, act)
        value = arrays.bound(arrays.q_values(nets(a.critic, i), obs, policy), target, c.beta)
        expected = {
            "critic_loss": ((q - y) ** 2).mean(), "q_data": q.mean(), "alpha": alpha,
            "actor_loss": (alpha * log_prob - value).mean(), "entropy": -log_prob.mean(),
        }  # fmt: skip
        for key, number in expected.items():
            np.testing.assert_allclose(metrics[key][i], number, rtol=1e-10, err_msg=key)
        # J(α) = -log α · (log π + H̄), H̄ = -dim A
        np.testing.assert_allclose(gradient[0][i, 0], -(log_prob - 2).mean(), rtol=1e-10)


@pytest.mark.parametrize("name, plain", [("bc", PlainBC), ("td3n", PlainTD3N), ("sacn", PlainSACN)])
def test_twenty_updates_equal_separate_networks_of_nn_linear(name, plain):
    rates = {"actor_lr": 1e-3, "critic_lr": 2e-3, "tau": 0.05}
    made = agents(name, config=fields(algos.find(name).entry.config, rates))
    references = [plain(made.algorithm, i) for i in range(3)]
    for number in range(20):
        batch, noise, _ = one_update(made, number)
        for i, reference in enumerate(references):
            draws = {k: v[i] for k, v in noise.items()}
            reference.update(number, *(x[i] for x in batch), **draws)

    a = made.algorithm
    for i, reference in enumerate(references):
        assert_same_weights(a.actor.net, reference.actor, (i,))
        for e in range(a.critic.members) if name != "bc" else ():
            assert_same_weights(a.critic.net, reference.critics.nets[e], (i, e))
            assert_same_weights(a.critic_target.net, reference.critics.targets[e], (i, e))
        if name == "td3n":
            assert_same_weights(a.actor_target.net, reference.actor_target, (i,))
        if name == "sacn":
            torch.testing.assert_close(a.log_alpha[i], reference.log_alpha)


def test_bc_loss_is_numpys():
    made = agents("bc", config={"actor_lr": 0.0})
    batch, _, metrics = one_update(made, 0)
    for i in range(3):
        obs, act, *_ = host(batch, i)
        policy = np.tanh(arrays.forward(arrays.layers(made.algorithm.actor, i), obs))
        np.testing.assert_allclose(metrics["actor_loss"][i], ((policy - act) ** 2).mean())


@pytest.mark.parametrize("dtype, tolerance", [(DOUBLE, 1e-12), (torch.float32, 1e-6)])
def test_the_optimiser_is_torchs_plain_adam(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 5, dtype=dtype, generator=generator)
    ours = torch.nn.Parameter(start.clone())
    theirs = torch.nn.Parameter(start.clone())
    fused = adam([ours], 3e-3)
    plain = torch.optim.Adam([theirs], 3e-3, foreach=False, fused=False)
    for _ in range(50):
        ours.grad = torch.randn(start.shape, dtype=dtype, generator=generator) ** 3
        theirs.grad = ours.grad.clone()
        fused.step()
        plain.step()
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("lr", [3e-3, torch.tensor(3e-3)], ids=["number", "tensor"])
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    ids=str,
)  # fmt: skip
def test_the_optimisers_short_cut_has_the_bits_of_torchs_own_fused_step(lr, options):
    generator = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(3, 4, 5, generator=generator)) for _ in range(3)]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    short, plain = adam(ours, lr, **options), torch.optim.Adam(theirs, lr, fused=True, **options)
    for number in range(20):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        if number in (0, 7):  # a parameter that has no part in the loss
            ours[1].grad = theirs[1].grad = None
        if number == 12:
            short.load_state_dict(copy.deepcopy(plain.state_dict()))
        short.step()
        plain.step()
    for p, q in zip(ours, theirs):
        assert torch.equal(p, q)
        for key, value in plain.state[q].items():
            assert torch.equal(short.state[p][key], value), key
    short.zero_grad()
    assert all(p.grad is None for p in ours)
