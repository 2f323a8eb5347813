"""The bundled datasets: this project's own behaviour policies, rolled out on first use.

The policies are `policies/<environment>.safetensors`; `workflow/behaviour_policies.py` trained them.
By D4RL's protocol (Fu et al. 2020, arXiv 2004.07219, appendix):

    random          actions sampled from the untrained policy
    medium          … from a policy stopped half-way (D4RL: at a third of the expert's return; ours
                    scores what D4RL's medium data score)
    expert          … from the best policy
    medium-expert   the two, half each
    medium-replay   … from snapshots of the learner on its way to medium, in proportion to the
                    steps it took with them: what its replay buffer saw

and for the pen, whose data in D4RL begin with a human's hand, which ours do not:

    demos           25 episodes of a policy of middling skill, with the noise that it explored with
    cloned          those episodes, copied, and as many steps of a policy cloned from them, half each

Rolling out is deterministic: a dataset is a function of policies, size and simulator, and not of the CPU's
matrix products. In float32 these differ from CPU to CPU in the last bit, which a simulation amplifies to
other episodes; so policies act in float64, and actions are rounded to a grid far coarser than its last bit.
"""

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from filelock import FileLock
from safetensors import safe_open
from tqdm import tqdm

from rdlib.data import environments
from rdlib.data.bundled import VERSION, policies_folder
from rdlib.data.checks import DataError, disk_error
from rdlib.data.dataset import Dataset, cache_root
from rdlib.data.readers import minari
from rdlib.data.readers.episodes import Episode
from rdlib.data.readers.minari_writer import write_minari
from rdlib.engine import hardware
from rdlib.engine.nets import GaussianActor, Initialiser
from rdlib.engine.rng import Streams

LOCOMOTION = ("random", "medium", "medium-replay", "medium-expert", "expert")
DEXTEROUS = ("demos", "cloned")
DEMOS = 25  # episodes, as many as D4RL's human demonstrations
COPIES = 64  # environments stepped together; part of what a dataset is a function of
GRID = 2.0**-16  # what actions are rounded to; float32 holds its multiples exactly
REPLAY_SIZES = {"hopper": 402_000, "halfcheetah": 202_000, "walker2d": 302_000}  # D4RL's; version 2
PART_SEEDS = {"random": 1, "medium": 2, "medium-replay": 3, "expert": 4, "demonstrator": 5, "clone": 6}


def bundled_environments(version: int = VERSION) -> list[str]:
    """Environments with bundled policies, by short name."""
    return sorted(path.stem for path in policies_folder(version).glob("*.safetensors"))


def qualities(environment: str, version: int = VERSION) -> tuple[str, ...]:
    """The bundled datasets of an environment: of version 2 those whose policies are chosen."""
    if environment == "pen":
        return DEXTEROUS
    return LOCOMOTION if version == 1 else tuple(about(environment, version)["qualities"])


