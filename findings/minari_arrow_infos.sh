#!/usr/bin/env bash
# Minari: what an episode's `infos` look like depends on the format, and some that are written cannot be read.
#
# One would guess: the same infos from every format.
# What happens: from HDF5 a dictionary within infos is a dictionary of arrays, as it was given. From Arrow and
# Parquet it is an array of dictionaries, one for each step, each value in an array of its own. Lists of
# different lengths (contacts, say) are written to Arrow and Parquet, and reading raises ValueError: the whole
# episode is lost to `iterate_episodes`, its observations and rewards too.
# Why it matters: code that reads infos works on one format only; and who needs no infos cannot skip them.
# What helps: read the columns with pyarrow, leaving `infos` out.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q minari==0.5.4 pillow==12.0.0 pyarrow==21.0.0 gymnasium==1.4.0 numpy==2.3.5 h5py==3.15.1
MINARI_DATASETS_PATH="$folder/data" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import gymnasium, minari, numpy as np, pyarrow
from minari.data_collector import EpisodeBuffer

print(f"minari {minari.__version__}, pyarrow {pyarrow.__version__}")
space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


def read(kind, name, infos):
    episode = EpisodeBuffer(
        id=0, observations=np.zeros((4, 1), np.float32), actions=np.zeros((3, 1), np.float32),
        rewards=[1.0, 2.0, 3.0], terminations=[False] * 3, truncations=[False, False, True], infos=infos,
    )
    name = f"finding/{name}-{kind}-v0"
    minari.create_dataset_from_buffers(
        name, [episode], observation_space=space, action_space=space, data_format=kind
    )
    return next(iter(minari.load_dataset(name).iterate_episodes())).infos


changed = False
for kind in ("hdf5", "arrow", "parquet"):
    found = read(kind, "nested", {"body": {"height": np.arange(4.0)}})["body"]
    print(f"{kind}: body is {type(found).__name__}: {' '.join(repr(found).split())}")
    changed |= not isinstance(found, dict if kind == "hdf5" else np.ndarray)
for kind in ("arrow", "parquet"):
    try:
        print(f"{kind}: {read(kind, 'lists', {'contacts': [[], [1], [1, 2], []]})}")
        changed = True
    except ValueError as error:
        print(f"{kind}: lists of different lengths, on reading: ValueError: {error}")
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
