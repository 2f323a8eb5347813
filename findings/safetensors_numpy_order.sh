#!/usr/bin/env bash
# safetensors 0.8.0: a NumPy array that is not in C order is written scrambled.
#
# One would guess: `safetensors.numpy.save_file` writes what the array holds, as up to 0.7.0, or refuses arrays that
#   are not contiguous, as `safetensors.torch.save_file` does.
# What happens: 0.8.0 writes an array's memory as it lies, under the array's shape. A transposed array, one of Fortran
#   order and a slice by columns come back with the right shape and type and their numbers in other places.
# Why it matters: this is how data look after `.T`, a table's columns, SciPy or MATLAB. Observations with columns swapped
#   are finite and in range, so no check of a dataset finds them: only training fails.
# What helps: np.ascontiguousarray before saving, which costs nothing where it is not needed; or 0.7.0.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" install -q --disable-pip-version-check "$@"; }
pip safetensors==0.8.0 numpy==2.4.6 torch==2.13.0
pip --no-deps --target "$folder/old" safetensors==0.7.0

cat > "$folder/write.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load_file, save_file

path, old = sys.argv[1], sys.argv[2] == "old"
print("safetensors", version("safetensors"), "numpy", np.__version__)
steps, columns = 1_000, 4
observations = np.cumsum(np.random.default_rng(0).normal(size=(columns, steps)), 1).T  # a walk for each column
arrays = {
    "C order": np.ascontiguousarray(observations),
    "transposed": observations,
    "Fortran order": np.asfortranarray(np.ascontiguousarray(observations)),
    "every second column": np.ascontiguousarray(observations)[:, ::2],
}
changed = False
for name, array in arrays.items():
    save_file({"observations": array}, path)
    read = load_file(path)["observations"]
    right = np.array_equal(read, array)
    deviations = [np.round(a.std(0), 1).tolist() for a in (array, read)]
    print(f"  {name}: {'same' if right else 'OTHER NUMBERS'}; {read.shape} {read.dtype}, columns' deviations {deviations[0]} and {deviations[1]}")
    changed |= right != (old or name == "C order") or read.shape != array.shape
    save_file({"observations": np.ascontiguousarray(array)}, path)
    changed |= not np.array_equal(load_file(path)["observations"], array)
if not old:
    import torch
    from safetensors.torch import save_file as save_torch

    try:
        save_torch({"observations": torch.from_numpy(observations)}, path)
        changed = True
    except ValueError as error:
        print("  safetensors.torch, transposed: ValueError:", " ".join(str(error).split())[:76], "...")
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
PYTHONPATH="$folder/old" "$folder/venv/bin/python" -W ignore "$folder/write.py" "$folder/old.safetensors" old
"$folder/venv/bin/python" -W ignore "$folder/write.py" "$folder/new.safetensors" new
