"""One record per run: what was run, on what, and every raw return. Results are data.

A run is one agent: the seed is the replication unit, also when a batch trained many together. A run's
folder has one JSON file for each; published records are packed, one a line, into a JSON Lines file for each
algorithm and environment. Both are written whole or not at all, and read strictly: nothing is parsed from
a file's name, nothing is skipped.
"""

import dataclasses
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdlib.training.checkpoint import write_atomically

SCHEMA = 3
ADDED = {  # by which schema; None in records from before
    2: ("dtype", "max_episode_steps", "earlier"),
    3: ("env_kwargs", "env_wrappers", "env_rewards"),
}
FILES = ("record-*.json", "records-*.jsonl")  # that hold one record, and one a line


class RecordError(ValueError):
    """A record that cannot be read, or a set of records that has a hole or a double."""


@dataclass(frozen=True)
class Record:
    """One agent's run. `evaluations` holds, per evaluation, the step, the raw returns and lengths of its
    episodes, and the diagnostics and training metrics of that moment (None where not finite). `versions`,
    `device` and `commit` are of the process that ended it; `earlier` holds those of each before it that
    differed, with the update `until` which it trained."""

    algo: str
    dataset: str
    dataset_source: str
    dataset_digest: str
    dataset_size: int  # transitions
    env_id: str
    max_episode_steps: int | None  # of the environment it was evaluated in; None: not recorded
    env_kwargs: dict[str, Any] | None  # other than the registered ones; None: not recorded, as the next
    env_wrappers: list[dict[str, Any]] | None  # gymnasium's, innermost first
    env_rewards: str | None  # whose they are, where they are corrected
    seed: int
    scale: str
    steps: int  # gradient updates asked for
    config: dict[str, Any]
    plugin: dict[str, Any] | None
    config_hash: str
    status: str  # "finished" or "diverged"
    stopped_at: int  # gradient updates done
    last_k: int  # evaluations that the last-iterate score averages, fixed in advance
    reference: list[float] | None  # (min, max) return of the data or D4RL, None where there is none
    evaluations: list[dict[str, Any]]
    dtype: str | None  # of the networks; None: not recorded
    versions: dict[str, str]
    device: str
    matmul: str  # which float32 matrix product ran
    commit: str | None  # of the code, "+" appended if the tree had changes
    started: str  # ISO 8601, UTC
    seconds: float  # wall time of the whole batch, resumed parts added up
    agents: int  # trained together
    earlier: list[dict[str, Any]] | None  # where it was trained before, if elsewhere; None: not recorded
    schema: int = SCHEMA

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What makes two records the same run."""
        return self.algo, self.dataset, self.dataset_digest, self.seed, self.config_hash

    @property
    def file_name(self) -> str:
        """A name that no other run shares."""
        return f"record-{fingerprint(list(self.key))[:16]}.json"

    @property
    def packed_name(self) -> str:
        """The file that the runs of this algorithm and environment share where they are published."""
        return re.sub(r"[^\w.-]+", "-", f"records-{self.algo}-{self.env_id}.jsonl")

    def steps_evaluated(self) -> np.ndarray:
        """Gradient updates at each evaluation: (n,)."""
        return np.array([e["step"] for e in self.evaluations])

    def scores(self) -> np.ndarray:
        """Mean normalised score (raw return where D4RL gives no reference) per evaluation: (n,)."""
        return self._normalised([np.mean(e["returns"]) for e in self.evaluations])

    def episode_scores(self, index: int) -> np.ndarray:
        """Score of every episode of one evaluation: (episodes,)."""
        return self._normalised(self.evaluations[index]["returns"])

    def _normalised(self, returns: Sequence[float]) -> np.ndarray:
        """By the reference that was recorded, not by today's."""
        if self.reference is None:
            return np.array(returns)
        low, high = self.reference
        return 100 * (np.array(returns) - low) / (high - low)

    def last_score(self) -> float:
        """Mean over the last `last_k` evaluations; NaN for a diverged run."""
        return float(self._learnt()[-self.last_k :].mean()) if self.status == "finished" else math.nan

    def averaged(self) -> str:
        """What `last_score` is the mean of: "last 3 evaluations", fewer where there were fewer."""
        count = min(self.last_k, len(self._learnt()))
        return f"last {count} evaluations" if count > 1 else "last evaluation"

    def best_score(self) -> float:
        """Best single evaluation: optimistic, shown only beside the last."""
        return float(self._learnt().max())

    def _learnt(self) -> np.ndarray:
        """The scores without the untrained network's, unless the run diverged before it had any other."""
        after = self.scores()[self.steps_evaluated() > 0]
        return after if len(after) else self.scores()


