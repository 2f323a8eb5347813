"""python -m rdlib: train, evaluate, data, records, bench. The same functions as in Python, nothing more."""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

import tyro
from tyro.conf import Positional, arg, subcommand
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from rdlib.engine.config import ConfigError
from rdlib.training.differences import differences
from rdlib.training.parameters import convert
from rdlib.training.request import TrainConfig, assigned

if TYPE_CHECKING:  # as torch, pandas and MuJoCo, imported where used: help and `data list` do not wait
    from rdlib.data.dataset import Dataset


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train agents, or resume a run."""

    def asked(self) -> TrainConfig:
        """What is asked for: variants that are given come after the default's one, and replace it."""
        return TrainConfig(**{**vars(self), "variants": self.variants[1:] or self.variants})

    def __call__(self) -> None:
        from rdlib.training.trainer import train

        run = train(self.asked())
        for r, own in zip(run.records, differences([(r.config, r.plugin) for r in run.records])):
            unit = "return" if r.reference is None else "score"
            print(
                f"{r.algo} on {r.dataset}, seed {r.seed}{own and f', {own}'}: {unit} {r.last_score():.1f} "
                f"({r.averaged()}), best {r.best_score():.1f}, {r.status} after {r.stopped_at} updates"
            )
        print(f"records and checkpoint in {run.plan.out}")


@dataclass(frozen=True)
class Evaluate:
    """Run a trained policy."""

    run: Positional[Path]  # the --out folder of a run
    episodes: int = 10  # per agent
    seed: int = 12345  # first of the evaluation seeds
    env: str = ""  # gymnasium id, or module:Name-v0; default: the run's
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)  # its arguments

    def __call__(self) -> None:
        import numpy as np

        from rdlib.data import catalog
        from rdlib.data.env_spec import EnvSpec, SimulationError, with_arguments
        from rdlib.training.checkpoint import CHECKPOINT, load_progress
        from rdlib.training.evaluation import Evaluator
        from rdlib.training.policy import load_policy

        if self.episodes < 1:
            raise ConfigError(f"episodes = {self.episodes}, expected at least 1")
        policy = load_policy(self.run)
        base = policy.env if self.env in ("", policy.env.id) else EnvSpec(self.env)
        spec = with_arguments(base, self.env_kwargs)
        seeds = [self.seed + i for i in range(len(policy.seeds))]
        evaluator = Evaluator(spec, seeds, self.episodes)
        env, norm = evaluator.env, policy.normaliser
        obs_dim, act_dim = norm.obs_mean.shape[-1], norm.act_half.shape[-1]
        if (env.obs_dim, env.act_dim) != (obs_dim, act_dim):
            raise SimulationError(
                f"env = {env.env_id!r} has observations of {env.obs_dim} and actions of {env.act_dim}; "
                f"the policy takes {obs_dim} and {act_dim}"
            )
        player = policy.algorithm.player(self.episodes)
        result = evaluator.run(player, policy.normaliser, np.array(policy.alive))
        evaluator.close()
        who = load_progress(self.run / CHECKPOINT).policy
        own_fields = differences(list(zip(who.configs, who.plugins, strict=True)))
        same = spec == policy.env
        references = policy.references if same else [catalog.reference(env.spec)] * len(seeds)
        named = zip(policy.datasets, policy.seeds, own_fields, references)
        ends = zip(policy.alive, policy.stopped_at, result.returns, result.lengths)
        for (dataset, seed, own, reference), (alive, stopped, returns, lengths) in zip(named, ends):
            line = f"{dataset}, seed {seed}{own and f', {own}'}: "
            if not alive:
                print(f"{line}diverged at update {stopped}, so there is no policy")
                continue
            line += f"return {returns.mean():.1f} ± {returns.std():.1f}"
            if reference:
                score = catalog.score(returns, reference)
                line += f", score {score.mean():.1f} ± {score.std():.1f}"
            print(f"{line} over {self.episodes} episodes of {lengths.mean():.0f} steps")


@dataclass(frozen=True)
class DataList:
    """Every name with a known meaning."""

    def __call__(self) -> None:
        from rdlib.data import catalog

        print("score: mean of the episodes in the data, by D4RL's scale; of bundled data as rolled out\n")
        print(f"{'name':34s} {'source':8s} {'environment':20s} {'score':>6s} {'D4RL':>6s}  licence")
        for n in catalog.names():
            scores = [f"{s:.1f}" if s is not None else "" for s in (n.score, n.d4rl_score)]
            print(f"{n.name:34s} {n.source:8s} {n.env_id:20s} {scores[0]:>6s} {scores[1]:>6s}  {n.licence}")


