"""One tester over every algorithm, plain and with each plug-in: what all of them must do."""

import copy

import pytest
import torch
from helpers.synthetic import DATA, DOUBLE, TINY, O, U, agents, fields, one_update, snapshot

from rdlib import algos, ntk
from rdlib.engine import hardware
from rdlib.engine.config import ConfigError
from rdlib.engine.rng import Streams
from rdlib.training.checkpoint import load_checkpoint, save_checkpoint

NAMES = [*algos.names(), "td3n_ln_rd", "sacn_ln_dr3"]
WITH_CRITIC = [n for n in NAMES if algos.find(n).entry.critic]
BASES = [n for n, entry in algos.ALGORITHMS.items() if entry.critic]
every = pytest.mark.parametrize("name", NAMES)
cuda = pytest.param("cuda", marks=pytest.mark.gpu("every algorithm's update on a GPU"))


def assert_same(ours: dict, theirs: dict, what: str = "") -> None:
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), f"{what}{key}"


def agent_of(tensors: dict, i: int) -> dict:
    """Agent i's slices; optimisers' step counters are common to all."""
    return {k: v[i] if v.dim() else v for k, v in tensors.items()}


@every
@pytest.mark.parametrize("device", ["cpu", cuda])
def test_updates_report_finite_metrics_of_every_agent_and_move_every_weight(name, device):
    made = agents(name, dtype=torch.float32, device=device)
    before = snapshot(made.algorithm)
    metrics = made.engine.run(0, 6)
    assert metrics
    for key, value in metrics.items():
        assert value.shape == (3,) and value.isfinite().all(), key
        assert value.device.type == device
    for key, value in agent_of(snapshot(made.algorithm), 0).items():
        assert value.isfinite().all(), key
        # Single biases may sit behind dead units, whole tensors may not stay.
        assert key.startswith("optim") or not torch.equal(value, before[key][0]), key


@every
def test_products_in_bfloat16_leave_weights_and_moments_in_float32(name):
    rounded, exact = agents(name, dtype=torch.float32), agents(name, dtype=torch.float32)
    exact.engine.run(0, 6)
    hardware.use_matmul("bf16")
    metrics = rounded.engine.run(0, 6)
    assert all(m.isfinite().all() and m.dtype == torch.float32 for m in metrics.values())
    theirs = snapshot(exact.algorithm)
    for key, value in snapshot(rounded.algorithm).items():
        assert value.dtype == torch.float32 and value.isfinite().all(), key
        if key.startswith("net/"):
            assert (value - theirs[key]).abs().max() < 0.05, key  # six steps of 3e-4 or 1e-3 each
    assert any(not torch.equal(v, theirs[k]) for k, v in snapshot(rounded.algorithm).items())


def what_a_plug_in_sees(name: str, weight: float = 0.0, **altered: float) -> dict:
    """What an update hands to its plug-in, and the critic's gradient, with a penalty of `weight` times
    the mean square of the features. Nothing moves; targets are other networks than the trained ones.
    `altered`: what to add to a field of the batch or to all weights of a network."""
    still = ("actor_lr", "critic_lr", "value_lr", "alpha_lr", "tau", "max_grad_norm")
    made = agents(name, config=fields(algos.find(name).entry.config, dict.fromkeys(still, 0.0)))
    a, gather, seen = made.algorithm, made.engine.gather, {}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, p in a.named_parameters():
            p += 0.3 * torch.randn(p.shape, dtype=DOUBLE, generator=generator)
            p += altered.get(key.split(".")[0], 0.0)

    def gather_altered(rows):
        batch = gather(rows)
        return batch._replace(**{k: v + altered[k] for k, v in batch._asdict().items() if k in altered})

    def penalty(critic, batch, features, policy, next_action, noise, phase, loss):
        mine = weight * features.square().mean((2, 3))  # (A,E)
        seen.update(features=features, policy=policy(batch.obs), next_action=next_action)
        seen["the critic's own"] = critic(batch.obs, batch.act)[1]
        seen["slope"] = torch.autograd.grad(
            mine.sum(), list(critic.parameters()), retain_graph=True, materialize_grads=True
        )
        return mine, {}

    made.engine.gather, a.plugin.penalty = gather_altered, penalty
    one_update(made, 0)
    return seen | {"gradient": [p.grad for p in a.critic.parameters()]}


