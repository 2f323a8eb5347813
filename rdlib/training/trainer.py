"""The only training loop: update, evaluate, checkpoint, resume.

    run = rdlib.train(TrainConfig(algo="td3n_rd", dataset="hopper-medium", seeds=(0, 1, 2)))

A killed run resumes from its last checkpoint and ends in the weights and returns of an uninterrupted
one: random numbers are functions of the step, and a checkpoint holds all else that training changes.
"""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rdlib.data import catalog
from rdlib.data.dataset import Dataset
from rdlib.engine import hardware
from rdlib.engine.base import Algorithm
from rdlib.training import evaluation, halves, resume
from rdlib.training.agents import assemble_plan
from rdlib.training.checkpoint import (
    CHECKPOINT,
    CheckpointError,
    Progress,
    Saved,
    folder_lock,
    load_progress,
    load_run,
    save_run,
    saved_step,
)
from rdlib.training.evaluation import Evaluator, Pending, Watch
from rdlib.training.failures import raise_unless_it_can_be_split
from rdlib.training.interruptions import interruptions
from rdlib.training.plan import Plan, make_plan
from rdlib.training.policy import load_policy
from rdlib.training.record import Record, finite
from rdlib.training.request import TrainConfig
from rdlib.training.run import Run, finish
from rdlib.training.shown import ProgressBar

if TYPE_CHECKING:  # where it is used: it needs names that torch may not have
    from rdlib.engine.compiled import Ahead

UPDATES_PER_CALL = 50
GPU_CALL = 5  # times as many on a GPU, which waits for the host between calls
DIAGNOSTIC_BATCH = 256  # states of each agent's data that diagnostics are taken on, the same always
CHECKPOINT_SECONDS = 60.0

Observer = Callable[[str, "Trainer"], None]


def train(
    asked: TrainConfig | Plan,
    progress: bool | None = None,
    dataset: Dataset | Sequence[Dataset] | None = None,
    observer: Observer | None = None,
) -> Run:
    """Train (or resume, or find finished) the agents that `asked` describes; a plan is trained as it is.

    `progress`: show a bar; None: on a terminal, and else a line every half minute; False: nothing.
    `dataset`: train on these instead of the names in `asked`. `observer(event, trainer)` is called after
    each "update" (a call of many), "begin" and "evaluate" (of an evaluation), "save" and "finish". Agents
    that do not fit into the device's memory together, or are more than `together`, are trained in groups
    (rdlib.training.halves). Raises ConfigError, DataError, CheckpointError before anything is written where
    the request cannot be met; KeyboardInterrupt after saving a checkpoint when interrupted; DeviceError
    where the device fails, the last checkpoint being intact.
    """
    plan = asked if isinstance(asked, Plan) else make_plan(asked, dataset)
    if halves.begun(plan) or (halves.wanted(plan) and not saved_step(plan.out)):
        return _in_groups(plan, progress, observer)
    try:
        return _together(plan, progress, observer)
    except (RuntimeError, MemoryError) as error:
        raise_unless_it_can_be_split(plan, error)
    gc.collect()  # the trainer that did not fit, which the exception held until here
    if plan.device.type == "cuda":
        torch.cuda.empty_cache()
    tqdm.write(
        f"{len(plan.agents)} agents of {plan.asked.algo} do not fit into the memory of {plan.device} "
        "together; they are trained in two groups, one after the other, to the same results"
    )
    return _in_groups(plan, progress, observer)


def _in_groups(plan: Plan, progress: bool | None, observer: Observer | None) -> Run:
    """Train the halves of the batch, or those that are not finished, and put them together."""
    with folder_lock(plan.out):
        if (plan.out / CHECKPOINT).exists():
            resume.same_run(plan, load_progress(plan.out / CHECKPOINT))
        if not saved_step(plan.out):  # else killed while cleaning up
            for half in halves.halves(plan):
                train(half, progress, observer=observer)
            halves.join(plan)
        halves.clean(plan)
    policy = load_policy(plan.out)
    return Run(plan, halves.records(plan), policy.algorithm, policy.normaliser)


def _together(plan: Plan, progress: bool | None, observer: Observer | None) -> Run:
    trainer = Trainer(plan, observer)
    try:
        with folder_lock(plan.out):
            records = trainer.run(progress)
    finally:
        trainer.watch.close()
    return Run(plan, records, trainer.agents.algorithm, trainer.agents.normaliser)


