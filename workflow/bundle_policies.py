"""Write the policies of version 2 of one environment's bundled data: run once, by us.

    python workflow/bundle_policies.py hopper --medium runs/hopper-1:150000 --expert runs/hopper-2:300000

Each policy is a snapshot RUN:STEP of `workflow/behaviour_policies.py train`. Medium brings medium-replay
with it: snapshots of the same run, evenly spaced up to that step. book/data_protocol.md says how they were
chosen.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from behaviour_policies import Snapshots
from safetensors.torch import save_file

from rdlib.data.bundled import policies_folder, rollout

FIRST = "version-1"
RANDOM_STEPS = 5_000  # of medium-replay, by the untrained policy: before the first update


Source = tuple[Path, int] | str  # folder of a run and environment step, or FIRST


def bundle(
    environment: str,
    medium: Source,
    expert: Source | None,
    target: Path,
    replay: int = 24,
    without: Sequence[int] = (),
    until: int = 0,
) -> dict[str, Any]:
    """Write `target`; returns each policy's return and score on 100 fresh episodes.

    medium, expert: FIRST takes version 1's. replay: snapshots of medium-replay, the untrained one among
    them. without: steps that are none of them. until: step of the last; 0: medium's. Raises ValueError
    where a run is of another environment.
    """
    about: dict[str, Any] = {"runs": {}}
    tensors: dict[str, torch.Tensor] = {}
    for name, source in (("medium", medium), ("expert", expert)):
        if isinstance(source, str):
            found, kept = _of_version_1(environment, name)
        elif source:
            found, kept = _of_run(environment, name, *source, replay, without, until)
        else:
            continue
        about["runs"] |= found.pop("runs")
        about |= found
        tensors |= kept
    both = ("medium-expert", "expert") if expert else ()
    about["qualities"] = ["random", "medium", "medium-replay", *both]
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.clone() for k, v in tensors.items()}, target, {"about": json.dumps(about)})
    return {name: about[name] for name in ("random", "medium", "expert") if name in about}


def _of_version_1(environment: str, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Version 1's medium, with all that belongs to it, or its expert: what is known, and weights."""
    before = rollout.about(environment, 1)
    runs = {f"{FIRST}-{name}": before["middle_run" if name == "medium" else "expert_run"]}
    about: dict[str, Any] = {"runs": runs}
    names = [name]
    if name == "medium":
        names += ["random", *(f"replay/{i}" for i in range(len(before["replay"])))]
        about |= {key: before[key] for key in ("env_id", "replay")}
    for policy in names:
        if policy in before:
            about[policy] = {"run": f"{FIRST}-{name}", **before[policy]}
    states = {policy: rollout.policy(environment, policy, 1).state_dict() for policy in names}
    return about, {f"{p}/{k}": v for p, state in states.items() for k, v in state.items()}


def _of_run(
    environment: str, name: str, folder: Path, step: int, replay: int, without: Sequence[int], until: int
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A run's snapshot as medium, with all that belongs to it, or as expert: what is known, and weights."""
    source = Snapshots(folder)
    if not source.env_id.lower().startswith(environment):
        raise ValueError(f"{folder} is a run in {source.env_id}, not in {environment}")
    about: dict[str, Any] = {"runs": {folder.name: source.about()}}
    steps = {name: step}
    if name == "medium":
        begun = source.past["stages"][0]["recipe"]["random_steps"]
        end = until or step
        met = [s for s in sorted(source.means) if begun < s <= end and s not in without]
        count = min(replay - 1, len(met))
        kept = np.linspace(0, len(met) - 1, count).round().astype(int)
        random = RANDOM_STEPS / rollout.REPLAY_SIZES[environment]
        about |= {
            "env_id": source.env_id,
            "replay": [0, *(met[i] for i in kept)],
            "replay_weights": [random, *[(1 - random) / count] * count],
        }
        steps |= {"random": 0} | {f"replay/{i}": s for i, s in enumerate(about["replay"])}
    for policy in {name, "random"} & steps.keys():
        about[policy] = {"run": folder.name, **source.measure(steps[policy])}
    return about, {f"{p}/{k}": v for p, s in steps.items() for k, v in source.weights(s).items()}


def snapshot(text: str) -> Source:
    """RUN:STEP as folder and environment step; FIRST as it is."""
    if text == FIRST:
        return text
    folder, _, step = text.rpartition(":")
    if not folder or not step.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected RUN:STEP")
    return Path(folder), int(step)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    known = f"RUN:STEP|{FIRST}"
    parser.add_argument("environment", help="hopper, halfcheetah or walker2d")
    parser.add_argument("--medium", type=snapshot, required=True, metavar=known)
    parser.add_argument("--expert", type=snapshot, default=None, metavar=known)
    parser.add_argument("--replay", type=int, default=24, help="snapshots of medium-replay")
    parser.add_argument(
        "--without", type=int, nargs="*", default=(), help="steps that are no part of medium-replay"
    )
    parser.add_argument("--until", type=int, default=0, help="last of them; default: medium's step")
    parser.add_argument("--target", type=Path, default=None, help="default: the package's file")
    a = parser.parse_args(arguments)
    target = a.target or policies_folder(2) / f"{a.environment}.safetensors"
    chosen = bundle(a.environment, a.medium, a.expert, target, a.replay, a.without, a.until)
    for name, found in chosen.items():
        print(f"{name:10s} {found}")


if __name__ == "__main__":
    main()
