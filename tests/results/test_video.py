"""A clip of a trained policy shows something that moves; where none can be made, it is said why."""

import base64
import os
import re
import subprocess
import sys

import imageio.v3
import numpy as np
import pytest
from helpers.synthetic import write_hdf5

import rdlib
from rdlib.results import video
from rdlib.training.checkpoint import CheckpointError

CONFIG = {"batch_size": 16, "actor_width": 8, "actor_depth": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two behaviour clones of made-up data, after a few updates."""
    folder = tmp_path_factory.mktemp("video")
    asked = rdlib.TrainConfig(
        algo="bc", dataset=str(write_hdf5(folder / "tiny.hdf5")), env="Hopper-v5", steps=4, episodes=1,
        config=CONFIG, seeds=(0, 1), device="cpu", out=str(folder / "run"),
    )  # fmt: skip
    rdlib.train(asked, progress=False)
    return folder / "run"


def works(backend):
    """Whether this machine can render with `backend` at all, asked of MuJoCo itself."""
    code = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 48, 64).render()"
    call = [sys.executable, "-c", code]
    environment = {**os.environ, "MUJOCO_GL": backend}
    return not subprocess.run(call, env=environment, capture_output=True, timeout=120).returncode


def test_a_clip(run, tmp_path):
    if not any(map(works, video.BACKENDS)):
        pytest.skip("NOT TESTED, no EGL or OSMesa here: apt install libosmesa6")
    path = tmp_path / "deep" / "clip.mp4"
    assert video.record(run, path, steps=40) == path
    frames = imageio.v3.imread(path, plugin="FFMPEG")
    assert frames.shape[1:] == (240, 320, 3) and len(frames) > 1
    assert all(frame.std() > 5 for frame in frames), "one colour"
    first, last = frames[0].astype(int), frames[-1].astype(int)
    assert np.abs(first - last).max() > 30, "nothing moves"
    # The hopper and not the background alone: the middle of the picture is not its rim.
    assert np.abs(first[60:200, 120:200] - first[5:40, 120:200].mean((0, 1))).max() > 60


def test_no_backend(run, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "BACKENDS", ("nonsense",))
    with pytest.raises(video.VideoError, match=r"install libegl1 or libosmesa6.*nonsense: ") as error:
        video.record(run, tmp_path / "clip.mp4")
    assert str(error.value).count("\n") == 0 and not list(tmp_path.iterdir())


def test_a_backend_that_hangs(run, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "TIMEOUT", 0.01)
    with pytest.raises(video.VideoError, match=r"egl: no clip within 0.01 s; osmesa: no clip"):
        video.record(run, tmp_path / "clip.mp4")


def test_a_run_that_is_not_there_is_no_matter_of_opengl(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        video.record(tmp_path / "nowhere", tmp_path / "clip.mp4")


def test_a_clip_in_a_page_has_a_first_picture_and_a_label(tmp_path):
    frames = np.zeros((5, 48, 64, 3), np.uint8)
    frames[0] = 255
    imageio.v3.imwrite(tmp_path / "clip.mp4", frames, plugin="FFMPEG", fps=5)
    element = video.element(tmp_path / "clip.mp4", 'the "best" policy & more', width=64)
    assert 'aria-label="the &quot;best&quot; policy &amp; more"' in element and 'width="64"' in element
    poster = re.search(r'poster="data:image/png;base64,([^"]+)"', element)[1]
    assert imageio.v3.imread(base64.b64decode(poster)).mean() > 250
    content = re.search(r' src="data:video/mp4;base64,([^"]+)"', element)[1]
    assert base64.b64decode(content) == (tmp_path / "clip.mp4").read_bytes()
