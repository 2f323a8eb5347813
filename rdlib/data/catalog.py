"""Dataset names, where they lead, and D4RL's reference scores.

Accepted everywhere: `hopper-medium` or `rd/hopper/medium-v1` (bundled), `rd/hopper/medium-v2` (bundled, of
newer policies), `pen-demos` (bundled; there is
no bundled `pen-human`, since no human made it), `door-human` or `D4RL/door/human-v2` (bundled),
`d4rl/hopper-medium-v2` (downloaded), a path to an .hdf5 or .npz file or a Minari folder, and any other
Minari id.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdlib.data.bundled import VERSION, statistics
from rdlib.data.checks import DataError, NotFoundError
from rdlib.data.dataset import Dataset
from rdlib.data.env_spec import EnvSpec
from rdlib.data.readers import d4rl, minari, npz

# (min, max): mean returns of a random and an expert policy, from D4RL's d4rl/infos.py. They are the
# same for every version of a dataset, and are used for every version of the environment.
REFERENCE_SCORES = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
    "pen": (96.262799, 3076.8331017826877),
    "door": (-56.512833, 2880.5693087298737),
}
GYM_QUALITIES = ("random", "medium", "medium-replay", "medium-expert", "expert")
DOOR_HUMAN = "D4RL/door/human-v2"

# Mean episode return of D4RL's v2 files, as tabulated in public Decision Transformer code; where no
# table was at hand there is None. To be checked against the files themselves wherever they are
# read.
_MEAN_RETURN = {
    "halfcheetah-random": -288.79712,
    "halfcheetah-medium": 4770.335,
    "halfcheetah-expert": 10656.426,
    "hopper-random": 18.398905,
    "hopper-medium": 1422.0562,
    "hopper-expert": 3511.3577,
    "walker2d-random": 1.871351,
    "walker2d-medium": 2852.0884,
    "walker2d-expert": 4920.507,
}


@dataclass(frozen=True)
class PaperDataset:
    """One dataset of the paper's tables, or door-human, and the forms in which it can be had."""

    name: str  # hopper-medium
    environment: str  # hopper
    quality: str  # medium
    d4rl: str  # hopper-medium-v2; `d4rl/` before it makes a name for `load`
    minari: str | None  # the nearest dataset on Minari's server; other data for locomotion
    bundled: str  # the one that needs no network
    short: str  # its short name: the entry's own, but for pen-demos, which no human made

    @property
    def d4rl_score(self) -> float | None:
        """Normalised score of D4RL's data itself (mean episode return), where published."""
        mean = _MEAN_RETURN.get(self.name)
        return None if mean is None else float(normalised_score(self.environment, mean))


@dataclass(frozen=True)
class Name:
    """A name that `load` takes."""

    name: str
    source: str  # bundled | d4rl | minari
    env_id: str
    licence: str
    score: float | None = None  # mean of the data's own episodes, measured; of bundled data only
    d4rl_score: float | None = None  # the same of D4RL's data that it is or stands in for


def _entries() -> dict[str, PaperDataset]:
    entries = []
    for environment in ("halfcheetah", "hopper", "walker2d"):
        for quality in GYM_QUALITIES:
            name = f"{environment}-{quality}"
            on_minari = quality in ("medium", "expert")
            entries.append(
                PaperDataset(
                    name,
                    environment,
                    quality,
                    d4rl=f"{name}-v2",
                    minari=f"mujoco/{environment}/{quality}-v0" if on_minari else None,
                    bundled=f"rd/{environment}/{quality}-v1",
                    short=name,
                )
            )
    for name in ("pen-human", "pen-cloned", "door-human"):
        environment, quality = name.split("-")
        own = quality.replace("human", "demos")
        bundled = DOOR_HUMAN if environment == "door" else f"rd/{environment}/{own}-v1"
        short = name if environment == "door" else f"{environment}-{own}"
        on_minari_id = f"D4RL/{environment}/{quality}-v2"
        entries.append(PaperDataset(name, environment, quality, f"{name}-v1", on_minari_id, bundled, short))
    return {entry.name: entry for entry in entries}


PAPER_DATASETS = _entries()


def names() -> list[Name]:
    """Every name with a known meaning, bundled ones first. `load` takes paths and other Minari ids
    too.
    """
    found, scores, newest = [], statistics(), statistics(2)
    for entry in PAPER_DATASETS.values():
        env_id = d4rl.FAMILIES[entry.environment].env_id
        v5 = env_id.replace("-v4", "-v5")
        theirs = entry.d4rl_score
        score = scores[entry.short]["score"] if entry.short in scores else None
        licence = "MIT" if entry.bundled.startswith("rd/") else "CC-BY-4.0"
        for name in (entry.short, entry.bundled):
            found.append(Name(name, "bundled", v5, licence, score, theirs))
        if entry.short in newest:
            found.append(Name(newer(entry), "bundled", v5, licence, newest[entry.short]["mean"], theirs))
        found.append(Name(f"d4rl/{entry.d4rl}", "d4rl", env_id, "CC-BY-4.0", None, theirs))
        if entry.minari and entry.minari != entry.bundled:
            # Minari's own locomotion data (Farama) states no licence in its files.
            licence = "CC-BY-4.0" if entry.minari.startswith("D4RL/") else "see its Minari page"
            found.append(Name(entry.minari, "minari", v5, licence))
    return sorted(found, key=lambda name: ("bundled", "d4rl", "minari").index(name.source))


