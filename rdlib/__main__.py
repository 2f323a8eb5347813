"""python -m rdlib: train, evaluate, records, data, bench. The same functions as in Python, nothing more."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from rdlib import algos
from rdlib.algos import cells
from rdlib.data import catalog
from rdlib.data.dataset import DataError, Dataset
from rdlib.data.env_spec import EnvSpec, SimulationError, with_arguments
from rdlib.data.report import examine, print_report
from rdlib.engine.config import PRECISIONS, ConfigError
from rdlib.engine.hardware import find_device
from rdlib.training.bench import speed
from rdlib.training.checkpoint import CheckpointError
from rdlib.training.evaluation import Evaluator
from rdlib.training.failures import DeviceError
from rdlib.training.policy import load_policy
from rdlib.training.record import RecordError, as_row, load_records
from rdlib.training.request import TrainConfig, assignments
from rdlib.training.trainer import train

ERRORS = (ConfigError, DataError, CheckpointError, RecordError, SimulationError, DeviceError)


def integers(text: str) -> tuple[int, ...]:
    """`0,1,2` as a tuple."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected integers with commas between") from None


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    default = TrainConfig()
    top = _Parser("rdlib", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    p = commands.add_parser("train", help="train agents, or resume a run", formatter_class=_Defaults)
    p.add_argument("--algo", default=default.algo, help=f"one of {', '.join(algos.names())}, …")
    p.add_argument(
        "--dataset",
        default=default.dataset,
        help="name (see `data list`), path or Minari id; or several, with commas",
    )
    p.add_argument("--seeds", type=integers, default=default.seeds, help="with commas between")
    p.add_argument("--scale", default=default.scale, help="auto, quick or paper")
    for name, text in {
        "steps": "gradient updates",
        "size": "transitions of a bundled dataset",
        "eval_every": "updates between evaluations",
    }.items():
        p.add_argument(f"--{name}", type=int, default=0, help=f"{text}; 0: as the scale says")
    p.add_argument("--episodes", type=int, default=default.episodes, help="per agent and evaluation")
    p.add_argument(
        "--last_k",
        type=int,
        default=default.last_k,
        help="evaluations that the last-iterate score averages",
    )
    p.add_argument("--config", default="", metavar="NAME=VALUE,…", help="fields of the algorithm")
    p.add_argument("--plugin", default="", metavar="NAME=VALUE,…", help="fields of RD or DR3")
    p.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=VALUE,…",
        help="hyperparameters of one more agent group; repeat for a sweep",
    )
    p.add_argument(
        "--env", default="", help="gymnasium id, or module:Name-v0, to evaluate on; default: the data's"
    )
    p.add_argument("--env_kwargs", default="", metavar="NAME=VALUE,…", help="its arguments")
    _add_reading(p)
    p.add_argument("--device", default=default.device, help="auto, cpu, cuda, cuda:N")
    p.add_argument("--dtype", default=default.dtype, help="float32 or float64")
    p.add_argument(
        "--precision", default=default.precision, help=f"of matrix products: {', '.join(PRECISIONS)}"
    )
    p.add_argument(
        "--compile",
        action="store_true",
        help="updates as compiled programs: quicker on a CPU, after some seconds of a C++ "
        "compiler; equal to rounding",
    )
    p.add_argument(
        "--together",
        type=int,
        default=0,
        help="most agents in one batch, the others after them; 0: as many as fit",
    )
    p.add_argument("--out", default="", help="folder; default runs/ALGO/DATASET")
    p.set_defaults(call=_train)

    p = commands.add_parser("evaluate", help="run a trained policy", formatter_class=_Defaults)
    p.add_argument("run", type=Path, help="the --out folder of a run")
    p.add_argument("--episodes", type=int, default=10, help="per agent")
    p.add_argument("--seed", type=int, default=12345, help="first of the evaluation seeds")
    p.add_argument("--env", default="", help="gymnasium id, or module:Name-v0; default: the run's")
    p.add_argument("--env_kwargs", default="", metavar="NAME=VALUE,…", help="its arguments")
    p.set_defaults(call=_evaluate)

    p = commands.add_parser("data", help="list, make or inspect datasets")
    data = p.add_subparsers(dest="what", required=True)
    d = data.add_parser("list", help="every name with a known meaning")
    d.set_defaults(call=_data_list)
    for what, text, call in (
        ("make", "roll out or fetch a dataset into the cache", _data_make),
        ("inspect", "what a dataset holds, and whether it can be trained on", _data_inspect),
    ):
        d = data.add_parser(what, help=text, formatter_class=_Defaults)
        d.add_argument("name", help="a name, a path to an .hdf5 or a Minari id")
        d.add_argument("--size", type=int, default=None, help="transitions, of bundled datasets")
        d.set_defaults(call=call)
        d.add_argument("--env", default="", help="gymnasium id of data that do not say theirs")
        _add_reading(d)
        if what == "inspect":
            d.add_argument("--json", action="store_true", help="as one JSON object")

    p = commands.add_parser("records", help="one line for each record of the folders given")
    p.add_argument("folders", type=Path, nargs="+", help="folders that hold record-*.json")
    p.set_defaults(call=_records)

    p = commands.add_parser("bench", help="speed against the machine's limit", formatter_class=_Defaults)
    columns = dict.fromkeys(cell.algo for cell in cells.cells())
    p.add_argument("--algos", default=",".join(columns), help="with commas between")
    p.add_argument(
        "--agents",
        type=integers,
        default=(),
        help="numbers of agents A; none: 1,4,16 on a CPU, 1,5,15,45 on a GPU",
    )
    p.add_argument("--seconds", type=float, default=3.0, help="per row")
    p.add_argument("--config", default="", metavar="NAME=VALUE,…", help="fields of the algorithms")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    p.add_argument("--compile", action="store_true", help="updates as compiled programs, on a CPU")
    p.add_argument("--out", type=Path, default=None, help="folder for bench.json")
    p.set_defaults(call=_bench)
    return top


