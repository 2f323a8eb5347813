"""The slides' equations, numerically: what a TD step on one pair does to the value of another."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jvp

from rdlib.engine.nets import Critic, Initialiser
from rdlib.engine.rng import Streams
from rdlib.ntk import (
    _member,
    _value,
    diagnose,
    effective_rank,
    feature_kernel,
    feature_norm,
    gradients,
    ntk,
    seem,
    taylor_prediction,
    td_step,
)

DOUBLE = torch.float64
A, E, H = 2, 3, 16
OBS, ACT = 4, 2
WHERE = {"agent": 1, "member": 2}  # neither is the default


def make_critic(depth: int = 2, layer_norm: bool = False, seeds=(7, 8)) -> Critic:
    init = Initialiser(Streams(list(seeds)), "critic", DOUBLE)
    return Critic(init, OBS, ACT, E, width=H, depth=depth, layer_norm=layer_norm)


def make_pairs(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(n, OBS, dtype=DOUBLE, generator=generator)
    return obs, torch.rand(n, ACT, dtype=DOUBLE, generator=generator) * 2 - 1


def values(critic: Critic, obs: Tensor, act: Tensor) -> Tensor:
    """Q of the member looked at, (n,), through the stacked critic itself."""
    q, _ = critic(obs.expand(A, -1, -1), act.expand(A, -1, -1))
    return q.detach()[WHERE["agent"], WHERE["member"]]


ARCHITECTURES = pytest.mark.parametrize(
    ("depth", "layer_norm"), [(2, False), (3, True)], ids=["ReLU", "LayerNorm"]
)


@ARCHITECTURES
def test_gradients_are_autograds(depth, layer_norm):
    critic, (obs, act) = make_critic(depth, layer_norm), make_pairs(3)
    rows = gradients(critic, obs, act, **WHERE)
    for i in range(3):
        q, _ = critic(obs[i].expand(A, 1, OBS), act[i].expand(A, 1, ACT))
        grads = torch.autograd.grad(q[1, 2, 0], list(critic.net.parameters()))
        by_hand = torch.cat([g[1, 2].flatten() for g in grads])
        torch.testing.assert_close(rows[i], by_hand)


@ARCHITECTURES
def test_ntk_equals_finite_differences(depth, layer_norm):
    """Central differences of Q along the gradient at the other pair: the kernel itself."""
    critic, (obs, act), (obs2, act2) = (make_critic(depth, layer_norm), make_pairs(3), make_pairs(2, 1))
    kernel = ntk(critic, obs, act, obs2, act2, **WHERE)
    assert kernel.shape == (3, 2)
    eps = 1e-5
    for j in range(2):
        # A TD step of error 1 is a step of eps along ∇Q(s_j, a_j).
        q = values(critic, obs2[j : j + 1], act2[j : j + 1]).item()
        ahead = values(td_step(critic, obs2[j], act2[j], q + 1, eps, **WHERE), obs, act)
        behind = values(td_step(critic, obs2[j], act2[j], q + 1, -eps, **WHERE), obs, act)
        torch.testing.assert_close((ahead - behind) / (2 * eps), kernel[:, j], rtol=1e-6, atol=1e-7)


@ARCHITECTURES
def test_ntk_is_symmetric_and_positive_semidefinite(depth, layer_norm):
    critic, (obs, act) = make_critic(depth, layer_norm), make_pairs(8)
    kernel = ntk(critic, obs, act, obs, act, **WHERE)
    torch.testing.assert_close(kernel, kernel.T)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-12 * kernel.trace()


def test_ntk_is_of_the_member_and_agent_asked_for():
    critic, (obs, act) = make_critic(), make_pairs(3)
    kernels = {
        (a, e): ntk(critic, obs, act, obs, act, agent=a, member=e) for a in range(A) for e in range(E)
    }
    assert torch.equal(kernels[0, 0], ntk(critic, obs, act, obs, act))
    alone = make_critic(seeds=(8,))
    torch.testing.assert_close(ntk(alone, obs, act, obs, act, member=2), kernels[1, 2])
    assert len({round(k[0, 1].item(), 12) for k in kernels.values()}) == A * E


@ARCHITECTURES
def test_heads_share_of_the_ntk_is_the_feature_kernel_plus_one(depth, layer_norm):
    critic, (obs, act), (obs2, act2) = (make_critic(depth, layer_norm), make_pairs(5), make_pairs(5, 1))
    head = H + 1  # its weight and bias are the last parameters
    assert [n for n, _ in critic.net.named_parameters()][-2:] == ["head.weight", "head.bias"]
    first = gradients(critic, obs, act, **WHERE)[:, -head:]
    second = gradients(critic, obs2, act2, **WHERE)[:, -head:]
    features = critic.features(obs.expand(A, -1, -1), act.expand(A, -1, -1)).detach()
    features2 = critic.features(obs2.expand(A, -1, -1), act2.expand(A, -1, -1)).detach()
    kernel = feature_kernel(features, features2)
    assert kernel.shape == (A, E, 5)
    torch.testing.assert_close((first * second).sum(-1), kernel[1, 2] + 1)


@ARCHITECTURES
def test_td_step_is_one_sgd_step_on_half_the_squared_error(depth, layer_norm):
    critic, (obs, act) = make_critic(depth, layer_norm), make_pairs(1)
    before = [p.detach().clone() for p in critic.parameters()]
    stepped = td_step(critic, obs[0], act[0], 3.0, 0.01, **WHERE)
    assert all(torch.equal(p, q) for p, q in zip(critic.parameters(), before))

    reference = make_critic(depth, layer_norm)
    q, _ = reference(obs.expand(A, 1, OBS), act.expand(A, 1, ACT))
    (0.5 * (3.0 - q[1, 2, 0]) ** 2).backward()
    torch.optim.SGD(reference.parameters(), lr=0.01).step()
    # The other members and agents get no gradient, and must not have moved either.
    for p, q in zip(stepped.parameters(), reference.parameters()):
        torch.testing.assert_close(p, q)


@ARCHITECTURES
def test_taylor_remainder_shrinks_with_the_square_of_the_step(depth, layer_norm):
    """Q_φ'(s̄,ā) - Q_φ(s̄,ā) - lr k δ = O(|φ' - φ|²), for a real step and a real network.

    The steps are small enough not to move a ReLU over its kink (there the remainder is first-order
    in the distance to it), and large enough to stand above rounding.
    """
    critic, (obs, act), others = make_critic(depth, layer_norm), make_pairs(1), make_pairs(6, 1)
    target, lrs = 2.0, np.logspace(-5, -3.5, 6)
    remainders, moves = [], []
    for lr in lrs.tolist():
        stepped = td_step(critic, obs[0], act[0], target, lr, **WHERE)
        predicted = taylor_prediction(critic, obs[0], act[0], target, lr, *others, **WHERE)
        remainders.append((values(stepped, *others) - predicted).abs().numpy())
        moves.append((predicted - values(critic, *others)).abs().numpy())
    slopes = np.polyfit(np.log(lrs), np.log(np.stack(remainders)), 1)[0]
    np.testing.assert_allclose(slopes, 2, atol=0.1)
    np.testing.assert_allclose(np.polyfit(np.log(lrs), np.log(np.stack(moves)), 1)[0], 1, atol=1e-6)
    assert (np.stack(remainders)[0] < 1e-3 * np.stack(moves)[0].max()).all()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch.func's own
@ARCHITECTURES
def test_first_order_term_is_exact(depth, layer_norm):
    """k (TQ - Q) is the derivative of Q_φ'(s̄,ā) by the step size, by forward differentiation."""
    critic, (obs, act), others = make_critic(depth, layer_norm), make_pairs(1), make_pairs(6, 1)
    target = torch.tensor(2.0, dtype=DOUBLE)
    error = target - values(critic, obs, act)[0]
    direction = error * gradients(critic, obs, act, **WHERE)[0]
    parameters, tangents, start = _member(critic, **WHERE), {}, 0
    for name, p in parameters.items():
        tangents[name] = direction[start : start + p.numel()].view_as(p)
        start += p.numel()
    _, slope = jvp(lambda p: _value(critic, p, *others), (parameters,), (tangents,))
    for lr in (1e-3, 1.0):
        predicted = taylor_prediction(critic, obs[0], act[0], target, lr, *others, **WHERE)
        torch.testing.assert_close(predicted - values(critic, *others), lr * slope)


