"""The fused optimisers are torch's plain ones."""

import pytest
import torch

from rdlib.engine import optim

LIKE = [(optim.adam, torch.optim.Adam, {}), (optim.adamw, torch.optim.AdamW, {"weight_decay": 0.1})]


@pytest.mark.parametrize(("ours", "plain", "options"), LIKE)
def test_a_step_goes_by_index_and_not_by_place_in_memory(ours, plain, options):
    # A CPU's fused step takes what lies at the same place, and x @ w.mT has a transposed gradient
    # (findings/torch_fused_layout.sh). `descend` lets backward() lay it out as the weights are.
    torch.manual_seed(0)
    x, target, start = torch.randn(2, 9, 5), torch.randn(2, 9, 3), torch.randn(2, 3, 5)
    fused, reference = (start.clone().requires_grad_() for _ in range(2))
    step = ours([fused], lr=0.1, **options)
    expected = plain([reference], lr=0.1, foreach=False, fused=False, **options)
    for _ in range(4):
        optim.descend(step, (x @ fused.mT - target).square().mean((1, 2)))
        expected.zero_grad()
        (x @ reference.mT - target).square().mean((1, 2)).sum().backward()
        expected.step()
    torch.testing.assert_close(fused, reference)
    (gradient,) = torch.autograd.grad((x @ fused.mT).square().sum(), fused)
    assert gradient.stride() != fused.stride()  # the layout that would have gone wrong