def environment_of(name: str) -> str | None:
    """The key into `REFERENCE_SCORES` for an environment, a gymnasium id, a dataset name or an .hdf5 path;
    None where D4RL's scores do not apply."""
    if name in REFERENCE_SCORES:
        return name
    text = Path(name).stem.replace("_", "-") if name.lower().endswith((".hdf5", ".h5")) else name
    environments = "|".join(REFERENCE_SCORES)
    for pattern in (
        rf"({environments})-v\d+",  # HalfCheetah-v4, and D4RL's door-v0
        r"adroithand(pen|door)-v\d+",
        rf"(?:d4rl/)?({environments})-[a-z-]+(?:-v\d+)?",  # hopper-medium, d4rl/hopper-medium-v2
        rf"(?:rd|mujoco|d4rl)/({environments})/[\w-]+-v\d+",  # rd/hopper/medium-v1
    ):
        if match := re.fullmatch(pattern, text.lower()):
            return match[1]
    return None


def reference(env: EnvSpec) -> tuple[float, float] | None:
    """D4RL's (min, max) return for an environment that is plain and has D4RL's time limit; else None."""
    if (name := environment_of(str(env))) is None:
        return None
    limit = d4rl.FAMILIES[name].max_episode_steps
    return REFERENCE_SCORES[name] if env.max_episode_steps in (None, limit) else None


def reference_of(d: Dataset) -> tuple[float, float] | None:
    """(min, max) return that scores of `d`'s environment are measured by: the data's own, else D4RL's."""
    if d.reference:
        return d.reference
    return reference(EnvSpec.of(d) or EnvSpec(d.name))


def score(returns: ArrayLike, reference: Sequence[float]) -> NDArray[np.float64]:
    """100 · (return - min) / (max - min) for each of `returns` (any shape); reference: (min, max)."""
    low, high = reference
    return 100.0 * (np.asarray(returns, dtype=np.float64) - low) / (high - low)


def normalised_score(name: str, returns: ArrayLike) -> NDArray[np.float64]:
    """D4RL's score, 100 · (return - min) / (max - min), for each of `returns` (any shape).

    name: an environment (hopper), a gymnasium id (Hopper-v5) or a dataset name (hopper-medium). Raises
    DataError where D4RL has none.
    """
    if (environment := environment_of(name)) is None:
        raise DataError(
            f"no D4RL reference score for {name!r}; there are scores for {', '.join(REFERENCE_SCORES)} "
            "and for the datasets and environments named after them"
        )
    return score(returns, REFERENCE_SCORES[environment])


def load(
    name: str | os.PathLike[str],
    *,
    size: int | None = None,
    root: str | os.PathLike[str] | None = None,
    env: str | None = None,
    horizon: int | None = None,
    clip_actions: bool = False,
) -> Dataset:
    """The dataset called `name`, in any of the forms at the top of this file.

    size: number of transitions to roll out, for the bundled rd/... datasets only (default: D4RL's
    size). root: folder to look and store in (default: `cache_root()` for downloads and roll-outs,
    Minari's own root for Minari ids).
    env: gymnasium id of data that do not say theirs, for what depends on it here: `clip_actions`, and the
    steps of an episode. horizon: these steps themselves, of data that do not say them.
    clip_actions: set actions beyond the environment's limits to the limits, instead of refusing them.
    Raises DataError when the name is unknown (it lists the near ones), or the data cannot be had.
    """
    name = os.fspath(name)
    if size is not None and _rolled_out(name) is None:
        raise DataError(
            f"size={size} applies to the bundled rd/... datasets, which are rolled out; "
            f"{name!r} has the size that it has"
        )
    if size is not None and size < 1:
        raise DataError(f"{name}: size is {size}; it must be at least 1")
    if horizon is not None and horizon < 1:
        raise DataError(f"{name}: horizon is {horizon}; it must be at least 1")
    d = _read(name, size, root, env, horizon, clip_actions)
    if horizon is not None and d.max_episode_steps is None:
        d = dataclasses.replace(d, max_episode_steps=horizon)
    if horizon is not None and d.max_episode_steps != horizon:
        raise DataError(
            f"{name}: its episodes end after {d.max_episode_steps} steps; horizon={horizon} is for data "
            "that do not say it"
        )
    return _clipped(d, env) if clip_actions else d