def test_taylor_prediction_is_exact_for_a_linear_critic():
    critic, (obs, act), others = make_critic(depth=0), make_pairs(1), make_pairs(6, 1)
    stepped = td_step(critic, obs[0], act[0], 2.0, 0.3, **WHERE)
    predicted = taylor_prediction(critic, obs[0], act[0], 2.0, 0.3, *others, **WHERE)
    torch.testing.assert_close(values(stepped, *others), predicted)


def test_feature_kernels():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, A, E, 5, H, dtype=DOUBLE, generator=generator)
    product, cosine = feature_kernel(x, y), feature_kernel(x, y, how="cosine")
    assert product.shape == cosine.shape == (A, E, 5)
    a, b = x[1, 2, 3].numpy(), y[1, 2, 3].numpy()
    assert product[1, 2, 3].item() == pytest.approx(a @ b)
    assert cosine[1, 2, 3].item() == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    # What tells them apart: shrinking features lowers one and not the other.
    torch.testing.assert_close(feature_kernel(0.1 * x, 0.1 * y), 0.01 * product)
    torch.testing.assert_close(feature_kernel(0.1 * x, 0.1 * y, "cosine"), cosine)
    with pytest.raises(ValueError, match="'angle'"):
        feature_kernel(x, y, "angle")


