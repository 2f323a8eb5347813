"""The Decision Transformer against a plain one, and what it must not look at."""

import math

import numpy as np
import pytest
import torch
from helpers import synthetic
from helpers.synthetic import DATA, DOUBLE, TINY, O, U, agents, dataset, one_update, snapshot
from reference import numpy_dt
from reference.plain_dt import PlainDT

from rdlib import algos
from rdlib.algos.dt import Config
from rdlib.data.batches import Windows
from rdlib.engine.config import ConfigError
from rdlib.engine.rng import Streams, uniform_int16
from rdlib.training.checkpoint import load_checkpoint, save_checkpoint
from rdlib.training.plan import make_plan
from rdlib.training.policy import load_policy
from rdlib.training.trainer import train

SHAPES = [
    {}, {"heads": 2}, {"depth": 1}, {"context": 1}, {"context": 9, "depth": 3, "heads": 4, "horizon": 3},
]  # fmt: skip


def lively(**config):
    """Agents far from their first weights, which are so small that much of the network is idle."""
    made = agents("dt", config=config)
    generator = torch.Generator().manual_seed(5)
    for p in made.algorithm.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return made


def some_windows(made, seed: int = 0) -> Windows:
    indices = torch.randint(0, 200, (3, 16), generator=torch.Generator().manual_seed(seed))
    return made.engine.gather(indices)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_the_forward_pass_is_that_of_a_plain_transformer(config):
    made = lively(**config, return_scale=2.0)
    windows = some_windows(made)
    if made.algorithm.context > 1:  # or the mask would not be tested
        assert not windows.valid.all() and windows.valid[..., 0].any() == (config.get("context") != 9)
    keys = made.algorithm.noise(made.streams, 0, 1)["dropout"][0]
    for keep in (None, made.algorithm.keep(keys)):
        ours = made.algorithm.actor(windows, keep)
        for i in range(3):
            plain = PlainDT(made.algorithm, i)
            own = None if keep is None else full(made.algorithm, [k[i] for k in keep])
            theirs = plain(*(x[i] for x in windows), own)
            there = windows.valid[i]
            torch.testing.assert_close(ours[i][there], theirs[there], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_the_loss_is_numpys(config):
    made = lively(**config, return_scale=2.0, dropout=0.0)
    windows = some_windows(made)
    before = [PlainDT.stacked(made.algorithm.actor, i) for i in range(3)]
    weights = [{k: v.clone().numpy() for k, v in mine.items()} for mine in before]
    noise = {k: v[0] for k, v in made.algorithm.noise(made.streams, 0, 1).items()}
    found = made.algorithm.update(windows, noise, 0)["actor_loss"]
    for i, w in enumerate(weights):
        own = [x[i].numpy() for x in windows]
        expected = numpy_dt.loss(w, made.algorithm.configs[i], own)
        np.testing.assert_allclose(found[i].detach(), expected, rtol=1e-9)


def full(algorithm, keep):
    """One agent's factors, with ones at the tokens that the last block leaves out."""
    c, keep = algorithm.configs[0], list(keep)
    for at in (-3, -2, -1):
        part = keep[at]
        axis = part.dim() - 2
        whole = part.new_ones(*part.shape[:axis], 3 * c.context, part.shape[-1])
        whole[..., 1::3, :] = part
        keep[at] = whole
    return keep


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("config", [{}, {"heads": 2, "context": 7, "max_norm": 1e-3}], ids=str)
def test_twenty_updates_equal_the_plain_one(dropout, config):
    made = agents("dt", config={
        "dropout": dropout, "actor_lr": 1e-3, "warmup": 7, "weight_decay": 0.1, "return_scale": 2.0,
        **config,
    })  # fmt: skip
    a = made.algorithm
    references = [PlainDT(a, i) for i in range(3)]
    for number in range(20):
        batch, noise, metrics = one_update(made, number)
        keep = a.keep(noise["dropout"]) if dropout else None
        for i, reference in enumerate(references):
            own = full(a, [k[i] for k in keep]) if keep else None
            loss = reference.update(*(x[i] for x in batch), own)
            torch.testing.assert_close(metrics["actor_loss"][i], loss, rtol=1e-6, atol=0)
    for i, reference in enumerate(references):
        for name, theirs in PlainDT.stacked(a.actor, i).items():
            ours = reference.get_parameter(name)
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: n + m)


