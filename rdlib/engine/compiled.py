"""Updates on a CPU as compiled programs. What one update runs is recorded once, operation by operation,
with backward passes and optimisers, and TorchInductor makes C++ of it.

Between two products a CPU spends as long on reading and writing as on computing, and PyTorch on starting
an operation. An update is hundreds of small operations; compiled, it is a few fused loops. It is the
counterpart of rdlib.engine.cuda_graphs and runs in the same `Loop`. Its results equal the eager update's
to rounding. TorchInductor keeps programs on disk by what is recorded, the processor and torch's version.
"""

import math
import operator
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from rdlib.engine import hardware
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
    """Every operation that runs within the context, with its arguments and results, in order; in place of
    one that is in `rules`, by its packet, what that rule runs. Raises RuntimeError at one that cannot be
    repeated."""

    def __init__(self, rules: Mapping[Any, Callable] | None = None) -> None:
        super().__init__()
        self.rules = rules or {}
        self.calls: list[tuple[Any, tuple, dict, Any]] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if rule := self.rules.get(func.overloadpacket):
            rules, self.rules = self.rules, {}  # a rule may run the operation that it is for
            try:
                with self:
                    return rule(*args, **kwargs)
            finally:
                self.rules = rules
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


class Programs:
    """A `cuda_graphs.Capture` that compiles. What cannot be is a ConfigError where it was `asked` for, else
    a RuntimeError."""

    def __init__(self, asked: bool = True) -> None:
        self.asked = asked

    def warm_up(self, call: Callable[[], None]) -> None:
        """Run `call`."""
        call()

    def record(self, call: Callable[[], None]) -> Callable[[], None]:
        """Compile what `call` runs."""
        recording = Recording(RULES)
        try:
            try:
                with recording:
                    call()
            finally:
                recording.undo()
            module, inputs = program(recording.calls)
            with torch.no_grad():
                run = self.compile(module, inputs)
        except (RuntimeError, AttributeError, ImportError, TypeError) as error:  # also of another torch
            if not self.asked:
                raise RuntimeError(f"compile = auto: {error}") from error
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
        from torch._inductor import standalone_compile

        # `cpp_wrapper`: what calls the loops and products is C++ too, not Python.
        options = {"cpp.threads": torch.get_num_threads(), "cpp_wrapper": True}
        return standalone_compile(
            pickle.loads(pickle.dumps(module)),  # as the process of `Ahead` has it: else the key differs
            inputs,
            dynamic_shapes="from_example_inputs",
            options={"config_patches": options},
            donate_graph_module=True,
        )


class Ahead(Programs):
    """Has what is recorded compiled by another process, meanwhile: `Programs` finds it on disk after
    `wait`. A process and not a thread, which would take turns with the updates."""

    def __init__(self) -> None:
        super().__init__(asked=False)
        self.recorded: list[tuple[fx.GraphModule, list[tuple]]] = []
        self.process: subprocess.Popen | None = None

    def compile(self, module: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """Keep `module` for the other process."""
        self.recorded.append((module, [(t.shape, t.stride(), t.dtype) for t in inputs]))
        return module

    def start(self, matmul: str) -> None:
        """Begin to compile what was recorded. `matmul`: the product in use (rdlib.engine.hardware), which
        the keys of TorchInductor hold."""
        path = os.pathsep.join(filter(None, sys.path))
        with tempfile.TemporaryFile() as file:
            pickle.dump((matmul, torch.get_num_threads(), self.recorded), file)
            file.seek(0)
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )

    def wait(self) -> None:
        """Until the programs are there. Where the other process failed, `Programs` will say why."""
        if self.process:
            self.process.wait()

    def stop(self) -> None:
        """End the other process, if it still runs."""
        if self.process:
            self.process.kill()
            self.process.wait()


def compile_for_another() -> None:
    """What the process of `Ahead` runs."""
    matmul, threads, recorded = pickle.load(sys.stdin.buffer)
    hardware.use_matmul(matmul)
    torch.set_num_threads(threads)
    for module, inputs in recorded:
        like = [torch.empty_strided(shape, stride, dtype=dtype) for shape, stride, dtype in inputs]
        with torch.no_grad():
            Programs().compile(module, like)


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
        called = graph.call_function(func, *given)
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
RULES: dict[Any, Callable] = {aten.bmm: _bmm, aten._fused_adam_: _adam, aten._fused_adamw_: _adamw}

if __name__ == "__main__":
    compile_for_another()