# A critic without hidden layers is linear in x = (s, a) and 1: its kernel is x̄ᵀx + 1 whatever it
# learned. For one transition A = γ (x*ᵀx + 1) - (xᵀx + 1).
LINEAR_CASES = {
    "diverges": (2.0, 0.99 * (2.0 * 4.0 + 1) - 5),  # the next pair has twice the features
    "converges": (1.0, (0.99 - 1) * 5),
    "converges quickly": (-1.0, 0.99 * (-4.0 + 1) - 5),
}


@pytest.mark.parametrize("case", LINEAR_CASES)
def test_seem_of_a_linear_critic_is_known_and_decides_its_fate(case):
    scale, expected = LINEAR_CASES[case]
    critic = make_critic(depth=0)
    obs, act = torch.tensor([[2.0, 0, 0, 0]], dtype=DOUBLE), torch.zeros(1, ACT, dtype=DOUBLE)
    assert seem(critic, obs, act, scale * obs, act, 0.99, **WHERE) == pytest.approx(expected)

    lr, reward, errors = 0.02, 1.0, []
    for _ in range(50):
        target = reward + 0.99 * values(critic, scale * obs, act)[0]
        errors.append(abs((target - values(critic, obs, act)[0]).item()))
        critic = td_step(critic, obs[0], act[0], target, lr, **WHERE)
    assert (errors[-1] > errors[0]) == (expected > 0)
    # u <- (1 + lr A) u, to the digit.
    assert errors[-1] == pytest.approx(errors[0] * abs(1 + lr * expected) ** 49, abs=1e-12)


@pytest.mark.parametrize(("scale", "diverges"), [(0.5, False), (2.0, True)])
def test_seem_of_a_batch_predicts_the_growth_of_its_td_errors(scale, diverges):
    """Semi-gradient TD on linear features: its errors grow at the rate lr · SEEM, or vanish."""
    (obs, act), (other, _) = make_pairs(3), make_pairs(3, 1)
    next_obs, next_act = scale * obs + 0.2 * other, scale * act
    critic = make_critic(depth=0)
    measure = seem(critic, obs, act, next_obs, next_act, 0.99, **WHERE)
    assert (measure > 0) == diverges

    ones = torch.ones(3, 1, dtype=DOUBLE)
    x, x2 = torch.cat([obs, act, ones], 1), torch.cat([next_obs, next_act, ones], 1)
    by_hand = np.linalg.eigvals(((0.99 * x2 - x) @ x.T).numpy()).real.max()
    assert measure == pytest.approx(by_hand)

    w, lr, norms = torch.zeros(OBS + ACT + 1, dtype=DOUBLE), 0.002, []
    for _ in range(4000):
        error = 1.0 + 0.99 * x2 @ w - x @ w
        norms.append(error.norm().item())
        w = w + lr * x.T @ error
    rate = (math.log(norms[-1]) - math.log(norms[2000])) / 1999 / lr
    assert rate == pytest.approx(measure, rel=0.02)


def test_seem_takes_a_discount_for_each_row_that_ends_at_terminals():
    (obs, act), (next_obs, next_act) = make_pairs(4), make_pairs(4, 1)
    critic = make_critic()
    gamma = 0.99 * torch.zeros(4, dtype=DOUBLE)  # every transition terminal: plain regression
    measure = seem(critic, obs, act, 10 * next_obs, next_act, gamma, **WHERE)
    kernel = ntk(critic, obs, act, obs, act, **WHERE)
    assert measure == pytest.approx(-torch.linalg.eigvalsh(kernel).min().item())
    same = seem(critic, obs, act, next_obs, next_act, torch.full((4,), 0.9), **WHERE)
    assert same == pytest.approx(seem(critic, obs, act, next_obs, next_act, 0.9, **WHERE), rel=1e-6)