def fingerprint(value: Any) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def finite(value: float) -> float | None:
    """JSON has no NaN: None stands for it."""
    return float(value) if math.isfinite(value) else None


def save_record(record: Record, folder: Path) -> Path:
    """Write `record` into `folder`; returns its path. Raises CheckpointError."""
    path = folder / record.file_name
    text = json.dumps(dataclasses.asdict(record), indent=1, allow_nan=False)
    write_atomically(path, text.encode())
    return path


def pack_records(records: Iterable[Record], folder: Path) -> list[Path]:
    """Add `records` to the packed files of `folder`, whose lines are sorted by run; returns those files. A
    line of the same run stays as it is. Raises RecordError, CheckpointError."""
    packed: dict[Path, dict[tuple, str]] = {}
    for record in records:
        line = json.dumps(dataclasses.asdict(record), separators=(",", ":"), allow_nan=False)
        packed.setdefault(folder / record.packed_name, {})[record.key] = line
    for path, lines in packed.items():
        if path.exists():
            lines |= {_parsed(where, line).key: line for where, line in _lines(path)}
        write_atomically(path, "".join(f"{line}\n" for _, line in sorted(lines.items())).encode())
    return sorted(packed)


def load_record(path: Path) -> Record:
    """Read the record of a run's folder strictly. Raises RecordError naming the file and the field."""
    return _parsed(str(path), _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: not a readable record: {error}") from error


def _lines(path: Path) -> list[tuple[str, str]]:
    """The lines of a packed file, each with the words that say where it stands."""
    lines = _text(path).removesuffix("\n").split("\n")
    return [(f"{path}, line {i}", line) for i, line in enumerate(lines, 1)]


def _parsed(path: str, text: str) -> Record:
    """The record in `text`. Raises RecordError naming `path` and the field."""
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not a readable record: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}: holds a {type(content).__name__}, expected one record")
    schema = content.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise RecordError(f"{path}: schema {schema!r}, this version reads 1 to {SCHEMA}")
    since = [name for when, names in ADDED.items() if when > schema for name in names]
    content = {**dict.fromkeys(since), **content, "schema": SCHEMA}
    expected = {f.name: f.type for f in dataclasses.fields(Record)}
    for name in expected.keys() - content.keys():
        raise RecordError(f"{path}: field {name!r} is missing")
    for name in content.keys() - expected.keys():
        raise RecordError(f"{path}: field {name!r} is unknown")
    for name, kind in expected.items():
        if not isinstance(content[name], _plain(kind)) or isinstance(content[name], bool):
            raise RecordError(f"{path}: field {name!r} = {content[name]!r}, expected {kind}")
    record = Record(**content)
    for wrong in _contradictions(record):
        raise RecordError(f"{path}: {wrong}")
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, which may not say one name twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name stands twice in {sorted(name for name, _ in pairs)}")
    return found


def _contradictions(r: Record) -> Iterator[str]:
    """What no run could have recorded."""
    for name in ("algo", "dataset", "dataset_source", "dataset_digest", "env_id", "scale", "config_hash"):
        if not getattr(r, name):
            yield f"field {name!r} is empty"
    least = {"seed": 0, "steps": 1, "dataset_size": 1, "last_k": 1, "agents": 1, "seconds": 0}
    for name, low in least.items():
        if not low <= getattr(r, name) < math.inf:
            yield f"field {name!r} = {getattr(r, name)}, expected at least {low}"
    steps = [e["step"] for e in r.evaluations if _is_evaluation(e)]
    if not steps or len(steps) < len(r.evaluations) or steps != sorted(set(steps)):
        yield (
            f"evaluations need increasing steps with finite returns, found {steps} in {len(r.evaluations)}"
        )
    for evaluation in r.evaluations:
        yield from _incomplete(evaluation)
    if r.status == "finished":
        if (r.stopped_at, steps[-1]) != (r.steps, r.steps):
            yield (
                f"finished, but of {r.steps} updates {r.stopped_at} were done and the last evaluation is "
                f"after {steps[-1]}"
            )
    elif r.status != "diverged":
        yield f"status {r.status!r}, expected finished or diverged"
    elif not steps[-1] <= r.stopped_at <= r.steps:
        yield f"diverged after {r.stopped_at} of {r.steps} updates, evaluated after {steps[-1]}"
    if r.reference is not None and not _is_range(r.reference):
        yield f"reference {r.reference}, expected (min, max)"
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(r.scores()).all():
            yield "returns too large to be scored"