# ---- what it must not see


def test_padding_neither_attends_nor_counts():
    """Anything may stand where `valid` is False: actions, loss and gradients are bit for bit the same."""
    made = lively(context=5)
    windows = some_windows(made)
    hole = ~windows.valid
    assert hole.any()
    other = Windows(
        *(torch.where(hole[..., None], 1e3, x) for x in windows[:2]),
        torch.where(hole, -1e6, windows.to_go), torch.where(hole, 77, windows.time), windows.valid,
    )  # fmt: skip
    a = made.algorithm
    assert torch.equal(a.actor(windows)[windows.valid], a.actor(other)[windows.valid])
    noise = {k: v[0] for k, v in a.noise(made.streams, 0, 1).items()}
    found = []
    for batch in (windows, other):
        start = lively(context=5).algorithm
        metrics = start.update(batch, noise, 0)
        found.append((metrics["actor_loss"], snapshot(start)))
    assert torch.equal(found[0][0], found[1][0])
    for key, value in found[0][1].items():
        assert torch.equal(value, found[1][1][key]), key


def test_short_windows_act_as_if_there_were_no_padding():
    made = lively(context=5)
    windows = some_windows(made)
    acts = made.algorithm.actor(windows)
    for b in range(16):
        n = int(windows.valid[0, b].sum())
        bare = Windows(*(x[:, b : b + 1, 5 - n :] for x in windows))
        if int(bare.valid[0].sum()) == n:
            torch.testing.assert_close(
                made.algorithm.actor(bare)[0], acts[0, b : b + 1, 5 - n :], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("kind", ["obs", "act", "to_go", "time"])
def test_actions_depend_on_the_past_in_the_order_return_state_action(kind):
    """What is changed at step t moves actions from t on (a_t those after it), and none before."""
    made = lively(context=5)
    windows = some_windows(made)
    whole = windows.valid.all(-1)  # (A,B): no padding
    before = made.algorithm.actor(windows)[whole]
    for t in range(5):
        value = getattr(windows, kind).clone()
        value[:, :, t] += 1 if kind == "time" else 0.5
        after = made.algorithm.actor(windows._replace(**{kind: value}))[whole]
        moved = (before != after).any(-1).float().mean(0)  # (K,)
        first = t + (kind == "act")
        assert not moved[:first].any(), (kind, t)
        assert (moved[first:] > 0.9).all(), (kind, t, moved)


def test_timesteps_beyond_the_horizon_share_the_last_embedding():
    made = lively(context=4, horizon=3)
    windows = some_windows(made)
    assert windows.time.max() > 2
    capped = windows._replace(time=windows.time.clamp(max=2))
    assert torch.equal(made.algorithm.actor(windows), made.algorithm.actor(capped))
    other = windows._replace(time=windows.time.clamp(max=1))
    assert not torch.equal(made.algorithm.actor(windows), made.algorithm.actor(other))


def test_returns_to_go_are_divided_by_the_scale():
    one, thousand = lively(return_scale=1.0), lively(return_scale=1000.0)
    windows = some_windows(one)
    scaled = windows._replace(to_go=1000 * windows.to_go)
    torch.testing.assert_close(
        one.algorithm.actor(windows), thousand.algorithm.actor(scaled), rtol=1e-9, atol=1e-12
    )


# ---- acting


class Walk:
    """A made-up environment: the state is moved by the action, the reward is what it finds there."""

    def __init__(self, seed: int):
        self.state = np.random.default_rng(seed).normal(size=O)

    def step(self, action: np.ndarray) -> float:
        self.state = np.tanh(1.3 * self.state + 0.5 * np.resize(action, O)) + 0.1
        return float(20 * self.state.sum())


def test_batched_evaluation_is_a_hand_written_loop_over_single_episodes():
    """Past of at most K steps, returns-to-go less the rewards, own actions fed back, true timesteps."""
    made = agents("dt", config={"context": 4, "horizon": 9, "return_scale": 10.0})
    a = made.algorithm
    for p in a.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5), dtype=DOUBLE)
    targets = torch.tensor([[100.0], [-5.0], [0.0]], dtype=DOUBLE)
    a.target_return.copy_(targets)
    envs = [[Walk(10 * i + e) for e in range(2)] for i in range(3)]
    player = a.player(2)
    rewards = torch.zeros(3, 2, dtype=DOUBLE)
    together = []
    for _ in range(12):
        obs = torch.tensor(np.array([[env.state for env in row] for row in envs]))
        with torch.no_grad():
            actions = player(obs, rewards)
        together.append(actions)
        for i in range(3):
            for e in range(2):
                rewards[i, e] = envs[i][e].step(actions[i, e].numpy())
    assert rewards.abs().min() > 1  # or the returns-to-go would not be tested
    for i in range(3):
        plain = PlainDT(a, i)
        for e in range(2):
            env, to_go = Walk(10 * i + e), targets[i]
            states, acts = torch.zeros(0, O, dtype=DOUBLE), torch.zeros(0, U, dtype=DOUBLE)
            for t in range(12):
                states = torch.cat([states, torch.tensor(env.state)[None]])
                action = plain.get_action(states, acts, to_go)
                torch.testing.assert_close(action, together[t][i, e], rtol=1e-8, atol=1e-10)
                acts = torch.cat([acts, action[None]])
                to_go = torch.cat([to_go, to_go[-1:] - env.step(action.numpy())])


