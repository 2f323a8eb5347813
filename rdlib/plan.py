"""From what a user asks for to what will run: every name, type and size is checked before anything is
written or trained."""

import dataclasses
import difflib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rdlib import algos, compiled, matmul, simulate
from rdlib.algos import cells
from rdlib.data import catalog
from rdlib.data.dataset import Dataset
from rdlib.engine import ConfigError, is_config_value, kind_of
from rdlib.results import fingerprint

SCALES = ("auto", "quick", "paper")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
PLUGIN_PREFIX = "plugin."


@dataclass(frozen=True)
class TrainConfig:
    """One training run of A = datasets x variants x seeds agents. 0 or "" means: as the scale says."""

    algo: str = "td3n_rd"  # see rdlib.algos.names()
    dataset: str = "hopper-medium"  # a name, or several of one environment with commas between
    seeds: tuple[int, ...] = (0,)
    steps: int = 0  # gradient updates
    scale: str = "auto"  # "quick" (minutes on 2 cores), "paper", "auto": paper if there is a GPU
    config: Mapping[str, Any] = field(default_factory=dict)  # fields of the algorithm's Config
    plugin: Mapping[str, Any] = field(default_factory=dict)  # fields of RDConfig or DR3Config
    # Hyperparameter variants trained side by side: fields of Config, "plugin.…" for the plug-in's.
    variants: tuple[Mapping[str, Any], ...] = ({},)
    size: int = 0  # transitions, of bundled datasets
    eval_every: int = 0  # gradient updates between evaluations
    episodes: int = 10  # per agent and evaluation
    last_k: int = 3  # evaluations that the last-iterate score averages
    env: str = ""  # gymnasium id to evaluate on, where the dataset does not say
    device: str = "auto"  # "cpu", "cuda", "cuda:1", "auto": cuda if there is one
    dtype: str = "float32"
    precision: str = "auto"  # of matrix products: "float32", "tf32", "bf16"; "auto": see rdlib.matmul
    compile: bool = False  # updates as compiled programs, on a CPU (rdlib.compiled)
    together: int = 0  # most agents in one batch, the others after them (rdlib.groups); 0: as many as fit
    out: str = ""  # folder of records and checkpoint; "": runs/<algo>/<dataset>

    def __post_init__(self):
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            default = f.default if f.default is not dataclasses.MISSING else {}
            fits = isinstance(value, Mapping) if default == {} else is_config_value(value, default)
            if not fits:
                raise ConfigError(
                    f"{f.name} = {value!r} is {kind_of(value)}, expected {kind_of(default)}"
                )
        for name in ("steps", "size", "eval_every", "together"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)}, expected >= 0")
        for name in ("episodes", "last_k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}, expected at least 1")
        if self.scale not in SCALES:
            raise ConfigError(f"scale = {self.scale!r}, expected one of {', '.join(SCALES)}")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype = {self.dtype!r}, expected one of {', '.join(DTYPES)}")
        if self.precision not in matmul.PRECISIONS:
            known = ", ".join(matmul.PRECISIONS)
            raise ConfigError(f"precision = {self.precision!r}, expected one of {known}")
        if self.precision in ("tf32", "bf16") and self.dtype == "float64":
            raise ConfigError(f"precision = {self.precision!r} rounds float32; dtype is 'float64'")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds = {self.seeds}, expected at least one, each once")
        if any(type(s) is not int or not 0 <= s < 2**63 for s in self.seeds):
            raise ConfigError(f"seeds = {self.seeds}, expected integers in [0, 2^63)")
        if not self.variants or not all(isinstance(v, Mapping) for v in self.variants):
            raise ConfigError(
                f"variants = {self.variants!r}, expected at least one mapping (possibly {{}})"
            )


@dataclass(frozen=True)
class AgentPlan:
    """One agent of the batch: its data, seed and complete hyperparameters."""

    dataset: Dataset
    seed: int
    config: Any
    plugin: Any  # None without a plug-in

    def identity(self, plan: "Plan") -> dict[str, Any]:
        """Everything that determines this agent's result, apart from device and versions."""
        return {
            "algo": plan.recipe.name,
            "config": dataclasses.asdict(self.config),
            "plugin": None if self.plugin is None else dataclasses.asdict(self.plugin),
            "dataset": [self.dataset.name, self.dataset.digest],
            "seed": self.seed,
            "env": [plan.env_id, plan.max_episode_steps],
            "steps": plan.steps,
            "evaluation": [plan.eval_every, plan.asked.episodes, plan.asked.last_k],
            "dtype": plan.asked.dtype,
        }


