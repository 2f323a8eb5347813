#!/usr/bin/env bash
# Minari: what was filtered out or split off comes back when datasets are combined.
#
# One would guess: combine_datasets([a, b]) holds the episodes of a and of b, as iterating over them gives them.
# What happens: filter_episodes and split_dataset return views of one storage, and combine_datasets copies the whole
#   storage of each. Of a filtered dataset the dropped episodes are in it again; the two halves of a split give
#   every episode twice. sample_episodes, iterate_episodes and total_steps of the views are right.
# Why it matters: a held-out half is trained on, and "the medium tenth and the expert data" are all of both.
#   Nothing is raised, and the new total_episodes belongs to what was copied, so it looks consistent.
# What helps: create_dataset_from_buffers with the episodes that were meant.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check 'minari[hdf5]==0.5.4' pillow==12.0.0 pyarrow==21.0.0 gymnasium==1.4.0 numpy==2.4.6
MINARI_DATASETS_PATH="$folder/data" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import gymnasium, minari, numpy as np
from minari.data_collector import EpisodeBuffer

print(f"minari {minari.__version__}")
space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
changed = False


def made(name, kind, returns):
    """A dataset of one episode of ten steps for each return."""
    episodes = [
        EpisodeBuffer(
            id=i, observations=np.zeros((11, 1), np.float32), actions=np.zeros((10, 1), np.float32),
            rewards=[r / 10] * 10, terminations=[False] * 10, truncations=[False] * 9 + [True],
        )
        for i, r in enumerate(returns)
    ]
    return minari.create_dataset_from_buffers(
        name, episodes, observation_space=space, action_space=space, data_format=kind
    )


def returns(dataset):
    return [round(float(sum(e.rewards))) for e in dataset.iterate_episodes()]


def compare(what, parts, name, whole):
    global changed
    combined = minari.combine_datasets(parts, name)
    asked, got = [returns(p) for p in parts], returns(combined)
    print(f"  {what}: returns {asked} combined are {got}, {combined.total_steps} steps")
    changed |= got != whole or sorted(got) == sorted(sum(asked, [])) or combined.total_episodes != len(whole)


for kind in ("hdf5", "arrow", "parquet"):
    print(kind)
    poor = made(f"walk/{kind}-poor-v0", kind, [10, 20, 30, 40])
    good = made(f"walk/{kind}-good-v0", kind, [90, 91])
    best = poor.filter_episodes(lambda e: sum(e.rewards) > 25)
    compare("filtered", [best, good], f"walk/{kind}-mix-v0", [10, 20, 30, 40, 90, 91])
    halves = minari.split_dataset(poor, [2, 2], seed=0)
    compare("split", halves, f"walk/{kind}-again-v0", [10, 20, 30, 40] * 2)
    compare("half of a split", [halves[0], good], f"walk/{kind}-half-v0", [10, 20, 30, 40, 90, 91])
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
