"""The runs behind the tables as jobs: every cell of both (cells.csv), and the protocol's questions
(workflow/ablations.csv). A job is one call of `rdlib.train`: what may be trained together is, seeds and
datasets of one environment side by side. What runs them is workflow/Snakefile.
"""

import csv
import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdlib import algos
from rdlib.algos import cells
from rdlib.data import catalog
from rdlib.engine import ConfigError
from rdlib.plan import PLUGIN_PREFIX, TrainConfig, command
from rdlib.results import Record, fingerprint

SEEDS = (0, 1, 2, 3, 4)  # of every cell of the tables; the paper does not say how many it took
TABLES = (1, 2)
SOURCES = ("d4rl", "bundled")
COLUMNS = ("stage", "name", "question", "algo", "datasets", "seeds", "config", "plugin", "variants")


@dataclass(frozen=True)
class Job:
    """One training run of datasets x variants x seeds agents."""

    name: str  # fit for a file
    algo: str
    datasets: tuple[str, ...]  # by the tables' names, of one environment
    seeds: tuple[int, ...]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plugin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    variants: tuple[Mapping[str, Any], ...] = ({},)

    @property
    def environment(self) -> str:
        """hopper, halfcheetah, walker2d or pen."""
        return catalog.ENTRIES[self.datasets[0]].environment

    def asked(self, source: str, scale: str, runs: Path, **more: Any) -> TrainConfig:
        """The run, on data of `source`. Its folder below `runs` has a name that changes with anything
        asked, so that an edited job begins anew and never meets another's checkpoint."""
        asked = TrainConfig(
            algo=self.algo, dataset=",".join(data_name(d, source) for d in self.datasets),
            seeds=self.seeds, scale=scale, config=self.config, plugin=self.plugin, variants=self.variants,
            **more,
        )  # fmt: skip
        same = {k: v for k, v in dataclasses.asdict(asked).items() if k not in ("device", "out")}
        return dataclasses.replace(asked, out=str(runs / f"{self.name}-{fingerprint(same)[:8]}"))


@dataclass(frozen=True)
class Question:
    """A row of ablations.csv: one comparison of the protocol."""

    stage: str  # select, rival, ablate
    name: str
    question: str
    algo: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    config: dict[str, Any]
    plugin: dict[str, Any]
    variants: tuple[dict[str, Any], ...]

    def jobs(self) -> list[Job]:
        """One for each environment."""
        found: dict[str, list[str]] = {}
        for dataset in self.datasets:
            found.setdefault(catalog.ENTRIES[dataset].environment, []).append(dataset)
        return [
            Job(f"{self.name}-{environment}", self.algo, tuple(names), self.seeds, self.config,
                self.plugin, self.variants)
            for environment, names in found.items()
        ]  # fmt: skip

    def answers(self, variant: Mapping[str, Any], records: Iterable[Record]) -> list[Record]:
        """The records of one variant: the same algorithm, and the very configuration asked for."""
        return [r for r in records if self._asked_for(variant, r)]

    def _asked_for(self, variant: Mapping[str, Any], r: Record) -> bool:
        dataset = catalog.short_name(r.dataset)
        if (r.algo, dataset in self.datasets, r.seed in self.seeds) != (self.algo, True, True):
            return False
        recipe = algos.find(self.algo)
        size = recipe.entry.quick if r.scale == "quick" else recipe.entry.paper
        cell = cells.find(self.algo, dataset) if r.scale == "paper" else None
        own = {k: v for k, v in variant.items() if not k.startswith(PLUGIN_PREFIX)}
        extra = {k.removeprefix(PLUGIN_PREFIX): v for k, v in variant.items() if k not in own}
        preset = {**size.overrides, **(cell.config if cell else {})}
        config = recipe.config({**preset, **self.config, **own})
        plugin = recipe.plugin_config({**self.plugin, **extra})
        return dataclasses.asdict(config) == r.config and r.plugin == (
            None if plugin is None else dataclasses.asdict(plugin)
        )


def data_name(dataset: str, source: str) -> str:
    """What to load for a dataset of the tables: D4RL's own file or the bundled stand-in."""
    if source not in SOURCES:
        raise ConfigError(f"source = {source!r}, expected one of {', '.join(SOURCES)}")
    entry = catalog.ENTRIES[dataset]
    return f"d4rl/{entry.d4rl}" if source == "d4rl" else entry.short


