"""The only training loop: update, watch, evaluate, checkpoint, resume.

    run = rdlib.train(TrainConfig(algo="td3n_rd", dataset="hopper-medium", seeds=(0, 1, 2)))

A killed run resumes from its last checkpoint and ends in the weights and returns of an uninterrupted
one: random numbers are functions of the step, and a checkpoint holds all else that training changes.
"""

import gc
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rdlib import algos
from rdlib.data import adroit, catalog, environments
from rdlib.data.batches import Normaliser, resident, reward_units
from rdlib.engine import compiled, cuda_graphs, hardware
from rdlib.engine.base import Algorithm
from rdlib.engine.config import ConfigError
from rdlib.engine.engine import Engine
from rdlib.engine.rng import Streams
from rdlib.training import evaluation, halves
from rdlib.training.checkpoint import (
    CHECKPOINT,
    CheckpointError,
    folder_lock,
    load_checkpoint,
    save_checkpoint,
)
from rdlib.training.evaluation import Evaluator, Measured, Watch
from rdlib.training.plan import Plan, make_plan
from rdlib.training.policy import describe, load_policy, policy_note
from rdlib.training.record import Record, fingerprint, finite, load_record, provenance, save_record
from rdlib.training.request import TrainConfig

UPDATES_PER_CALL = 50
GPU_CALL = 5  # times as many on a GPU, which waits for the host between calls
DIAGNOSTIC_BATCH = 256  # states of each agent's data that diagnostics are taken on, the same always
CHECKPOINT_SECONDS = 60.0


class DeviceError(RuntimeError):
    """The device failed or is too small; the message says where the run stands."""


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked and planned, the records, and the trained agents (on the CPU where
    they had to be trained in groups)."""

    plan: Plan
    records: list[Record]
    algorithm: Algorithm
    normaliser: Normaliser


def train(asked: TrainConfig | Plan, progress: bool | None = None) -> Run:
    """Train (or resume, or find finished) the agents that `asked` describes; a plan is trained as it is.

    `progress`: show a bar; None: only on a terminal. Agents that do not fit into the device's memory
    together, or are more than `together`, are trained in groups (rdlib.training.halves). Raises
    ConfigError, DataError, CheckpointError before anything is written where the request cannot be met;
    KeyboardInterrupt after saving a checkpoint when interrupted; DeviceError where the device fails, the
    last checkpoint being intact.
    """
    plan = asked if isinstance(asked, Plan) else make_plan(asked)
    if halves.begun(plan) or (halves.wanted(plan) and not _saved_step(plan)):
        return _in_groups(plan, progress)
    try:
        return _together(plan, progress)
    except (RuntimeError, MemoryError) as error:
        if _out_of_memory(error):
            step = _saved_step(plan)
            if step or len(plan.agents) == 1:
                raise DeviceError(
                    f"{len(plan.agents)} agent(s) of {plan.asked.algo} do not fit into what is free of the "
                    f"memory of {plan.device} ({_first_line(error)}); {plan.out} stands at update {step} "
                    "and resumes where there is more"
                ) from error
        elif "CUDA error" in str(error) or "CUDA driver" in str(error):
            raise DeviceError(
                f"{plan.device} failed ({_first_line(error)}); {plan.out} stands at update "
                f"{_saved_step(plan)}, and the same command resumes from there"
            ) from error
        else:
            raise
    gc.collect()  # the trainer that did not fit, which the exception held until here
    if plan.device.type == "cuda":
        torch.cuda.empty_cache()
    tqdm.write(
        f"{len(plan.agents)} agents of {plan.asked.algo} do not fit into the memory of {plan.device} "
        "together; they are trained in two groups, one after the other, to the same results"
    )
    return _in_groups(plan, progress)


def _saved_step(plan: Plan) -> int:
    path = plan.out / CHECKPOINT
    return load_checkpoint(path)[1]["step"] if path.exists() else 0


def _out_of_memory(error: Exception) -> bool:
    """On a CPU PyTorch says it in words only."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _in_groups(plan: Plan, progress: bool | None) -> Run:
    """Train the halves of the batch, or those that are not finished, and put them together."""
    with folder_lock(plan.out):
        if (plan.out / CHECKPOINT).exists():
            _refuse_another_run(plan, load_checkpoint(plan.out / CHECKPOINT)[1])
        if not _saved_step(plan):  # else killed while cleaning up
            for half in halves.halves(plan):
                train(half, progress)
            halves.join(plan)
        halves.clean(plan)
    policy = load_policy(plan.out)
    return Run(plan, halves.records(plan), policy.algorithm, policy.normaliser)


