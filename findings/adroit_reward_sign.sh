#!/usr/bin/env bash
# Adroit door, hammer and relocate: one environment id, two rewards of opposite sign.
#
# One would guess: AdroitHandDoor-v1 pays the same in every release of gymnasium-robotics, and less the further
#   the palm is from the handle, as its documentation says and as D4RL's reference scores assume.
# What happens: release 1.2.0 pays -0.1 times that distance. 1.2.1 to 1.4.2 pay +0.1 times it, under the same
#   id -v1. On the door a random policy returns about -56.7 in one and -45.7 in the other. D4RL's random
#   reference is -56.5, so the newer releases give a random policy a score above 0.
# Why it matters: a policy is paid for keeping away, and scores of the two do not compare. Minari's
#   D4RL/door/human-v2 was made with the newer sign.
#
# How it is measured: the mark on the palm (a MuJoCo site, without mass or contact) is moved by a metre and the
#   same step is taken again. What the reward changes by, over what the distance changes by, is the sign.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/measure.py" <<'PYTHON'
import sys
from importlib.metadata import version

import gymnasium
import gymnasium_robotics
import numpy as np

expected = float(sys.argv[1])
if hasattr(gymnasium, "register_envs"):
    gymnasium.register_envs(gymnasium_robotics)
print("gymnasium-robotics", version("gymnasium-robotics"), "mujoco", version("mujoco"))


def distance(env, task):
    thing = env.data.site("S_handle") if task == "Door" else env.data.body("Object")
    return np.linalg.norm(env.data.site("S_grasp").xpos - thing.xpos)


wrong = []
for task in ("Door", "Hammer", "Relocate"):
    env = gymnasium.make(f"AdroitHand{task}-v1").unwrapped
    rewards, distances = [], []
    for shift in (0.0, 1.0):
        env.model.site("S_grasp").pos[0] += shift
        env.reset(seed=0)
        rewards.append(float(env.step(np.zeros(env.action_space.shape, "f4"))[1]))
        distances.append(distance(env, task))
    slope = (rewards[1] - rewards[0]) / (distances[1] - distances[0])
    print(f"  AdroitHand{task}-v1 pays {slope:+.3f} times the distance")
    if abs(slope - expected) > 1e-3:
        wrong.append(task)

env, rng, returns = gymnasium.make("AdroitHandDoor-v1"), np.random.default_rng(0), []
for seed in range(30):
    env.reset(seed=seed)
    returns.append(sum(float(env.step(rng.uniform(-1, 1, 28).astype("f4"))[1]) for _ in range(200)))
print(f"  a random policy on the door returns {np.mean(returns):.1f}; D4RL's reference is -56.5")
sys.exit(f"changed: {wrong} pay other than {expected:+} times the distance" if wrong else 0)
PYTHON

try() {  # the sign expected, then packages
    local sign=$1 home="$folder/$2"
    shift
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check "$@"
    "$home/bin/python" "$folder/measure.py" "$sign" 2>/dev/null
}

try -0.1 gymnasium-robotics==1.2.0 gymnasium==0.28.1 mujoco==2.3.3 'numpy<2' 'imageio<3'
try +0.1 gymnasium-robotics==1.4.2 gymnasium==1.4.0 mujoco==3.4.0 numpy==2.4.6
echo "as described: the sign is -0.1 in 1.2.0 and +0.1 in 1.4.2"
