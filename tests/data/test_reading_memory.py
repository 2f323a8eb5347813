"""A million transitions come from the cache to the device with little more memory than they take there."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from rdlib.data.readers.episodes import Episode
from rdlib.data.readers.minari_writer import write_minari

TINY, MILLION = "rd/hopper/tiny-v0", "rd/hopper/million-v0"
STEPS, EPISODES = 1_000, 1_000
CODE = """
import json, sys
import numpy as np
from rdlib.data.readers.minari import read_minari
from rdlib.data.batches import Normaliser, Transitions

def peak():  # of resident memory, MiB
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024

def resident(name):
    data = read_minari(name, sys.argv[1], download=False)
    limits = (-np.ones(3, np.float32), np.ones(3, np.float32))
    return Transitions([data], Normaliser([data], limits, True, [(1.0, 0.0)]))

resident(sys.argv[2])  # libraries are loaded at their first use
open("/proc/self/clear_refs", "w").write("5")  # forget the peak until now
before = peak()
rows = resident(sys.argv[3]).rows
print(json.dumps({"peak": peak() - before, "raw": rows.nbytes / 2**20,
                  "rows": len(rows), "mean": rows[:, :11].abs().mean().item()}))
"""


def episode(number: int) -> Episode:
    """Hopper's widths, never the same."""
    rng = np.random.default_rng(number)
    end = np.arange(STEPS) == STEPS - 1
    return Episode(
        rng.standard_normal((STEPS + 1, 11), np.float32),
        np.tanh(rng.standard_normal((STEPS, 3), np.float32)),
        rng.standard_normal(STEPS, np.float32),
        end & False,
        end,
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="NOT TESTED: no /proc here")
def test_a_million_transitions_from_the_cache_to_the_device(tmp_path):
    for name, episodes in ((TINY, 1), (MILLION, EPISODES)):
        write_minari(
            name, tmp_path, map(episode, range(episodes)), "Hopper-v5", description="", author="a",
            algorithm="b", license="MIT",
        )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path), TINY, MILLION], capture_output=True, text=True,
        check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["rows"] == STEPS * EPISODES
    assert found["mean"] == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)  # of what was written, normalised
    # The rows themselves, 27 floats each, and at most 1.2 times as much beside them at any moment: the
    # checked arrays on the host, which are as large, and what is being converted.
    assert found["raw"] == pytest.approx(27 * 4 * 1e6 / 2**20)
    assert found["raw"] < found["peak"] <= 2.2 * found["raw"]