@dataclass(frozen=True)
class Plan:
    """A run with nothing left open."""

    asked: TrainConfig
    recipe: algos.Recipe
    scale: str
    device: torch.device
    steps: int
    eval_every: int
    agents: tuple[AgentPlan, ...]
    env_id: str
    max_episode_steps: int | None
    out: Path

    @property
    def fingerprint(self) -> str:
        """Equal for equal batches: what a checkpoint is checked against."""
        return fingerprint([a.identity(self) for a in self.agents])


def find_device(name: str) -> torch.device:
    """The torch device that `name` asks for; raises ConfigError where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device = {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise ConfigError(f"device = {name!r}, expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device = {name!r}, but this machine has {torch.cuda.device_count()} GPUs")
    return device


def make_plan(asked: TrainConfig) -> Plan:
    """Check and complete `asked`, loading its datasets. Raises ConfigError or DataError."""
    recipe = algos.find(asked.algo)
    device = find_device(asked.device)
    if asked.precision == "tf32" and not matmul.has_tf32(device):
        raise ConfigError(f"precision = 'tf32' needs a GPU that has it, and the device is {device}")
    if asked.compile:
        compiled.check(device)
    scale = asked.scale
    if scale == "auto":
        scale = "paper" if device.type == "cuda" else "quick"
    size = recipe.entry.quick if scale == "quick" else recipe.entry.paper
    variants_of(asked, recipe, size.overrides)  # a wrong field is told before data are fetched
    names = [name.strip() for name in asked.dataset.split(",")]
    if len(set(names)) < len(names):
        raise ConfigError(f"dataset = {asked.dataset!r} names one twice")
    datasets = [_load(name, asked.size, size.size) for name in names]
    env_id, limit = _environment(asked, datasets)
    for d in datasets:  # rolled out by this project, perhaps with another version
        if d.source == "bundled" and env_id in simulate.NATIVE:
            simulate.warn_of_version(d.notes["mujoco"].removeprefix("mujoco=="), d.name)
    settings = [cells.find(recipe.name, d.name) if scale == "paper" else None for d in datasets]
    lengths = {cell.steps for cell in settings if cell and cell.steps}
    if len(lengths) > 1 and not asked.steps:
        raise ConfigError(
            f"dataset = {asked.dataset!r}: the tables train these for {sorted(lengths)} updates; "
            "give steps, or train them apart"
        )
    steps = asked.steps or max(lengths, default=size.steps)
    default_out = Path("runs") / asked.algo / asked.dataset.replace("/", "-")
    plan = Plan(
        asked=asked, recipe=recipe, scale=scale, device=device, steps=steps,
        eval_every=min(asked.eval_every or size.eval_every, steps),
        agents=tuple(
            AgentPlan(d, seed, _completed(config, d, env_id), plugin)
            for d, cell in zip(datasets, settings, strict=True)
            for config, plugin in variants_of(
                asked, recipe, {**size.overrides, **(cell.config if cell else {})}
            )
            for seed in asked.seeds
        ),
        env_id=env_id, max_episode_steps=limit,
        out=Path(asked.out) if asked.out else default_out,
    )  # fmt: skip
    runs = {fingerprint(agent.identity(plan)) for agent in plan.agents}
    if len(runs) < len(plan.agents):
        raise ConfigError(
            f"dataset = {asked.dataset!r}, variants = {asked.variants!r}: two agents would be the "
            "same run; each dataset and variant can be given once"
        )
    return plan


def variants_of(
    asked: TrainConfig, recipe: algos.Recipe, preset: Mapping[str, Any]
) -> list[tuple[Any, Any]]:
    """Configuration and plug-in configuration of each variant, on top of `preset`. Raises ConfigError."""
    chosen = []
    for variant in asked.variants:
        own = {k: v for k, v in variant.items() if not str(k).startswith(PLUGIN_PREFIX)}
        extra = {k.removeprefix(PLUGIN_PREFIX): v for k, v in variant.items() if k not in own}
        config = recipe.config({**preset, **asked.config, **own})
        chosen.append((config, recipe.plugin_config({**asked.plugin, **extra})))
    return chosen


def _completed(config: Any, dataset: Dataset, env_id: str) -> Any:
    """The configuration with what it leaves to the data (DT's target return), so that records say it."""
    return config.for_data(dataset, env_id) if hasattr(config, "for_data") else config


def _load(name: str, asked: int, default: int) -> Dataset:
    """A dataset; the scale's size applies only where a dataset is rolled out to any size."""
    if asked:
        return catalog.load(name, size=asked)
    return catalog.load(name, size=default or None) if catalog.is_rolled_out(name) else catalog.load(name)


def _environment(asked: TrainConfig, datasets: list[Dataset]) -> tuple[str, int | None]:
    """The environment that all of the batch is evaluated on, and its time limit."""
    found = {(d.env_id, d.max_episode_steps) for d in datasets}
    if asked.env:  # if it is the data's own, with the data's limit
        limits = {limit for env_id, limit in found if env_id == asked.env}
        return asked.env, limits.pop() if len(limits) == 1 else None
    if len(found) > 1:
        raise ConfigError(
            f"dataset = {asked.dataset!r} mixes environments ({sorted(map(str, found))}); "
            "agents trained together need datasets of one environment"
        )
    env_id, limit = found.pop()
    if env_id is None:
        raise ConfigError(
            f"dataset {asked.dataset!r} does not say what to evaluate on: set env to a gymnasium id"
        )
    return env_id, limit


def from_notebook(names: Mapping[str, Any]) -> TrainConfig:
    """The configuration that a notebook's parameters ask for.

    `names` is the notebook's `globals()` straight after the parameters cell, where papermill has put
    whatever it was given: it only warns about names that the notebook does not know, and would train
    the defaults. So every public name must be a parameter, of the right type. `rd` stands for the
    plug-in's fields; `seeds` may be an integer, a list or "0,1,2"; `config` and `rd` may be
    "name=value,…". Raises ConfigError.
    """
    known = {"rd" if f.name == "plugin" else f.name for f in dataclasses.fields(TrainConfig)}
    given = {k: v for k, v in names.items() if not k.startswith("_") and k not in _IPYTHON}
    for name in given.keys() - known:
        near = difflib.get_close_matches(name, known, n=3) or sorted(known)
        raise ConfigError(f"parameter {name!r} is unknown; near: {', '.join(near)}")
    for name in ("config", "rd"):
        if isinstance(given.get(name), str):
            given[name] = assignments(given[name])
    seeds = given.get("seeds", (0,))
    if isinstance(seeds, str):
        seeds = seeds.split(",")
    given["seeds"] = tuple(_integer(s) for s in (seeds if isinstance(seeds, list | tuple) else [seeds]))
    if isinstance(given.get("variants"), list):  # JSON, and so papermill, has no tuples
        given["variants"] = tuple(given["variants"])
    if "rd" in given:
        given["plugin"] = given.pop("rd")
    return TrainConfig(**given)


_IPYTHON = {"In", "Out", "get_ipython", "exit", "quit", "open", "from_notebook"}


def _integer(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if type(value) is int:
        return value
    raise ConfigError(f"seeds: {value!r} is not an integer; expected 0 or [0, 1, 2] or \"0,1,2\"")


def assignments(text: str) -> dict[str, Any]:
    """`beta=0.5,target=min` as a dictionary; values are JSON where they are, else words."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ConfigError(f"{part!r}: expected name=value")
        if name in found:
            raise ConfigError(f"{text!r}: {name} is given twice")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def command(asked: TrainConfig, program: str = "python -m rdlib train") -> str:
    """The literal command line that asks for `asked`."""
    words = program.split()
    for f in dataclasses.fields(TrainConfig):
        value = getattr(asked, f.name)
        default = f.default if f.default is not dataclasses.MISSING else {}
        if value == default and f.name != "algo":
            continue
        if f.name == "variants":
            words += [w for v in value for w in ("--variant", _assigned(v))]
            continue
        if value is True:
            words.append(f"--{f.name}")
            continue
        text = _assigned(value) if isinstance(value, Mapping) else value
        words += [f"--{f.name}", ",".join(map(str, text)) if isinstance(text, tuple) else str(text)]
    return shlex.join(words)


def _assigned(values: Mapping[str, Any]) -> str:
    return ",".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in values.items())