def table_jobs(seeds: tuple[int, ...] = SEEDS, numbers: Collection[int] = TABLES) -> list[Job]:
    """Every cell of the tables of these numbers, each once, in as few jobs as settings allow."""
    if not numbers or not set(numbers) <= set(TABLES):
        raise ConfigError(f"numbers = {list(numbers)}, expected some of the tables {TABLES}")
    groups: dict[tuple[str, str, str], list[str]] = {}
    for cell in cells.cells():
        if cell.table not in numbers:
            continue
        apart = {
            k: v for k, v in cell.config.items() if k not in algos.find(cell.algo).entry.agent.own
        }
        kind = json.dumps([cell.steps, apart], sort_keys=True)
        names = groups.setdefault((cell.algo, catalog.ENTRIES[cell.dataset].environment, kind), [])
        if cell.dataset not in names:
            names.append(cell.dataset)
    jobs = []
    for (algo, environment, _), names in groups.items():
        parts = sum((a, e) == (algo, environment) for a, e, _ in groups)
        # Where settings keep datasets of one environment apart, a job is named after its dataset.
        name = f"{algo}-{environment if parts == 1 else names[0]}"
        jobs.append(Job(name, algo, tuple(names), seeds))
    return jobs


def not_run(rates: Mapping[str, float]) -> tuple[dict, dict]:
    """By algorithm and dataset of both tables: the command that runs the cell on D4RL's data, and the
    projected core hours. What `tables.frame` shows for a cell without records."""
    commands, hours = {}, {}
    for cell in cells.cells():
        key = cell.algo, cell.dataset
        asked = TrainConfig(
            algo=cell.algo, dataset=data_name(cell.dataset, "d4rl"), seeds=SEEDS, scale="paper",
            out=f"runs/paper/{cell.algo}-{cell.dataset}",
        )  # fmt: skip
        commands[key], hours[key] = command(asked), round(core_hours(*key, len(SEEDS), rates), 1)
    return commands, hours


def read_questions(path: Path) -> list[Question]:
    """The protocol's questions. Raises ConfigError naming file, line and what is wrong with it."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    questions: list[Question] = []
    for line, row in enumerate(rows, 2):
        try:
            if tuple(row) != COLUMNS or None in row.values():
                raise ConfigError(f"expected the columns {', '.join(COLUMNS)}")
            q = Question(
                row["stage"], row["name"], row["question"], row["algo"], tuple(row["datasets"].split()),
                tuple(int(s) for s in row["seeds"].split()), json.loads(row["config"] or "{}"),
                json.loads(row["plugin"] or "{}"), tuple(json.loads(row["variants"] or "[{}]")),
            )  # fmt: skip
            if unknown := set(q.datasets) - catalog.ENTRIES.keys():
                raise ConfigError(f"unknown datasets {sorted(unknown)}")
            if any(q.name == other.name for other in questions):
                raise ConfigError(f"a second row of the name {q.name!r}")
            recipe = algos.find(q.algo)
            recipe.config(q.config)
            recipe.plugin_config(q.plugin)
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{path}, line {line}: {error}") from None
        questions.append(q)
    return questions


def read_rates(path: Path) -> dict[str, float]:
    """Agent-updates per core second by algorithm, as workflow/speed.py measured them."""
    with open(path, newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["unit"] == "core second"]
    return {r["algo"]: float(r["agent_updates_per_s"]) for r in rows}  # the last measured counts


def core_hours(algo: str, dataset: str, agents: int, rates: Mapping[str, float]) -> float:
    """Projected hours of one CPU core for `agents` runs at the paper's scale, evaluation not counted;
    larger ensembles in proportion. DR3 is taken to cost what RD does, layer norm nothing."""
    recipe, cell = algos.find(algo), cells.find(algo, dataset)
    steps = (cell.steps if cell else 0) or recipe.entry.paper.steps
    config = recipe.config({**recipe.entry.paper.overrides, **(cell.config if cell else {})})
    default = recipe.entry.config()
    larger = getattr(config, "n_critics", 1) / getattr(default, "n_critics", 1)
    base = next(name for name, entry in algos.ALGORITHMS.items() if entry is recipe.entry)
    rate = rates[f"{base}_rd" if recipe.plugin else base]
    return agents * steps * max(1.0, larger) / rate / 3600
