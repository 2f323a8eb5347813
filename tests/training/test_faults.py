"""Bad input and faults: one clear error that names the culprit, and nothing lost or half written."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic import write_hdf5
from safetensors.torch import save_file

from rdlib.data.dataset import DataError
from rdlib.engine.config import ConfigError
from rdlib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, write_atomically
from rdlib.training.plan import make_plan
from rdlib.training.policy import load_policy
from rdlib.training.request import TrainConfig
from rdlib.training.trainer import train

import torch  # isort: skip


TINY = {"width": 8, "depth": 2, "actor_width": 8, "actor_depth": 2, "n_critics": 3, "batch_size": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "one.hdf5"
    write_hdf5(path)
    return path


def asked(data: Path, out: Path, **more) -> TrainConfig:
    plain = {"algo": "td3n", "dataset": str(data), "env": "Hopper-v5", "steps": 10, "eval_every": 10}
    plain |= {"episodes": 1, "scale": "quick", "config": TINY, "out": str(out), "device": "cpu"}
    return TrainConfig(**(plain | more))


# Checkpoints -------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"\x80\x04 not a checkpoint, a pickle perhaps" * 10)
    elif how == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        tensors, note = load_checkpoint(path)
        save_checkpoint(path, tensors, note)
        path.write_bytes(path.read_bytes().replace(b'\\"schema\\": 1', b'\\"schema\\": 9'))


@pytest.mark.parametrize("how", ["truncated", "empty", "garbage", "foreign", "schema"])
def test_an_unreadable_checkpoint_is_named_and_left_as_it_is(data, tmp_path, how):
    train(asked(data, tmp_path))
    checkpoint = tmp_path / "checkpoint.safetensors"
    damage(checkpoint, how)
    before = checkpoint.read_bytes()
    for use in (lambda: train(asked(data, tmp_path)), lambda: load_policy(tmp_path)):
        with pytest.raises(CheckpointError, match="checkpoint.safetensors"):
            use()
    assert checkpoint.read_bytes() == before


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nothing-here"):
        load_policy(tmp_path / "nothing-here")


# Disks -------------------------------------------------------------------------------------------


def limited(size: int) -> None:
    """Runs in the child: no file may grow beyond `size`, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_keeps_the_earlier_file_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "kept.json"
    write_atomically(target, b"earlier")
    code = (
        "import sys; from pathlib import Path; from rdlib.training.checkpoint import *\n"
        "try: write_atomically(Path(sys.argv[1]), bytes(1_000_000))\n"
        "except CheckpointError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], preexec_fn=lambda: limited(100_000),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(target) in done.stdout and "intact" in done.stdout
    assert target.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["kept.json"]


def test_training_on_a_full_disk_is_one_error_before_any_update(data, tmp_path):
    command = [
        sys.executable, "-m", "rdlib", "train", "--algo", "td3n", "--dataset", str(data),
        "--env", "Hopper-v5", "--steps", "10", "--episodes", "1", "--out", str(tmp_path / "run"),
        "--device", "cpu", "--scale", "quick",
    ]  # fmt: skip
    done = subprocess.run(command, preexec_fn=lambda: limited(50_000), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "run").glob("*.part"))
    assert not list((tmp_path / "run").glob("record-*"))


def test_a_folder_that_cannot_be_made_is_named(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="file"):
        train(asked(data, tmp_path / "file" / "run"))


def test_a_folder_that_cannot_be_written_is_named(data, tmp_path, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)  # tests may run as root, whom modes do not stop
    with pytest.raises(CheckpointError, match="Permission denied"):
        write_atomically(tmp_path / "record.json", b"")


# What is asked for -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("algo", "td3m"), ("algo", "bc_rd"), ("algo", "td3n_rd_dr3"), ("algo", 3),
        ("dataset", "hoper-medium"), ("dataset", ""), ("dataset", None),
        ("seeds", [0]), ("seeds", (0, 0)), ("seeds", (-1,)), ("seeds", (0.5,)), ("seeds", ()),
        ("steps", -1), ("steps", "many"), ("steps", True), ("steps", 1.5),
        ("scale", "tiny"), ("device", "tpu"), ("device", "cuda:99"), ("dtype", "float16"),
        ("episodes", 0), ("last_k", 0), ("eval_every", -5), ("size", -1), ("env", "Hoper-v5"),
        ("config", {"widht": 8}), ("config", {"width": 8.0}), ("config", {"actor_lr": True}),
        ("config", {"beta": "1"}), ("config", {"target": "median"}), ("config", []),
        ("config", {"n_critics": 0}), ("plugin", {"weight": 1.0}), ("variants", ()),
    ],
)  # fmt: skip
def test_a_bad_request_names_the_field_and_writes_nothing(data, tmp_path, field, value):
    with pytest.raises((ConfigError, DataError, ValueError)) as caught:
        train(asked(data, tmp_path / "run", **{field: value}))
    message = str(caught.value)
    named = next(iter(value)) if isinstance(value, dict) and value else field
    shown = str(value) if field in ("algo", "dataset", "env", "device") and value else named
    assert shown in message or named in message, message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


def test_near_names_are_offered(data, tmp_path):
    with pytest.raises(ConfigError, match="td3n"):
        make_plan(asked(data, tmp_path, algo="td3m"))
    with pytest.raises(ConfigError, match="width"):
        make_plan(asked(data, tmp_path, config={"widht": 8}))
    with pytest.raises(DataError, match="hopper-medium"):
        make_plan(asked(data, tmp_path, dataset="hoper-medium"))


# Data that do not fit ----------------------------------------------------------------------------


def test_dimensions_that_do_not_fit_the_environment_are_named(tmp_path):
    write_hdf5(tmp_path / "small.hdf5", obs_dim=5, act_dim=2)
    with pytest.raises(DataError, match=r"small.*5.*2.*Hopper-v5.*11.*3"):
        train(asked(tmp_path / "small.hdf5", tmp_path / "run"))


def test_actions_beyond_the_limits_are_named(tmp_path):
    act = np.zeros((300, 3), dtype=np.float32)
    act[100, 1] = 2.5
    write_hdf5(tmp_path / "wild.hdf5", actions=act)
    with pytest.raises(DataError, match=r"wild.*2\.5"):
        train(asked(tmp_path / "wild.hdf5", tmp_path / "run"))


def test_not_a_number_is_named_by_key_and_row(tmp_path):
    obs = np.zeros((300, 11), dtype=np.float32)
    obs[7, 3] = np.nan
    write_hdf5(tmp_path / "broken.hdf5", observations=obs)
    with pytest.raises(DataError, match=r"broken.*obs.*7"):
        train(asked(tmp_path / "broken.hdf5", tmp_path / "run"))


def test_data_that_do_not_say_what_to_evaluate_on_need_env(data, tmp_path):
    with pytest.raises(ConfigError, match="env"):
        train(asked(data, tmp_path / "run", env=""))
    assert not (tmp_path / "run").exists()