class Trainer:
    """The state of one run and its loop."""

    def __init__(self, plan: Plan, observer: Observer | None = None):
        hardware.keep_freed_memory()
        self.plan, self.observer = plan, observer
        seeds = [a.seed for a in plan.agents]
        evaluator = Evaluator(plan.env, seeds, plan.asked.episodes)
        self.agents = agents = assemble_plan(plan, evaluator.env)
        self.per_call = UPDATES_PER_CALL * (GPU_CALL if plan.device.type == "cuda" else 1)
        sizes = agents.transitions.sizes
        rows = agents.streams.integers("diagnostic", 0, 1, DIAGNOSTIC_BATCH, sizes)[0]
        known = agents.transitions.gather(rows)
        beside = evaluation.beside(plan.device, agents.algorithm)
        understudies = agents.understudies() if beside else None
        self.watch = Watch(evaluator, agents.normaliser, known.obs, known.act, understudies)
        self.progress = resume.beginning(plan)
        self.sums: dict[str, Tensor] = {}  # of training metrics since the last evaluation, (A,)
        self.ahead: Ahead | None = None  # compiles what this run goes over to
        self.pending: tuple[Pending, dict[str, list[float]]] | None = None  # an evaluation under way

    def run(self, bar: bool | None) -> list[Record]:
        """From wherever the run stands to its records. `bar`: as `train`'s `progress`."""
        p = self.progress
        if (self.plan.out / CHECKPOINT).exists():
            p = self._load()
            if not self._due() and self._over():
                return self._finish()
            resume.here(self.plan, p)
        else:
            p.matmul = hardware.ask_matmul(self.plan.asked.precision, self.plan.device)
            resume.decide_programs(self.plan, p)
            if found := next(self.plan.out.glob("record-*.json"), None):  # of a run we know nothing of
                raise CheckpointError(f"{self.plan.out} already holds {found.name}; choose another out")
            self._save()
        began, saved = time.monotonic(), time.monotonic()
        beside, limit = self.watch.understudies is not None, self.watch.evaluator.env.max_episode_steps
        shown = ProgressBar(self.plan, p.step, bar, beside, limit)
        with closing(shown), interruptions() as interrupted, ExitStack() as at_the_end:
            if p.compiled and p.step < p.compiled_from:
                at_the_end.callback(self._compile_ahead().stop)
            while True:
                if self._due():
                    with shown.evaluating():
                        self._begin_evaluation()
                    lengths = [max(rows[-1]["lengths"]) for rows in p.evaluations if rows]
                    shown.evaluated(self._score_now(), max(lengths, default=0))
                if self._over():
                    break
                if p.compiled and p.step >= p.compiled_from and self.agents.engine.capture is None:
                    self._use_programs()
                count = min(self.per_call, self._next_stop() - p.step)
                self._update(count)
                shown.updated(count)
                now = time.monotonic()
                if interrupted.raised or now - saved > CHECKPOINT_SECONDS:
                    p.seconds, began, saved = p.seconds + now - began, now, now
                    self._save()
                if interrupted.raised:
                    raise KeyboardInterrupt(
                        f"stopped at update {p.step}; the same command resumes from there"
                    )
        p.seconds += time.monotonic() - began
        self._save()
        return self._finish()

    def _over(self) -> bool:
        return self.progress.step >= self.plan.steps or not any(self.progress.alive)

    def _next_stop(self) -> int:
        """The next evaluation or, before it, the update from which the run is compiled."""
        p, every = self.progress, self.plan.eval_every
        after = min((p.step // every + 1) * every, self.plan.steps)
        return min(after, p.compiled_from) if p.step < p.compiled_from else after

    def _compile_ahead(self) -> "Ahead":
        """Another process that compiles what updates run, while they run one operation after the other."""
        from rdlib.engine.compiled import Ahead

        self.ahead = Ahead()
        with suppress(RuntimeError, OSError):  # which `_use_programs` will meet too, and tell
            self.agents.engine.record(self.progress.step, self.ahead)
            self.ahead.start(self.progress.matmul)
        return self.ahead

    def _use_programs(self) -> None:
        from rdlib.engine.compiled import Programs

        if self.ahead:
            self.ahead.wait()
        asked = self.plan.asked.compile == "true"
        self.agents.engine.capture = Programs(asked)

    def _due(self) -> bool:
        """Evaluations fall on step 0, every eval_every and the end; a resumed run repeats none."""
        step = self.progress.step
        on_time = step % self.plan.eval_every == 0 or step >= self.plan.steps
        done = any(e and e[-1]["step"] == step for e in self.progress.evaluations)
        begun = self.pending is not None and self.pending[0].step == step
        return on_time and not done and not begun and any(self.progress.alive)

    def _update(self, count: int) -> None:
        p = self.progress
        means = self.agents.engine.run(p.step, count)
        if p.step >= p.compiled_from and self.agents.engine.capture is None:
            p.compiled = False  # it cannot be, as a warning said
        p.step += count
        for name, mean in means.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(mean)) + count * mean
            p.weights[name] = p.weights.get(name, 0) + count
        for i, sound in enumerate(_sound(self.agents.algorithm, means)):
            if p.alive[i] and not sound:
                p.alive[i], p.stopped_at[i] = False, p.step
                agent = self.plan.agents[i]
                tqdm.write(
                    f"{self.plan.asked.algo} on {agent.dataset.name}, seed {agent.seed}: a loss or weight "
                    f"is not finite at update {p.step}; this agent stops, the others go on"
                )
        self._tell("update")

    def _begin_evaluation(self) -> None:
        self._collect()
        p = self.progress
        trained = {name: (v / p.weights[name]).tolist() for name, v in self.sums.items()}
        if p.step % self.plan.eval_every == 0:  # else the end, which is none if the run is made longer
            self.sums, p.weights = {}, {}
        self.pending = self.watch.begin(self.agents.algorithm, p.step, np.array(p.alive)), trained
        self._tell("begin")
        if self.watch.understudies is None:
            self._collect()

    def _collect(self) -> None:
        """Wait for the evaluation that has begun, and keep what it found."""
        if self.pending is None:
            return
        measured, trained = self.pending
        for i, row in measured.rows().items():
            training = {name: finite(value[i]) for name, value in trained.items()}
            self.progress.evaluations[i].append({**row, "training": training})
        self.pending = None
        self._tell("evaluate")

    def _score_now(self) -> str:
        """Of the last evaluation that is over."""
        returns, scores = [], []
        each = zip(self.plan.agents, self.progress.evaluations, self.progress.alive, strict=True)
        for agent, rows, alive in each:
            if alive and rows:
                returns.append(np.mean(rows[-1]["returns"]))
                if reference := self.plan.reference(agent.dataset):
                    scores.append(catalog.score(returns[-1], reference))
        if not returns:
            return ""
        if len(scores) < len(returns):
            return f"return {np.mean(returns):.1f}"
        return f"score {np.mean(scores):.1f}"

    def _tell(self, event: str) -> None:
        if self.observer is not None:
            self.observer(event, self)

    def _save(self) -> None:
        self._collect()
        tensors, normaliser = self.agents.algorithm.tensors(), self.agents.normaliser.state_dict()
        save_run(self.plan.out / CHECKPOINT, Saved(self.progress, tensors, normaliser, self.sums))
        self._tell("save")

    def _load(self) -> Progress:
        """Stand where the checkpoint does. Raises CheckpointError where it is not of this run."""
        plan, path = self.plan, self.plan.out / CHECKPOINT
        saved = load_run(path, str(plan.device))
        if before := resume.of_other_steps(plan, saved.progress):
            resume.lengthen(plan, before, saved.progress, self.agents.algorithm.scheduled)
        resume.same_run(plan, saved.progress)
        try:
            self.agents.algorithm.load_tensors(saved.agents)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this run: {error}") from error
        self.progress = saved.progress
        self.progress.steps = plan.steps
        self.sums = {name: saved.sums[name] for name in saved.progress.weights}
        resume.product(plan, saved.progress)
        resume.programs(plan, saved.progress)
        return saved.progress

    def _finish(self) -> list[Record]:
        found = finish(self.plan, self.progress, self.watch.evaluator.env.spec)
        self._tell("finish")
        return found


def _sound(algorithm: Algorithm, metrics: dict[str, Tensor]) -> list[bool]:
    """Whether all metrics and weights of each agent are finite. Weights too: a gradient can overflow where
    the loss does not, and evaluation would hide it."""
    weights = [p.isfinite().flatten(1).all(1) for p in algorithm.parameters()]
    return torch.stack([m.isfinite() for m in metrics.values()] + weights).all(0).tolist()