def _is_range(pair: list[Any]) -> bool:
    return len(pair) == 2 and all(map(_is_finite, pair)) and pair[0] < pair[1]


def _is_finite(value: Any) -> bool:
    """Whether `value` is a number that a float holds."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_evaluation(row: Any) -> bool:
    """Whether `row` holds a step and at least one finite return."""
    if not isinstance(row, dict) or type(row.get("step")) is not int or row["step"] < 0:
        return False
    returns = row.get("returns")
    return isinstance(returns, list) and bool(returns) and all(map(_is_finite, returns))


def _incomplete(row: Any) -> Iterator[str]:
    """What an evaluation lacks beside its step and returns."""
    where = f"evaluation after {row['step']} updates: field"
    lengths = row.get("lengths")
    if not isinstance(lengths, list) or len(lengths) != len(row["returns"]):
        yield f"{where} 'lengths' = {lengths!r}, expected one for each of {len(row['returns'])} episodes"
    for name in ("diagnostics", "training"):
        if not isinstance(values := row.get(name), dict):
            yield f"{where} {name!r} = {values!r}, expected names and numbers"
            continue
        for key, value in values.items():
            if value is not None and not _is_finite(value):
                yield f"{where} {name!r}: {key} = {value!r}, expected a finite number or null"


def _plain(kind: Any) -> tuple[type, ...]:
    """The runtime types of a field's annotation (`float` takes an int, as JSON may write one)."""
    options = getattr(kind, "__args__", None) if "|" in str(kind) else None
    found: list[type] = []
    for option in options or (kind,):
        origin = getattr(option, "__origin__", option)
        found += [int, float] if origin is float else [origin]
    return tuple(found)


def load_records(*folders: Path | str) -> list[Record]:
    """Every record in `folders` (not below them: a run keeps what it trained to compare with in a
    folder of its own). Raises RecordError if a folder has none, one cannot be read, or one run appears
    twice."""
    return [record for _, record in load_files(*folders)]


def files_in(folder: Path) -> list[Path]:
    """The files of records in `folder`, in order: those of one record and packed ones."""
    return sorted(path for pattern in FILES for path in folder.glob(pattern))


def load_files(*folders: Path | str) -> list[tuple[str, Record]]:
    """The same, each record with the words that say where it stands: its file, and a packed one's line."""
    records = []
    for folder in (Path(folder).expanduser() for folder in folders):
        if not (paths := files_in(folder)):
            raise RecordError(f"{folder}: no records")
        for path in paths:
            packed = path.suffix == ".jsonl"
            texts = _lines(path) if packed else [(str(path), _text(path))]
            records += [(where, _parsed(where, text)) for where, text in texts]
    without_doubles(records)
    return records


def without_doubles(found: Iterable[tuple[str, Record]]) -> list[Record]:
    """The records, or RecordError naming the two places of a doubled run."""
    seen: dict[tuple, str] = {}
    records = []
    for where, record in found:
        if record.key in seen:
            raise RecordError(f"{where} and {seen[record.key]} record the same run: {record.key}")
        seen[record.key] = where
        records.append(record)
    return records


def as_row(record: Record) -> Mapping[str, Any]:
    """The one-line summary that `python -m rdlib records` prints."""
    return {
        "algo": record.algo,
        "dataset": record.dataset,
        "seed": record.seed,
        "scale": record.scale,
        "steps": record.stopped_at,
        "status": record.status,
        "last": record.last_score(),
        "best": record.best_score(),
        "device": record.device,
    }