def with_singular_values(*sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    n = len(sigma)
    left = torch.linalg.qr(torch.randn(12, n, dtype=DOUBLE, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(n, n, dtype=DOUBLE, generator=generator))[0]
    return left @ torch.diag(torch.tensor(sigma, dtype=DOUBLE)) @ right


def test_effective_rank_counts_the_singular_values_that_matter():
    cases = [
        ((90, 9.5, 0.4, 0.1), 2),  # 99.5 % in two
        ((90, 8.5, 1.0, 0.5), 3),  # 98.5 % in two
        ((1, 1, 1, 1), 4),
        ((5, 0, 0, 0), 1),
        ((0, 0, 0, 0), 0),
        ((1e-30, 1e-30, 0, 0), 2),  # scale does not matter
    ]
    features = torch.stack([with_singular_values(*s) for s, _ in cases]).unflatten(0, (2, 3))
    rank = effective_rank(features)
    assert rank.flatten().tolist() == [k for _, k in cases]
    assert effective_rank(features, delta=0.2)[0, 0] == 1


def test_effective_rank_of_a_diverged_agent_is_nan_and_spares_the_others():
    features = torch.stack([with_singular_values(1, 1, 1, 1)] * 3)[:, None].clone()
    features[0, 0, 0, 0], features[1, 0, 0, 0] = float("nan"), float("inf")
    rank = effective_rank(features)[:, 0]
    assert rank[:2].isnan().all() and rank[2] == 4


def test_feature_norm():
    features = torch.zeros(A, E, 2, H)
    features[1, 2, 0, :2] = torch.tensor([3.0, 4.0])
    norm = feature_norm(features)
    assert norm.shape == (A, E) and norm[1, 2] == 2.5 and norm.sum() == 2.5


def test_diagnose_against_numpy():
    critic, n = make_critic(), 6
    obs, act = (torch.stack([make_pairs(n, s)[i] for s in (0, 1)]) for i in (0, 1))
    policy, ood = (torch.stack([make_pairs(n, s + k)[1] for s in (0, 1)]) for k in (10, 20))
    found = diagnose(critic, obs, act, policy, ood)
    assert all(v.shape == (A,) and not v.requires_grad for v in found.values())
    for a in range(A):
        q, phi = {}, {}
        for name, x in {"data": act, "policy": policy, "ood": ood}.items():
            values, features = critic(obs, x)
            q[name], phi[name] = values[a].detach().numpy(), features[a].detach().numpy()
        phi["previous"] = phi["data"][:, [n - 1, *range(n - 1)]]
        unit = {k: v / np.linalg.norm(v, axis=-1, keepdims=True) for k, v in phi.items()}
        expected = {
            "q_data": q["data"].mean(),
            "q_policy": q["policy"].mean(),
            "q_ood": q["ood"].mean(),
            "q_std_data": q["data"].std(axis=0).mean(),
            "q_std_policy": q["policy"].std(axis=0).mean(),
            "policy_data_distance": (((policy - act)[a] ** 2).sum(-1) / ACT).mean().item(),
            "feature_norm": np.linalg.norm(phi["data"], axis=-1).mean(),
            "srank": np.mean([effective_rank(torch.tensor(p)[None, None]) for p in phi["data"]]),
        }
        for name, x, y in (
            ("data_policy", "data", "policy"),
            ("policy_ood", "policy", "ood"),
            ("data_data", "data", "previous"),
        ):
            expected[f"kernel_{name}"] = np.abs((phi[x] * phi[y]).sum(-1)).mean()
            expected[f"cosine_{name}"] = np.abs((unit[x] * unit[y]).sum(-1)).mean()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][a].item() == pytest.approx(value), name


def test_diagnose_without_an_ood_policy_leaves_its_entries_out():
    critic = make_critic()
    obs, act = (x.expand(A, -1, -1) for x in make_pairs(5))
    names = diagnose(critic, obs, act, act).keys()
    assert names == {n for n in diagnose(critic, obs, act, act, act) if "ood" not in n}
    assert diagnose(critic, obs, act, act)["policy_data_distance"].tolist() == [0, 0]
    torch.testing.assert_close(
        diagnose(critic, obs, act, act)["cosine_data_policy"], torch.ones(A, dtype=DOUBLE)
    )
