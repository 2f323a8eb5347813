"""EDAC against NumPy written from the paper, and against a plain implementation."""

import numpy as np
import pytest
import torch
from helpers.synthetic import DOUBLE, U, agents, one_update
from reference import arrays
from reference.agents import host, nets, spread
from reference.plain import assert_same_weights
from reference.plain_edac import PlainEDAC

from rdlib import algos
from rdlib.algos.edac import diversity
from rdlib.engine.config import ConfigError, recorded

STILL = {"actor_lr": 0.0, "critic_lr": 0.0, "alpha_lr": 0.0, "tau": 0.0}
MOVING = {"actor_lr": 1e-3, "critic_lr": 2e-3, "alpha_lr": 3e-3, "tau": 0.05}


def slopes(net, obs, act, step: float = 1e-6) -> np.ndarray:
    """∇_a Q(s,a) by central differences: (B, U)."""
    found = np.zeros_like(act)
    for u in range(act.shape[1]):
        d = np.zeros(act.shape[1])
        d[u] = step
        up, down = (arrays.q_values([net], obs, act + sign * d)[0] for sign in (1, -1))
        found[:, u] = (up - down) / (2 * step)
    return found


def numpy_diversity(critics, obs, act) -> float:
    """Σ_{i≠j} cos(∇_a Q_i, ∇_a Q_j) / (N-1), mean over states."""
    g = [slopes(net, obs, act) for net in critics]
    total = 0.0
    for s in range(len(obs)):
        for i in range(len(g)):
            for j in range(len(g)):
                if i != j:
                    a, b = g[i][s], g[j][s]
                    total += a @ b / np.sqrt((a @ a) * (b @ b))
    return total / len(obs) / (len(g) - 1)


@pytest.mark.parametrize("target", ["min", "lcb"])  # the paper's, and that of quick scale
@pytest.mark.parametrize("best_of", [0, 5])
def test_losses_are_numpys(best_of, target):
    made = agents("edac", config={**STILL, "max_q_backup": best_of, "n_critics": 4, "target": target})
    a = made.algorithm
    spread(a)
    batch, noise, metrics = one_update(made, 0)
    assert batch.mask.min() == 0
    for i in range(3):
        alpha, beta = a.log_alpha[i].exp().item(), a.configs[i].beta
        obs, act, rew, next_obs, mask = host(batch, i)
        actor, critics = arrays.layers(a.actor, i), nets(a.critic, i)
        if best_of:
            tried = [arrays.squashed(actor, next_obs, z)[0] for z in noise["backup"][i].numpy()]
            each = np.stack([arrays.q_values(critics, next_obs, x) for x in tried])  # (n, N, B)
            next_value = each.max(0).min(0)
        else:
            next_act, next_log = arrays.squashed(actor, next_obs, noise["next_policy"][i].numpy())
            next_q = arrays.q_values(nets(a.critic_target, i), next_obs, next_act)
            next_value = arrays.bound(next_q, target, beta) - alpha * next_log
        y = rew + 0.99 * mask * next_value
        q = arrays.q_values(critics, obs, act)
        policy, log_prob = arrays.squashed(actor, obs, noise["policy"][i].numpy())
        value = arrays.bound(arrays.q_values(critics, obs, policy), target, beta)
        expected = {
            "critic_loss": ((q - y) ** 2).mean(), "q_data": q.mean(), "alpha": alpha,
            "actor_loss": (alpha * log_prob - value).mean(), "entropy": -log_prob.mean(),
        }  # fmt: skip
        for key, number in expected.items():
            np.testing.assert_allclose(metrics[key][i], number, rtol=1e-10, err_msg=key)
        slope = numpy_diversity(critics, obs, act)
        np.testing.assert_allclose(metrics["diversity_loss"][i], slope, rtol=1e-5)


def test_the_gradient_is_that_of_the_summed_loss(monkeypatch):
    """Σ_i of the squared errors plus η times the diversity once, by central differences in a weight."""
    made = agents("edac", (0, 2), config={**STILL, "n_critics": 4})
    a = made.algorithm
    spread(a)
    found = []
    monkeypatch.setattr(
        a.optimizers["critic"], "step",
        lambda: found.append(a.critic.net.hidden[1].weight.grad.clone()),
    )  # fmt: skip
    batch, noise, _ = one_update(made, 0)
    for i in range(2):
        alpha, eta = a.log_alpha[i].exp().item(), a.configs[i].eta
        obs, act, rew, next_obs, mask = host(batch, i)
        next_act, next_log = arrays.squashed(
            arrays.layers(a.actor, i), next_obs, noise["next_policy"][i].numpy()
        )
        next_q = arrays.q_values(nets(a.critic_target, i), next_obs, next_act)
        y = rew + 0.99 * mask * (next_q.min(0) - alpha * next_log)

        def loss(net, critics, e):
            changed = [*critics[:e], net, *critics[e + 1 :]]
            error = ((arrays.q_values(changed, obs, act) - y) ** 2).mean(1).sum()  # noqa: B023
            return error + eta * numpy_diversity(changed, obs, act)  # noqa: B023

        critics = nets(a.critic, i)
        for e, net in enumerate(critics):
            at = np.unravel_index(found[0][i, e].abs().argmax().item(), (8, 8))
            step = np.zeros((8, 8))
            step[at] = 1e-5
            weight, bias = net[1]
            up, down = ([net[0], (weight + d, bias), net[2]] for d in (step, -step))
            slope = (loss(up, critics, e) - loss(down, critics, e)) / 2e-5
            np.testing.assert_allclose(found[0][i, e][at], slope, rtol=1e-3)