@functools.cache
def about(environment: str, version: int = VERSION) -> dict[str, Any]:
    """How the policies of `environment` were trained, and their measured returns."""
    with safe_open(policies_folder(version) / f"{environment}.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["about"])


def policy(environment: str, name: str, version: int = VERSION) -> GaussianActor:
    """One bundled policy: "random", "medium", "expert" or "replay/K", the pen's "demonstrator" or "clone".
    Inputs and actions are raw."""
    prefix = f"{name}/"
    with safe_open(policies_folder(version) / f"{environment}.safetensors", framework="pt") as file:
        found = [k for k in file.keys() if k.startswith(prefix)]
        state = {k.removeprefix(prefix): file.get_tensor(k) for k in found}
    if not state:
        raise DataError(f"{environment} has no bundled policy {name!r}")
    return actor_like(state)


def actor_like(state: dict[str, torch.Tensor]) -> GaussianActor:
    """The actor whose `state_dict` is `state`."""
    first, head = state["net.hidden.0.weight"], state["net.head.weight"]
    depth = sum(name.endswith(".weight") for name in state) - 1
    actor = GaussianActor(
        Initialiser(Streams([0]), "overwritten"),
        first.shape[-2],
        head.shape[-1] // 2,
        first.shape[-1],
        depth,
    )
    actor.load_state_dict(state)
    return actor


def roll_out(
    actor: GaussianActor,
    env_id: str,
    size: int,
    seed: int,
    bar: tqdm | None = None,
    max_episode_steps: int | None = None,
) -> Iterator[Episode]:
    """Episodes of sampled actions, `size` transitions in all (the last episode is cut to fit), of at most
    `max_episode_steps` (default: the environment's own limit). `actor` is in float64.

    Episodes count in the order they began, whichever ends first: to stop at `size` completed steps
    instead would favour short ones.
    """
    env = environments.make(env_id, COPIES, max_episode_steps)
    streams = Streams([seed])
    running: list[dict[str, Any]] = [{} for _ in range(COPIES)]
    finished: dict[int, Episode] = {}
    lengths: list[int] = []  # of the episodes so far, in the order they began
    total = step = 0
    active = np.ones(COPIES, dtype=bool)
    obs = env.reset([0] * COPIES)

    def begin(slot: int) -> np.ndarray:
        number = len(lengths)
        episode_seed = 10_000_000 * seed + number
        obs = env.reset([episode_seed], [slot])
        running[slot] = {"number": number, "seed": episode_seed, "obs": [obs[slot]], "act": [], "rew": []}
        lengths.append(0)
        return obs

    for slot in range(COPIES):
        obs = begin(slot)
    while active.any():
        noise = streams.normal("roll-out", step, 1, (COPIES, env.act_dim), torch.float64)[0]
        with torch.no_grad():
            actions = actor(torch.from_numpy(obs).double()[None], noise)[0][0].numpy()
        actions = (np.round(actions / GRID) * GRID).astype(np.float32)
        obs, rewards, terminated, truncated = env.step(actions, active)
        step += 1
        if bar is not None:
            bar.update(max(0, min(int(active.sum()), size - total)))
        total += int(active.sum())
        for slot in np.flatnonzero(active).tolist():
            episode = running[slot]
            episode["obs"].append(obs[slot])
            episode["act"].append(actions[slot])
            episode["rew"].append(rewards[slot])
            lengths[episode["number"]] += 1
            if terminated[slot] or truncated[slot]:
                finished[episode["number"]] = _episode(episode, bool(terminated[slot]))
                if total < size:  # the episodes under way may already hold enough
                    obs = begin(slot)
                else:
                    active[slot] = False
        if total >= size:  # an episode stops where it and all before it hold enough
            reached = np.cumsum(lengths)
            for slot in np.flatnonzero(active).tolist():
                number = running[slot]["number"]
                if reached[number] >= size:
                    finished[number] = _episode(running[slot], False)
                    active[slot] = False
    env.close()
    yield from cut((finished.pop(number) for number in range(len(lengths))), size)


def cut(episodes: Iterable[Episode], size: int) -> Iterator[Episode]:
    """The first episodes, `size` transitions in all: the last one ends where that is reached."""
    left = size
    for whole in episodes if size else ():
        length = len(whole.rewards)
        if length > left:
            whole = Episode(
                whole.observations[: left + 1],
                whole.actions[:left],
                whole.rewards[:left],
                np.zeros(left, dtype=bool),
                np.arange(left) == left - 1,
                whole.seed,
            )
        yield whole
        left -= min(length, left)
        if not left:
            return


def _episode(episode: dict[str, Any], terminated: bool) -> Episode:
    length = len(episode["act"])
    end = np.arange(length) == length - 1
    return Episode(
        np.asarray(episode["obs"], dtype=np.float32),
        np.asarray(episode["act"], dtype=np.float32),
        np.asarray(episode["rew"], dtype=np.float32),
        end & terminated,
        end & (not terminated),
        episode["seed"],
    )


def default_size(environment: str, quality: str, version: int = VERSION) -> int:
    """Transitions of the whole dataset: D4RL's 1e6 (2e6 of medium-expert, 5e5 of cloned), and for
    medium-replay what the learner saw on its way to medium, in version 2 as many as D4RL's has."""
    if quality == "medium-replay":
        return about(environment)["medium"]["step"] if version == 1 else REPLAY_SIZES[environment]
    if quality in DEXTEROUS:
        return DEMOS * about(environment)["max_episode_steps"] if quality == "demos" else 500_000
    return 2_000_000 if quality == "medium-expert" else 1_000_000


def parts_of(
    environment: str, quality: str, size: int, version: int = VERSION
) -> list[tuple[str, int, int]]:
    """(policy, transitions, seed) of each part of a dataset that is rolled out."""
    if quality in DEXTEROUS:
        demos = ("demonstrator", min(size, default_size(environment, "demos")), PART_SEEDS["demonstrator"])
        return [demos] if quality == "demos" else [demos, ("clone", size - size // 2, PART_SEEDS["clone"])]
    if quality == "medium-expert":
        half = size // 2
        parts = [("medium", half, PART_SEEDS["medium"]), ("expert", size - half, PART_SEEDS["expert"])]
        return [part for part in parts if part[1]]
    if quality == "medium-replay":
        made = about(environment, version)
        until = np.linspace(0, size, len(made["replay"]) + 1)
        if weights := made.get("replay_weights"):  # of each snapshot, in all 1; none: equal
            until = (size * np.cumsum([0.0, *weights])).round(6)
        shares = np.diff(until.astype(int))
        seed = 1000 * PART_SEEDS[quality]
        return [(f"replay/{i}", int(n), seed + i) for i, n in enumerate(shares) if n]
    return [(quality, size, PART_SEEDS[quality])]


def dataset_id(environment: str, quality: str, size: int, version: int = VERSION) -> str:
    """Minari id of a roll-out; a size other than the default's is part of it."""
    short = "" if size == default_size(environment, quality, version) else f"-{size}"
    return f"rd/{environment}/{quality}{short}-v{version}"


def load(
    environment: str,
    quality: str,
    size: int | None = None,
    root: Path | str | None = None,
    progress: bool | None = None,
    version: int = VERSION,
) -> Dataset:
    """The bundled dataset, rolled out into the cache if it is not there yet.

    size: transitions (default: D4RL's). root: cache folder. Raises DataError where there is no such
    dataset or the cache cannot be written.
    """
    known, own = bundled_environments(version), version == VERSION
    if environment not in known or quality not in qualities(environment, version):
        theirs = qualities(environment, version) if environment in known else LOCOMOTION
        raise DataError(
            f"no bundled dataset {environment}-{quality}{'' if own else f' of version {version}'}; "
            f"environments: {', '.join(known)}; qualities: {', '.join(theirs)}"
        )
    size = default_size(environment, quality, version) if size is None else size
    if quality == "demos" and size > default_size(environment, quality):
        raise DataError(
            f"{environment}-demos: size is {size}; it has {DEMOS} episodes, "
            f"{default_size(environment, quality)} transitions"
        )
    base = Path(root) if root is not None else cache_root() / "minari"
    name = dataset_id(environment, quality, size, version)
    if not _rolled_out(base / name, environment, version):
        try:
            base.mkdir(parents=True, exist_ok=True)
            with FileLock(base / f".{environment}-{quality}-{size}.lock"):
                if not _rolled_out(base / name, environment, version):  # while this process waited
                    make(environment, quality, size, base, progress, version)
        except OSError as error:
            raise disk_error(f"rolling out {name}", base, error) from error
    return minari.read_minari(
        name,
        base,
        download=False,
        source="bundled",
        # Other versions go by their whole name, so that no record mixes them.
        name=f"{environment}-{quality}" if own else f"rd/{environment}/{quality}-v{version}",
        notes={"licence": "MIT", "author": "rdlib contributors"},
    )


def _algorithm(environment: str, version: int) -> str:
    """What made a roll-out, the policies by their digest."""
    content = (policies_folder(version) / f"{environment}.safetensors").read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    # The old name of the trainer stays: caches are recognised by this string.
    return f"SAC (rdlib.online, policies {digest}), actions sampled"


def _rolled_out(folder: Path, environment: str, version: int) -> bool:
    """Whether `folder` holds a roll-out, and of these policies: others' is replaced."""
    try:
        metadata = json.loads((folder / "data" / "metadata.json").read_text())
    except (OSError, ValueError):
        return False
    return metadata.get("algorithm_name") == _algorithm(environment, version)


def episodes(
    environment: str, quality: str, size: int, progress: bool | None = None, version: int = VERSION
) -> Iterator[Episode]:
    """The episodes of a bundled dataset, rolled out by a few cores."""
    made = about(environment, version)
    limit = made.get("max_episode_steps")  # where it is not the environment's own
    parts = parts_of(environment, quality, size, version)
    label = f"rolling out {dataset_id(environment, quality, size, version)}"
    total = sum(count for _, count, _ in parts)
    disable = None if progress is None else not progress
    with tqdm(total=total, desc=label, unit="step", disable=disable) as bar, hardware.plain_matmul():
        for part, count, seed in parts:
            actor = policy(environment, part, version).double()
            found = roll_out(actor, made["env_id"], count, seed, bar, limit)
            if quality == "cloned" and part == "demonstrator":  # copied until they are half of it
                found = cut(itertools.cycle(list(found)), size // 2)
            yield from found


def make(
    environment: str,
    quality: str,
    size: int,
    base: Path,
    progress: bool | None = None,
    version: int = VERSION,
) -> Path:
    """Roll a dataset out into `base`; returns its folder."""
    made, name = about(environment, version), dataset_id(environment, quality, size, version)
    return write_minari(
        name,
        base,
        episodes(environment, quality, size, progress, version),
        made["env_id"],
        max_episode_steps=made.get("max_episode_steps"),
        description=f"{environment}, {quality}, {size} steps of rdlib's own behaviour policies by "
        "D4RL's protocol; a stand-in, not D4RL's data",
        author="rdlib contributors",
        algorithm=_algorithm(environment, version),
        license="MIT",
        requirements=[f"mujoco=={mujoco.__version__}"],
    )
