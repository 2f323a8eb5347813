"""Stacked networks against torch's own, one at a time."""

import math

import pytest
import torch
from torch import nn

from rdlib.engine.nets import (
    MLP,
    Actor,
    Critic,
    GaussianActor,
    Initialiser,
    LayerNorm,
    Linear,
    frozen_copy,
    polyak,
)
from rdlib.engine.rng import Streams

DOUBLE = torch.float64
A, E, B = 2, 3, 5


def initialiser(seeds=(7, 8), dtype=DOUBLE) -> Initialiser:
    return Initialiser(Streams(list(seeds)), "test", dtype)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))


def test_linear_is_nn_linear_forward_and_backward():
    stacked = Linear(initialiser(), (E,), 4, 6)
    x = inputs(A, E, B, 4).requires_grad_()
    y = stacked(x)
    assert y.shape == (A, E, B, 6)
    upstream = inputs(A, E, B, 6)
    y.backward(upstream)
    for a in range(A):
        for e in range(E):
            one = nn.Linear(4, 6, dtype=DOUBLE)
            with torch.no_grad():
                one.weight.copy_(stacked.weight[a, e].T)
                one.bias.copy_(stacked.bias[a, e, 0])
            x_one = x.detach()[a, e].clone().requires_grad_()
            y_one = one(x_one)
            y_one.backward(upstream[a, e])
            torch.testing.assert_close(y[a, e], y_one)
            torch.testing.assert_close(x.grad[a, e], x_one.grad)
            torch.testing.assert_close(stacked.weight.grad[a, e].T, one.weight.grad)
            torch.testing.assert_close(stacked.bias.grad[a, e, 0], one.bias.grad)


@pytest.mark.parametrize("members", [(), (10,)])
@pytest.mark.parametrize("n_in", [11, 256])
def test_linear_starts_at_the_scale_of_nn_linear(members, n_in):
    """A stack initialised with the fan-in of the stack is √E = 3.2 times too small at E = 10."""
    n_out = 256
    stacked = Linear(initialiser(), members, n_in, n_out)
    one = nn.Linear(n_in, n_out)  # its documented bound: 1/√n_in for weight and bias
    bound = 1 / math.sqrt(n_in)
    for ours, theirs in ((stacked.weight, one.weight), (stacked.bias, one.bias)):
        assert 0.98 * bound < ours.abs().max() <= bound
        assert theirs.abs().max() <= bound
        assert ours.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert theirs.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)


def test_first_layer_of_an_ensemble_starts_at_the_scale_of_one_critic():
    critic = Critic(initialiser(), 11, 3, members=10, width=256, depth=3)
    first, *rest = [layer.weight for layer in critic.net.hidden]
    assert first.abs().max().item() == pytest.approx(14**-0.5, rel=0.01)
    for weight in [*rest, critic.net.head.weight]:
        assert weight.abs().max().item() == pytest.approx(256**-0.5, rel=0.01)


def test_members_and_layers_are_all_different():
    critic = Critic(initialiser(), 3, 2, members=E, width=4, depth=2)
    numbers = torch.cat([p.flatten() for p in critic.parameters()])
    assert len(numbers.unique()) == len(numbers)


