"""The script for an hour of a GPU: its order, its limit of time, and that it goes on where it stopped."""

import importlib.util
import shlex
from pathlib import Path

import pytest

from rdlib.results import grid
from rdlib.training.request import command

FILE = Path(__file__).parents[2] / "workflow" / "on_gpu.py"
spec = importlib.util.spec_from_file_location("on_gpu", FILE)
on_gpu = importlib.util.module_from_spec(spec)
spec.loader.exec_module(on_gpu)


def test_hopper_s_pairs_come_first_and_every_command_is_one_that_rdlib_takes(tmp_path):
    asked = on_gpu.trainings("bundled", tmp_path, "cuda")
    assert [a.algo for a in asked[:4]] == ["td3n", "td3n_rd", "sacn", "sacn_rd"]
    environments = [a.dataset.split("-")[0] for a in asked]
    assert environments == sorted(environments, key=on_gpu.ENVIRONMENTS.index)
    assert sum(len(a.dataset.split(",")) for a in asked) == 72
    tests, bench, *rest = on_gpu.steps(asked, tmp_path, "cuda")
    assert tests == ("tests", ["-m", "pytest", "-q", "-m", "gpu", "tests"])
    assert bench[1] == ["-m", "rdlib", "bench", "--device", "cuda", "--out", str(tmp_path / "bench")]
    for a, (name, words) in zip(asked, rest, strict=True):
        assert ["python", *words] == shlex.split(command(a)) and a.out == str(tmp_path / "runs" / name)
        assert (a.scale, a.device, a.seeds) == ("paper", "cuda", grid.SEEDS)
    assert all(a.dataset.startswith("d4rl/") for a in on_gpu.trainings("d4rl", tmp_path, "cuda"))


def python(code):
    return ["-c", code]


def test_what_ended_is_not_done_again_and_what_failed_is(tmp_path, capsys):
    words = [("first", python("print('one')")), ("second", python("raise SystemExit(7)"))]
    assert on_gpu.go(iter([*words, ("third", python(""))]), tmp_path, 1) == 1
    assert (tmp_path / "first.log").read_text() == "one\n" and (tmp_path / "third.ended").exists()
    assert "second: failed with status 7; see" in capsys.readouterr().out
    assert on_gpu.go(iter([words[0], ("second", python("print('two')"))]), tmp_path, 1) == 0
    assert (tmp_path / "first.log").read_text() == "one\n" and (tmp_path / "second.ended").exists()


def test_nothing_is_trained_where_updates_are_not_equal(tmp_path):
    assert on_gpu.go(iter([("tests", python("raise SystemExit(1)")), ("b", python(""))]), tmp_path, 1) == 1
    assert not list(tmp_path.glob("*.ended")) and not (tmp_path / "b.log").exists()


def test_no_step_begins_without_time_for_it(tmp_path, capsys):
    assert on_gpu.go(iter([("tests", python(""))]), tmp_path, 0) == 3
    assert "tests: no time left; the same command goes on here" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        on_gpu.main(["--out", str(tmp_path)])  # how long is for the user to say


def test_a_step_that_takes_too_long_is_interrupted_and_may_save(tmp_path):
    # As a training does: a job in the background is started deaf to SIGINT, and its children with it.
    hear = "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = f"{hear}try:\n  time.sleep(60)\nexcept KeyboardInterrupt:\n  print('saved')"
    assert on_gpu.run(python(code), tmp_path / "log", 3.0) is None
    assert (tmp_path / "log").read_text() == "saved\n"