@dataclass(frozen=True)
class DataMake:
    """Roll out or fetch a dataset into the cache."""

    name: Positional[str]  # a name, a path to an .hdf5 or .npz, or a Minari id or folder
    size: int = 0  # transitions of a bundled dataset; 0: as many as it has
    env: str = ""  # gymnasium id of data that do not say theirs
    horizon: int = 0  # steps after which an episode ends, of data that do not say it
    clip_actions: bool = False  # set actions beyond the environment's limits to the limits

    def _load(self) -> "Dataset":
        from rdlib.data import catalog

        d = catalog.load(
            self.name,
            size=self.size or None,
            env=self.env or None,
            horizon=self.horizon or None,
            clip_actions=self.clip_actions,
        )
        return d if d.env_id or not self.env else replace(d, env_id=self.env)

    def __call__(self) -> None:
        from rdlib.data import catalog

        d = self._load()
        returns = d.episode_returns()
        line = f"{d.name}: {len(d):,} transitions, {len(returns):,} episodes"
        line += f", mean return {returns.mean():.1f}"
        if reference := catalog.reference_of(d):
            line += f", mean score {catalog.score(returns, reference).mean():.1f}"
        print(f"{line}; in {d.notes['path']}")


@dataclass(frozen=True)
class DataInspect(DataMake):
    """What a dataset holds, and whether it can be trained on."""

    as_json: Annotated[bool, arg(name="json")] = False  # as one JSON object

    def __call__(self) -> None:
        from rdlib.data.checks import DataError
        from rdlib.data.report import examine, print_report

        try:
            report = examine(self._load())
        except DataError as error:
            if self.as_json:
                print(json.dumps({"name": self.name, "usable": False, "problems": [str(error)]}, indent=1))
            raise DataError(f"not usable: {error}") from error
        print_report(report, self.as_json)
        if not report.usable:
            raise DataError(f"{self.name} is not usable: {'; '.join(report.problems)}")


@dataclass(frozen=True)
class DataCheck:
    """Whether a dataset stands in for D4RL's: trains BC and TD3+BC on it."""

    name: Positional[str]  # a name, a path to an .hdf5 or .npz, or a Minari id or folder
    size: int = 0  # transitions of a bundled dataset; 0: as many as it has
    steps: int = 100_000  # gradient updates of each agent
    seeds: tuple[int, ...] = (0, 1, 2)  # with commas between
    algos: str = "bc,td3bc"  # with commas between; none: train nothing
    like: str = ""  # D4RL's dataset to hold it against; default: that of its name
    out: Path | None = None  # folder; default runs/check/NAME

    def __call__(self) -> None:
        from rdlib.training import data_check

        out = self.out or Path("runs") / "check" / self.name.strip("/").replace("/", "-")
        algos = () if self.algos == "none" else self.algos.split(",")
        asked = (self.steps, self.seeds, self.size or None, self.like, algos)
        print(data_check.table(data_check.check(self.name, out, *asked)))


@dataclass(frozen=True)
class Data:
    """List, make, inspect or check datasets."""

    what: (
        Annotated[DataList, subcommand("list")]
        | Annotated[DataMake, subcommand("make")]
        | Annotated[DataInspect, subcommand("inspect")]
        | Annotated[DataCheck, subcommand("check")]
    )

    def __call__(self) -> None:
        self.what()


@dataclass(frozen=True)
class Records:
    """One line for each record in the folders given and below them."""

    folders: Positional[tuple[Path, ...]] = ()  # of runs or of records; none: runs

    def __call__(self) -> None:
        import pandas as pd

        from rdlib.training.record import FILES, as_row, load_records

        found = []
        for top in self.folders or (Path("runs"),):
            below = sorted({path.parent for pattern in FILES for path in top.rglob(pattern)})
            found += [record for folder in below or (top,) for record in load_records(folder)]
        groups = [(r.algo, r.dataset, r.scale) for r in found]
        own = differences([(r.config, r.plugin) for r in found], groups)
        rows = [{**as_row(r), "differs in": d} for r, d in zip(found, own)]
        table = pd.DataFrame(rows).sort_values(["dataset", "algo", "differs in", "seed"])
        print(table.to_string(index=False, float_format="{:.1f}".format))