def test_players_do_not_share_a_memory_and_single_states_are_first_steps():
    a = lively().algorithm
    a.target_return.fill_(50.0)
    obs, reward = torch.randn(2, 3, 7, O, dtype=DOUBLE), torch.zeros(3, 7, dtype=DOUBLE)
    first, second = a.player(7), a.player(7)
    start = first(obs[0], reward)
    first(obs[1], reward + 1)
    assert torch.equal(start, second(obs[0], reward))
    assert torch.equal(start, a.act(obs[0]))
    assert not torch.equal(second(obs[1], reward), a.act(obs[1]))


# ---- dropout


def test_dropout_keeps_the_right_share_and_the_mean():
    made = agents("dt", config={"dropout": 0.3, "batch_size": 64, "width": 32, "context": 10})
    keys = made.algorithm.noise(made.streams, 5, 2)["dropout"]
    masks = [torch.cat([k.flatten(1) for k in made.algorithm.keep(key)], 1) for key in keys]
    for mask in masks:
        n = mask.shape[1]
        dropped = (mask == 0).double().mean(1)
        assert (dropped - 0.3).abs().max() < 4 * math.sqrt(0.21 / n)
        rate = round(0.3 * 2**16) / 2**16
        assert torch.equal(mask[mask != 0].unique(), torch.tensor([1 / (1 - rate)], dtype=DOUBLE))
    drops = torch.stack([m == 0 for m in masks]).flatten(0, 1).double()
    correlation = torch.corrcoef(drops) - torch.eye(len(drops), dtype=DOUBLE)
    assert correlation.abs().max() < 4 / math.sqrt(n)  # between agents, and between updates
    shifted = torch.corrcoef(torch.stack([drops[0].roll(k) for k in range(70)]))[0, 1:]
    assert shifted.abs().max() < 4.5 / math.sqrt(n)


def test_dropout_is_off_when_acting_and_without_it_no_keys_are_drawn():
    made = agents("dt", config={"dropout": 0.0})
    assert set(made.algorithm.noise(made.streams, 0, 1)) == {"actor_lr"}
    obs = torch.randn(3, 5, O, dtype=DOUBLE)
    a = agents("dt", config={"dropout": 0.9}).algorithm
    assert torch.equal(a.act(obs), made.algorithm.act(obs))  # same first weights