@pytest.mark.parametrize("plugin", ["rd", "dr3"])
@pytest.mark.parametrize("base", BASES)
def test_a_plug_in_sees_the_data_s_features_the_policy_and_the_backup_s_action(base, plugin):
    name = f"{base}_{plugin}"
    plain, added = what_a_plug_in_sees(name), what_a_plug_in_sees(name, weight=7.0)
    assert torch.equal(plain["features"], plain["the critic's own"])
    for without, with_it, slope in zip(plain["gradient"], added["gradient"], added["slope"], strict=True):
        torch.testing.assert_close(with_it - without, slope)
    assert any(slope.abs().max() > 0.01 for slope in added["slope"])
    targets = hasattr(agents(name).algorithm, "actor_target")
    for altered, moved in {
        "act": {"features"}, "next_obs": {"next_action"}, "obs": {"features", "policy"},
        "actor": {"policy"} if targets else {"policy", "next_action"},
        **({"actor_target": {"next_action"}} if targets else {}),
    }.items():  # fmt: skip
        now = what_a_plug_in_sees(name, **{altered: 0.1})
        differ = {k for k in ("features", "policy", "next_action") if not torch.equal(now[k], plain[k])}
        assert differ == moved, altered


@every
def test_actions_are_bounded_and_shaped_and_evaluation_draws_nothing(name):
    algorithm = agents(name).algorithm
    obs = 100 * torch.randn(3, 7, O, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    act = algorithm.act(obs)
    assert act.shape == (3, 7, U) and act.abs().max() <= 1
    assert torch.equal(act, algorithm.act(obs))
    assert torch.equal(state, torch.random.get_rng_state())


@every
def test_training_is_deterministic_and_independent_of_updates_per_call(name):
    first, second, third = (agents(name, dtype=torch.float32) for _ in range(3))
    torch.manual_seed(1)
    first.engine.run(0, 10)
    torch.manual_seed(2)  # the global generator must not matter
    second.engine.run(0, 10)
    for step, count in ((0, 1), (1, 2), (3, 7)):
        third.engine.run(step, count)
    assert_same(snapshot(first.algorithm), snapshot(second.algorithm))
    assert_same(snapshot(first.algorithm), snapshot(third.algorithm))


@every
@pytest.mark.parametrize("dtype, steps, tolerance", [(DOUBLE, 50, 1e-10), (torch.float32, 5, 1e-4)])
def test_agent_of_a_batch_equals_the_agent_alone(name, dtype, steps, tolerance):
    """Different seeds, datasets and hyperparameters ride on A without touching each other."""
    together = agents(name, dtype=dtype)
    metrics = together.engine.run(0, steps)
    tensors = together.algorithm.tensors()
    for i in range(3):
        alone = agents(name, (i,), dtype=dtype)
        metrics_alone = alone.engine.run(0, steps)
        for key, value in alone.algorithm.tensors().items():
            mine = tensors[key][i] if value.dim() else tensors[key]
            torch.testing.assert_close(
                mine, value[0] if value.dim() else value, rtol=tolerance, atol=tolerance,
                msg=lambda m, key=key, i=i: f"agent {i}, {key}: {m}",
            )  # fmt: skip
        for key, value in metrics_alone.items():
            torch.testing.assert_close(metrics[key][i], value[0], rtol=1e-3, atol=tolerance)


ENSEMBLES = [n for n in NAMES if "n_critics" in algos.find(n).entry.agent.own]


@pytest.mark.parametrize(
    "name, more, plugin",
    [
        *((name, {}, {}) for name in ENSEMBLES), ("td3n", {"target": "min"}, {}),
        ("edac", {"target": "lcb", "max_q_backup": 2}, {}), ("sacn_rd", {}, {"objective": "std"}),
    ],
    ids=str,
)  # fmt: skip
def test_agents_with_ensembles_of_different_sizes_equal_agents_alone(name, more, plugin):
    """Also N = 1, where one critic makes sense."""
    sizes = {"n_critics": (2, 5, 3) if name.startswith("edac") else (1, 5, 3)}
    together = agents(name, config=more, plugin=plugin, each=sizes)
    start, metrics = snapshot(together.algorithm), together.engine.run(0, 30)
    tensors = snapshot(together.algorithm)
    obs = torch.linspace(-1, 1, 3 * 7 * O, dtype=DOUBLE).view(3, 7, O)
    act = torch.linspace(-1, 1, 3 * 7 * U, dtype=DOUBLE).view(3, 7, U)
    found = ntk.diagnose(together.algorithm.critic, obs, act, together.algorithm.act(obs))
    for i in range(3):
        alone = agents(name, (i,), config=more, plugin=plugin, each=sizes)
        assert alone.algorithm.critic.active is None
        metrics_alone = alone.engine.run(0, 30)
        for key, value in alone.algorithm.tensors().items():
            mine = tensors[key]
            if value.dim():
                mine = mine[i][tuple(map(slice, value[0].shape))]
                value = value[0]
            torch.testing.assert_close(mine, value, rtol=1e-10, atol=1e-10, msg=f"{i}, {key}")
        for key, value in metrics_alone.items():
            torch.testing.assert_close(metrics[key][i], value[0], rtol=1e-8, atol=1e-10)
        theirs = ntk.diagnose(
            alone.algorithm.critic, obs[i : i + 1], act[i : i + 1], alone.algorithm.act(obs[i : i + 1])
        )
        for key, value in theirs.items():
            torch.testing.assert_close(found[key][i], value[0], rtol=1e-8, atol=1e-10)
    first = start["net/critic.net.head.weight"][0, -1]  # of agent 0, not its own
    assert torch.equal(tensors["net/critic.net.head.weight"][0, -1], first)


@pytest.mark.parametrize("name", WITH_CRITIC)
def test_own_hyperparameters_are_really_used(name):
    """Without this, the test above would pass if every agent took the first one's."""
    own, same = agents(name), agents(name, own=False)
    own.engine.run(0, 5)
    same.engine.run(0, 5)
    first, second = snapshot(own.algorithm), snapshot(same.algorithm)
    for i in (0, 2):  # agent 1 has the defaults' β
        key = "net/critic.net.head.weight"
        assert not torch.equal(first[key][i], second[key][i]), i


@every
def test_float32_equals_float64_to_its_rounding(name):
    """The same draws and starts, so the same losses; later updates amplify what rounding makes."""
    single, double = agents(name, dtype=torch.float32), agents(name)
    ours, theirs = single.engine.run(0, 2), double.engine.run(0, 2)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].dtype == torch.float32 and value.dtype == DOUBLE
        torch.testing.assert_close(
            ours[key].double(), value, rtol=2e-3, atol=1e-4, msg=f"{key}: {{}}".format
        )


