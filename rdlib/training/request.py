"""What a user asks for: the configuration of a run, and how notebooks and command lines give it."""

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rdlib.engine.config import PRECISIONS, ConfigError, is_config_value, kind_of, near

SCALES = ("auto", "quick", "paper")
DTYPES = ("float32", "float64")
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
    env: str = ""  # gymnasium id to evaluate on, where the dataset does not say; or module:Name-v0
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)  # arguments of that environment
    horizon: int = 0  # steps after which an episode ends, of data that do not say it; 0: as the data say
    clip_actions: bool = False  # set the data's actions beyond the environment's limits to the limits
    device: str = "auto"  # "cpu", "cuda", "cuda:1", "auto": cuda if there is one
    dtype: str = "float32"
    precision: str = (
        "auto"  # of matrix products: "float32", "tf32", "bf16"; "auto": see rdlib.engine.hardware
    )
    compile: bool = False  # updates as compiled programs, on a CPU (rdlib.engine.compiled)
    together: int = (
        0  # most agents in one batch, the others after them (rdlib.training.halves); 0: as many as fit
    )
    out: str = ""  # folder of records and checkpoint; "": runs/<algo>/<dataset>

    def __post_init__(self):
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            default = f.default if f.default is not dataclasses.MISSING else {}
            fits = isinstance(value, Mapping) if default == {} else is_config_value(value, default)
            if not fits:
                raise ConfigError(f"{f.name} = {value!r} is {kind_of(value)}, expected {kind_of(default)}")
        for name in ("steps", "size", "eval_every", "horizon", "together"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)}, expected >= 0")
        for name in ("episodes", "last_k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}, expected at least 1")
        if self.scale not in SCALES:
            raise ConfigError(f"scale = {self.scale!r}, expected one of {', '.join(SCALES)}")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype = {self.dtype!r}, expected one of {', '.join(DTYPES)}")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
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
        raise ConfigError(f"parameter {name!r} is unknown; near: {near(name, known)}")
    for name in ("config", "rd", "env_kwargs"):
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
    raise ConfigError(f'seeds: {value!r} is not an integer; expected 0 or [0, 1, 2] or "0,1,2"')


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