def splitmix(key: int, n: int) -> list[int]:
    """The generator in Python's unbounded integers, from the paper's listing; its 64 bits as four signed
    halves, lowest first."""
    mask, found, state = 2**64 - 1, [], key & (2**64 - 1)
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        halves = [(z >> s) & 0xFFFF for s in (0, 16, 32, 48)]
        found += [h - 2**16 if h >= 2**15 else h for h in halves]
    return found


def test_random_int16_are_splitmix64():
    # The first output for seed 1234567 as published with the reference implementation.
    known = [h & 0xFFFF for h in splitmix(1234567, 1)]
    assert sum(h << (16 * i) for i, h in enumerate(known)) == 6457827717110365317
    keys = Streams([1, 2**62]).words("x", 0, 1, 2)[0]
    keys = torch.cat([keys[:, 0] | (keys[:, 1] << 32), torch.tensor([-1, 0, 2**63 - 1])])
    ours = uniform_int16(keys, 41)
    assert ours.shape == (5, 41)
    for key, row in zip(keys.tolist(), ours.tolist()):
        assert row == splitmix(key, 11)[:41]


# ---- schedule, first weights


def test_the_learning_rate_rises_and_stays_also_after_a_resume(tmp_path):
    made = agents("dt", config={"warmup": 10, "actor_lr": 1e-3}, dtype=torch.float32)
    rates = made.algorithm.noise(made.streams, 0, 12)["actor_lr"]
    expected = torch.tensor([min((t + 1) / 10, 1) * 1e-3 for t in range(12)])
    torch.testing.assert_close(rates, expected)
    assert torch.equal(made.algorithm.noise(made.streams, 7, 3)["actor_lr"], rates[7:10])
    made.engine.run(0, 6)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, made.algorithm.tensors(), {})
    other = agents("dt", config={"warmup": 10, "actor_lr": 1e-3}, dtype=torch.float32)
    other.algorithm.load_tensors(load_checkpoint(path)[0])
    for each in (made, other):
        each.engine.run(6, 6)
        assert each.algorithm.optimizers["actor"].param_groups[0]["lr"] == rates[11]
    ours, theirs = snapshot(made.algorithm), snapshot(other.algorithm)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_first_weights_are_gpt2s():
    a = agents("dt", config={"width": 64, "horizon": 500}).algorithm
    for name, p in a.actor.named_parameters():
        if "norm" in name:
            assert (p == (1 if name.endswith("weight") else 0)).all(), name
        elif name.endswith("bias"):
            assert not p.any(), name
        else:
            for own in p.detach():
                n = own.numel()
                assert abs(own.std() / 0.02 - 1) < 4 / math.sqrt(2 * n), name
                assert abs(own.mean()) < 4 * 0.02 / math.sqrt(n), name
    assert not torch.equal(a.actor.embed_time[0], a.actor.embed_time[1])


# ---- configuration


