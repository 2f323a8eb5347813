"""Diagnostics of the paper's view: how one TD backup moves the Q-values of other pairs.

Source: the slides of Ma et al., "Reining Generalization in Offline Reinforcement Learning via
Representation Distinction" (NeurIPS 2023), pages "Overgeneralization" and "Method". Of these
only `feature_kernel` is trained on, by the losses in rdlib.rd.

The exact quantities (`ntk`, `td_step`, `taylor_prediction`, `seem`) look at one ensemble member of
one agent and take plain batches (n,O), (n,U); the cheap ones, made of features, keep all axes.
"""

import copy

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from rdlib.engine.nets import Critic, member_std

Parameters = dict[str, Tensor]


def _member(critic: Critic, agent: int, member: int) -> Parameters:
    """The parameters φ of one network: slices (1,1,…) of the stacked ones."""
    return {name: p.detach()[agent, member][None, None] for name, p in critic.net.named_parameters()}


def _value(critic: Critic, parameters: Parameters, obs: Tensor, act: Tensor) -> Tensor:
    """Q_φ of one network: (n,O), (n,U) -> (n,)."""
    x = torch.cat([obs, act], -1)[None, None]  # (1,1,n,O+U)
    return functional_call(critic.net, parameters, (x,))[0, 0, :, 0]


def gradients(critic: Critic, obs: Tensor, act: Tensor, agent: int = 0, member: int = 0) -> Tensor:
    """∇_φ Q_φ(s, a) of one member, one row per pair: (n,O), (n,U) -> (n,P), P parameters in the
    order of `critic.net.named_parameters()`."""

    def value(parameters: Parameters, obs: Tensor, act: Tensor) -> Tensor:
        return _value(critic, parameters, obs[None], act[None])[0]

    parameters = _member(critic, agent, member)
    per_pair = vmap(grad(value), in_dims=(None, 0, 0))(parameters, obs, act)
    return torch.cat([g.flatten(1) for g in per_pair.values()], 1)


def ntk(
    critic: Critic, obs: Tensor, act: Tensor, obs2: Tensor, act2: Tensor, agent: int = 0, member: int = 0
) -> Tensor:
    """Exact neural tangent kernel k_φ(s̄, ā; s, a) = ∇Q_φ(s̄, ā)ᵀ ∇Q_φ(s, a) of one member.

    Pairs (n,O), (n,U) against pairs (m,O), (m,U) -> (n,m). Slides, the definition under the Taylor
    expansion. Holds n + m gradients of P parameters in memory: for small batches.
    """
    first = gradients(critic, obs, act, agent, member)  # (n,P)
    return first @ gradients(critic, obs2, act2, agent, member).T


def td_step(
    critic: Critic,
    obs: Tensor,
    act: Tensor,
    target: Tensor | float,
    lr: float,
    agent: int = 0,
    member: int = 0,
) -> Critic:
    """The slides' TD step on one pair: φ' = φ + lr (TQ - Q_φ(s, a)) ∇Q_φ(s, a).

    obs (O,), act (U,), `target` the number TQ(s, a). Returns a new critic in which only the given
    member of the given agent has moved. The slides absorb the step size `lr` into φ'.
    """
    parameters = _member(critic, agent, member)
    error = target - _value(critic, parameters, obs[None], act[None])[0]
    direction = gradients(critic, obs[None], act[None], agent, member)[0]  # (P,)
    stepped = copy.deepcopy(critic)
    start = 0
    with torch.no_grad():
        for p in stepped.net.parameters():
            part = p[agent, member]
            part += lr * error * direction[start : start + part.numel()].view_as(part)
            start += part.numel()
    return stepped


def taylor_prediction(
    critic: Critic,
    obs: Tensor,
    act: Tensor,
    target: Tensor | float,
    lr: float,
    obs2: Tensor,
    act2: Tensor,
    agent: int = 0,
    member: int = 0,
) -> Tensor:
    """First-order prediction of Q at pairs (s̄, ā) after `td_step` on (s, a), without taking it:

        Q_φ'(s̄, ā) ≈ Q_φ(s̄, ā) + lr k_φ(s̄, ā; s, a) (TQ - Q_φ(s, a)),

    slides, the equation after "By plugging the first Eq to the second Eq"; what is left out is
    O(|φ' - φ|²). obs (O,), act (U,), obs2 (m,O), act2 (m,U) -> (m,).
    """
    parameters = _member(critic, agent, member)
    error = target - _value(critic, parameters, obs[None], act[None])[0]
    kernel = ntk(critic, obs2, act2, obs[None], act[None], agent, member)[:, 0]  # (m,)
    return _value(critic, parameters, obs2, act2) + lr * kernel * error


