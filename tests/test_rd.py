"""Representation Distinction and DR3 against NumPy, and what RD does to a critic."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.synthetic import DOUBLE, O, U, agents, dataset
from reference import arrays

from rdlib import ntk
from rdlib.engine.base import Batch
from rdlib.engine.config import ConfigError
from rdlib.engine.nets import Critic, Initialiser
from rdlib.engine.rng import Streams
from rdlib.rd import DR3, RD, DR3Config, RDConfig

A, E, B = 2, 3, 10
STATES = 6  # fewer than B: the penalty is estimated on the first states only
WEIGHTS = (0.3, 2.0)
SIGMAS = (0.4, 1.5)


def tanh_critic() -> Critic:
    """Features, and kernels, of either sign, so that |K|, K and K² differ."""
    critic = Critic(Initialiser(Streams([1, 2]), "critic", DOUBLE), O, U, E, 7, 2)
    critic.net.activation = torch.tanh
    with torch.no_grad():
        for layer in critic.net.hidden:
            layer.weight *= 4
            layer.bias *= 0.1
        critic.net.hidden[0].weight[..., :O, :] *= 0.2  # the state is common to both actions
    return critic


def batch() -> Batch:
    g = torch.Generator().manual_seed(5)
    obs, next_obs = (torch.randn(A, B, O, dtype=DOUBLE, generator=g) for _ in range(2))
    act = 2 * torch.rand(A, B, U, dtype=DOUBLE, generator=g) - 1
    mask = (torch.rand(A, B, generator=g) < 0.6).to(DOUBLE)
    return Batch(obs, act, torch.zeros(A, B, dtype=DOUBLE), next_obs, mask)


def policy(obs: torch.Tensor) -> torch.Tensor:
    return torch.tanh(0.7 * obs[..., :U] - 0.2 * obs[..., U : 2 * U])


def make_rd(**choices) -> RD:
    configs = [
        RDConfig(**{"weight": w, "sigma": s, "states": STATES, **choices}) for w, s in zip(WEIGHTS, SIGMAS)
    ]
    return RD(configs, Streams([1, 2]), O, U, actor_width=5, actor_depth=1, batch_size=B, dtype=DOUBLE)


def own_loss(features: torch.Tensor) -> torch.Tensor:
    """A loss of each critic, (A,E), that depends on its features of the data."""
    return (features.sum(-1) - 1).square().mean(-1)


def penalised(rd: RD, critic: Critic, data: Batch, phase: int = 1) -> tuple[torch.Tensor, dict]:
    """The penalty with the noise of the first update; phase 1 leaves π_ood as it is."""
    noise = {k: v[0] for k, v in rd.noise(Streams([1, 2]), 0, 1).items()}
    features = critic.features(data.obs, data.act)
    return rd.penalty(
        critic, data, features, policy, policy(data.next_obs), noise, phase, own_loss(features)
    )


def ood_actions(rd: RD, obs: np.ndarray, policy_act: np.ndarray, agent: int) -> np.ndarray:
    """What π_ood does, in NumPy."""
    if rd.config.ood == "learned":
        return np.tanh(arrays.forward(arrays.layers(rd.actor, agent), obs))
    streams = Streams([1, 2])
    if rd.config.ood == "uniform":
        u = streams.uniform("rd_ood", 0, 1, (STATES, U), DOUBLE)[0, agent].numpy()
        return 2 * u - 1
    z = streams.normal("rd_ood", 0, 1, (STATES, U), DOUBLE)[0, agent].numpy()
    return np.clip(policy_act + rd.config.noise_std * z, -1, 1)


def parts(rd: RD, critic: Critic, data: Batch, agent: int) -> SimpleNamespace:
    """What the penalty of one agent is made of: actions and weights, no features."""
    obs, act = (x[agent, :STATES].numpy() for x in (data.obs, data.act))
    policy_act = policy(data.obs)[agent, :STATES].numpy()
    ood = None
    if rd.config.stages != "first":
        ood = ood_actions(rd, obs, policy_act, agent)
    config = RDConfig(**{**vars(rd.config), "weight": WEIGHTS[agent], "sigma": SIGMAS[agent]})
    weight = arrays.stage_weight(act, policy_act, config)
    return SimpleNamespace(obs=obs, act=act, policy=policy_act, ood=ood, w=weight, config=config)


def numpy_penalty(p: SimpleNamespace, net_data, net_policy, net_ood) -> float:
    """The penalty where each side's features come from a network of its own."""

    def phi(net, act):
        return arrays.features(net, np.hstack([p.obs, act]), np.tanh)

    f_ood = None if p.ood is None else phi(net_ood, p.ood)
    return arrays.rd_penalty(phi(net_data, p.act), phi(net_policy, p.policy), f_ood, p.w, p.config)


