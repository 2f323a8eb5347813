"""IQL against plain versions of it (tests/reference), and what its loss and schedule are meant to do."""

import math

import numpy as np
import pytest
import torch
from helpers.synthetic import DOUBLE, agents, one_update, snapshot
from reference import arrays
from reference.agents import STILL, host, nets, spread
from reference.plain import assert_same_weights
from reference.plain_iql import PlainIQL

from rdlib import algos
from rdlib.algos.iql import expectile_loss
from rdlib.engine.config import ConfigError
from rdlib.training.checkpoint import load_checkpoint, save_checkpoint

RATES = {"actor_lr": 1e-3, "critic_lr": 2e-3, "value_lr": 3e-3, "tau": 0.05, "n_critics": 2}


def scheduled(name: str, steps: int, **options):
    made = agents(name, **options)
    made.algorithm.total_steps = steps
    return made


def v_of(algorithm, agent: int, obs: np.ndarray) -> np.ndarray:
    net = algorithm.value
    layers = [(x.weight[agent], x.bias[agent][0]) for x in (*net.hidden, net.head)]
    return arrays.forward([(w.detach().numpy(), b.detach().numpy()) for w, b in layers], obs)[:, 0]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_losses_are_numpys(dropout):
    config = {**STILL, "value_lr": 0.0, "dropout": dropout, "max_weight": 5.0}
    made = agents("iql", config=config)
    a = made.algorithm
    spread(a)
    with torch.no_grad():
        a.log_std += torch.tensor([-6.0, 0.5])  # one beyond its bound
    batch, noise, metrics = one_update(made, 0)
    assert batch.mask.min() == 0
    clipped = 0
    for i, (tau, beta) in enumerate(((0.6, 1.0), (0.7, 3.0), (0.9, 10.0))):
        obs, act, rew, next_obs, mask = host(batch, i)
        lowest = arrays.q_values(nets(a.critic_target, i), obs, act).min(0)
        u = lowest - v_of(a, i, obs)
        value_loss = np.mean([(tau if x > 0 else 1 - tau) * x * x for x in u])
        weight = np.minimum(np.exp(beta * u), 5.0)
        clipped += (weight == 5.0).sum()
        layers, x = arrays.layers(a.actor, i), obs
        for k, (w, b) in enumerate(layers[:-1]):
            x = np.maximum(x @ w + b, 0)
            if dropout:
                x = x * noise["keep"][i, k].numpy() / 0.7
        mean = np.tanh(x @ layers[-1][0] + layers[-1][1])
        log_std = np.clip(a.log_std[i, 0].detach().numpy(), -5, 2)
        z = (act - mean) / np.exp(log_std)
        log_prob = (-z * z / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
        q = arrays.q_values(nets(a.critic, i), obs, act)
        y = rew + 0.99 * mask * v_of(a, i, next_obs)
        expected = {
            "value_loss": value_loss, "actor_loss": -(weight * log_prob).mean(),
            "critic_loss": ((q - y) ** 2).mean(), "q_data": q.mean(), "weight": weight.mean(),
        }  # fmt: skip
        for key, number in expected.items():
            np.testing.assert_allclose(metrics[key][i], number, rtol=1e-12, err_msg=f"{i} {key}")
    assert 0 < clipped < 3 * len(u)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_twenty_updates_equal_separate_networks_of_nn_linear(dropout):
    made = scheduled("iql", 25, config={**RATES, "dropout": dropout})
    a = made.algorithm
    references = [PlainIQL(a, i) for i in range(3)]
    for number in range(20):
        batch, noise, _ = one_update(made, number)
        for i, reference in enumerate(references):
            keep = noise["keep"][i] if dropout else None
            reference.update(number, *(x[i] for x in batch), keep)
            # The schedule is torch's own; ours goes by way of a float32 number.
            now = reference.actor_adam.param_groups[0]["lr"]
            ours = made.algorithm.noise(made.streams, number + 1, 1)["actor_lr"].item()
            assert ours == pytest.approx(now, rel=1e-6)
    for i, reference in enumerate(references):
        assert_same_weights(a.actor.net, reference.actor, (i,))
        assert_same_weights(a.value, reference.value, (i,))
        torch.testing.assert_close(a.log_std[i, 0], reference.log_std, rtol=1e-6, atol=1e-8)
        for e in range(2):
            assert_same_weights(a.critic.net, reference.critics.nets[e], (i, e))
            assert_same_weights(a.critic_target.net, reference.critics.targets[e], (i, e))


# ---- the losses


def test_the_expectile_loss_weighs_signs_and_its_minimum_is_the_expectile():
    u = torch.tensor([[-2.0, -1.0, 0.0, 1.0, 2.0]], dtype=DOUBLE)
    tau = torch.tensor([[0.9]], dtype=DOUBLE)
    expected = torch.tensor([[0.4, 0.1, 0.0, 0.9, 3.6]], dtype=DOUBLE)
    torch.testing.assert_close(expectile_loss(u, tau), expected)
    # At 0.5 it is half the square; towards 1 the minimiser goes from the mean to the largest value.
    half = torch.full((1, 1), 0.5, dtype=DOUBLE)
    torch.testing.assert_close(expectile_loss(u, half), u**2 / 2)
    x, grid = torch.tensor([0.0, 1.0, 5.0], dtype=DOUBLE), torch.linspace(0, 5, 5001, dtype=DOUBLE)
    found = [
        grid[expectile_loss(x - grid[:, None], torch.tensor([[t]])).sum(1).argmin()].item()
        for t in (0.5, 0.9, 0.999)
    ]
    assert found[0] == pytest.approx(2.0, abs=1e-3)
    assert found[0] < found[1] < found[2] < 5 and found[2] > 4.95


def test_weights_of_large_advantages_are_clipped_at_100_and_never_overflow():
    made = agents("iql", dtype=torch.float32, config={**STILL, "value_lr": 0.0})
    with torch.no_grad():
        made.algorithm.critic_target.net.head.bias += 1e6
    _, _, metrics = one_update(made, 0)
    torch.testing.assert_close(metrics["weight"], torch.full((3,), 100.0))
    assert all(m.isfinite().all() for m in metrics.values())


def test_a_temperature_of_zero_is_behaviour_cloning():
    """All weights are 1: neither values nor rewards reach the actor."""
    first, second = (agents("iql", config={"temperature": 0.0}) for _ in range(2))
    with torch.no_grad():
        second.algorithm.critic_target.net.head.bias += 3.0
    for made in (first, second):
        made.engine.run(0, 5)
    ours, theirs = snapshot(first.algorithm), snapshot(second.algorithm)
    assert torch.equal(ours["net/actor.net.head.weight"], theirs["net/actor.net.head.weight"])
    assert not torch.equal(ours["net/value.head.weight"], theirs["net/value.head.weight"])


def test_values_outside_the_data_are_never_asked_for():
    """Another policy changes neither V nor Q: the backup does without π."""
    first, second = agents("iql"), agents("iql")
    with torch.no_grad():
        second.algorithm.actor.net.head.weight.neg_()
    for made in (first, second):
        made.engine.run(0, 5)
    moved = changed(snapshot(first.algorithm), snapshot(second.algorithm))
    assert moved and not any("value" in key or "critic" in key for key in moved)


# ---- the schedule


def test_the_schedule_is_half_a_cosine_from_the_first_update_to_the_last():
    made = scheduled("iql", 1000, config={"actor_lr": 3e-4})
    algorithm, streams = made.algorithm, made.streams

    def rates(step: int, count: int = 1) -> list[float]:
        return algorithm.noise(streams, step, count)["actor_lr"].tolist()

    assert rates(0)[0] == pytest.approx(3e-4)
    assert rates(250)[0] == pytest.approx(3e-4 * (1 + math.sqrt(0.5)) / 2)
    assert rates(500)[0] == pytest.approx(1.5e-4)
    assert 0 < rates(999)[0] < 1e-9
    assert rates(1000, 3) == [0.0, 0.0, 0.0]
    assert rates(3, 40) == [r for k in range(40) for r in rates(3 + k)]
    algorithm.total_steps = 0  # unknown: no decay
    assert rates(12345)[0] == pytest.approx(3e-4)


def test_the_schedule_holds_back_the_actor_and_nothing_else():
    """Past the end of the schedule the actor stands; V, Q and their targets move as ever."""
    over, constant = scheduled("iql", 5), scheduled("iql", 0)
    for made in (over, constant):
        made.engine.run(0, 1)  # the schedule starts at the full rate
    before = snapshot(over.algorithm)
    assert not changed(before, snapshot(constant.algorithm))
    for made in (over, constant):
        made.engine.run(5, 3)
    after = snapshot(over.algorithm)
    policy = {k for k in before if k.startswith(("net/actor", "net/log_std"))}
    assert changed(before, after, "net/") == {k for k in before if "net/" in k} - policy
    # The moments of the actor's optimiser are of gradients, which differ once the policies do.
    assert changed(after, snapshot(constant.algorithm), "net/") == policy


def changed(first: dict, second: dict, prefix: str = "") -> set[str]:
    """Names of the tensors that differ."""
    return {k for k in first if k.startswith(prefix) and not torch.equal(first[k], second[k])}


def test_the_schedule_survives_a_checkpoint_bit_by_bit(tmp_path):
    made = scheduled("iql", 20, dtype=torch.float32, config={"dropout": 0.1})
    made.engine.run(0, 7)
    save_checkpoint(tmp_path / "c.safetensors", made.algorithm.tensors(), {})
    resumed = scheduled("iql", 20, dtype=torch.float32, config={"dropout": 0.1})
    resumed.algorithm.load_tensors(load_checkpoint(tmp_path / "c.safetensors")[0])
    resumed.engine.run(7, 10)
    for step, count in ((7, 4), (11, 6)):
        made.engine.run(step, count)
    assert not changed(snapshot(made.algorithm), snapshot(resumed.algorithm))


# ---- dropout


def test_dropout_keeps_its_share_and_is_the_same_in_any_company():
    together = agents("iql", config={"dropout": 0.3, "batch_size": 64})
    keep = together.algorithm.noise(together.streams, 4, 3)["keep"]
    assert keep.shape == (3, 3, 2, 64, 8) and keep.dtype == torch.bool
    assert keep.double().mean().item() == pytest.approx(0.7, abs=0.02)
    alone = agents("iql", (1,), config={"dropout": 0.3, "batch_size": 64})
    assert torch.equal(alone.algorithm.noise(alone.streams, 5, 1)["keep"][0, 0], keep[1, 1])
    assert "keep" not in agents("iql").algorithm.noise(together.streams, 0, 1)


@pytest.mark.parametrize("name", ["iql", "iql_rd", "iql_dr3"])
def test_dropout_trains_and_evaluation_has_none(name):
    made = agents(name, config={"dropout": 0.5})
    plain = agents(name)
    metrics = made.engine.run(0, 4)
    assert all(m.isfinite().all() for m in metrics.values())
    plain.algorithm.load_tensors(snapshot(made.algorithm))
    obs = torch.randn(3, 5, 4, dtype=DOUBLE)
    assert torch.equal(made.algorithm.act(obs), plain.algorithm.act(obs))


# ---- the configuration


@pytest.mark.parametrize(
    "overrides, field",
    [
        ({"expectile": 0.0}, "expectile"), ({"expectile": 1.0}, "expectile"),
        ({"expectile": -0.1}, "expectile"), ({"expectile": float("nan")}, "expectile"),
        ({"expectile": 1}, "expectile"), ({"temperature": -1.0}, "temperature"),
        ({"max_weight": -1.0}, "max_weight"), ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"), ({"rewards": "scaled"}, "rewards"),
        ({"rewards": 1.0}, "rewards"), ({"n_critics": 0}, "n_critics"),
        ({"value_lr": -1.0}, "value_lr"), ({"value_lr": "3e-4"}, "value_lr"),
        ({"expectlie": 0.7}, "expectile"), ({"beta": 3.0}, "beta"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_fields_are_refused_by_name(overrides, field):
    with pytest.raises(ConfigError, match=field):
        algos.find("iql").config(overrides)


def test_the_papers_settings():
    c = algos.find("iql").config({})
    assert (c.n_critics, c.expectile, c.temperature, c.max_weight) == (2, 0.7, 3.0, 100.0)
    assert (c.gamma, c.tau, c.batch_size, c.dropout) == (0.99, 0.005, 256, 0.0)
    assert (c.width, c.depth, c.actor_width, c.actor_depth) == (256, 2, 256, 2)
    assert c.actor_lr == c.critic_lr == c.value_lr == 3e-4
    assert c.rewards == "return_range" and not c.normalize_states
