#!/usr/bin/env bash
# Gymnasium: how far NormalizeReward shrinks rewards depends on the autoreset mode, and on who ended the episode.
#
# One would guess: the wrapper divides rewards by the deviation of the discounted return within an episode, so the same
#   task with the same episodes gets the same rewards from the plain wrapper and the vector wrapper in any mode.
# What happens: the plain wrapper, and the vector one in the default mode, start a return anew where an episode
#   terminates, but not where a time limit truncates it: there the return runs on through the resets, towards
#   r / (1 - gamma). The modes SAME_STEP and DISABLED start it anew in both cases. With episodes of 10 steps
#   and gamma 0.99 the rewards of the same steps differ by a factor above 4.
# Why it matters: HalfCheetah, and whatever never falls, ends by its time limit only. Learning rates, clipping and
#   entropy weights tuned in one mode do not carry over to the other, nor from one environment to a vector.
# What helps: one mode throughout a study; or a constant in place of running statistics.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check gymnasium==1.4.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import gymnasium
import numpy as np
from gymnasium import wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv

print("gymnasium", gymnasium.__version__)
STEPS, EPISODES, ACTION = 10, 300, np.zeros(1, np.float32)


class Constant(gymnasium.Env):
    """Pays 1 a step, ten times."""

    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, terminates):
        self.terminates = terminates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return ACTION, {}

    def step(self, action):
        self.steps += 1
        over = self.steps >= STEPS
        return ACTION, 1.0, over and self.terminates, over and not self.terminates, {}


def plain(terminates):
    env = wrappers.NormalizeReward(Constant(terminates))
    for _ in range(EPISODES):
        env.reset()
        for _ in range(STEPS):
            reward = env.step(ACTION)[1]
    return float(reward)


def vector(terminates, mode):
    envs = SyncVectorEnv([lambda: Constant(terminates)], autoreset_mode=mode)
    envs = wrappers.vector.NormalizeReward(envs)
    envs.reset()
    ended = 0
    while ended < EPISODES:
        _, rewards, terminated, truncated, _ = envs.step(ACTION[None])
        over = terminated | truncated
        ended += int(over[0])
        if over[0] and mode == AutoresetMode.DISABLED:
            envs.reset(options={"reset_mask": over})
    return float(rewards[0])


within = []
for _ in range(STEPS):
    within.append(1 + 0.99 * (within[-1] if within else 0))
right = 1 / np.std(within)
changed = False
for terminates in (True, False):
    print(f"episodes of {STEPS} steps that {'terminate' if terminates else 'are truncated'}: a reward of 1 becomes")
    found = {"plain": plain(terminates)} | {mode.name: vector(terminates, mode) for mode in AutoresetMode}
    for name, reward in found.items():
        print(f"  {name:9} {reward:.3f}")
        runs_on = not terminates and name in ("plain", "NEXT_STEP")
        changed |= not (reward < right / 4 if runs_on else abs(reward / right - 1) < 0.1)
print(f"1 over the deviation of the return within an episode: {right:.3f}")
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
