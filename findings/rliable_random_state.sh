#!/usr/bin/env bash
# rliable: random_state makes no interval repeatable; NumPy's global seed does.
#
# One would guess: get_interval_estimates(..., random_state=RandomState(0)) gives the same interval each time. Its
#   documentation says that it "ensures reproducibility".
# What happens: rliable hands random_state to arch, but draws its samples with np.random.choice, which knows the global
#   state only. The RandomState given is not read once. np.random.seed(0) before the call is what fixes an interval.
# Why it matters: intervals of a paper cannot be computed again from its scores and its seed. They change by what anybody
#   drew before, and a call moves the global state, so that a plot between two steps changes what is drawn after it.
# What helps: np.random.seed before each call, in each process; and more samples, so that it matters less.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check rliable==1.2.0 arch==7.2.0 pandas==2.3.3 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from numpy.random import RandomState
from rliable import library, metrics

print(*(f"{name} {version(name)}" for name in ("rliable", "arch", "numpy")))
scores = np.random.default_rng(0).normal(60, 20, (5, 3))  # five seeds on three datasets
pair = scores, np.random.default_rng(1).normal(70, 20, (5, 3))
cases = {
    "IQM": ({"x": scores}, lambda x: np.array([metrics.aggregate_iqm(x)])),
    "IQM, tasks too": ({"x": scores}, lambda x: np.array([metrics.aggregate_iqm(x)]), {"task_bootstrap": True}),
    "improvement": ({"x": pair}, metrics.probability_of_improvement),
}
changed = False
for name, (given, function, *more) in cases.items():

    def interval(state):
        options = {"reps": 200, "random_state": state} | (more[0] if more else {})
        return library.get_interval_estimates(given, function, **options)[1]["x"].ravel()

    state = RandomState(0)
    before = state.get_state()[1:3]
    found = [interval(state), interval(RandomState(0)), interval(RandomState(0))]
    untouched = all(np.array_equal(a, b) for a, b in zip(before, state.get_state()[1:3]))
    seeded = []
    for number in (1, 2):  # other states, one global seed
        np.random.seed(0)
        seeded.append(interval(RandomState(number)))
    print(f"{name}: with RandomState(0) three times {[np.round(x, 3).tolist() for x in found]}")
    print(f"  the state was {'not drawn from' if untouched else 'drawn from'}; after np.random.seed(0), with")
    print(f"  RandomState(1) and RandomState(2), {[np.round(x, 3).tolist() for x in seeded]}")
    differ = any(not np.array_equal(found[0], x) for x in found[1:])
    changed |= not differ or not untouched or not np.array_equal(*seeded)
np.random.seed(0)
alone = np.random.uniform()
np.random.seed(0)
interval(RandomState(0))
after = np.random.uniform()
print(f"the first global draw after np.random.seed(0): {alone:.4f}; with an interval between: {after:.4f}")
changed |= alone == after
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