BUILDERS = {
    "critic": lambda init: Critic(init, 3, 2, E, width=8, depth=2),
    "critic with LayerNorm": lambda init: Critic(init, 3, 2, E, width=8, depth=2, layer_norm=True),
    "actor": lambda init: Actor(init, 3, 2, width=8, depth=2),
    "gaussian actor": lambda init: GaussianActor(init, 3, 2, width=8, depth=2),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_agent_of_a_batch_is_built_and_computes_as_it_would_alone(name):
    build = BUILDERS[name]
    together, alone = build(initialiser([3, 5])), build(initialiser([5]))
    for p, q in zip(together.parameters(), alone.parameters()):
        assert torch.equal(p[1:], q)
    args = (inputs(2, B, 3), inputs(2, B, 2))
    if name == "actor":
        args = args[:1]
    both, one = together(*args), alone(*(x[1:] for x in args))
    for y, z in zip(*((v if isinstance(v, tuple) else (v,)) for v in (both, one))):
        torch.testing.assert_close(y[1:], z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_critic_returns_values_and_the_features_they_are_linear_in(layer_norm):
    critic = Critic(initialiser(), 3, 2, E, width=8, depth=2, layer_norm=layer_norm)
    obs, act = inputs(A, B, 3), inputs(A, B, 2)
    q, features = critic(obs, act)
    assert q.shape == (A, E, B) and features.shape == (A, E, B, 8)
    assert torch.equal(features, critic.features(obs, act))
    assert (features >= 0).all()
    head = critic.net.head
    by_hand = (features * head.weight[..., 0][:, :, None]).sum(-1) + head.bias[..., 0]
    torch.testing.assert_close(q, by_hand)


def test_critic_is_a_plain_network_of_observation_and_action():
    critic = Critic(initialiser(), 3, 2, E, width=8, depth=2, layer_norm=True)
    obs, act = inputs(A, B, 3), inputs(A, B, 2)
    for a in range(A):
        for e in range(E):
            x = torch.cat([obs[a], act[a]], -1)
            for layer in critic.net.hidden:
                x = x @ layer.weight[a, e] + layer.bias[a, e]
                x = nn.functional.layer_norm(x, (8,)).relu()
            x = x @ critic.net.head.weight[a, e] + critic.net.head.bias[a, e]
            torch.testing.assert_close(critic(obs, act)[0][a, e], x[:, 0])


def test_layer_norm_is_nn_layer_norm_with_own_gain_and_shift():
    stacked = LayerNorm(initialiser(), (E,), 6)
    with torch.no_grad():
        stacked.weight += inputs(A, E, 1, 6)
        stacked.bias += inputs(A, E, 1, 6).flip(0)
    x = inputs(A, E, B, 6)
    for a in range(A):
        for e in range(E):
            one = nn.LayerNorm(6, dtype=DOUBLE)
            with torch.no_grad():
                one.weight.copy_(stacked.weight[a, e, 0])
                one.bias.copy_(stacked.bias[a, e, 0])
            torch.testing.assert_close(stacked(x)[a, e], one(x[a, e]))


def test_mlp_takes_another_activation_and_no_hidden_layer():
    x = inputs(A, B, 3)
    smooth = MLP(initialiser(), (), 3, 2, width=4, depth=1, activation=torch.tanh)
    hidden = smooth.hidden[0]
    torch.testing.assert_close(smooth(x), smooth.head(torch.tanh(hidden(x))))
    linear = MLP(initialiser(), (), 3, 2, width=4, depth=0)
    assert torch.equal(linear.features(x), x)
    torch.testing.assert_close(linear(x), x @ linear.head.weight + linear.head.bias)


def gaussian(scale: float) -> GaussianActor:
    actor = GaussianActor(initialiser(), 3, 2, width=8, depth=2)
    with torch.no_grad():
        actor.net.head.weight *= scale
    return actor


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_gaussian_actor_has_the_density_of_torch_distributions(scale):
    from torch.distributions import Independent, Normal, TransformedDistribution
    from torch.distributions.transforms import TanhTransform

    actor, obs, noise = gaussian(scale), inputs(A, B, 3), inputs(A, B, 2)
    action, log_prob = actor(obs, noise)
    mean, log_std = actor.net(obs).chunk(2, -1)
    normal = Normal(mean, log_std.clamp(*GaussianActor.LOG_STD).exp())
    # With its cache the transform inverts tanh exactly, so no precision is lost near ±1.
    transform = TanhTransform(cache_size=1)
    reference = Independent(TransformedDistribution(normal, [transform]), 1)
    sample = transform(normal.mean + normal.stddev * noise)
    torch.testing.assert_close(action, sample)
    torch.testing.assert_close(log_prob, reference.log_prob(sample))


def test_gaussian_log_density_is_finite_where_tanh_saturates():
    actor = gaussian(1.0)
    with torch.no_grad():
        actor.net.head.bias += 40.0
    action, log_prob = actor(inputs(A, B, 3), inputs(A, B, 2))
    assert (action == 1).all() and log_prob.isfinite().all()


def test_gaussian_actor_without_noise_is_its_mean_action():
    actor, obs = gaussian(1.0), inputs(A, B, 3)
    action, log_prob = actor(obs)
    assert torch.equal(action, actor.net(obs).chunk(2, -1)[0].tanh())
    assert torch.equal(log_prob, actor(obs, torch.zeros(A, B, 2, dtype=DOUBLE))[1])


def test_gaussian_actor_bounds_its_deviation():
    actor = gaussian(1.0)
    with torch.no_grad():
        actor.net.head.bias[..., 2:] = 100.0
    obs, noise = inputs(A, B, 3), inputs(A, B, 2)
    mean = actor.net(obs).chunk(2, -1)[0]
    torch.testing.assert_close(actor(obs, noise)[0], (mean + math.exp(2.0) * noise).tanh())


def test_actor_is_bounded():
    action = Actor(initialiser(), 3, 2, width=8, depth=2)(100 * inputs(A, B, 3))
    assert action.shape == (A, B, 2) and (action.abs() <= 1).all()


def test_polyak_averages_every_parameter_of_the_target_and_leaves_the_source():
    source = Critic(initialiser([1, 2]), 3, 2, E, width=8, depth=2, layer_norm=True)
    target = frozen_copy(Critic(initialiser([3, 4]), 3, 2, E, width=8, depth=2, layer_norm=True))
    before = [p.clone() for p in target.parameters()]
    sources = [p.detach().clone() for p in source.parameters()]
    polyak(target, source, 0.005)
    for p, old, new in zip(target.parameters(), before, sources):
        torch.testing.assert_close(p, 0.995 * old + 0.005 * new)
    assert all(torch.equal(p, old) for p, old in zip(source.parameters(), sources))


def test_frozen_copy_is_separate_and_takes_no_gradient():
    critic = Critic(initialiser(), 3, 2, E, width=8, depth=2)
    copy = frozen_copy(critic)
    assert not any(p.requires_grad for p in copy.parameters())
    assert all(p.requires_grad for p in critic.parameters())
    obs, act = inputs(A, B, 3), inputs(A, B, 2).requires_grad_()
    assert torch.equal(copy(obs, act)[0], critic(obs, act)[0])
    copy(obs, act)[0].sum().backward()  # still passes a gradient to the action
    assert act.grad is not None and all(p.grad is None for p in copy.parameters())
    with torch.no_grad():
        critic.net.head.bias += 1.0
    assert not torch.equal(copy(obs, act)[0], critic(obs, act)[0])
