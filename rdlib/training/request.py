"""What a user asks for: the configuration of a run, its command line and its folder. Imports no torch."""

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from rdlib.engine.config import PRECISIONS, ConfigError, is_config_value, kind_of

CHOICES = {
    "scale": ("auto", "quick", "paper"),
    "dtype": ("float32", "float64"),
    "precision": PRECISIONS,
    "compile": ("auto", "true", "false"),
}
PLUGIN_PREFIX = "plugin."
_Plugin = Annotated[Mapping[str, Any], tyro.conf.arg(name="rd", aliases=["--plugin"])]
_Variants = Annotated[
    tuple[Mapping[str, Any], ...],
    tyro.conf.arg(name="variant", help_behavior_hint="(default: one group as configured)"),
    tyro.conf.UseAppendAction,
]


@dataclass(frozen=True)
class TrainConfig:
    """One training run of A = datasets x variants x seeds agents. 0 or "" means: as the scale says."""

    algo: str = "td3n_rd"  # bc dt td3bc cql iql edac diffusion_ql sacn td3n; with a critic + _rd _dr3 _ln
    dataset: str = "hopper-medium"  # a name (see `data list`), path or Minari id; or several, with commas
    seeds: tuple[int, ...] = (0,)  # with commas between; they train together
    steps: int = 0  # gradient updates; 0: as the scale says
    scale: str = "auto"  # quick (minutes on two cores, small networks), paper (as published), auto: quick
    config: Mapping[str, Any] = field(default_factory=dict)  # fields of the algorithm's configuration
    plugin: _Plugin = field(default_factory=dict)  # fields of RD's (or DR3's) configuration
    variants: _Variants = ({},)  # fields of one more group of agents, plugin.NAME for RD's; repeatable
    size: int = 0  # transitions of a bundled dataset; 0: as the scale says
    eval_every: int = 0  # gradient updates between evaluations; 0: as the scale says
    episodes: int = 10  # per agent and evaluation
    last_k: int = 3  # evaluations that the last-iterate score averages
    env: str = ""  # gymnasium id, or module:Name-v0, to evaluate on, where the dataset does not say
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)  # arguments of that environment
    horizon: int = 0  # steps after which an episode ends, of data that do not say it; 0: as the data say
    clip_actions: bool = False  # set the data's actions beyond the environment's limits to the limits
    device: str = "auto"  # cpu, cuda, cuda:N, auto: cuda if there is one
    dtype: str = "float32"  # of the networks: float32 or float64
    precision: str = "auto"  # of matrix products: float32, tf32, bf16, auto: the quickest accurate one
    compile: bool | str = "auto"  # true, false, auto: on a CPU, long runs become programs, and quicker
    together: int = 0  # most agents in one batch, the others after them; 0: as many as fit
    out: str = ""  # folder of records and checkpoint; default: runs/ALGO/DATASET

    def __post_init__(self):
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", str(self.compile).lower())
        for f in dataclasses.fields(self):
            value, default = getattr(self, f.name), default_of(f)
            fits = isinstance(value, Mapping) if default == {} else is_config_value(value, default)
            if not fits:
                raise ConfigError(f"{f.name} = {value!r} is {kind_of(value)}, expected {kind_of(default)}")
        for name in ("steps", "size", "eval_every", "horizon", "together"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)}, expected >= 0")
        for name in ("episodes", "last_k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}, expected at least 1")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected one of {', '.join(known)}")
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

    @property
    def folder(self) -> Path:
        """Where records and checkpoint go: `out`, or runs/ALGO/DATASET with a path's parts joined."""
        if self.out:
            return Path(self.out).expanduser()
        parts = [part.strip("~. ") for part in re.split(r"[/\\]", self.dataset)]
        return Path("runs") / self.algo / ("-".join(filter(None, parts)) or "data")


def default_of(f: dataclasses.Field) -> Any:
    """The default of a field of TrainConfig."""
    return f.default if f.default is not dataclasses.MISSING else {}


def dataset_names(text: str) -> list[str]:
    """The datasets that `text` names, with commas between; a comma inside the path of a file that exists
    belongs to the path."""
    parts, names = text.split(","), []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((n for n in ends if os.path.exists(os.path.expanduser(",".join(parts[:n]).strip()))), 1)
        names.append(",".join(parts[:end]).strip())
        parts = parts[end:]
    return names


def assignments(text: str) -> dict[str, Any]:
    """`beta=0.5,target=min,sizes=[1,2]` or a JSON object as a dictionary; values are JSON where they are,
    else words. Raises ConfigError."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{text!r} is neither name=value,… nor a JSON object: {error}") from None
    found: dict[str, Any] = {}
    for part in filter(None, _apart(text)):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ConfigError(f"{part!r}: expected name=value")
        if name in found:
            raise ConfigError(f"{text!r}: {name} is given twice")
        found[name] = _value(value)
    return found


def _apart(text: str) -> list[str]:
    """`text` cut at its commas, but for those in brackets, braces or quotes."""
    parts, depth, quoted = [""], 0, False
    for before, letter in zip(" " + text, text):
        quoted ^= letter == '"' and before != "\\"
        depth += 0 if quoted else (letter in "[{") - (letter in "]}")
        if letter == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quoted:
        raise ConfigError(f"{text!r}: a bracket or quotation mark is not closed")
    return parts


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def command(asked: TrainConfig, program: str = "python -m rdlib train") -> str:
    """The literal command line that asks for `asked`."""
    words = program.split()
    for f in dataclasses.fields(TrainConfig):
        value, name = getattr(asked, f.name), {"plugin": "rd", "variants": "variant"}.get(f.name, f.name)
        if value == default_of(f) and f.name != "algo":
            continue
        if f.name == "variants":
            words += [w for v in value for w in (f"--{name}", assigned(v))]
        elif isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
        else:
            text = assigned(value) if isinstance(value, Mapping) else value
            words += [f"--{name}", ",".join(map(str, text)) if isinstance(text, tuple) else str(text)]
    return shlex.join(words)


def assigned(values: Mapping[str, Any]) -> str:
    """What `assignments` reads back."""

    def word(value: Any) -> str:
        plain = isinstance(value, str) and not re.search(r'[,"\[\]{}]', value) and _value(value) == value
        return value if plain and value == value.strip() else json.dumps(value, ensure_ascii=False)

    return ",".join(f"{name}={word(value)}" for name, value in values.items())