def _add_reading(p: argparse.ArgumentParser) -> None:
    """How data are read that do not say enough."""
    p.add_argument(
        "--horizon", type=int, default=0, help="steps after which an episode ends, if the data do not say"
    )
    p.add_argument(
        "--clip_actions", action="store_true", help="set actions beyond the environment's limits to them"
    )


def _loaded(a: argparse.Namespace) -> Dataset:
    d = catalog.load(
        a.name, size=a.size, env=a.env or None, horizon=a.horizon or None, clip_actions=a.clip_actions
    )
    return d if d.env_id or not a.env else dataclasses.replace(d, env_id=a.env)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; subcommands get the same class."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"rdlib: error: {message}; see {self.prog} --help\n")


class _Defaults(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults."""


def _train(a: argparse.Namespace) -> None:
    asked = {f.name: getattr(a, f.name) for f in dataclasses.fields(TrainConfig) if hasattr(a, f.name)}
    asked |= {name: assignments(getattr(a, name)) for name in ("config", "plugin", "env_kwargs")}
    if a.variant:
        asked["variants"] = tuple(assignments(v) for v in a.variant)
    run = train(TrainConfig(**asked))
    for r in run.records:
        unit = "return" if r.reference is None else "score"
        print(
            f"{r.algo} on {r.dataset}, seed {r.seed}: {unit} {r.last_score():.1f} ({r.averaged()}), "
            f"best {r.best_score():.1f}, {r.status} after {r.stopped_at} updates"
        )
    print(f"records and checkpoint in {run.plan.out}")


def _evaluate(a: argparse.Namespace) -> None:
    if a.episodes < 1:
        raise ConfigError(f"episodes = {a.episodes}, expected at least 1")
    policy = load_policy(a.run)
    base = policy.env if a.env in ("", policy.env.id) else EnvSpec(a.env)
    spec = with_arguments(base, assignments(a.env_kwargs))
    seeds = [a.seed + i for i in range(len(policy.seeds))]
    evaluator = Evaluator(spec, seeds, a.episodes)
    env, norm = evaluator.env, policy.normaliser
    obs_dim, act_dim = norm.obs_mean.shape[-1], norm.act_half.shape[-1]
    if (env.obs_dim, env.act_dim) != (obs_dim, act_dim):
        raise SimulationError(
            f"env = {env.env_id!r} has observations of {env.obs_dim} and actions of {env.act_dim}; "
            f"the policy takes {obs_dim} and {act_dim}"
        )
    result = evaluator.run(policy.algorithm.player(a.episodes), policy.normaliser, np.array(policy.alive))
    evaluator.close()
    references = policy.references if spec == policy.env else [catalog.reference(env.spec)] * len(seeds)
    each = zip(policy.datasets, policy.seeds, result.returns, result.lengths, references, strict=True)
    for i, (dataset, seed, returns, lengths, reference) in enumerate(each):
        if not policy.alive[i]:
            print(
                f"{dataset}, seed {seed}: diverged at update {policy.stopped_at[i]}, so there is no policy"
            )
            continue
        line = f"{dataset}, seed {seed}: return {returns.mean():.1f} ± {returns.std():.1f}"
        if reference:
            score = catalog.score(returns, reference)
            line += f", score {score.mean():.1f} ± {score.std():.1f}"
        print(f"{line} over {a.episodes} episodes of {lengths.mean():.0f} steps")


def _data_list(a: argparse.Namespace) -> None:
    print("score: mean of the episodes in the data, by D4RL's scale; of bundled data as rolled out here\n")
    print(f"{'name':34s} {'source':8s} {'environment':20s} {'score':>6s} {'D4RL':>6s}  licence")
    for n in catalog.names():
        scores = [f"{s:.1f}" if s is not None else "" for s in (n.score, n.d4rl_score)]
        print(f"{n.name:34s} {n.source:8s} {n.env_id:20s} {scores[0]:>6s} {scores[1]:>6s}  {n.licence}")


def _data_make(a: argparse.Namespace) -> None:
    d = _loaded(a)
    returns = d.episode_returns()
    line = f"{d.name}: {len(d):,} transitions, {len(returns):,} episodes, mean return {returns.mean():.1f}"
    if reference := catalog.reference_of(d):
        line += f", mean score {catalog.score(returns, reference).mean():.1f}"
    print(f"{line}; in {d.notes['path']}")


def _data_inspect(a: argparse.Namespace) -> None:
    try:
        report = examine(_loaded(a))
    except DataError as error:
        if a.json:
            print(json.dumps({"name": a.name, "usable": False, "problems": [str(error)]}, indent=1))
        raise DataError(f"not usable: {error}") from error
    print_report(report, a.json)
    if not report.usable:
        raise DataError(f"{a.name} is not usable: {'; '.join(report.problems)}")


def _records(a: argparse.Namespace) -> None:
    table = pd.DataFrame([as_row(r) for r in load_records(*a.folders)])
    table = table.sort_values(["dataset", "algo", "seed"])
    print(table.to_string(index=False, float_format="{:.1f}".format))


def _bench(a: argparse.Namespace) -> None:
    config = assignments(a.config)
    speed.report(a.algos.split(","), a.agents, find_device(a.device), a.seconds, config, a.out, a.compile)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; bad input ends in one line on stderr and exit status 2."""
    a = parser().parse_args(arguments)
    try:
        a.call(a)
    except ERRORS as error:
        print(f"rdlib: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `… | head` has read enough; Python would complain once more on closing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as interrupt:
        print(f"\nrdlib: {interrupt or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
