"""The agent of book/own_code.md is rdlib's td3bc_rd; RD on book/rd.md is the plug-in's."""

import re
from pathlib import Path

import torch
from helpers.synthetic import DOUBLE, O, U, agents, one_update
from reference.plain import assert_same_weights

from rdlib.rd import distance, rd_ood_loss, rd_penalty, rd_switch

BOOK = Path(__file__).parents[2] / "book"
WIDTH = 16


def names_of(page: str) -> dict:
    """What the page's Python defines, run in order."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (BOOK / page).read_text(), re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile("\n".join(blocks), page, "exec"), names)
    return names


def copy_weights(net, plain, at) -> None:
    """A plain network gets the weights of network `at` of a stack (an MLP of rdlib.engine.nets)."""
    layers = [m for m in plain.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        for theirs, ours in zip(layers, (*net.hidden, net.head), strict=True):
            theirs.weight.copy_(ours.weight[at].T)
            theirs.bias.copy_(ours.bias[at][0])


def linear(plain) -> list:
    """Layers and what lies between, as `assert_same_weights` takes them."""
    return [x for m in plain.modules() if isinstance(m, torch.nn.Linear) for x in (m, None)][:-1]


def test_the_page_s_agent_is_rdlib_s_for_twenty_updates():
    sizes = {"width": WIDTH, "actor_width": WIDTH, "depth": 2, "actor_depth": 2, "batch_size": 24}
    rates = {"policy_noise": 0.2, "noise_clip": 0.5, "tau": 0.005, "n_critics": 2}
    made = agents("td3bc_rd", (0,), own=False, config={**sizes, **rates}, plugin={"states": 0})
    a = made.algorithm
    assert (a.plugin.config.ood_every, a.configs[0].policy_delay, a.configs[0].alpha) == (2, 2, 2.5)
    page = names_of("own_code.md")
    torch.set_default_dtype(DOUBLE)
    try:
        plain = page["TD3BC"](O, U, WIDTH)
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, theirs in ((a.critic, plain.critics), (a.critic_target, plain.target[0])):
        for e in range(2):
            copy_weights(ours.net, theirs[e], (0, e))
    for ours, theirs in (
        (a.actor, plain.actor),
        (a.actor_target, plain.target[1]),
        (a.plugin.actor, plain.ood_actor),
    ):
        copy_weights(ours.net, theirs, (0,))
    before = a.critic.net.hidden[0].weight.clone()
    for step in range(20):
        batch, noise, _ = one_update(made, step)
        plain.update(step, *(x[0] for x in batch), noise["smoothing"][0])
    assert (a.critic.net.hidden[0].weight - before).abs().max() > 1e-3
    pairs = [(a.critic.net, plain.critics[e], (0, e)) for e in range(2)]
    pairs += [(a.critic_target.net, plain.target[0][e], (0, e)) for e in range(2)]
    pairs += [(a.actor.net, plain.actor, (0,)), (a.actor_target.net, plain.target[1], (0,))]
    pairs += [(a.plugin.actor.net, plain.ood_actor, (0,))]
    for net, other, at in pairs:
        for ours, theirs in zip((*net.hidden, net.head), linear(other)[::2], strict=True):
            torch.testing.assert_close(ours.weight[at].T, theirs.weight, rtol=1e-10, atol=1e-12)
        assert_same_weights(net, linear(other), at)


def test_the_lines_marked_rd_are_all_that_was_added():
    """Without them the page's agent is td3bc: they can be deleted."""
    text = (BOOK / "own_code.md").read_text()
    [code] = [b for b in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "class TD3BC" in b]
    kept = "".join(line for line in code.splitlines(keepends=True) if not line.endswith("# RD\n"))
    base, both = (sum(bool(line.strip()) for line in x.splitlines()) for x in (kept, code))
    assert f"is {base} lines, and RD adds {both - base}." in text and base < 40
    names: dict = {}
    exec(compile(kept, "own_code.md", "exec"), names)
    assert "rd_" not in kept and "ood" not in kept
    agent = names["TD3BC"](O, U, WIDTH)
    agent.update(0, *(torch.rand(s) for s in ((9, O), (9, U), (9,), (9, O), (9,), (9, U))))


def test_the_short_version_on_the_page_of_rd_is_the_functions():
    page, generator = names_of("rd.md"), torch.Generator().manual_seed(0)
    critic = names_of("own_code.md")["Critic"](O, U, WIDTH)
    obs = torch.randn(30, O, generator=generator)
    act, policy_act, ood_act = 2 * torch.rand(3, 30, U, generator=generator) - 1
    features = [critic(obs, x)[1] for x in (act, policy_act, ood_act)]
    expected, _ = rd_penalty(*features, rd_switch(distance(policy_act, act)))
    torch.testing.assert_close(page["rd_penalty"](critic, obs, act, policy_act, ood_act), expected)
    value = critic(obs, ood_act)[0]
    expected, _ = rd_ood_loss(value, ood_act, act, policy_act)
    torch.testing.assert_close(page["ood_loss"](value, ood_act, act, policy_act), expected)


def test_an_ensemble_is_its_members_and_shapes_may_lack_the_agents():
    generator = torch.Generator().manual_seed(0)
    data, policy, ood = torch.randn(3, 5, 30, 7, generator=generator)  # (E,B,H) each
    w = torch.rand(30, generator=generator)
    every, kernels = rd_penalty(data, policy, ood, w)
    each = torch.stack([rd_penalty(*(x[e] for x in (data, policy, ood)), w)[0] for e in range(5)])
    assert every.shape == (5,) and kernels["data_policy"].shape == (5, 30)
    torch.testing.assert_close(every, each)
    first, second = rd_penalty(data, policy, None, w)[0], rd_penalty(None, policy, ood, w)[0]
    torch.testing.assert_close(first + second, every)
