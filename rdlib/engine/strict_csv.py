"""The project's own CSV files, read strictly: the expected columns, whole rows, and none of them twice."""

import csv
import json
import math
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rdlib.engine.config import ConfigError

Row = TypeVar("Row")


def read(
    path: Path,
    columns: Sequence[str],
    make: Callable[[dict[str, str]], Row],
    key: Callable[[Row], Hashable] | None = None,
) -> list[Row]:
    """What `make` gives of each row (ConfigError or ValueError of it: the row is wrong), no two of one
    `key`. Raises ConfigError naming the file, the line and what is wrong with it."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is none; it is part of a clone of the repository") from None
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: not a readable CSV file: {error}") from None
    if not lines or tuple(lines[0][1]) != tuple(columns):
        head = ",".join(lines[0][1]) if lines else ""
        raise ConfigError(f"{path}, line 1: {head!r}, expected the columns {','.join(columns)}")
    if len(lines) == 1:
        raise ConfigError(f"{path}: has no row")
    found: list[Row] = []
    seen: dict[Hashable, int] = {}
    for line, row in lines[1:]:
        try:
            if len(row) != len(columns):
                raise ConfigError(f"{len(row)} values for {len(columns)} columns: {','.join(row)}")
            one = make(dict(zip(columns, row)))
            name = key(one) if key else line
            if name in seen:
                raise ConfigError(f"{name} stands in line {seen[name]} already")
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}, line {line}: {error}") from None
        seen[name] = line
        found.append(one)
    return found


def number(row: dict[str, str], column: str) -> float:
    """A finite number. Raises ConfigError naming the column."""
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{column} = {row[column]!r} is no number")
    return value


def mapping(row: dict[str, str], column: str) -> dict[str, Any]:
    """A JSON object; empty where nothing stands. Raises ConfigError naming the column."""
    return objects(row, column, f"[{row[column] or '{}'}]")[0]


def objects(row: dict[str, str], column: str, text: str) -> tuple[dict[str, Any], ...]:
    """The JSON objects that `text` lists. Raises ConfigError naming the column."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{column} = {row[column]!r}: {error}") from None
    if not isinstance(found, list) or not found or not all(isinstance(o, dict) for o in found):
        raise ConfigError(f"{column} = {row[column]!r}, expected JSON: names and values in {{}}")
    return tuple(found)


def choice(row: dict[str, str], column: str, options: Sequence[str]) -> str:
    """One of `options`. Raises ConfigError naming the column."""
    if row[column] not in options:
        raise ConfigError(f"{column} = {row[column]!r}, expected one of {', '.join(options)}")
    return row[column]
