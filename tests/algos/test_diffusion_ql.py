"""Diffusion-QL: its numbers, losses and updates against independent ones, and how it is evaluated."""

import math

import numpy as np
import pytest
import torch
from helpers.synthetic import DOUBLE, O, U, agents, one_update, snapshot
from reference import arrays
from reference.plain import assert_same_weights
from reference.plain_diffusion_ql import PlainDiffusionQL
from torch.nn import functional as F

from rdlib import algos
from rdlib.algos import denoiser
from rdlib.engine.config import ConfigError
from rdlib.engine.nets import mish

TWIN = {"n_critics": 2}


def mish_numpy(z: np.ndarray) -> np.ndarray:
    return z * np.tanh(np.log1p(np.exp(z)))


def weights(mlp, at) -> list[tuple[np.ndarray, np.ndarray]]:
    layers = (*mlp.hidden, mlp.head)
    return [(x.weight[at].detach().numpy(), x.bias[at][0].detach().numpy()) for x in layers]


def forward(net, x: np.ndarray) -> np.ndarray:
    return arrays.features(net, x, mish_numpy) @ net[-1][0] + net[-1][1]


def alpha_bar(t: np.ndarray, steps: int) -> np.ndarray:
    """ᾱ_t = exp(-∫ β) with β rising linearly from 0.1 to 10 (Song et al. 2021, equation 33), t = 0 … T."""
    u = t / steps
    return np.exp(-0.1 * u - 0.5 * 9.9 * u**2)


def predict(denoiser, agent: int, x, t, obs) -> np.ndarray:
    """ε_θ(x, t, s) in NumPy, one t per row counted from 1."""
    angle = (t[:, None] - 1) * 10_000.0 ** (-np.arange(8) / 7)
    time = forward(weights(denoiser.time, (agent,)), np.hstack([np.sin(angle), np.cos(angle)]))
    return forward(weights(denoiser.net, (agent,)), np.hstack([x, time, obs]))


def chain(denoiser, agent: int, obs, noise, steps: int) -> np.ndarray:
    """x_0 by Bayes' rule: x_{t-1} given x_t and x_0 is a product of two Gaussians."""
    bars = alpha_bar(np.arange(steps + 1), steps)
    x = noise[0]
    for k, t in enumerate(range(steps, 0, -1)):
        eps = predict(denoiser, agent, x, np.full(len(x), t), obs)
        start = np.clip((x - np.sqrt(1 - bars[t]) * eps) / np.sqrt(bars[t]), -1, 1)
        if t == 1:
            return start
        alpha = bars[t] / bars[t - 1]
        variance = 1 / (alpha / (1 - alpha) + 1 / (1 - bars[t - 1]))
        mean = np.sqrt(alpha) / (1 - alpha) * x + np.sqrt(bars[t - 1]) / (1 - bars[t - 1]) * start
        x = variance * mean + np.sqrt(variance) * noise[k + 1]


