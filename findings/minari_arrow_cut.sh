#!/usr/bin/env bash
# Minari: an Arrow or Parquet episode above 32,767 steps is read cut, and its rest is taken for the next episode.
#
# One would guess: what `create_dataset_from_buffers` writes, `iterate_episodes` reads back, in any format.
# What happens: the files are right. Minari reads them with pyarrow's `Dataset.to_batches`, and pairs the batches
# with episode numbers. pyarrow hands out at most 32,768 rows a batch, so a longer episode is two batches: the
# first is cut after 32,767 steps, the rest becomes the next episode, and the dataset's last episodes are lost.
# Why it matters: no error and no warning. Transitions cross episodes, and `total_steps` no longer agrees.
# What helps: `to_table` of each episode's folder, or HDF5.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q minari==0.5.4 pillow==12.0.0 pyarrow==21.0.0 gymnasium==1.4.0 numpy==2.3.5 h5py==3.15.1
MINARI_DATASETS_PATH="$folder/data" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os, sys
import gymnasium, minari, numpy as np, pyarrow
import pyarrow.dataset as tables
from minari.data_collector import EpisodeBuffer

print(f"minari {minari.__version__}, pyarrow {pyarrow.__version__}")
lengths = [40_000, 10, 20]
space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
episodes = [
    EpisodeBuffer(
        id=i, observations=np.full((n + 1, 1), i, np.float32), actions=np.zeros((n, 1), np.float32),
        rewards=[0.0] * n, terminations=[False] * n, truncations=[False] * (n - 1) + [True],
    )
    for i, n in enumerate(lengths)
]
changed = False
for kind in ("hdf5", "arrow", "parquet"):
    name = f"finding/{kind}-v0"
    minari.create_dataset_from_buffers(
        name, episodes, observation_space=space, action_space=space, data_format=kind
    )
    dataset = minari.load_dataset(name)
    read = [(len(e.rewards), int(e.observations[0, 0])) for e in dataset.iterate_episodes()]
    print(f"{kind}: written {lengths}, total_steps {dataset.total_steps}, read (steps, episode) {read}")
    right = [(n, i) for i, n in enumerate(lengths)]
    changed |= read != (right if kind == "hdf5" else [(32_767, 0), (7_232, 0), (10, 1)])
    if kind != "hdf5":
        parts = [f"{os.environ['MINARI_DATASETS_PATH']}/{name}/data/{i}" for i in range(3)]
        found = [
            tables.dataset(p, format=kind, ignore_prefixes=["metadata.json"]).to_table().num_rows for p in parts
        ]
        print(f"{kind}: rows in its files {found}, one observation more than steps")
        changed |= found != [n + 1 for n in lengths]
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
