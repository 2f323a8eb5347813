"""The datasets that come with rdlib. Imports no torch: their names and scores are listed without it."""

import functools
import json
from pathlib import Path
from typing import Any

POLICIES = Path(__file__).with_name("policies")
VERSION = 1  # of the short names' datasets. 0: policies acted in float32. 2: see book/data_protocol.md


def policies_folder(version: int = VERSION) -> Path:
    """Where the policies of a version are: one file for each environment."""
    return POLICIES if version == 1 else POLICIES / f"v{version}"


@functools.cache
def statistics(version: int = VERSION) -> dict[str, dict[str, Any]]:
    """What the bundled datasets hold, by short name; {} where nothing is measured.

    Version 1: of their first transitions, how many these are, episodes, mean return and its deviation over
    episodes, mean score, MuJoCo version. Version 2: what `rdlib data check` found on the whole.
    """
    path = policies_folder(version) / "measured.json"
    return json.loads(path.read_text()) if path.exists() else {}