def spread(algorithm, seed: int = 3) -> None:
    """Targets unlike the networks, so that taking one for the other shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in algorithm.named_parameters():
        if "target" in name:
            p.data += 0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype)


# ---- the schedule and the chain


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_the_schedule_is_the_papers(steps):
    s = denoiser.Noising(*map(np.array, zip(*denoiser.vp_schedule(steps))))
    bars = alpha_bar(np.arange(steps + 1), steps)
    alpha = bars[1:] / bars[:-1]
    np.testing.assert_allclose(s.beta, 1 - alpha, rtol=1e-9)
    np.testing.assert_allclose(s.kept, bars[1:], rtol=1e-12)
    precision = alpha[1:] / (1 - alpha[1:]) + 1 / (1 - bars[1:-1])
    assert s.sigma[0] == s.c2[0] == 0 and s.c1[0] == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(s.sigma[1:], precision**-0.5, rtol=1e-9)
    np.testing.assert_allclose(s.c1[1:], np.sqrt(bars[1:-1]) / (1 - bars[1:-1]) / precision, rtol=1e-9)
    np.testing.assert_allclose(s.c2[1:], np.sqrt(alpha[1:]) / (1 - alpha[1:]) / precision, rtol=1e-9)


def test_the_schedule_of_five_steps_in_numbers():
    """1 - exp(-0.02 - 0.198 (2t - 1)), by hand."""
    expected = [0.1958746, 0.4588182, 0.6357810, 0.7548782, 0.8350314]
    np.testing.assert_allclose([s.beta for s in denoiser.vp_schedule(5)], expected, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_samples_are_numpys(steps):
    made = agents("diffusion_ql", config={"timesteps": steps})
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(3, 9, O, dtype=DOUBLE, generator=generator)
    noise = torch.randn(3, steps, 9, U, dtype=DOUBLE, generator=generator)
    ours = made.algorithm.actor.sample(obs, noise)
    for i in range(3):
        theirs = chain(made.algorithm.actor, i, obs[i].numpy(), noise[i].numpy(), steps)
        np.testing.assert_allclose(ours[i].detach(), theirs, atol=1e-12)
    inside = ours.abs() < 1
    assert inside.any() and not inside.all()  # or the clipping would not be tested


def test_mish_is_torchs():
    x = torch.linspace(-40, 40, 4001, dtype=DOUBLE, requires_grad=True)
    torch.testing.assert_close(mish(x), F.mish(x), rtol=1e-12, atol=1e-13)
    ours, theirs = (torch.autograd.grad(f(x).sum(), x)[0] for f in (mish, F.mish))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    wild = torch.tensor([-math.inf, -1e30, 0.0, 1e30, math.inf])
    assert mish(wild[1:]).equal(F.mish(wild[1:]))
    single = torch.linspace(-40, 40, 4001)
    torch.testing.assert_close(mish(single), F.mish(single), rtol=1e-5, atol=3e-6)


# ---- losses and updates


@pytest.mark.parametrize("backup", [0, 3])
def test_losses_are_numpys(backup):
    still = {"actor_lr": 0.0, "critic_lr": 0.0, "tau": 0.0, "max_q_backup": backup, "ema_start": 9}
    made = agents("diffusion_ql", config={**TWIN, **still})
    a = made.algorithm
    spread(a)
    batch, noise, metrics = one_update(made, 0)
    assert batch.mask.min() == 0 and len(set(noise["valued"].flatten().tolist())) == 2
    assert set(noise["diffusion_step"].flatten().tolist()) == set(range(5))
    for i in range(3):
        obs, act, rew, next_obs, mask = (x[i].numpy() for x in batch)
        draws = {k: v[i].numpy() for k, v in noise.items() if v.dim()}

        def q_values(critic, obs, act, i=i):
            nets = [weights(critic.net, (i, e)) for e in range(2)]
            return np.stack([forward(n, np.hstack([obs, act]))[:, 0] for n in nets])

        next_q = []
        for z in np.split(draws["next_policy"], backup or 1, axis=1):
            next_act = chain(a.actor_target, i, next_obs, z, 5)
            next_q.append(q_values(a.critic_target, next_obs, next_act))
        y = rew + 0.99 * mask * np.max(next_q, axis=0).min(0)
        q = q_values(a.critic, obs, act)
        bar = alpha_bar(draws["diffusion_step"] + 1, 5)[:, None]
        noisy = np.sqrt(bar) * act + np.sqrt(1 - bar) * draws["diffusion"]
        error = predict(a.actor, i, noisy, draws["diffusion_step"] + 1, obs) - draws["diffusion"]
        values = q_values(a.critic, obs, chain(a.actor, i, obs, draws["policy"], 5))
        valued = draws["valued"][0]
        q_loss = -values[valued].mean() / np.abs(values[1 - valued]).mean()
        expected = {
            "critic_loss": ((q - y) ** 2).mean(), "q_data": q.mean(), "bc_loss": (error**2).mean(),
            "q_loss": q_loss, "actor_loss": (error**2).mean() + a.configs[i].eta * q_loss,
        }  # fmt: skip
        for key, number in expected.items():
            np.testing.assert_allclose(metrics[key][i], number, rtol=1e-10, err_msg=key)


@pytest.mark.parametrize("config", [{}, {"lr_decay": True}, {"max_q_backup": 10}], ids=str)
def test_twenty_updates_equal_separate_networks_of_nn_linear(config):
    """Across the start of the average at update 7; agents 0 and 1 are clipped, agent 2 is not."""
    fast = {"actor_lr": 1e-3, "critic_lr": 2e-3, "tau": 0.05, "ema_start": 7, "ema_decay": 0.8}
    made = agents("diffusion_ql", config={**TWIN, **fast, **config})
    a, total = made.algorithm, 25
    a.total_steps = total
    references = [PlainDiffusionQL(a, i) for i in range(3)]
    start = [p.clone() for p in a.actor_target.parameters()]
    for number in range(20):
        batch, noise, _ = one_update(made, number)
        for i, reference in enumerate(references):
            draws = {k: v[i] for k, v in noise.items() if v.dim()}
            reference.update(number, total, *(x[i] for x in batch), **draws)
        waits = all(map(torch.equal, a.actor_target.parameters(), start))
        assert waits == (number < 10)  # the first multiple of 5 from 7 on

    for i, reference in enumerate(references):
        for ours, theirs in ((a.actor, reference.actor), (a.actor_target, reference.average)):
            assert_same_weights(ours.time, theirs.time, (i,))
            assert_same_weights(ours.net, theirs.net, (i,))
        for e in range(2):
            assert_same_weights(a.critic.net, reference.critics[e], (i, e))
            assert_same_weights(a.critic_target.net, reference.targets[e], (i, e))


@pytest.mark.parametrize("name", ["diffusion_ql", "diffusion_ql_rd"])
def test_a_run_with_falling_learning_rates_resumes_exactly(name):
    whole, first, second = (agents(name, dtype=torch.float32, config={"lr_decay": True}) for _ in "123")
    for made in (whole, first, second):
        made.algorithm.total_steps = 20
    whole.engine.run(0, 12)
    first.engine.run(0, 7)
    second.engine.run(0, 2)  # some other learning rate
    second.algorithm.load_tensors(first.algorithm.tensors())
    second.engine.run(7, 5)
    ours, theirs = snapshot(whole.algorithm), snapshot(second.algorithm)
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
    rates = [whole.algorithm.optimizers[k].param_groups[0]["lr"] for k in ("actor", "critic")]
    expected = 1.5e-4 * (1 + math.cos(math.pi * 11 / 20))
    assert [r.item() for r in rates] == pytest.approx([expected] * 2)
    whole.engine.run(19, 3)  # beyond the end they stay 0
    assert rates[0] == rates[1] == 0


def test_what_a_plug_in_sees():
    """π(s): the sample of the actor's own loss, without its graph; a': the target's."""
    made = agents("diffusion_ql_dr3", config={"max_q_backup": 10})
    a, seen = made.algorithm, {}
    start = [p.clone() for p in a.actor.parameters()]

    def penalty(critic, batch, features, policy, next_action, noise, phase, loss):
        seen.update(policy=policy(batch.obs[:, :5]), next_action=next_action)
        return torch.zeros(3, critic.members, dtype=DOUBLE), {}

    a.plugin.penalty = penalty
    batch, noise, _ = one_update(made, 0)
    for p, before in zip(a.actor.parameters(), start):
        p.data.copy_(before)
    expected = a.actor.sample(batch.obs, noise["policy"])
    assert torch.equal(seen["policy"], expected[:, :5]) and not seen["policy"].requires_grad
    assert seen["next_action"].shape == batch.act.shape


