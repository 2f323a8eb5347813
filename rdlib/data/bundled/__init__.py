"""The datasets that come with rdlib. Imports no torch: their names and scores are listed without it."""

import functools
import json
from pathlib import Path
from typing import Any

POLICIES = Path(__file__).with_name("policies")


@functools.cache
def statistics() -> dict[str, dict[str, Any]]:
    """What the bundled datasets hold, by short name, as measured on their first transitions: how many of
    these, episodes, mean return and its deviation over episodes, mean score, MuJoCo version."""
    return json.loads((POLICIES / "measured.json").read_text())