CHOICES = [
    dict(zip(("stages", "switch", "kernel", "magnitude", "ood"), values))
    for values in itertools.product(
        ("both", "first", "second"), ("smooth", "hard"), ("product", "cosine"),
        ("abs", "plain", "square"), ("learned", "noise", "uniform"),
    )
]  # fmt: skip


def test_every_choice_of_the_penalty_is_numpys():
    critic, data = tanh_critic(), batch()
    values = set()
    for choice in CHOICES:
        rd = make_rd(**choice, threshold=0.5)
        found, metrics = penalised(rd, critic, data)
        assert found.shape == (A, E)
        for i, e in itertools.product(range(A), range(E)):
            p, net = parts(rd, critic, data, i), arrays.layers(critic, i, e)
            expected = numpy_penalty(p, net, net, net)
            np.testing.assert_allclose(
                found[i, e].item(), expected, rtol=1e-10, atol=1e-13, err_msg=str(choice)
            )
            np.testing.assert_allclose(metrics["rd_switch"][i], p.w.mean(), rtol=1e-12)
        values.add(tuple(found[0].detach().numpy().round(12)))
    # All must differ but: "first" and "second" ignore the switch, "first" π_ood as well, and this
    # agent's hard switch is in stage 2.
    assert len(values) == 18 + 18 + 6


def test_the_hard_switch_is_each_agents_own():
    """Threshold between the two agents' distances: one is in stage 1, the other in stage 2."""
    critic, data = tanh_critic(), batch()
    act = data.act.clone()
    act[0] = policy(data.obs)[0]
    _, metrics = penalised(make_rd(switch="hard", threshold=0.01), critic, data._replace(act=act))
    assert metrics["rd_switch"].tolist() == [1.0, 0.0]


def test_the_smooth_switch_is_one_where_policy_and_data_coincide_and_zero_far_away():
    rd = make_rd(sigma=0.3)
    w = rd.switch(torch.tensor([[0.0, 0.09, 4.0]] * A, dtype=DOUBLE))
    np.testing.assert_allclose(w[0], [1.0, np.exp(-1.0), 0.0], atol=1e-12)


def test_states_zero_means_the_whole_minibatch():
    critic, data = tanh_critic(), batch()
    whole, _ = penalised(make_rd(states=0), critic, data)
    also, _ = penalised(make_rd(states=B), critic, data)
    more, _ = penalised(make_rd(states=10 * B), critic, data)
    fewer, _ = penalised(make_rd(states=STATES), critic, data)
    assert torch.equal(whole, also) and torch.equal(whole, more)
    assert not torch.equal(whole, fewer)


@pytest.mark.parametrize("stages", ["both", "first", "second"])
@pytest.mark.parametrize("stop", ["none", "data", "policy"])
@pytest.mark.parametrize("form", ["product", "cosine"])
def test_the_gradient_flows_into_the_sides_that_are_not_stopped(stages, stop, form):
    """Against central differences in which the stopped side keeps the old network."""
    critic, data, h = tanh_critic(), batch(), 1e-6
    rd = make_rd(stages=stages, stop_gradient=stop, kernel=form, magnitude="square", ood="uniform")
    penalty, _ = penalised(rd, critic, data)
    i, e = 1, 2
    if not penalty.requires_grad:
        pytest.fail("the penalty reaches no parameter")
    gradients = torch.autograd.grad(penalty[i, e], list(critic.net.hidden.parameters()))
    rng = np.random.default_rng(0)
    net = arrays.layers(critic, i, e)
    move = [(rng.normal(size=w.shape), rng.normal(size=b.shape)) for w, b in net[:-1]]
    predicted = sum(
        (g[i, e].numpy().reshape(m.shape) * m).sum()
        for g, m in zip(gradients, itertools.chain.from_iterable(move))
    )

    def at(scale: float) -> float:
        moved = [(w + scale * a, b + scale * c) for (w, b), (a, c) in zip(net, move)] + net[-1:]
        sides = [net if stop == side else moved for side in ("data", "policy", "ood")]
        return numpy_penalty(parts(rd, critic, data, i), *sides)

    assert abs(predicted) > 1e-6
    np.testing.assert_allclose(predicted, (at(h) - at(-h)) / (2 * h), rtol=1e-5)
    # Other members and agents have no part in this one's penalty.
    for g in gradients:
        g = g.clone()
        g[i, e] = 0
        assert g.eq(0).all()