# ---- evaluation


def test_candidates_are_chosen_by_softmax_of_the_target_critics_minimum():
    made = agents("diffusion_ql", config={"candidates": 4})
    a = made.algorithm
    spread(a)
    for p in a.critic_target.net.head.parameters():
        p.data *= 20  # or all four are about as likely
    n = 4_000
    obs = torch.randn(3, 1, O, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(3, 5, 4, U, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    four = a.actor.sample(obs.expand(3, 4, O), noise).detach()
    a.actor.sample = lambda obs, noise: four.repeat(1, n, 1)
    chosen = a.player(n)(obs.expand(3, n, O), torch.zeros(3, n))  # (3,n,U)
    q = a.critic_target(obs.expand(3, 4, O), four)[0].amin(1)  # (3,4)
    expected = (q - q.logsumexp(1, keepdim=True)).exp()
    found = (chosen[:, :, None] == four[:, None]).all(-1).to(DOUBLE)  # (3,n,4)
    assert found.sum(-1).eq(1).all()
    deviation = (expected * (1 - expected) / n).sqrt()
    assert ((found.mean(1) - expected).abs() < 4 * deviation + 1e-12).all()
    assert expected.max() > 0.5  # it is a choice and not a die


@pytest.mark.parametrize("evaluated", ["actor", "ema"])
def test_the_evaluated_network_is_the_one_asked_for(evaluated):
    a = agents("diffusion_ql", config={"evaluated": evaluated}).algorithm
    obs = torch.zeros(3, 6, O, dtype=DOUBLE)
    before = a.act(obs), a.player(6)(obs, obs[..., 0])
    with torch.no_grad():
        for p in a.actor_target.parameters():
            p += 0.1
    after = a.act(obs), a.player(6)(obs, obs[..., 0])
    for first, second in zip(before, after):
        assert torch.equal(first, second) == (evaluated == "actor")


def test_players_are_deterministic_count_their_steps_and_leave_agents_alone():
    obs = torch.randn(3, 4, O, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    reward = torch.zeros(3, 4, dtype=DOUBLE)
    made = agents("diffusion_ql")
    made.engine.run(0, 5)
    state = torch.random.get_rng_state()
    first, second = made.algorithm.player(4), made.algorithm.player(4)
    rounds = [[play(obs, reward) for _ in range(3)] for play in (first, second)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(map(torch.equal, *rounds))
    assert not torch.equal(rounds[0][0], rounds[0][1])  # new noise at every step
    assert rounds[0][0].abs().max() <= 1
    for i in range(3):
        alone = agents("diffusion_ql", (i,))
        alone.engine.run(0, 5)
        play = alone.algorithm.player(4)
        for together in rounds[0]:
            torch.testing.assert_close(play(obs[i : i + 1], reward[i : i + 1])[0], together[i])


@pytest.mark.parametrize(
    "field, value",
    [
        ("timesteps", 0), ("candidates", 0), ("ema_every", 0), ("ema_start", -1), ("eta", -0.1),
        ("max_q_backup", -1),
        ("ema_decay", 1.1), ("max_grad_norm", -1.0), ("n_critics", 0), ("evaluated", "both"),
        ("rewards", "scaled"), ("lr_decay", 1), ("actor_lr", -1.0),
    ],
)  # fmt: skip
def test_bad_fields_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        algos.find("diffusion_ql_rd").config({field: value})
