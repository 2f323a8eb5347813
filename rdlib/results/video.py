"""Clips of policies, rendered offscreen: a trained agent's, and those that made the bundled data.

MuJoCo chooses its OpenGL when it is first imported, so rendering runs in a process of its own, with
EGL and, where that fails, OSMesa.
"""

import base64
import html
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rdlib.training.policy import load_policy

if TYPE_CHECKING:
    import numpy as np

    from rdlib.data.env_spec import EnvSpec

    # an observation (O,) and the reward of the step before to an action (U,), in the environment's units
    Play = Callable[[np.ndarray, float], np.ndarray]

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
    _offscreen([{"run": str(run), "path": str(path), "steps": steps}])
    return path


def record_bundled(environment: str, policies: Sequence[str], folder: Path, steps: int = 250) -> list[Path]:
    """Render one episode of each of these bundled policies (see `rdlib.data.bundled.rollout.policy`), with
    sampled actions as in the data, into `folder`. Raises VideoError where no offscreen OpenGL works,
    DataError where there is no such policy."""
    from rdlib.data.bundled import rollout

    jobs: list[dict] = []
    for name in policies:
        rollout.policy(environment, name)
        path = folder / f"{environment}-{name.replace('/', '-')}.mp4"
        jobs.append({"bundled": [environment, name], "path": str(path), "steps": steps})
    _offscreen(jobs)
    return [Path(job["path"]) for job in jobs]


def element(clip: Path, label: str, width: int = SIZE[0]) -> str:
    """The MP4 at `clip` as an HTML element that needs no file beside it: its first frame until it is
    played, and `label` for those who cannot see it."""
    import imageio.v3

    first = imageio.v3.imread(clip, index=0, plugin="FFMPEG")
    poster = base64.b64encode(imageio.v3.imwrite("<bytes>", first, extension=".png")).decode()
    content = base64.b64encode(Path(clip).read_bytes()).decode()
    return (
        f'<video controls loop muted playsinline width="{width}" style="max-width:100%" '
        f'aria-label="{html.escape(label)}" poster="data:image/png;base64,{poster}" '
        f'src="data:video/mp4;base64,{content}"></video>'
    )


def _offscreen(jobs: list[dict]) -> None:
    failures = []
    for backend in BACKENDS:
        call = [sys.executable, "-m", "rdlib.results.video", json.dumps(jobs)]
        chosen = {**os.environ, "MUJOCO_GL": backend}
        try:
            done = subprocess.run(call, env=chosen, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            failures.append(f"{backend}: no clip within {TIMEOUT} s")
            continue
        if done.returncode == 0:
            return
        failures.append(f"{backend}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    raise VideoError(
        "no offscreen OpenGL: install libegl1 or libosmesa6 (apt). Tried " + "; ".join(failures)
    )


def _trained(run: Path) -> "tuple[EnvSpec, int, Play]":
    """Environment, seed of the episode and player of a trained run's first agent."""
    import torch

    from rdlib.training.evaluation import episode_seeds

    policy = load_policy(run)
    mean, player = policy.normaliser.obs_mean, policy.algorithm.player(1)

    def play(obs: "np.ndarray", reward: float) -> "np.ndarray":
        raw = torch.from_numpy(obs).to(mean).expand(len(policy.seeds), 1, -1)
        last = torch.full_like(raw[..., 0], reward)
        action = policy.normaliser.to_env(player(policy.normaliser.observe(raw), last))
        return action[0, 0].float().numpy()

    return policy.env, episode_seeds(policy.seeds[0], 1)[0], play


def _bundled(environment: str, name: str) -> "tuple[EnvSpec, int, Play]":
    """The same of a bundled policy."""
    import torch

    from rdlib.data.bundled import rollout
    from rdlib.data.env_spec import EnvSpec

    about, actor = rollout.about(environment), rollout.policy(environment, name)
    generator = torch.Generator().manual_seed(0)

    def play(obs: "np.ndarray", reward: float) -> "np.ndarray":
        raw = torch.from_numpy(obs).float()[None, None]
        mean, log_std = actor.moments(raw)
        noise = torch.randn(mean.shape, generator=generator)
        return actor.squash(mean, log_std, noise)[0][0, 0].numpy()

    return EnvSpec(about["env_id"], about.get("max_episode_steps")), 0, play


def _render(job: dict) -> None:
    import imageio.v3
    import mujoco
    import numpy as np
    import torch

    from rdlib.data.env_spec import complete, make_one

    found = _trained(Path(job["run"])) if "run" in job else _bundled(*job["bundled"])
    spec, seed, play = found
    path = Path(job["path"])
    env = make_one(complete(spec), render_mode="rgb_array", width=SIZE[0], height=SIZE[1])
    obs, _ = env.reset(seed=seed)
    renderer = env.unwrapped.mujoco_renderer  # type: ignore[attr-defined]
    renderer.render("rgb_array")
    scene = renderer._get_viewer("rgb_array").scn  # shadows and reflections cost four fifths of the time
    scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    every = max(1, round(1 / (env.unwrapped.dt * FPS)))  # type: ignore[attr-defined]
    path.parent.mkdir(parents=True, exist_ok=True)
    frames: list = []
    reward = 0.0
    for step in range(job["steps"]):
        if step % every == 0:
            frames.append(env.render())
        with torch.no_grad():
            action = play(obs, reward)
        obs, paid, terminated, truncated, _ = env.step(action)
        reward = float(paid)
        if terminated or truncated:
            break
    frames.append(env.render())
    env.close()
    imageio.v3.imwrite(path, np.stack(frames), plugin="FFMPEG", fps=FPS)


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        _render(job)
