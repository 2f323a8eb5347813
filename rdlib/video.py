"""A clip of a trained policy, rendered offscreen.

MuJoCo chooses its OpenGL when it is first imported, so rendering runs in a process of its own, with
EGL and, where that fails, OSMesa.
"""

import os
import subprocess
import sys
from pathlib import Path

from rdlib.policy import load_policy

BACKENDS = ("egl", "osmesa")
FPS = 25
SIZE = (320, 240)
TIMEOUT = 300  # seconds


class VideoError(RuntimeError):
    """No clip could be rendered here; the message says what to install."""


def record(run: Path, path: Path, steps: int = 500) -> Path:
    """Render the first agent of the run in folder `run` into the MP4 at `path`, one episode of at most
    `steps` steps. Raises VideoError where no offscreen OpenGL works, CheckpointError where there is no
    such run."""
    load_policy(run)  # what is wrong with the run is no matter of OpenGL
    failures = []
    for backend in BACKENDS:
        call = [sys.executable, "-m", "rdlib.video", str(run), str(path), str(steps)]
        chosen = {**os.environ, "MUJOCO_GL": backend}
        try:
            done = subprocess.run(call, env=chosen, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            failures.append(f"{backend}: no clip within {TIMEOUT} s")
            continue
        if done.returncode == 0:
            return path
        failures.append(f"{backend}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    raise VideoError(
        "no offscreen OpenGL: install libegl1 or libosmesa6 (apt). Tried " + "; ".join(failures)
    )


def _render(run: Path, path: Path, steps: int) -> None:
    import gymnasium
    import imageio.v3
    import mujoco
    import numpy as np
    import torch

    from rdlib import simulate
    from rdlib.evaluate import episode_seeds

    policy = load_policy(run)
    simulate.register(policy.env_id)
    env = gymnasium.make(
        policy.env_id, render_mode="rgb_array", width=SIZE[0], height=SIZE[1],
        max_episode_steps=policy.max_episode_steps,
    )  # fmt: skip
    obs, _ = env.reset(seed=episode_seeds(policy.seeds[0], 1)[0])
    renderer = env.unwrapped.mujoco_renderer  # type: ignore[attr-defined]
    renderer.render("rgb_array")
    scene = renderer._get_viewer("rgb_array").scn  # shadows and reflections cost four fifths of the time
    scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    every = max(1, round(1 / (env.unwrapped.dt * FPS)))  # type: ignore[attr-defined]
    mean, player, reward = policy.normaliser.obs_mean, policy.algorithm.player(1), 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    frames: list = []
    for step in range(steps):
        if step % every == 0:
            frames.append(env.render())
        with torch.no_grad():
            raw = torch.from_numpy(obs).to(mean).expand(len(policy.seeds), 1, -1)
            last = torch.full_like(raw[..., 0], reward)
            action = policy.normaliser.to_env(player(policy.normaliser.observe(raw), last))
        obs, paid, terminated, truncated, _ = env.step(action[0, 0].float().numpy())
        reward = float(paid)
        if terminated or truncated:
            break
    frames.append(env.render())
    env.close()
    imageio.v3.imwrite(path, np.stack(frames), plugin="FFMPEG", fps=FPS)


if __name__ == "__main__":
    _render(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
