"""Where a run begins, and whether a saved one can go on here as it began."""

from dataclasses import replace
from datetime import UTC, datetime

from tqdm import tqdm

from rdlib.engine import compiler, hardware
from rdlib.training.checkpoint import CheckpointError, Progress
from rdlib.training.plan import Plan
from rdlib.training.policy import about
from rdlib.training.provenance import provenance


def beginning(plan: Plan) -> Progress:
    """Where a run stands before its first update."""
    return Progress(
        fingerprint=plan.fingerprint,
        policy=about(plan),
        provenance=provenance(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        alive=[True for _ in plan.agents],
        stopped_at=[plan.steps for _ in plan.agents],
        evaluations=[[] for _ in plan.agents],
        steps=plan.steps,
        device=hardware.device_name(plan.device),
    )


def same_run(plan: Plan, saved: Progress) -> None:
    """Raise CheckpointError where the run's folder holds another run."""
    if saved.fingerprint != plan.fingerprint:
        raise CheckpointError(
            f"{plan.out} holds another run ({saved.policy}, or other settings); choose another out folder, "
            "or delete this one to start anew"
        )


def of_other_steps(plan: Plan, saved: Progress) -> Plan | None:
    """The plan of the saved run where it differs from `plan` in `steps` only; else None."""
    steps = saved.steps or saved.step  # older checkpoints do not say what was asked for
    if saved.fingerprint == plan.fingerprint or not steps:
        return None
    before = replace(plan, steps=steps, eval_every=min(plan.eval_every, steps))
    return before if before.fingerprint == saved.fingerprint else None


def lengthen(plan: Plan, before: Plan, saved: Progress, scheduled: bool) -> None:
    """Make of the finished run `before` the beginning of `plan`, which has other `steps`. Raises
    CheckpointError where a run of `plan` would have begun otherwise, or is shorter."""
    why = ""
    if saved.step < before.steps:
        why = "is not finished"
    elif plan.steps < before.steps:
        why = "is longer"
    elif scheduled:
        why = "had other learning rates from the start"
    elif before.steps % plan.eval_every and not saved.weights:  # checkpoints from before `weights` was kept
        why = "was evaluated at other updates"
    if why:
        raise CheckpointError(
            f"{plan.out} holds another run: it differs in steps = {before.steps}, and {why}, so that it "
            f"cannot go on to steps = {plan.steps}; choose another out folder, or delete this "
            "one to start anew"
        )
    if before.steps % plan.eval_every:  # its last evaluation is none of the longer run
        for rows in saved.evaluations:
            if rows and rows[-1]["step"] == before.steps:
                rows.pop()
    else:
        saved.weights = {}
    for i, alive in enumerate(saved.alive):
        saved.stopped_at[i] = plan.steps if alive else saved.stopped_at[i]
    saved.steps, saved.fingerprint = plan.steps, plan.fingerprint
    if not saved.compiled:
        decide_programs(plan, saved)


def product(plan: Plan, saved: Progress) -> None:
    """Use the matrix product that the run began with: another would round differently. Raises
    CheckpointError where another is asked for."""
    asked = plan.asked.precision
    if asked != "auto" and hardware.ask_matmul(asked, plan.device) != saved.matmul:
        raise CheckpointError(
            f"{plan.out} was begun with the matrix product {saved.matmul!r}, and precision = {asked!r} "
            "asks for another; leave precision out to go on with it"
        )
    hardware.use_matmul(saved.matmul)


def decide_programs(plan: Plan, saved: Progress) -> None:
    """Note in `saved` from which update on a run is compiled, where the plan says that it is. With "auto"
    that hangs on numbers of updates, and never on the clock."""
    if plan.asked.compile == "true" and not saved.step:
        saved.compiled, saved.compiled_from = True, 0
    elif plan.asked.compile == "auto" and plan.device.type == "cpu" and plan.steps >= compiler.LEAST:
        if why := compiler.lack(plan.device):
            tqdm.write(f"compile = auto {why}; updates run one operation after the other, more slowly")
        else:
            saved.compiled, saved.compiled_from = True, max(compiler.FROM, saved.step)


def programs(plan: Plan, saved: Progress) -> None:
    """Raise CheckpointError where compile is asked for and the run began without."""
    if plan.asked.compile == "true" and not saved.compiled:
        raise CheckpointError(
            f"{plan.out} was begun without compile, and programs would round differently; leave compile "
            "out to go on with it"
        )


def here(plan: Plan, saved: Progress) -> None:
    """Note in `saved` that the run goes on in this process, on this device; say what has changed since.
    Raises CheckpointError where it cannot go on here: one run is evaluated in one simulator."""
    now, device = provenance(), hardware.device_name(plan.device)
    before, after = ({"commit": p["commit"], **p["versions"]} for p in (saved.provenance, now))
    if before["mujoco"] != after["mujoco"]:
        raise CheckpointError(
            f"{plan.out} was begun with MuJoCo {before['mujoco']} and this is {after['mujoco']}, whose "
            f"dynamics may differ; to go on, install mujoco=={before['mujoco']}"
        )
    if saved.compiled:
        if why := compiler.lack(plan.device):
            raise CheckpointError(f"{plan.out} was begun with compile, which {why}")
    changed = [f"{k} {v}" for k, v in before.items() if v != after.get(k)]
    if changed:
        tqdm.write(f"{plan.out} was begun with {', '.join(changed)}; its record will name both")
    was = {"device": saved.device, **saved.provenance}
    if saved.step and was != {"device": device, **now}:
        saved.earlier.append({"until": saved.step, **was})
    saved.device, saved.provenance = device, now
