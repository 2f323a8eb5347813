#!/usr/bin/env bash
# torch.func.vmap: a number per agent in double precision keeps out of products, but not out of where and clamp.
#
# One would guess: vmap(f)(a, x)[i] has the type of f(a[i], x[i]). In f a hyperparameter a[i] is a tensor without
#   dimensions, which in PyTorch never widens a float32 tensor; for a * x vmap knows this.
# What happens: vmap forgets it for where, clamp, addcmul and addcdiv: these return float64. lerp, which takes a[i] in a
#   loop, raises. bfloat16 x becomes float32 likewise.
# Why it matters: sweeps often come from numpy, which is double. What is clamped to an agent's own limit then computes on
#   in double precision, twice the memory, or stops at the next product with float32 weights. The loop over
#   agents, by which one checks vmap, shows neither.
# What helps: hyperparameters in the type of the data, a.to(x.dtype), before vmap.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import numpy as np
import torch
from torch.func import vmap

torch.set_num_threads(1)
print(f"torch {torch.__version__}")
agents = torch.from_numpy(np.linspace(0.1, 0.9, 4))  # float64, as numpy makes it
targets, weights = torch.randn(4, 8), torch.randn(8, 2)
functions = {
    "a * x": lambda a, x: a * x,
    "x - a": lambda a, x: x - a,
    "maximum(x, a)": lambda a, x: torch.maximum(x, a),
    "where(x > 0, x, a)": lambda a, x: torch.where(x > 0, x, a),
    "x.clamp(max=a)": lambda a, x: x.clamp(max=a),
    "addcmul(x, x, a)": lambda a, x: torch.addcmul(x, x, a),
    "addcdiv(x, x, a)": lambda a, x: torch.addcdiv(x, x, a),
    "lerp(x, 2 * x, a)": lambda a, x: torch.lerp(x, 2 * x, a),
    "x.clamp(max=a) @ w": lambda a, x: x.clamp(max=a) @ weights.to(x.dtype),
}
keeps = {"a * x", "x - a", "maximum(x, a)"}
short = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


def kind(call):
    try:
        return short[call().dtype]
    except RuntimeError as error:
        return f"RuntimeError: {error}"


changed = False
for a, x in ((agents, targets), (agents.float(), targets.bfloat16())):
    print(f"a: {short[a.dtype]}, x: {short[x.dtype]}")
    for name, function in functions.items():
        loop = kind(lambda: torch.stack([function(a[i], x[i]) for i in range(len(a))]))
        mapped = kind(lambda: vmap(function)(a, x))
        print(f"  {name:20} loop {loop:9} vmap {mapped}")
        changed |= loop != short[x.dtype] or (mapped == loop) != (name in keeps)
        changed |= kind(lambda: vmap(function)(a.to(x.dtype), x)) != short[x.dtype]
print("changed" if changed else "as described: with a in the type of x, vmap agrees everywhere")
sys.exit(changed)
PYTHON