def test_only_the_critic_is_minimised_over():
    """π and π_ood enter as actions without a gradient; the backup's action too."""
    critic, data = tanh_critic(), batch()
    weight = torch.ones((), dtype=DOUBLE, requires_grad=True)
    rd = make_rd()
    noise = rd.noise(Streams([1, 2]), 0, 1)
    features = critic.features(data.obs, data.act)
    penalty, _ = rd.penalty(
        critic, data, features, lambda obs: weight * policy(obs), data.act, noise, 1, own_loss(features)
    )
    penalty.sum().backward()
    assert weight.grad is None
    assert all(p.grad is None for p in rd.parameters())
    assert all(p.grad is not None for p in critic.net.hidden.parameters())
    assert all(p.grad is None or p.grad.eq(0).all() for p in critic.net.head.parameters())


def test_a_critic_of_zero_features_gets_a_finite_gradient():
    """The cosine of dead ReLU features is 0/0."""
    critic = Critic(Initialiser(Streams([1, 2]), "critic", DOUBLE), O, U, E, 7, 2)
    with torch.no_grad():
        for layer in critic.net.hidden:
            layer.bias.fill_(-1e3)
    for form in ("product", "cosine"):
        penalty, _ = penalised(make_rd(kernel=form), critic, batch())
        gradients = torch.autograd.grad(penalty.sum(), list(critic.net.hidden.parameters()))
        assert penalty.isfinite().all() and all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("objective", ["mean", "std"])
def test_the_loss_of_pi_ood_is_numpys(objective):
    critic, data = tanh_critic(), batch()
    rd = make_rd(objective=objective, margin=0.6, push=3.0)
    before = [arrays.layers(rd.actor, i) for i in range(A)]
    _, metrics = penalised(rd, critic, data, phase=0)
    for i in range(A):
        p = parts(rd, critic, data, i)
        act = np.tanh(arrays.forward(before[i], p.obs))
        x = np.hstack([p.obs, act])
        nets = [arrays.layers(critic, i, e) for e in range(E)]
        q = np.stack([(arrays.features(n, x, np.tanh) @ n[-1][0] + n[-1][1])[:, 0] for n in nets])
        goal = q.mean(0) if objective == "mean" else q.std(0)
        short = sum(np.maximum(0, 0.6 - ((act - other) ** 2).mean(1)) for other in (p.act, p.policy))
        loss = (3.0 * short - goal / np.abs(goal).mean()).mean()
        np.testing.assert_allclose(metrics["ood_loss"][i].item(), loss, rtol=1e-9)
        np.testing.assert_allclose(metrics["ood_margin_shortfall"][i].item(), short.mean())


def test_pi_ood_learns_every_ood_every_updates_only():
    made = agents("td3n_rd", plugin={"ood_every": 3}, config={"policy_delay": 2})
    assert made.algorithm.period == 6
    moved = []
    for step in range(12):
        before = made.algorithm.plugin.actor.net.head.weight.detach().clone()
        made.engine.run(step, 1)
        after = made.algorithm.plugin.actor.net.head.weight
        moved.append(not torch.equal(before, after))
    assert moved == [step % 3 == 0 for step in range(12)]