def _read(
    name: str, size: int | None, root: Any, env: str | None, horizon: int | None, clip_actions: bool
) -> Dataset:
    path, lower = os.path.expanduser(name), name.lower()
    if lower.endswith(".npz"):
        return npz.read_npz(path)
    if lower.endswith((".hdf5", ".h5")) or os.path.isfile(path):
        return d4rl.read_hdf5(path, max_episode_steps=horizon, env=env, clip_actions=clip_actions)
    if name in ("door-human", DOOR_HUMAN):
        return minari.read_minari(
            DOOR_HUMAN,
            Path(__file__).parent / "bundled" / "door_human",
            download=False,
            cache=False,  # the package's folder may be read-only, and 25 episodes are quick
            source="bundled",
            name="door-human",
            notes={"licence": "CC-BY-4.0", "author": "Rajeswaran et al. 2017; Fu et al. 2020"},
        )
    if (entry := _rolled_out(name)) is not None:
        from rdlib.data.bundled import rollout

        version = 2 if name == newer(entry) else VERSION
        quality = entry.short.removeprefix(f"{entry.environment}-")
        return rollout.load(entry.environment, quality, size, root, version=version)
    if name.startswith("d4rl/") and d4rl.parse_name(name.removeprefix("d4rl/")):
        from rdlib.data.readers import download

        file = download.download(name.removeprefix("d4rl/"), root)
        return d4rl.read_hdf5(file, name, clip_actions=clip_actions, source="d4rl")
    if path and (folder := Path(path)).is_dir():
        if not (folder / "data" / "metadata.json").is_file():
            raise DataError(f"{path}: it is a folder, and not a Minari dataset's: no data/metadata.json")
        at, known = folder.resolve(), minari.id_in(folder)
        return minari.read_minari(at.name, at.parent, clip_actions=clip_actions, name=known)
    own = name.startswith(("rd/", "d4rl/")) or d4rl.parse_name(name)
    if re.fullmatch(r"[\w-]+(/[\w-]+)*-v\d+", name) and not own:
        try:
            return minari.read_minari(name, root, clip_actions=clip_actions)
        except NotFoundError as error:
            raise NotFoundError(f"{error}{_near(name, '. Near names: ')}") from error
    raise NotFoundError(
        f"unknown dataset {name!r}{_near(name, '; near names: ')}. Known forms: hopper-medium "
        "(bundled), door-human (bundled), d4rl/hopper-medium-v2, a path to an .hdf5 or .npz file or a "
        "Minari folder, or a Minari id such as mujoco/hopper/medium-v0"
    )


def _clipped(d: Dataset, env: str | None) -> Dataset:
    """`d` with actions within its environment's limits, or those of `env` where it does not say one."""
    spec = EnvSpec.of(d) or (EnvSpec(env, d.max_episode_steps) if env else None)
    if spec is None and d.source != "minari":  # whose metadata state limits, which are kept already
        raise DataError(f"{d.name}: clip_actions needs limits, and the environment is not stated; give env")
    if spec is None:
        return d
    from rdlib.data import environments

    made = environments.make(spec, 1)
    made.close()
    return d.clipped(made.act_low, made.act_high)


def short_name(name: str) -> str:
    """The table's name, `hopper-medium`, for any of its names (rd/hopper/medium-v1,
    d4rl/hopper-medium-v2, mujoco/hopper/medium-v0); other names as they are."""
    for entry in PAPER_DATASETS.values():
        names = (entry.name, entry.short, entry.minari, entry.bundled, entry.d4rl, newer(entry))
        if name.removeprefix("d4rl/") in names:
            return entry.name
    return name


def newer(entry: PaperDataset) -> str:
    """The id of version 2 of a dataset that this project's own policies made; empty for others."""
    return entry.bundled.removesuffix("1") + "2" if entry.bundled.startswith("rd/") else ""


def has_newer(entry: PaperDataset) -> bool:
    """Whether version 2 of a dataset is bundled."""
    from rdlib.data.bundled import rollout

    known = entry.environment in rollout.bundled_environments(2)
    return known and entry.quality in rollout.qualities(entry.environment, 2)


def is_rolled_out(name: str) -> bool:
    """Whether `name` is a bundled dataset that has any size that is asked."""
    return (entry := _rolled_out(name)) is not None and entry.short != "pen-demos"


def _rolled_out(name: str) -> PaperDataset | None:
    """The entry whose dataset, made by this project's own behaviour policies, is called `name`."""
    for entry in PAPER_DATASETS.values():
        if entry.bundled.startswith("rd/") and name in (entry.short, entry.bundled, newer(entry)):
            return entry
    return None


def _near(name: str, lead: str) -> str:
    """`lead` and the known names that look like `name`; empty where none does."""
    if known := PAPER_DATASETS.get(name):  # no data of its own by the table's name: pen-human
        return lead + ", ".join(filter(None, (known.short, f"d4rl/{known.d4rl}", known.minari)))
    lower = {other.name.lower(): other.name for other in names()}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    return lead + ", ".join(lower[match] for match in close) if close else ""