@dataclass(frozen=True)
class Bench:
    """Speed against the machine's limit."""

    algos: str = ""  # with commas between; default: every column of the paper's tables
    agents: tuple[int, ...] = ()  # numbers of agents A; default: 1,4,16 on a CPU, 1,5,15,45 on a GPU
    seconds: float = 3.0  # per row
    config: Mapping[str, Any] = field(default_factory=dict)  # fields of the algorithms' configurations
    device: str = "auto"  # cpu, cuda, cuda:N, auto: cuda if there is one
    compile: bool = False  # updates as compiled programs, on a CPU
    out: Path | None = None  # folder for bench.json
    against: Path | None = None  # another checkout: its speed and this one's by turns, and their ratio

    def __call__(self) -> None:
        from rdlib.algos import cells
        from rdlib.engine.hardware import find_device
        from rdlib.training.bench import against, speed

        names = self.algos.split(",") if self.algos else list(dict.fromkeys(c.algo for c in cells.cells()))
        device = find_device(self.device)
        asked = (names, self.agents, device, self.seconds, self.config, self.out, self.compile)
        against.report(self.against, *asked) if self.against else speed.report(*asked)


Command = (
    Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Records, subcommand("records")]
    | Annotated[Bench, subcommand("bench")]
)
_REGISTRY = ConstructorRegistry()


def _words(like: Any, metavar: str, show: Callable[[Any], str] = str) -> PrimitiveConstructorSpec:
    """A value that is one word of the command line, read as a notebook's parameters are."""

    def read(words: list[str]) -> Any:
        try:
            return Path(words[0]).expanduser() if like is Path else convert(words[0], like)
        except ConfigError as error:
            told = str(error)
        raise ValueError(told)  # with nothing behind it: tyro says which argument it was

    return PrimitiveConstructorSpec(1, metavar, read, lambda value: True, lambda value: [show(value)])


@_REGISTRY.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Lists and settings with commas, whole numbers as 1e5 too, `~` in paths. None: as tyro does."""
    if info.type == tuple[int, ...]:
        return _words((0,), "INT,…", lambda value: ",".join(map(str, value)))
    if get_origin(info.type) is Mapping:
        return _words({}, "NAME=VALUE,…", assigned)
    if info.type is int:
        return _words(0, "INT")
    return _words(Path, "PATH") if info.type is Path else None


def parse(words: Sequence[str]) -> Any:
    """The command that `words` ask for, to be called. Raises ConfigError in one line, not tyro's box."""
    said = io.StringIO()
    bare = [w == "--compile" and after.startswith("-") for w, after in zip(words, [*words[1:], "-"])]
    if words[:1] == ["train"]:  # what it was before it had values
        words = [f"{w}=true" if alone else w for w, alone in zip(words, bare)]
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                Command,
                prog="rdlib",
                description=__doc__,
                args=list(words),
                use_underscores=True,
                registry=_REGISTRY,
                config=(
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.OmitSubcommandPrefixes,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_one_line(stop, said.getvalue())) from None


def _one_line(stop: BaseException, box: str) -> str:
    """What is wrong: the words of a configuration's own check, or else what tyro's box says."""
    error: BaseException | None = stop
    while error and not isinstance(error, ConfigError):
        error = error.__context__
    if error:
        return str(error)
    # A title, then parts with rules between; in a frame, or without where the terminal lacks such letters.
    inside = " ".join(line.strip("│╭╮╰╯ ") for line in box.splitlines())
    _, *parts, last = [part.strip() for part in re.split(r"[─-]{4,}", inside) if part.strip("─ ")]
    told = [part.rstrip(".") for part in parts if not part.startswith("Argument helptext")]
    return "; ".join([*told, re.sub(r"For full helptext,.*?(?=rdlib)", "see ", last)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; bad input ends in one line on stderr and exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        parse(words)()
    except BrokenPipeError:  # `… | head` has read enough; Python would complain once more on closing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as interrupt:
        print(f"\nrdlib: {interrupt or 'interrupted'}", file=sys.stderr)
        return 130
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "rdlib":  # an error of ours is a message to the user
            raise
        print(f"rdlib: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