@pytest.mark.gpu("batched float64 training on a GPU against the CPU's")
@every
def test_gpu_equals_cpu(name):
    ours, theirs = agents(name, dtype=DOUBLE, device="cuda"), agents(name)
    ours.engine.run(0, 20)
    theirs.engine.run(0, 20)
    for key, value in theirs.algorithm.tensors().items():
        torch.testing.assert_close(ours.algorithm.tensors()[key].cpu(), value, rtol=1e-8, atol=1e-8)


@every
def test_saved_and_loaded_agents_go_on_as_if_never_stopped(name, tmp_path):
    made = agents(name, dtype=torch.float32)
    made.engine.run(0, 7)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, made.algorithm.tensors(), {"a": 1})
    other = agents(name, (2, 1, 0), dtype=torch.float32)  # starts as somebody else
    other.engine.run(0, 3)
    tensors, note = load_checkpoint(path)
    assert note["a"] == 1
    other.algorithm.load_tensors(tensors)
    assert_same(snapshot(other.algorithm), snapshot(made.algorithm))
    resumed = agents(name, dtype=torch.float32)
    resumed.algorithm.load_tensors(tensors)
    resumed.engine.run(7, 5)
    made.engine.run(7, 5)
    assert_same(snapshot(resumed.algorithm), snapshot(made.algorithm))