def seem(
    critic: Critic,
    obs: Tensor,
    act: Tensor,
    next_obs: Tensor,
    next_act: Tensor,
    gamma: float | Tensor,
    agent: int = 0,
    member: int = 0,
) -> float:
    """Self-excite eigenvalue measure: the largest real part among the eigenvalues of
    A = γ G(X*, X) - G(X, X), X = (s, a), X* = (s', π(s')), G the NTK's Gram matrix.

    Yue et al., NeurIPS 2023 (arXiv 2310.04411): the TD errors u of the batch follow
    u <- (I + lr A) u, so a positive value predicts that they grow and a negative one that they
    vanish. All batches have n rows; `gamma` may be a tensor (n,), γ times the mask of terminals.
    """
    here = gradients(critic, obs, act, agent, member)  # (n,P)
    there = gradients(critic, next_obs, next_act, agent, member)
    discount = torch.as_tensor(gamma, dtype=here.dtype, device=here.device).reshape(-1, 1)
    return torch.linalg.eigvals((discount * there - here) @ here.T).real.max().item()


def feature_kernel(features: Tensor, features2: Tensor, how: str = "product") -> Tensor:
    """Kernel of the penultimate features of paired samples: (A,E,B,H), (A,E,B,H) -> (A,E,B).

    `product`: φᵀφ̄; for Q = wᵀφ + b the head's share of the NTK is exactly φᵀφ̄ + 1. `cosine`: the
    same of normalised features, which shrinking norms cannot lower.
    """
    if how == "product":
        return (features * features2).sum(-1)
    if how == "cosine":
        return F.cosine_similarity(features, features2, dim=-1)
    raise ValueError(f"feature kernel {how!r}: expected 'product' or 'cosine'")


def effective_rank(features: Tensor, delta: float = 0.01) -> Tensor:
    """srank_δ of the feature matrix of each member: (A,E,B,H) -> (A,E), in the features' dtype.

    The smallest k with σ_1 + … + σ_k ≥ (1 - δ) Σσ (Kumar et al., ICLR 2021, arXiv 2010.14498).
    0 for features that are all zero, NaN where they are not finite.
    """
    # One diverged agent must not stop the others: LAPACK refuses a batch with a NaN in it.
    finite = features.isfinite().all(-1).all(-1)  # (A,E)
    sigma = torch.linalg.svdvals(features.where(finite[..., None, None], 0.0))
    total = sigma.sum(-1, keepdim=True)
    below = sigma.cumsum(-1) < (1 - delta) * total
    rank = (below.sum(-1) + (total[..., 0] > 0)).to(features.dtype)
    return rank.where(finite, float("nan"))


def feature_norm(features: Tensor) -> Tensor:
    """Mean Euclidean norm of the features over the batch: (A,E,B,H) -> (A,E)."""
    return features.norm(dim=-1).mean(-1)


@torch.no_grad()
def diagnose(
    critic: Critic, obs: Tensor, act: Tensor, policy_act: Tensor, ood_act: Tensor | None = None
) -> dict[str, Tensor]:
    """What the trainer logs on a fixed batch of each agent's data: every entry is a tensor (A,).

    obs (A,B,O), actions (A,B,U): of the data, of the policy at the same states and, where there is
    one, of the OOD policy. Means over batch and members of

    - `q_data`, `q_policy`, `q_ood`: Q-values; `q_std_data`, `q_std_policy`: their deviation over
      the ensemble;
    - `kernel_X_Y` = |φᵀφ̄| and `cosine_X_Y` for X_Y in data_policy (stage 1 of RD), policy_ood
      (stage 2) and data_data (each row with its predecessor in the batch: an ordinary pair, to
      compare with);
    - `policy_data_distance` = ‖π(s) - a‖² / U;
    - `srank`, `feature_norm`: of the features of the data.

    Entries of the OOD policy are absent without one. Nothing is read back to the host (but the
    singular values behind `srank` make a GPU wait).
    """
    q, phi = critic(obs, act)  # (A,E,B), (A,E,B,H)
    q_policy, phi_policy = critic(obs, policy_act)
    found = {
        "q_data": critic.average(q),
        "q_policy": critic.average(q_policy),
        "q_std_data": member_std(q, critic.active).mean(-1),
        "q_std_policy": member_std(q_policy, critic.active).mean(-1),
        "policy_data_distance": (policy_act - act).square().mean((1, 2)),
        "srank": critic.average(effective_rank(phi)),
        "feature_norm": critic.average(feature_norm(phi)),
    }
    pairs = {"data_policy": (phi, phi_policy), "data_data": (phi, phi.roll(1, dims=2))}
    if ood_act is not None:
        q_ood, phi_ood = critic(obs, ood_act)
        found["q_ood"] = critic.average(q_ood)
        pairs["policy_ood"] = (phi_policy, phi_ood)
    for name, pair in pairs.items():
        found[f"kernel_{name}"] = critic.average(feature_kernel(*pair).abs())
        found[f"cosine_{name}"] = critic.average(feature_kernel(*pair, how="cosine").abs())
    return found