def test_a_penalty_every_kth_update_has_k_times_the_weight():
    data, critic, loss = batch(), tanh_critic(), torch.ones(A, E, dtype=DOUBLE)
    always, sometimes = penalised(make_rd(), critic, data), penalised(make_rd(every=2), critic, data)
    torch.testing.assert_close(sometimes[0], 2 * always[0], rtol=1e-14, atol=0)
    made = agents("td3n_rd", plugin={"every": 2, "ood_every": 4}, config={"policy_delay": 1})
    assert made.algorithm.period == 4
    reports = [made.engine.run(step, 1).keys() for step in range(8)]
    assert ["rd_switch" in names for names in reports] == [step % 2 == 0 for step in range(8)]
    assert ["ood_loss" in names for names in reports] == [step % 4 == 0 for step in range(8)]
    pause = made.algorithm.penalised(loss, {}, data, loss, policy, data.act, {}, phase=1)
    assert pause[0] is loss and pause[1] == {}
    with pytest.raises(ConfigError, match="ood_every = 2, expected a multiple of every = 4"):
        RDConfig(every=4)


@pytest.mark.parametrize("choice", [{"stages": "first"}, {"ood": "noise"}, {"ood": "uniform"}])
def test_pi_ood_is_built_only_where_it_is_used(choice):
    rd = make_rd(**choice)
    assert rd.actor is None and not rd.optimizers


def test_pi_ood_learns_to_keep_its_distance_and_to_find_high_values():
    data = [dataset(0)]
    pushed = agents("td3n_rd", data=data, own=False, plugin={"ood_lr": 1e-2, "ood_every": 1})
    first = pushed.engine.run(0, 1)["ood_margin_shortfall"]
    pushed.engine.run(1, 250)
    last = pushed.engine.run(251, 10)["ood_margin_shortfall"]
    assert (last < 0.5 * first).all(), (first, last)
    free = agents(
        "td3n_rd", data=data, own=False, config={"critic_lr": 0.0, "actor_lr": 0.0},
        plugin={"push": 0.0, "ood_lr": 1e-2, "ood_every": 1},
    )  # fmt: skip
    a = free.algorithm
    obs = free.transitions.gather(torch.arange(100).repeat(3, 1)).obs
    with torch.no_grad():
        before = a.critic(obs, a.plugin.actor(obs))[0].mean((1, 2))
    free.engine.run(0, 200)
    with torch.no_grad():
        after = a.critic(obs, a.plugin.actor(obs))[0].mean((1, 2))
        policy_q = a.critic(obs, a.actor(obs))[0].mean((1, 2))
    assert (after > before).all() and (after > policy_q).all()


# ---- units of the weight


@pytest.mark.parametrize("units", ["values", "share"])
def test_the_penalty_has_the_units_of_the_loss(units):
    """Rewards, and so values, times c multiply a squared TD error by c²; "features" and "width" stay."""
    data = batch()

    def penalty(c: float, units: str) -> torch.Tensor:
        critic = tanh_critic()
        with torch.no_grad():
            for p in critic.net.head.parameters():
                p *= c
        rd = make_rd(units=units)
        noise = {k: v[0] for k, v in rd.noise(Streams([1, 2]), 0, 1).items()}
        q, features = critic(data.obs, data.act)
        loss = (q - c * data.rew[:, None]).square().mean(-1)
        return rd.penalty(critic, data, features, policy, data.act, noise, 1, loss)[0].detach()

    torch.testing.assert_close(penalty(10.0, units), 100 * penalty(1.0, units), rtol=1e-9, atol=0)
    for other in ("features", "width"):
        torch.testing.assert_close(penalty(10.0, other), penalty(1.0, other), rtol=1e-9, atol=0)


def test_a_share_is_the_norm_of_the_penalty_s_gradient_over_the_loss_s():
    critic, data, rd = tanh_critic(), batch(), make_rd(units="share", stages="first", states=0)
    features = critic.features(data.obs, data.act).detach().requires_grad_()
    loss, kept = own_loss(features), critic.features
    critic.features = lambda obs, act: kept(obs, act).detach()
    penalty, _ = rd.penalty(critic, data, features, policy, data.act, {}, 1, loss)
    ours, theirs = (
        torch.autograd.grad(x.sum(), features, retain_graph=True)[0].square().sum((-2, -1)).sqrt()
        for x in (penalty, loss)
    )
    torch.testing.assert_close(ours / theirs, torch.tensor(WEIGHTS, dtype=DOUBLE)[:, None].expand(A, E))