@every
def test_an_agent_that_has_not_moved_loads_its_lack_of_moments(name):
    """A checkpoint is also written before the first update."""
    start, moved = agents(name), agents(name)
    moved.engine.run(0, 4)
    moved.algorithm.load_tensors(snapshot(start.algorithm))
    moved.engine.run(0, 4)
    start.engine.run(0, 4)
    assert_same(snapshot(moved.algorithm), snapshot(start.algorithm))


def missing_weight(t):
    del t[next(k for k in t if k.startswith("net/"))]


def wrong_weight(t):
    key = next(k for k in t if k.startswith("net/"))
    t[key] = t[key][:1]


def unknown_weight(t):
    t["net/nobody"] = torch.zeros(1)


def wrong_moment(t):
    key = next(k for k in t if k.endswith("exp_avg"))
    t[key] = t[key][:1]


def missing_moment(t):
    key = next(k for k in t if k.startswith("optim/"))
    prefix = key.rsplit("/", 1)[0]
    for key in [k for k in t if k.startswith(prefix + "/")]:
        del t[key]


@every
@pytest.mark.parametrize(
    "damage", [missing_weight, wrong_weight, unknown_weight, wrong_moment, missing_moment]
)
def test_tensors_that_do_not_fit_are_refused(name, damage):
    made = agents(name)
    made.engine.run(0, 2)
    tensors = snapshot(made.algorithm)
    damage(tensors)
    with pytest.raises((KeyError, RuntimeError)):
        made.algorithm.load_tensors(tensors)


# ---- gradients


@every
def test_each_optimiser_sees_gradients_of_its_own_parameters_only(name, monkeypatch):
    """At each step of an optimiser the parameters with a gradient are exactly its own: no loss leaks
    into a network that another loss trains, and target networks get none."""
    algorithm = (made := agents(name)).algorithm
    names = {id(p): n for n, p in algorithm.named_parameters()}
    seen: list[str] = []
    for label, optimizer in algorithm.optimizers.items():
        own = {names[id(p)] for g in optimizer.param_groups for p in g["params"]}

        def step(label=label, own=own, real=optimizer.step):
            found = {n for n, p in algorithm.named_parameters() if p.grad is not None}
            assert found == own, f"{label}: {found ^ own}"
            assert all(p.grad.isfinite().all() for n, p in algorithm.named_parameters() if n in own)
            seen.append(label)
            real()
            for p in algorithm.parameters():
                p.grad = None

        monkeypatch.setattr(optimizer, "step", step)
    for k in range(4):
        one_update(made, k)
        assert not any(p.requires_grad for n, p in algorithm.named_parameters() if "target" in n)
        assert all(p.requires_grad for n, p in algorithm.named_parameters() if "target" not in n)
    assert set(seen) == set(algorithm.optimizers)


@every
def test_every_parameter_belongs_to_one_optimiser_or_a_target_network(name):
    algorithm = agents(name).algorithm
    owned = [id(p) for o in algorithm.optimizers.values() for g in o.param_groups for p in g["params"]]
    assert len(owned) == len(set(owned))
    learned = {id(p) for n, p in algorithm.named_parameters() if "target" not in n}
    assert set(owned) == learned


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("td3n")])
def test_the_actor_and_the_targets_wait_for_their_turn(name):
    made = agents(name)
    one_update(made, 0)
    before = snapshot(made.algorithm)
    one_update(made, 1)
    after = snapshot(made.algorithm)
    for key in before:
        waits = key.startswith(("net/actor", "net/critic_target", "optim/actor"))
        waits |= key.startswith(("net/plugin.actor", "optim/ood"))
        if waits or key.startswith("net/critic."):
            assert torch.equal(before[key], after[key]) == waits, key


@pytest.mark.parametrize("name", ["td3n_rd", "sacn_rd"])
def test_the_update_of_pi_ood_touches_nothing_else(name):
    made = agents(name)
    algorithm, plugin = made.algorithm, made.algorithm.plugin
    batch, _, _ = one_update(made, 0)
    before = snapshot(algorithm)
    plugin.update_ood(algorithm.critic, batch.obs, batch.act, algorithm.act(batch.obs).detach())
    after = snapshot(algorithm)
    for key in before:
        own = key.startswith(("net/plugin.actor", "optim/ood"))
        assert own or torch.equal(before[key], after[key]), key
    assert not torch.equal(
        before["net/plugin.actor.net.head.weight"], after["net/plugin.actor.net.head.weight"]
    )
    assert all(p.grad is None or p.grad.eq(0).all() for p in algorithm.critic_target.parameters())
    assert all(p.requires_grad for p in algorithm.critic.parameters())


