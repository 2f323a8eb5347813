#!/usr/bin/env bash
# Minari: writing Arrow or Parquet takes time in the square of the number of episodes.
#
# One would guess: twice as many episodes take twice as long, as they do in HDF5.
# What happens: after each episode Minari adds up the sizes of all that the dataset's folder holds, and Arrow and
# Parquet keep a folder and two files for each episode. So it looks at files in the square of their number. This
# script counts the looks, which no clock disturbs.
# Why it matters: 4,549 episodes of Hopper were not written after nine minutes; HDF5 takes seconds.
# What helps: HDF5 for data of many episodes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q minari==0.5.4 pillow==12.0.0 pyarrow==21.0.0 gymnasium==1.4.0 numpy==2.3.5 h5py==3.15.1
MINARI_DATASETS_PATH="$folder/data" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import pathlib, sys
import gymnasium, minari, numpy as np, pyarrow
from minari.data_collector import EpisodeBuffer

print(f"minari {minari.__version__}, pyarrow {pyarrow.__version__}")
space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
looks, stat = 0, pathlib.Path.stat


def counted(path, **options):
    global looks
    looks += 1
    return stat(path, **options)


pathlib.Path.stat = counted
changed = False
for kind in ("hdf5", "arrow", "parquet"):
    found = []
    for count in (50, 100, 200):
        episodes = [
            EpisodeBuffer(
                id=i, observations=np.zeros((2, 1), np.float32), actions=np.zeros((1, 1), np.float32),
                rewards=[0.0], terminations=[True], truncations=[False],
            )
            for i in range(count)
        ]
        looks = 0
        minari.create_dataset_from_buffers(
            f"finding/{kind}{count}x-v0", episodes, observation_space=space, action_space=space, data_format=kind
        )
        found.append(looks)
    growth = found[2] / found[1]
    print(f"{kind}: looks at files for 50, 100 and 200 episodes: {found}; the last doubling makes it {growth:.1f}-fold")
    changed |= growth > 2 if kind == "hdf5" else growth < 3.5
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
