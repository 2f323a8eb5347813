#!/usr/bin/env bash
# PyTorch on a CPU: a fused optimiser pairs parameter and gradient by their place in memory, not by index.
#
# One would guess: fused=True is the same update, only quicker, and refuses tensors that it cannot take, as it
#   does on a GPU, where tensors of unlike strides raise RuntimeError.
# What happens: on a CPU Adam, AdamW, SGD and Adagrad walk all their tensors in the order of memory. A gradient of the
#   right shape whose rows lie otherwise (a transposed one) moves other weights than its own. No error, no
#   warning: an ensemble trained so does not learn.
# Why it matters: `loss.backward()` lays gradients out as parameters are, but torch.autograd.grad and torch.func.grad
#   do not: for x @ w.mT, the forward pass of stacked critics, they return a transposed gradient. The moments
#   are walked likewise: Adam after net.to(memory_format=torch.channels_last) between two steps is wrong too.
# What helps: p.grad = g.contiguous() (for contiguous p); or foreach=True, which goes by index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import torch
from torch import nn

torch.set_num_threads(1)
print(f"torch {torch.__version__}")
torch.manual_seed(0)
x, truth = torch.randn(3, 64, 6), torch.randn(3, 4, 6)
start = torch.randn(3, 4, 6)  # three agents' weights, out x in


def train(kind, how, **implementation):
    """The loss after 200 steps, and the gradient's strides."""
    w = start.clone().requires_grad_()
    optimiser = kind([w], lr=0.02, **implementation)
    for _ in range(200):
        loss = (x @ w.mT - x @ truth.mT).square().mean()
        if how == "backward":
            optimiser.zero_grad()
            loss.backward()
        else:
            (gradient,) = torch.autograd.grad(loss, w)
            w.grad = gradient.contiguous() if how == "contiguous" else gradient
        optimiser.step()
    return loss.item(), w.grad.stride()


def move(**implementation):
    """What a convolution's weights are after five steps, channels last from the second on."""
    torch.manual_seed(1)
    net, image = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02, **implementation)
    for step in range(5):
        optimiser.zero_grad()
        net(image).square().mean().backward()
        optimiser.step()
        if step == 0:
            net.to(memory_format=torch.channels_last)
    return net.weight.detach().contiguous()


changed = False
for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad):
    by_index, strides = train(kind, "autograd.grad", foreach=True)
    print(f"{kind.__name__}: weights have strides {start.stride()}, autograd.grad's gradient {strides}")
    print(f"  loss after 200 steps: foreach {by_index:.2e}", end="")
    for how in ("backward", "contiguous", "autograd.grad"):
        found, _ = train(kind, how, fused=True)
        print(f", fused with {how} {found:.2e}", end="")
        same = abs(found - by_index) < 1e-3 * by_index + 1e-6
        changed |= same if how == "autograd.grad" else not same
    print()
gap = (move(fused=True) - move(foreach=True)).abs().max().item()
print(f"Adam, channels_last after the first step: fused and foreach part by {gap:.1e} in four steps of 0.02")
changed |= gap < 1e-3
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