# ---- one agent's trouble is its own


@every
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e38], ids=str)
def test_poison_in_one_agents_data_leaves_the_others_bit_identical(name, value):
    def poisoned(gather):
        def call(indices):
            found = gather(indices)
            batch = type(found)(*(x.clone() for x in found))
            for x in batch:
                if x.is_floating_point():  # timesteps and flags hold no such values
                    x[1] = value
            return batch

        return call

    healthy = agents(name, dtype=torch.float32)
    sick = agents(name, dtype=torch.float32, gather=poisoned)
    expected, metrics = healthy.engine.run(0, 8), sick.engine.run(0, 8)
    first, second = snapshot(healthy.algorithm), snapshot(sick.algorithm)
    for i in (0, 2):
        assert_same(agent_of(first, i), agent_of(second, i), f"agent {i}, ")
        for key in expected:
            assert torch.equal(expected[key][i], metrics[key][i]), key
    assert not all(torch.isfinite(m[1]) for m in metrics.values())


# ---- the plug-in off is the base


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("plugin", ["rd", "dr3"])
def test_a_plug_in_of_weight_zero_is_bit_for_bit_the_base(base, plugin):
    plain = agents(base, dtype=torch.float32, own=False)
    off = agents(f"{base}_{plugin}", dtype=torch.float32, own=False, plugin={"weight": 0.0})
    on = agents(f"{base}_{plugin}", dtype=torch.float32, own=False, plugin={"weight": 0.1})
    for made in (plain, off, on):
        made.engine.run(0, 30)
    ours, theirs, moved = (snapshot(x.algorithm) for x in (plain, off, on))
    assert set(ours) <= set(theirs)
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
    assert not torch.equal(ours["net/critic.net.head.weight"], moved["net/critic.net.head.weight"])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("ood", ["learned", "noise", "uniform"])
def test_a_plug_in_does_not_disturb_the_base_s_random_numbers(base, ood):
    plain, with_rd = agents(base), agents(f"{base}_rd", plugin={"ood": ood})
    before, after = snapshot(plain.algorithm), snapshot(with_rd.algorithm)
    for key in before:
        assert torch.equal(before[key], after[key]), key
    ours = plain.algorithm.noise(plain.streams, 3, 4)
    theirs = with_rd.algorithm.noise(with_rd.streams, 3, 4)
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key


def test_no_plug_in_means_none():
    assert agents("td3n").algorithm.plugin is None


# ---- names and configurations


