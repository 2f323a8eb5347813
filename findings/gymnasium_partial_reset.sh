#!/usr/bin/env bash
# Gymnasium: resetting one environment of a vector makes RecordEpisodeStatistics forget the others' returns.
#
# One would guess: with autoreset disabled, reset(options={"reset_mask": ended}) restarts the environments of the mask,
#   and the others go on, with their returns and lengths so far. The wrapper has code for this.
# What happens: the inner vector environment takes "reset_mask" out of the caller's dictionary. The wrapper, which looks
#   afterwards, finds no mask, takes it for a reset of all and starts every return at 0. Only episodes during which
#   no other environment ended are right. A second reset with the same dictionary restarts all environments.
# Why it matters: this mode is for evaluation, one seeded episode after the other. Long episodes lose most, which are
#   the good ones of Hopper and Walker2d: the better the policy, the more its score is cut. No error is raised.
# What helps: sum the rewards oneself; or the other two modes, whose returns are right in 1.4.0.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check gymnasium==1.4.0 numpy==2.4.6
cat > "$folder/measure.py" <<'PYTHON'
import sys
import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

print("gymnasium", gymnasium.__version__)
LENGTHS = (3, 7, 20)


class Walk(gymnasium.Env):
    """Pays 1 a step and ends after `length` steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), 1.0, self.steps >= self.length, False, {}


def returns(kind, mode):
    """Each environment's returns as the wrapper reports them, and as they are."""
    envs = kind([lambda n=n: Walk(n) for n in LENGTHS], autoreset_mode=mode)
    envs = RecordEpisodeStatistics(envs)
    envs.reset(seed=0)
    reported, true, own, waits = [[] for _ in LENGTHS], [[] for _ in LENGTHS], np.zeros(3), np.zeros(3, bool)
    for _ in range(64):
        _, rewards, ended, _, infos = envs.step(np.zeros((3, 1), np.float32))
        own += np.where(waits, 0, rewards)
        for i in np.flatnonzero(ended):
            reported[i].append(int(infos["episode"]["r"][i]))
            true[i].append(int(own[i]))
            own[i] = 0
        waits = ended & (mode == AutoresetMode.NEXT_STEP)  # whose next step is its reset
        if mode == AutoresetMode.DISABLED and ended.any():
            envs.reset(options={"reset_mask": ended})
    envs.close()
    return reported, true


if __name__ == "__main__":
    changed = False
    for kind in (SyncVectorEnv, AsyncVectorEnv):
        for mode in AutoresetMode:
            reported, true = returns(kind, mode)
            print(f"{kind.__name__}, {mode.name}:")
            for length, r, t in zip(LENGTHS, reported, true):
                print(f"  episodes of {length}: reported {sorted(set(r))}, true {sorted(set(t))}")
                right = mode != AutoresetMode.DISABLED
                changed |= set(t) != {length} or (right and r != t) or (not right and length > 3 and max(r) >= length)
    options = {"reset_mask": np.array([True, False, False])}
    envs = SyncVectorEnv([lambda: Walk(3)] * 3, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    envs.reset(options=options)
    print(f"the caller's dictionary after the reset: {options}")
    changed |= bool(options)
    print("changed" if changed else "as described")
    sys.exit(changed)
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/measure.py"