@pytest.mark.parametrize(
    "overrides, field",
    [
        ({"context": 0}, "context"), ({"dropout": 1.0}, "dropout"), ({"dropout": -0.1}, "dropout"),
        ({"heads": 3}, "heads.*width"), ({"heads": 0}, "heads"), ({"depth": 0}, "depth"),
        ({"horizon": 0}, "horizon"), ({"warmup": 0}, "warmup"), ({"return_scale": 0.0}, "return_scale"),
        ({"max_norm": -1.0}, "max_norm"), ({"weight_decay": -1.0}, "weight_decay"), ({"width": 0}, "width"),
        ({"target_return": float("nan")}, "target_return"), ({"actor_lr": -1.0}, "actor_lr"),
        ({"context": 2.0}, "context"), ({"n_critics": 2}, "no field"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_fields_are_refused_by_name(overrides, field):
    with pytest.raises(ConfigError, match=field):
        algos.find("dt").config(overrides)


def test_plug_ins_have_nothing_to_act_on():
    with pytest.raises(ConfigError, match="dt has no critic"):
        algos.find("dt_rd")


def test_the_target_return_is_the_papers_else_the_best_episode_of_the_data():
    returns = DATA[0].episode_returns()
    for env_id, target in (
        ("Hopper-v5", 3600), ("HalfCheetah-v4", 12000), ("Walker2d-v5", 5000),
        ("AdroitHandPen-v1", 3100), ("AdroitHandDoor-v1", returns.max()), ("Ant-v5", returns.max()),
    ):  # fmt: skip
        assert Config().for_data(DATA[0], env_id).target_return == target
    assert Config(target_return=-7.0).for_data(DATA[0], "Hopper-v5").target_return == -7.0


def test_agents_of_one_batch_may_ask_for_different_returns():
    recipe = algos.find("dt")
    tiny = {k: v for k, v in TINY.items() if k in Config.__dataclass_fields__}
    configs = [recipe.config({**tiny, "target_return": r}) for r in (1.0, 2.0)]
    made = algos.build(recipe, configs, [None, None], Streams([0, 0]), O, U)
    assert made.target_return.tolist() == [[1.0], [2.0]]
    with pytest.raises(ConfigError, match="context.*separate batches"):
        other = recipe.config({**tiny, "context": 3})
        algos.build(recipe, [configs[0], other], [None, None], Streams([0, 1]), O, U)


# ---- from end to end


def test_a_run_records_its_target_and_its_policy_loads_and_plays_the_same(tmp_path):
    path = tmp_path / "data.hdf5"
    synthetic.write_hdf5(path)
    request = synthetic.asked(path, tmp_path / "run", algo="dt", variants=({}, {"target_return": 5.0}))
    assert [a.config.target_return for a in make_plan(request).agents] == [3600.0, 5.0]
    run = train(request, progress=False)
    assert [r.config["target_return"] for r in run.records] == [3600.0, 5.0]
    rows = run.records[0].evaluations
    assert [e["step"] for e in rows] == [0, 20, 40]
    assert all(np.isfinite(e["diagnostics"]["policy_data_distance"]) for e in rows)
    assert np.isfinite(rows[-1]["training"]["actor_loss"])
    policy = load_policy(tmp_path / "run")
    obs, reward = torch.randn(2, 3, 11), torch.ones(2, 3)
    ours, theirs = run.algorithm.player(3), policy.algorithm.player(3)
    with torch.no_grad():
        for k in range(6):
            assert torch.equal(ours(obs + k, k * reward), theirs(obs + k, k * reward))


def test_it_does_what_led_to_the_return_that_is_asked_for():
    """Half of the episodes go right and earn 1 a step, half go left and earn -1: cloning would stand
    still, a return of ±5 says which way."""
    n = 600
    way = np.repeat(np.random.default_rng(0).choice([-1.0, 1.0], n // 5), 5)
    last = np.arange(n) % 5 == 4
    d = dataset(
        0, n, act=np.stack([0.9 * way, 0 * way], 1), rew=way, last=last, terminal=np.zeros(n, dtype=bool)
    )
    made = agents("dt", (0, 1), data=[d], dtype=torch.float32, config={
        "context": 5, "width": 16, "return_scale": 5.0, "actor_lr": 3e-3, "warmup": 20,
    })  # fmt: skip
    a = made.algorithm
    a.target_return.copy_(torch.tensor([[5.0], [-5.0]]))
    first = made.engine.run(0, 1)["actor_loss"]
    made.engine.run(1, 250)
    assert (made.engine.run(251, 20)["actor_loss"] < 0.2 * first).all()
    play, reward = a.player(20), torch.zeros(2, 20)
    with torch.no_grad():
        for _ in range(5):
            act = play(torch.randn(2, 20, O, generator=torch.Generator().manual_seed(1)), reward)
            assert (act[0, :, 0] > 0.5).all() and (act[1, :, 0] < -0.5).all()
            assert act[..., 1].abs().max() < 0.3
            reward = act[..., 0].sign()