def test_names_are_found_and_unknown_ones_list_the_near():
    for name in NAMES:
        assert algos.find(name).name == name
    assert algos.find("td3n_rd_ln") == algos.find("td3n_ln_rd")  # one algorithm, one name
    for bad, near in (
        ("td3n_rdd", "td3n_rd"), ("td3m", "td3n"), ("sac_n", "sacn"), ("td3n_rd_dr3", "td3n_rd"),
        ("td3n_rd_rd", "td3n_rd"), ("", "near: "), ("TD3N", "near: "), (None, "near: "), (3, "near: "),
        ("td3n_", "td3n"), ("_rd", "td3n_rd"), ("diffusion", "diffusion_ql"),
        ("diffusion_rd", "diffusion_ql_rd"), ("diffusion_ql_", "diffusion_ql"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="no algorithm") as error:
            algos.find(bad)
        assert near in str(error.value), bad
    with pytest.raises(ConfigError, match="bc has no critic"):
        algos.find("bc_rd")


@pytest.mark.parametrize("name", WITH_CRITIC)
def test_layer_norm_is_on_exactly_where_the_name_says(name):
    keys = agents(name).algorithm.state_dict()
    assert any(k.startswith("critic.net.norms") for k in keys) == ("_ln" in name)


BAD = [
    ("td3n", {"beta": True}, "beta"), ("td3n", {"critic_lr": "3e-4"}, "critic_lr"),
    ("td3n", {"n_critics": 2.0}, "n_critics"), ("td3n", {"n_critics": True}, "n_critics"),
    ("td3n", {"layer_norm": 1}, "layer_norm"), ("td3n", {"betta": 1.0}, "beta"),
    ("td3n", {"n_critics": 0}, "n_critics"), ("td3n", {"target": "mean"}, "target"),
    ("td3n", {"beta": -1.0}, "beta"), ("td3n", {"beta": float("nan")}, "beta"),
    ("td3n", {"beta": float("inf")}, "beta"), ("td3n", {"policy_delay": 0}, "policy_delay"),
    ("td3n", {"critic_lr": -1e-3}, "critic_lr"), ("td3n", {"gamma": 1.5}, "gamma"),
    ("td3n", {"tau": -0.1}, "tau"), ("td3n", {"batch_size": 0}, "batch_size"),
    ("td3n", {"width": 0}, "width"), ("bc", {"actor_width": -1}, "actor_width"),
    ("bc", {"batch_size": None}, "batch_size"), ("sacn", {"alpha_lr": -1.0}, "alpha_lr"),
    ("td3n_ln", {"layer_norm": False}, "layer_norm"), ("td3n", {7: 1}, "7"),
]  # fmt: skip


@pytest.mark.parametrize("name, overrides, field", BAD, ids=str)
def test_bad_fields_are_refused_by_name(name, overrides, field):
    with pytest.raises(ConfigError, match=field):
        algos.find(name).config(overrides)


@pytest.mark.parametrize(
    "overrides, field",
    [
        ({"stages": "third"}, "stages"), ({"weight": True}, "weight"), ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"), ({"sigma": 0.0}, "sigma"), ({"wieght": 1.0}, "weight"),
        ({"states": -1}, "states"), ({"ood_every": 0}, "ood_every"), ({"every": 0}, "every"),
        ({"ood": "best"}, "ood"), ({"kernel": "ntk"}, "kernel"), ({"magnitude": ""}, "magnitude"),
        ({"switch": None}, "switch"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_fields_of_the_plug_in_are_refused_by_name(overrides, field):
    with pytest.raises(ConfigError, match=field):
        algos.find("td3n_rd").plugin_config(overrides)


def test_plug_in_fields_without_a_plug_in_are_refused():
    with pytest.raises(ConfigError, match="weight.*td3n_rd"):
        algos.find("td3n").plugin_config({"weight": 1.0})


def test_one_and_one_point_zero_are_the_same_configuration():
    assert repr(algos.find("td3n").config({"beta": 2})) == repr(algos.find("td3n").config({"beta": 2.0}))


def test_structure_must_be_shared_and_the_message_names_the_field():
    recipe = algos.find("td3n")
    configs = [recipe.config({**fields(recipe.entry.config, TINY), "width": w}) for w in (8, 16)]
    with pytest.raises(ConfigError, match="width.*separate batches"):
        algos.build(recipe, configs, [None, None], Streams([0, 1]), O, U)
    with pytest.raises(ConfigError, match="2 configurations for 1"):
        algos.build(recipe, [configs[0]] * 2, [None, None], Streams([0]), O, U)


@pytest.mark.parametrize("name", WITH_CRITIC)
@pytest.mark.parametrize("config", [{"n_critics": 1}, {"target": "min"}, {"depth": 1}], ids=str)
def test_edges_of_the_configuration_train(name, config):
    """One critic has no deviation: its gradient must be 0, not NaN."""
    if name.startswith("edac") and config == {"n_critics": 1}:
        pytest.skip("refused: the diversity of one critic is not defined")
    made = agents(name, config=fields(algos.find(name).entry.config, config))
    metrics = made.engine.run(0, 5)
    assert all(m.isfinite().all() for m in metrics.values())
    assert all(v.isfinite().all() for v in made.algorithm.tensors().values())


def test_both_datasets_are_in_use():
    made = agents("bc")
    assert made.transitions.sizes.tolist() == [len(DATA[0]), len(DATA[1]), len(DATA[0])]


def test_an_algorithm_can_be_copied():
    """Fast paths and diagnostics copy agents; a copy must not share weights."""
    made = agents("td3n_rd")
    other = copy.deepcopy(made.algorithm)
    before = snapshot(other)
    made.engine.run(0, 2)
    assert_same(before, snapshot(other))