def _refuse_another_run(plan: Plan, note: dict[str, Any]) -> None:
    if note.get("fingerprint") != plan.fingerprint:
        what = describe(note["policy"]) if "policy" in note else "of unknown origin"
        raise CheckpointError(
            f"{plan.out} holds another run ({what}); choose another out folder, or delete "
            "this one to start anew"
        )


def _check_versions(plan: Plan, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """One run is evaluated in one simulator. Other differences between the two processes are said."""
    before, after = ({"commit": p["commit"], **p["versions"]} for p in (begun, now))
    if before["mujoco"] != after["mujoco"]:
        raise CheckpointError(
            f"{plan.out} was begun with MuJoCo {before['mujoco']} and this is {after['mujoco']}, whose "
            f"dynamics may differ; to go on, install mujoco=={before['mujoco']}"
        )
    changed = [f"{k} {v}" for k, v in before.items() if v != after.get(k)]
    if changed:
        tqdm.write(f"{plan.out} was begun with {', '.join(changed)}; its record will name both")


def _together(plan: Plan, progress: bool | None) -> Run:
    trainer = Trainer(plan)
    try:
        with folder_lock(plan.out):
            records = trainer.run(progress)
    finally:
        trainer.watch.close()
    return Run(plan, records, trainer.algorithm, trainer.normaliser)


class Trainer:
    """The state of one run and its loop."""

    def __init__(self, plan: Plan):
        self.plan = plan
        hardware.keep_freed_memory()
        device, dtype = plan.device, getattr(torch, plan.asked.dtype)
        agents, data = plan.agents, [a.dataset for a in plan.agents]
        self.seeds = [a.seed for a in agents]
        self.streams = Streams(self.seeds, device)
        evaluator = Evaluator(plan.env, self.seeds, plan.asked.episodes)
        env, first = evaluator.env, data[0]
        for d in data:
            environments.check_fits(env, d, limits=not plan.asked.env)
        standardise = getattr(agents[0].config, "normalize_states", False)
        limits = (env.act_low, env.act_high)
        units = [reward_units(a.dataset, getattr(a.config, "rewards", "raw")) for a in agents]
        self.normaliser = Normaliser(data, limits, standardise, units, dtype).to(device)
        build = partial(
            algos.build,
            plan.recipe,
            [a.config for a in agents],
            [a.plugin for a in agents],
            obs_dim=first.obs_dim,
            act_dim=first.act_dim,
            dtype=dtype,
            steps=plan.steps,
        )
        self.algorithm = build(streams=self.streams)
        transitions, minibatch = resident(data, self.normaliser, self.algorithm.context)
        capture = compiled.Programs() if plan.asked.compile else cuda_graphs.capture_for(device)
        self.engine = Engine(self.algorithm, self.streams, transitions.sizes, minibatch, capture)
        self.per_call = UPDATES_PER_CALL * (GPU_CALL if device.type == "cuda" else 1)
        rows = self.streams.integers("diagnostic", 0, 1, DIAGNOSTIC_BATCH, transitions.sizes)
        known = transitions.gather(rows[0])
        beside = evaluation.beside(device, self.algorithm)
        understudies = build(streams=Streams(self.seeds)) if beside else None
        self.watch = Watch(evaluator, self.normaliser, known.obs, known.act, understudies)

        self.step = 0
        self.alive = np.ones(len(agents), dtype=bool)
        self.stopped_at = np.full(len(agents), plan.steps)
        self.evaluations: list[list[dict[str, Any]]] = [[] for _ in agents]
        self.begun: tuple[Measured, dict[str, list[float]]] | None = None  # not yet among them
        self.sums: dict[str, Tensor] = {}  # of training metrics since the last evaluation, (A,)
        self.weights: dict[str, int] = {}
        self.seconds = 0.0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.matmul, self.device = "", hardware.device_name(device)
        self.provenance = provenance()
        self.earlier: list[dict[str, Any]] = []

    @property
    def checkpoint(self) -> Path:
        """Where this run's state is kept."""
        return self.plan.out / CHECKPOINT

    @property
    def compiled(self) -> bool:
        """Whether updates are compiled programs."""
        return isinstance(self.engine.capture, compiled.Programs)

    def run(self, progress: bool | None) -> list[Record]:
        """From wherever the run stands to its records."""
        if self.checkpoint.exists():
            note = self._load()
            if not self._due() and (self.step >= self.plan.steps or not self.alive.any()):
                # Of the process that trained; older checkpoints do not say the device.
                self.provenance, self.device = note["provenance"], note.get("device", self.device)
                return self._finished()
            self._go_on(note)
        else:
            self.matmul = hardware.ask_matmul(self.plan.asked.precision, self.plan.device)
            self._refuse_foreign_folder()
            self._save()
        began, saved = time.monotonic(), time.monotonic()
        disable = None if progress is None else not progress
        bar = tqdm(
            total=self.plan.steps,
            initial=self.step,
            unit="update",
            desc=self.plan.asked.algo,
            disable=disable,
            mininterval=1.0,
        )
        with bar, _interruptions() as interrupted:
            while True:
                if self._due():
                    self._evaluate()
                    bar.set_postfix_str(self._score_now(), refresh=False)
                if self.step >= self.plan.steps or not self.alive.any():
                    break
                count = min(self.per_call, self._next_evaluation() - self.step)
                self._updates(count)
                bar.update(count)
                now = time.monotonic()
                if interrupted.raised or now - saved > CHECKPOINT_SECONDS:
                    self.seconds, began, saved = self.seconds + now - began, now, now
                    self._save()
                if interrupted.raised:
                    raise KeyboardInterrupt(
                        f"stopped at update {self.step}; the same command resumes from there"
                    )
        self.seconds += time.monotonic() - began
        self._save()
        return self._finished()

    def _finished(self) -> list[Record]:
        """The records of a run that is over, written where they are not yet."""
        records = []
        for record in self._records():
            path = self.plan.out / record.file_name
            if not path.exists():
                save_record(record, self.plan.out)
            records.append(load_record(path))
        return records

    def _next_evaluation(self) -> int:
        every = self.plan.eval_every
        return min((self.step // every + 1) * every, self.plan.steps)

    def _due(self) -> bool:
        """Evaluations fall on step 0, every eval_every and the end; a resumed run repeats none."""
        on_time = self.step % self.plan.eval_every == 0 or self.step >= self.plan.steps
        done = any(e and e[-1]["step"] == self.step for e in self.evaluations)
        begun = self.begun is not None and self.begun[0].step == self.step
        return on_time and not done and not begun and bool(self.alive.any())

    def _updates(self, count: int) -> None:
        means = self.engine.run(self.step, count)
        self.step += count
        for name, mean in means.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(mean)) + count * mean
            self.weights[name] = self.weights.get(name, 0) + count
        # Weights too: a gradient can overflow where the loss does not, and evaluation would hide it.
        weights = [p.isfinite().flatten(1).all(1) for p in self.algorithm.parameters()]
        finite_loss = [m.isfinite() for m in means.values()]
        sound = torch.stack(finite_loss + weights).all(0).cpu().numpy()
        for i in np.flatnonzero(self.alive & ~sound):
            agent = self.plan.agents[i]
            tqdm.write(
                f"{self.plan.asked.algo} on {agent.dataset.name}, seed {agent.seed}: a loss or "
                f"weight is not finite at update {self.step}; this agent stops, the others go on"
            )
            self.stopped_at[i] = self.step
        self.alive &= sound

    def _evaluate(self) -> None:
        self._collect()
        trained = {name: (v / self.weights[name]).tolist() for name, v in self.sums.items()}
        self.sums, self.weights = {}, {}
        self.begun = self.watch.begin(self.algorithm, self.step, self.alive), trained
        if self.watch.understudies is None:
            self._collect()

    def _collect(self) -> None:
        """Wait for the evaluation that has begun, and keep what it found."""
        if self.begun is None:
            return
        measured, trained = self.begun
        for i, row in measured.rows().items():
            training = {name: finite(value[i]) for name, value in trained.items()}
            self.evaluations[i].append({**row, "training": training})
        self.begun = None

    def _score_now(self) -> str:
        """Of the last evaluation that is over."""
        returns, scores = [], []
        for agent, e, alive in zip(self.plan.agents, self.evaluations, self.alive, strict=True):
            if alive and e:
                returns.append(np.mean(e[-1]["returns"]))
                if reference := self.plan.reference(agent.dataset):
                    scores.append(catalog.score(returns[-1], reference))
        if not returns:
            return ""
        if len(scores) < len(returns):
            return f"return {np.mean(returns):.1f}"
        return f"score {np.mean(scores):.1f}"

    # Saving and loading ---------------------------------------------------------------------

    def _note(self) -> dict[str, Any]:
        return {
            "fingerprint": self.plan.fingerprint,
            "step": self.step,
            "alive": self.alive.tolist(),
            "stopped_at": self.stopped_at.tolist(),
            "evaluations": self.evaluations,
            "weights": self.weights,
            "seconds": self.seconds,
            "started": self.started,
            "matmul": self.matmul,
            "compiled": self.compiled,
            "device": self.device,
            "provenance": self.provenance,
            "earlier": self.earlier,
            "policy": policy_note(self.plan),
        }

    def _save(self) -> None:
        self._collect()
        tensors = {
            **self.algorithm.tensors(),
            **{f"norm/{k}": v for k, v in self.normaliser.state_dict().items()},
            **{f"sums/{k}": v for k, v in self.sums.items()},
        }
        save_checkpoint(self.checkpoint, tensors, self._note())

    def _load(self) -> dict[str, Any]:
        tensors, note = load_checkpoint(self.checkpoint, str(self.plan.device))
        _refuse_another_run(self.plan, note)
        try:
            self.algorithm.load_tensors(tensors)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{self.checkpoint} does not fit this run: {error}") from error
        self.step, self.seconds = note["step"], note["seconds"]
        self.alive, self.stopped_at = np.array(note["alive"]), np.array(note["stopped_at"])
        self.evaluations, self.weights = note["evaluations"], note["weights"]
        self.started, self.earlier = note["started"], note.get("earlier", [])
        self.sums = {k.removeprefix("sums/"): v for k, v in tensors.items() if k.startswith("sums/")}
        # Another matrix product would round differently: keep the one that the run began with.
        self.matmul, asked = note["matmul"], self.plan.asked.precision
        if asked != "auto" and hardware.ask_matmul(asked, self.plan.device) != self.matmul:
            raise CheckpointError(
                f"{self.plan.out} was begun with the matrix product {self.matmul!r}, and precision = "
                f"{asked!r} asks for another; leave precision out to go on with it"
            )
        hardware.use_matmul(self.matmul)
        begun_compiled = note.get("compiled", False)  # older checkpoints do not say
        if self.compiled and not begun_compiled:
            raise CheckpointError(
                f"{self.plan.out} was begun without compile, and programs would round differently; leave "
                "compile out to go on with it"
            )
        if begun_compiled:
            self.engine.capture = compiled.Programs()
        return note

    def _go_on(self, note: dict[str, Any]) -> None:
        """Note where the run was before. Raises CheckpointError if it cannot go on here as it began."""
        _check_versions(self.plan, note["provenance"], self.provenance)
        before = {"device": note.get("device", "not recorded"), **note["provenance"]}
        if self.step and before != {"device": self.device, **self.provenance}:
            self.earlier.append({"until": self.step, **before})
        if self.compiled:
            try:
                compiled.check(self.plan.device)
            except ConfigError as error:
                raise CheckpointError(f"{self.plan.out} was begun with compile: {error}") from error

    def _refuse_foreign_folder(self) -> None:
        """Records without their checkpoint: of a run that we could not tell from this one."""
        found = next(self.plan.out.glob("record-*.json"), None)
        if found:
            raise CheckpointError(f"{self.plan.out} already holds {found.name}; choose another out")

    def _records(self) -> Iterator[Record]:
        plan, env = self.plan, self.watch.evaluator.env.spec
        for i, agent in enumerate(plan.agents):
            identity = agent.identity(plan)
            yield Record(
                algo=plan.recipe.name,
                dataset=agent.dataset.name,
                dataset_source=agent.dataset.source,
                dataset_digest=agent.dataset.digest,
                dataset_size=len(agent.dataset),
                env_id=env.id,
                max_episode_steps=env.max_episode_steps,
                env_kwargs=dict(env.kwargs),
                env_wrappers=[dict(w) for w in env.wrappers],
                env_rewards="".join(adroit.correction(env.id, env.kwargs)) or None,
                seed=agent.seed,
                scale=plan.scale,
                steps=plan.steps,
                config=identity["config"],
                plugin=identity["plugin"],
                config_hash=fingerprint(identity),
                status="finished" if self.alive[i] else "diverged",
                stopped_at=int(self.stopped_at[i]),
                last_k=plan.asked.last_k,
                reference=plan.reference(agent.dataset),
                evaluations=self.evaluations[i],
                dtype=plan.asked.dtype,
                device=self.device + (", compiled" if self.compiled else ""),
                matmul=self.matmul,
                started=self.started,
                seconds=round(self.seconds, 2),
                agents=len(plan.agents),
                earlier=self.earlier,
                **self.provenance,
            )


@contextmanager
def _interruptions() -> Iterator["_Flag"]:
    """A flag that Ctrl-C and SIGTERM (a cluster's) raise, so that a run stops between two updates and not
    inside one. A second one interrupts at once. Only the main thread may handle signals; elsewhere nothing
    changes."""
    flag = _Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: Any) -> None:
        if flag.raised:
            raise KeyboardInterrupt
        flag.raised = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Flag:
    raised: bool = False