def test_width_is_the_mean_over_features_and_centring_takes_what_they_share():
    critic, data = tanh_critic(), batch()
    plain, _ = penalised(make_rd(), critic, data)
    narrow, _ = penalised(make_rd(units="width"), critic, data)
    torch.testing.assert_close(narrow, plain / critic.features(data.obs, data.act).shape[-1])
    for name, p in critic.net.hidden.named_parameters():
        p.data.fill_(0.5 if name.endswith("bias") else 0.0)  # every action has the same features
    assert penalised(make_rd(), critic, data)[0].min() > 0
    assert penalised(make_rd(centred=True), critic, data)[0].abs().max() < 1e-12


@pytest.mark.parametrize("choice", [{"kernel": "cosine"}, {"magnitude": "square"}])
def test_units_of_values_are_those_of_the_product(choice):
    with pytest.raises(ConfigError, match="units = 'values' are those of kernel = 'product', not squared"):
        RDConfig(units="values", **choice)


# ---- DR3


def test_dr3_is_numpys_in_value_and_gradient():
    critic, data, h = tanh_critic(), batch(), 1e-6
    dr3 = DR3([DR3Config(0.3), DR3Config(2.0)], torch.empty((), dtype=DOUBLE))
    next_act = policy(data.next_obs)
    features = critic.features(data.obs, data.act)
    found, metrics = dr3.penalty(critic, data, features, policy, next_act, {}, 0, own_loss(features))
    assert found.shape == (A, E) and data.mask.min() == 0

    def expected(i, net):
        phi, following = (
            arrays.features(net, np.hstack([o[i].numpy(), a[i].numpy()]), np.tanh)
            for o, a in ((data.obs, data.act), (data.next_obs, next_act))
        )
        k = arrays.kernel(phi, following, "product") * data.mask[i].numpy()
        return WEIGHTS[i] * k.mean(), k.mean()

    for i in range(A):
        both = [expected(i, arrays.layers(critic, i, e)) for e in range(E)]
        np.testing.assert_allclose(found[i].detach(), [b[0] for b in both], rtol=1e-10)
        np.testing.assert_allclose(metrics["dr3_kernel"][i], np.mean([b[1] for b in both]))
    weight = critic.net.hidden[0].weight
    gradient = torch.autograd.grad(found[1, 2], weight)[0][1, 2].numpy()
    net, move = arrays.layers(critic, 1, 2), np.random.default_rng(0).normal(size=gradient.shape)

    def at(scale):
        return expected(1, [(net[0][0] + scale * move, net[0][1]), *net[1:]])[0]

    np.testing.assert_allclose((gradient * move).sum(), (at(h) - at(-h)) / (2 * h), rtol=1e-5)


# ---- what it does


def kernels(name: str, plugin: dict, form: str) -> torch.Tensor:
    """Kernel between data and policy on fixed states after the same 150 updates: (3,)."""
    made = agents(name, own=False, config={"critic_lr": 3e-3}, plugin=plugin)
    made.engine.run(0, 150)
    data = made.transitions.gather(torch.arange(200).repeat(3, 1))
    a = made.algorithm
    policy_act = a.act(data.obs).detach()
    return ntk.diagnose(a.critic, data.obs, data.act, policy_act)[f"{form}_data_policy"]


@pytest.mark.parametrize("base", ["td3n", "sacn"])
def test_rd_lowers_the_kernel_between_data_and_policy(base):
    plain = kernels(base, {}, "kernel")
    distinct = kernels(f"{base}_rd", {"weight": 0.3, "stages": "first"}, "kernel")
    both = kernels(f"{base}_rd", {"weight": 0.3}, "kernel")
    assert (distinct < 0.6 * plain).all(), (plain, distinct)
    assert (both < 0.8 * plain).all(), (plain, both)
    cosine = {"weight": 3.0, "stages": "first", "kernel": "cosine"}
    assert (kernels(f"{base}_rd", cosine, "cosine") < 0.9 * kernels(base, {}, "cosine")).all()