@pytest.mark.parametrize("more", [{}, {"max_q_backup": 4}, {"eta": 0.0}, {"target": "lcb"}], ids=str)
def test_twenty_updates_equal_separate_networks_of_nn_linear(more):
    made = agents("edac", config={**MOVING, "n_critics": 4, **more})
    references = [PlainEDAC(made.algorithm, i) for i in range(3)]
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


@pytest.mark.parametrize("target", ["min", "lcb"])
def test_without_diversity_it_is_sac_n_bit_for_bit(target):
    config = {"n_critics": 4, "target": target}
    as_sacn = {**config, "eta": 0.0, "rewards": "raw"}
    ours, theirs = agents("edac", config=as_sacn), agents("sacn", config=config)
    for made in (ours, theirs):
        made.engine.run(0, 10)
    mine, other = ours.algorithm.tensors(), theirs.algorithm.tensors()
    assert mine.keys() == other.keys()
    for key in mine:
        assert torch.equal(mine[key], other[key]), key


def test_the_diversity_loss_at_known_gradients():
    one = torch.tensor([3.0, 4.0], dtype=DOUBLE)
    aligned = torch.stack([k * one for k in (1.0, 0.1, 7.0)])[None, :, None]  # (1,3,1,2)
    assert diversity(aligned).item() == pytest.approx(3)  # 3·2 pairs of cosine 1, over N-1 = 2
    angles = 2 * np.pi * torch.arange(3, dtype=DOUBLE) / 3
    star = torch.stack([angles.cos(), angles.sin()], -1)[None, :, None]
    assert diversity(star).item() == pytest.approx(-1.5)  # the least possible: gradients cancel
    dead = torch.zeros(1, 3, 1, 2, dtype=DOUBLE, requires_grad=True)
    diversity(dead).sum().backward()
    assert dead.grad.isfinite().all()


def test_diversity_is_what_descending_on_it_reduces():
    settings = {"n_critics": 5, "critic_lr": 3e-3, "depth": 2, "width": 16}
    last = {}
    for eta in (0.0, 20.0):
        made = agents("edac", (0,), own=False, config={**settings, "eta": eta})
        made.engine.run(0, 200)
        batch = made.transitions.gather(torch.arange(64)[None])
        obs, act, *_ = host(batch, 0)
        last[eta] = numpy_diversity(nets(made.algorithm.critic, 0), obs, act)
    assert last[20.0] < last[0.0] - 0.5, last


@pytest.mark.parametrize(
    "overrides, field",
    [
        ({"n_critics": 1}, "n_critics"), ({"eta": -1.0}, "eta"), ({"eta": True}, "eta"),
        ({"max_q_backup": -1}, "max_q_backup"), ({"max_q_backup": 1.5}, "max_q_backup"),
        ({"rewards": "scaled"}, "rewards"), ({"target": "max"}, "target"), ({"init": "he"}, "init"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_fields_are_refused_by_name(overrides, field):
    with pytest.raises(ConfigError, match=field):
        algos.find("edac").config(overrides)


def test_gradients_are_per_member_and_action_only():
    """The gradient for each critic is its own, at the data's actions: autograd's for that critic alone."""
    made = agents("edac", (0,), config={**STILL, "n_critics": 3})
    a = made.algorithm
    batch, _, metrics = one_update(made, 0)
    each = []
    for e in range(3):
        act = batch.act.clone().requires_grad_()
        each.append(torch.autograd.grad(a.critic(batch.obs, act)[0][:, e].sum(), act)[0])
    g = torch.stack(each, 1)  # (1,3,B,U)
    assert g.shape[-1] == U
    torch.testing.assert_close(metrics["diversity_loss"], diversity(g))


@pytest.mark.parametrize("name", ["sacn", "edac"])
def test_the_official_start_has_the_official_ranges_and_targets_of_its_own(name):
    more = {"width": 64, "actor_width": 64, "depth": 2, "n_critics": 4}
    plain, official = (
        agents(name, config={**more, "init": init}).algorithm for init in ("linear", "official")
    )
    assert torch.equal(plain.critic_target.net.hidden[0].weight, plain.critic.net.hidden[0].weight)
    assert not torch.equal(
        official.critic_target.net.hidden[0].weight, official.critic.net.hidden[0].weight
    )
    for networks, bound, by_width in (
        ((official.actor.net,), 1e-3, True),
        ((official.critic.net, official.critic_target.net), 3e-3, False),
    ):
        for net in networks:
            for layer in net.hidden:
                n_in, n_out = layer.weight.shape[-2:]
                expected = (n_out if by_width else n_in) ** -0.5
                assert 0.95 * expected < layer.weight.abs().max() <= expected
                assert (layer.bias == 0.1).all()
            for p in net.head.parameters():
                assert p.abs().max() <= bound
            assert net.head.weight.abs().max() > 0.9 * bound
    a, b = plain.critic.net.hidden[1].weight, official.critic.net.hidden[1].weight
    assert torch.equal(a, b)  # only what is said differs


def test_a_field_added_later_leaves_the_hash_of_a_run_that_does_not_use_it():
    recipe = algos.find("edac")
    plain = recorded(recipe.config({}))
    assert "init" not in plain and recipe.config(plain) == recipe.config({})
    assert recorded(recipe.config({"init": "official"})) == {**plain, "init": "official"}
