"""The runs behind the tables as jobs: every cell of both (cells.csv), and the protocol's questions
(workflow/ablations.csv). A job is one call of `rdlib.train`: what may be trained together is, seeds and
datasets of one environment side by side. What runs them is workflow/Snakefile.
"""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdlib import algos
from rdlib.algos import cells
from rdlib.data import catalog
from rdlib.engine import strict_csv
from rdlib.engine.config import ConfigError, recorded
from rdlib.training.plan import variants_of
from rdlib.training.record import Record, fingerprint
from rdlib.training.request import TrainConfig, command

SEEDS = (0, 1, 2, 3, 4)  # of every cell of the tables; the paper does not say how many it took
TABLES = (1, 2)
SOURCES = ("d4rl", "bundled")
STAGES = ("select", "rival", "ablate")
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
        return catalog.PAPER_DATASETS[self.datasets[0]].environment

    def asked(self, source: str, scale: str, runs: Path, **more: Any) -> TrainConfig:
        """The run, on data of `source`. Its folder below `runs` has a name that changes with anything
        asked, so that an edited job begins anew and never meets another's checkpoint."""
        asked = TrainConfig(
            algo=self.algo,
            dataset=",".join(data_name(d, source) for d in self.datasets),
            seeds=self.seeds,
            scale=scale,
            config=self.config,
            plugin=self.plugin,
            variants=self.variants,
            **more,
        )
        same = {k: v for k, v in dataclasses.asdict(asked).items() if k not in ("device", "out")}
        return dataclasses.replace(asked, out=str(runs / f"{self.name}-{fingerprint(same)[:8]}"))


@dataclass(frozen=True)
class Question:
    """A row of ablations.csv: one comparison of the protocol."""

    stage: str  # of STAGES
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
            found.setdefault(catalog.PAPER_DATASETS[dataset].environment, []).append(dataset)
        return [
            Job(
                f"{self.name}-{environment}",
                self.algo,
                tuple(names),
                self.seeds,
                self.config,
                self.plugin,
                self.variants,
            )
            for environment, names in found.items()
        ]

    def answers(self, variant: Mapping[str, Any], records: Iterable[Record]) -> list[Record]:
        """The records of one variant: the same algorithm, and the very configuration asked for."""
        return [r for r in records if self._asked_for(variant, r)]

    def _asked_for(self, variant: Mapping[str, Any], r: Record) -> bool:
        dataset = catalog.short_name(r.dataset)
        if (r.algo, dataset in self.datasets, r.seed in self.seeds) != (self.algo, True, True):
            return False
        recipe = algos.find(self.algo)
        size = recipe.entry.scales[r.scale]
        cell = cells.find(self.algo, dataset) if r.scale == "paper" else None
        asked = TrainConfig(algo=self.algo, config=self.config, plugin=self.plugin, variants=(variant,))
        preset = {**size.overrides, **(cell.config if cell else {})}
        [(config, plugin)] = variants_of(asked, recipe, preset)
        return recorded(config) == r.config and r.plugin == (plugin and recorded(plugin))


def data_name(dataset: str, source: str) -> str:
    """What to load for a dataset of the tables: D4RL's own file or the bundled stand-in."""
    if source not in SOURCES:
        raise ConfigError(f"source = {source!r}, expected one of {', '.join(SOURCES)}")
    entry = catalog.PAPER_DATASETS[dataset]
    return f"d4rl/{entry.d4rl}" if source == "d4rl" else entry.short


def transitions(asked: TrainConfig, dataset: str) -> int:
    """How many transitions of `dataset`, one of its own, the run loads, as `make_plan` has it; 0: all."""
    if asked.size or not catalog.is_rolled_out(dataset):
        return asked.size
    entry = algos.find(asked.algo).entry
    return entry.scales[asked.scale].size


def table_jobs(seeds: tuple[int, ...] = SEEDS, numbers: Collection[int] = TABLES) -> list[Job]:
    """Every cell of the tables of these numbers, each once, in as few jobs as settings allow."""
    if not numbers or not set(numbers) <= set(TABLES):
        raise ConfigError(f"numbers = {list(numbers)}, expected some of the tables {TABLES}")
    groups: dict[tuple[str, str, str], list[str]] = {}
    for cell in cells.cells():
        if cell.table not in numbers:
            continue
        apart = {k: v for k, v in cell.config.items() if k not in algos.find(cell.algo).entry.agent.own}
        kind = json.dumps([cell.steps, apart], sort_keys=True)
        names = groups.setdefault((cell.algo, catalog.PAPER_DATASETS[cell.dataset].environment, kind), [])
        if cell.dataset not in names:
            names.append(cell.dataset)
    jobs = []
    for (algo, environment, _), names in groups.items():
        parts = sum((a, e) == (algo, environment) for a, e, _ in groups)
        # Where settings keep datasets of one environment apart, a job is named after its dataset.
        name = f"{algo}-{environment if parts == 1 else names[0]}"
        jobs.append(Job(name, algo, tuple(names), seeds))
    return jobs


def commands() -> dict[tuple[str, str], str]:
    """By algorithm and dataset of both tables: the command that runs the cell on D4RL's data."""
    found = {}
    for cell in cells.cells():
        asked = TrainConfig(
            algo=cell.algo,
            dataset=data_name(cell.dataset, "d4rl"),
            seeds=SEEDS,
            scale="paper",
            out=f"runs/paper/{cell.algo}-{cell.dataset}",
        )
        found[cell.algo, cell.dataset] = command(asked)
    return found


def read_questions(path: Path) -> list[Question]:
    """The protocol's questions. Raises ConfigError naming file, line and what is wrong with it."""
    return strict_csv.read(path, COLUMNS, _question, lambda q: q.name)


def _question(row: dict[str, str]) -> Question:
    """A row of ablations.csv. Raises ConfigError."""
    variants = strict_csv.objects(row, "variants", row["variants"] or "[{}]")
    q = Question(
        strict_csv.choice(row, "stage", STAGES),
        row["name"],
        row["question"],
        row["algo"],
        tuple(row["datasets"].split()),
        tuple(int(s) for s in row["seeds"].split()),
        strict_csv.mapping(row, "config"),
        strict_csv.mapping(row, "plugin"),
        variants,
    )
    if not q.name or not q.datasets or not q.seeds:
        raise ConfigError("needs a name, datasets and seeds")
    if unknown := set(q.datasets) - catalog.PAPER_DATASETS.keys():
        raise ConfigError(f"unknown datasets {sorted(unknown)}")
    asked = TrainConfig(  # refuses doubled seeds
        algo=q.algo,
        dataset=",".join(q.datasets),
        seeds=q.seeds,
        config=q.config,
        plugin=q.plugin,
        variants=q.variants,
    )
    settings = variants_of(asked, algos.find(q.algo), {})
    if len(set(map(str, settings))) < len(settings) or len(set(q.datasets)) < len(q.datasets):
        raise ConfigError("a dataset or a variant stands there twice")
    return q
