"""Updates on a CPU as compiled programs. What one update runs is recorded once, operation by operation,
with backward passes and optimisers, and TorchInductor makes C++ of it.

Between two products a CPU spends as long on reading and writing as on computing, and PyTorch on starting
an operation. An update is hundreds of small operations; compiled, it is a few fused loops. It is the
counterpart of rdlib.engine.cuda_graphs and runs in the same `Loop`. Its results equal the eager update's
to rounding.
"""

import math
import operator
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from rdlib.engine.config import ConfigError

aten = torch.ops.aten
# Operations whose result the host reads, or that the host makes: a program would repeat the first for ever.
# `lift_fresh` is a tensor made of Python numbers.
HOST = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.lift_fresh.default,
    aten.is_nonzero.default,
}


class Recording(TorchDispatchMode):
    """Every operation that runs within the context, with its arguments and results, in order. Raises
    RuntimeError at one that cannot be repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict, Any]] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in HOST or (func is aten.index.Tensor and _selects(args[1])):
            raise RuntimeError(f"{func} is not permitted while recording")
        given = {**dict(zip((a.name for a in func._schema.arguments), args, strict=False)), **kwargs}
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                for t in _tensors(given.get(argument.name)):
                    self._before.append((t.detach(), t.detach().clone()))
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        return out

    @torch.no_grad()
    def undo(self) -> None:
        """Give all memory that was written the values that it had before."""
        for tensor, value in reversed(self._before):
            tensor.copy_(value)
        self._before = []


def _selects(indices: Sequence[Tensor | None]) -> bool:
    return any(i is not None and i.dtype == torch.bool for i in indices)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def check(device: torch.device) -> None:
    """Raises ConfigError where updates cannot be compiled: on a GPU, or without what compiling needs."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # takes a second to import

    if device.type != "cpu":
        raise ConfigError(f"compile = True is for a CPU; on {device} updates are captured as graphs")
    try:
        get_cpp_compiler()
    except RuntimeError as error:
        raise ConfigError(
            "compile = True needs a C++ compiler, and none is found: install g++ or clang++, or name one "
            "in the environment variable CXX"
        ) from error
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise ConfigError(
            "compile = True needs Python's headers, which this Python lacks; on Debian and Ubuntu: apt "
            "install python3-dev"
        )


class Programs:
    """A `cuda_graphs.Capture` that compiles. What cannot be is a ConfigError: it was asked for."""

    def warm_up(self, call: Callable[[], None]) -> None:
        """Run `call`."""
        call()

    def record(self, call: Callable[[], None]) -> Callable[[], None]:
        """Compile what `call` runs."""
        recording = Recording()
        try:
            try:
                with recording:
                    call()
            finally:
                recording.undo()
            module, inputs = program(recording.calls)
            with torch.no_grad():
                run = self.compile(module, inputs)
        except RuntimeError as error:
            raise ConfigError(
                f"compile = True: this update cannot be compiled here ({error}); without it, it runs one "
                "operation after the other"
            ) from error

        def replay() -> None:
            with torch.no_grad():
                run(*inputs)

        return replay

    def compile(self, module: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """What runs `module` on tensors like `inputs`, by TorchInductor."""
        from torch import _inductor

        # `cpp_wrapper`: what calls the loops and products is C++ too, not Python.
        options = {"cpp.threads": torch.get_num_threads(), "cpp_wrapper": True}
        return _inductor.compile(module, inputs, options)


def program(calls: Sequence[tuple[Any, tuple, dict, Any]]) -> tuple[fx.GraphModule, list[Any]]:
    """The calls as one function, and the tensors from outside that they read and write: its arguments."""
    known: set[tuple] = set()
    inputs: list[Any] = []  # tensors
    for _, args, kwargs, out in calls:
        for t in _tensors((args, kwargs)):
            if _place(t) not in known:
                known.add(_place(t))
                inputs.append(t.detach())
        known.update(map(_place, _tensors(out)))
    graph = fx.Graph()
    nodes = {_place(t): graph.placeholder(f"input_{i}") for i, t in enumerate(inputs)}
    for func, args, kwargs, out in calls:
        if func is aten.detach.default:  # the same memory by the same name
            continue
        given = tree_map_only(Tensor, lambda t: nodes[_place(t)], (args, kwargs))
        called = graph.call_function(_RULES.get(func.overloadpacket, func), *given)
        if func._schema.is_mutable:  # what it wrote keeps its name
            continue
        if isinstance(out, Tensor):
            nodes[_place(out)] = called
            continue
        for i, t in enumerate(out):
            if t is not None:  # a gradient that nobody asked for
                nodes[_place(t)] = graph.call_function(operator.getitem, (called, i))
    graph.output(())
    return fx.GraphModule({}, graph), inputs


def _place(t: Tensor) -> tuple:
    """What tells tensors apart while all of them are kept: the memory and how it is read."""
    return t.data_ptr() if t.numel() else id(t), t.dtype, t.shape, t.stride()


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    """A product with a matrix of one column or row as sums, which fuse with what is before and after. Of a
    batch of one, a transposed factor as a single matrix: with TorchInductor's stride for such an axis
    oneDNN copies it. Not every batch of one: a bias after `mm` becomes `addmm`, which is slower."""
    if b.shape[-1] == 1:
        return (a * b.mT).sum(-1, keepdim=True)
    if a.shape[-1] == 1:
        return a * b
    return torch.mm(a[0], b[0])[None] if len(a) == 1 and a.stride(-1) != 1 else torch.bmm(a, b)


def _adam(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    _: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float,
    decoupled: bool = False,
    **off: Any,
) -> None:
    """The arithmetic of `torch._fused_adam_` (Kingma and Ba 2015, algorithm 1), which TorchInductor has no
    rule for; `off`: options that rdlib.engine.optim leaves off."""
    lr = lr.double() if isinstance(lr, Tensor) else lr
    # By `exp` and for all parameters at once, which TorchInductor keeps: else every loop over a parameter
    # raises β to the power t again for each of its vectors.
    t = torch.stack([step.double() for step in steps])
    first, second = (1 - torch.exp(t * math.log(beta)) for beta in (beta1, beta2))
    rates, scales = (lr / first).unbind(), second.rsqrt().unbind()
    for i, (p, g, m, v) in enumerate(zip(parameters, gradients, means, squares, strict=True)):
        if decoupled:
            p.mul_(1 - lr * weight_decay)
        elif weight_decay:
            g = g + weight_decay * p
        m.lerp_(g, 1 - beta1)
        v.lerp_(g.square(), 1 - beta2)
        p.sub_(rates[i] * m / (v.sqrt() * scales[i] + eps))


def _adamw(*tensors: Any, **options: Any) -> None:
    """As `_adam`, weights decaying apart from the gradient (Loshchilov and Hutter 2019, algorithm 2)."""
    _adam(*tensors, **options, decoupled=True)


# Operations that are written in another way.
_RULES: dict[Any, Callable] = {aten.bmm: _bmm, aten._fused_adam_: _adam, aten._fused_adamw_: _adamw}
