"""The script for a lent GPU, tried on the CPU: its order, its limits, its targets, and that it goes on
where it stopped."""

import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest
from helpers.synthetic import write_hdf5

ROOT = Path(__file__).parents[2]
FILE = ROOT / "workflow" / "on_gpu.py"
spec = importlib.util.spec_from_file_location("on_gpu", FILE)
on_gpu = importlib.util.module_from_spec(spec)
sys.modules["on_gpu"] = on_gpu
spec.loader.exec_module(on_gpu)


@pytest.fixture
def words(tmp_path) -> list[str]:
    data = write_hdf5(tmp_path / "one.hdf5")
    asked = f"--algo td3n_rd --dataset {data} --env Hopper-v5 --steps 20 --scale quick --episodes 1 "
    (tmp_path / "trainings").write_text(asked + f"--config {on_gpu.TINY}\n\n")
    return ["--device", "cpu", "--tiny", "--train", str(tmp_path / "trainings"),
            "--out", str(tmp_path / "out")]  # fmt: skip


def test_the_whole_script_on_a_cpu(words, tmp_path, capsys):
    out = tmp_path / "out"
    assert on_gpu.main(words) == 0, (out / "summary.txt").read_text()
    for name in ("equality", "speeds", "profile", "others", "bench", "data", "train-00"):
        assert json.loads((out / f"{name}.json").read_text())["ok"], name
    rows = json.loads((out / "speeds" / "bench.json").read_text())["rows"]
    assert [(r["algo"], r["agents"]) for r in rows][:3] == [("td3n", 1), ("td3n", 5), ("td3n", 15)]
    assert "2 updates" in (out / "profile.txt").read_text()
    assert "traceEvents" in json.loads((out / "trace.json").read_text())
    assert len(list((out / "runs" / "00").glob("record-*.json"))) == 1
    assert "15 agents of td3n, ms per update" in (out / "summary.txt").read_text()
    (out / "train-00.json").unlink()
    capsys.readouterr()
    assert on_gpu.main(words) == 0  # a finished training is read back
    assert capsys.readouterr().out.count("ended before") == 6


def fake(monkeypatch, statuses: dict) -> list[str]:
    """Steps that end as told, 0 unless said."""
    ran = []

    def run(self, name, words, seconds):
        ran.append(name)
        return statuses.get(name, 0)

    monkeypatch.setattr(on_gpu.Runner, "run", run)
    return ran


def test_nothing_is_measured_that_is_not_equal(words, monkeypatch, tmp_path):
    ran = fake(monkeypatch, {"equality": 1})
    assert on_gpu.main(words) == 1 and ran == ["equality"]
    assert not (tmp_path / "out" / "equality.json").exists()


def test_what_did_not_end_is_done_again_and_the_rest_is_not(words, monkeypatch):
    ran = fake(monkeypatch, {"bench": 1, "train-00": None})
    assert on_gpu.main(words) == 3
    assert ran == ["equality", "speeds", "profile", "others", "bench", "train-00"]
    ran = fake(monkeypatch, {})
    assert on_gpu.main(words) == 0 and ran == ["bench", "train-00"]


def test_a_call_can_be_of_some_steps(words, monkeypatch, tmp_path):
    ran = fake(monkeypatch, {})
    assert on_gpu.main([*words, "--only", "bench,data"]) == 0 and ran == ["bench"]
    assert on_gpu.main(words) == 0 and ran[1:] == ["equality", "speeds", "profile", "others", "train-00"]
    with pytest.raises(SystemExit, match="no step benhc; steps: equality, speeds"):
        on_gpu.main([*words, "--only", "benhc"])


def test_bundled_datasets_are_made_before_the_trainings(words, monkeypatch, tmp_path):
    monkeypatch.setenv("RDLIB_CACHE", str(tmp_path / "cache"))
    asked = "--algo bc --dataset hopper-medium-replay,pen-demos,x.hdf5 --size 200\n"
    (tmp_path / "trainings").write_text(2 * asked)
    ran, made = fake(monkeypatch, {}), tmp_path / "out" / "data-hopper-medium-replay.log"
    assert on_gpu.main([*words, "--only", "data,train-00"]) == 0 and ran == ["train-00"]
    assert made.read_text().count("hopper-medium-replay: 200 transitions") == 1
    assert not (tmp_path / "out" / "data-pen-demos.log").exists()  # made where it is first loaded
    (tmp_path / "out" / "data.json").unlink()
    monkeypatch.setattr(on_gpu, "MAKE", ["-c", "raise SystemExit(7)"])
    assert on_gpu.main([*words, "--only", "data,train-00"]) == 1 and ran == ["train-00"]
    # Nor does a roll-out outlive the call that has no time for it.
    begun, real = [], on_gpu.roll_out
    monkeypatch.setattr(on_gpu, "roll_out", lambda runner: begun.extend(real(runner)) or begun)
    monkeypatch.setattr(on_gpu, "MAKE", ["-c", "import time; time.sleep(60)"])
    assert on_gpu.main([*words, "--only", "data", "--minutes", "0"]) == 3
    assert begun[0].wait(10) == -signal.SIGTERM


def test_no_step_begins_without_time_for_it(words, monkeypatch, capsys):
    ran = fake(monkeypatch, {})
    words.remove("--tiny")
    assert on_gpu.main([*words, "--minutes", "1"]) == 3 and ran == []
    assert "equality: no time left" in capsys.readouterr().out


def test_a_step_that_takes_too_long_is_interrupted_and_may_save(tmp_path):
    runner = on_gpu.Runner(tmp_path, "cpu", True, 0.0, [])
    # As a training does: a job in the background is started deaf to SIGINT, and its children with it.
    hear = "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = hear + "try:\n  time.sleep(60)\nexcept KeyboardInterrupt:\n  print('saved')"
    assert runner.run("slow", ["-c", code], 3.0) is None
    assert (tmp_path / "slow.log").read_text() == "saved\n"
    assert runner.left(5) == 0.0


def test_the_default_trainings_are_ones_that_rdlib_takes():
    from rdlib.__main__ import parser

    for words in on_gpu.TRAININGS:
        asked = parser().parse_args(["train", *words.split()])
        assert asked.seeds in ((0, 1, 2, 3, 4), (100,)) and asked.scale == "paper"


def rows(**more):
    base = {"ms/update": 0.5, "eager ms/update": 3.0, "GFLOP/s": 50.0, "ceiling GFLOP/s": 100.0,
            "evaluation s": 0.1}  # fmt: skip
    return [{**base, "algo": a, "agents": n, **more} for a in on_gpu.TARGET_ALGOS for n in (1, 5, 15)]


def verdicts(found) -> list[str]:
    return [check["verdict"] for check in on_gpu.targets(found)]


def test_targets():
    hours = [{"table": 1, "hours": {"updates": 3.9}}, {"table": 2, "hours": None}]
    good = verdicts({"rows": rows(), "projection": hours})
    assert good == ["met", "met", "MISSED", "met", "met", "met", "met", "met"]
    slow = verdicts({"rows": rows(**{"ms/update": 2.0}), "projection": [{"table": 1, "hours": None}]})
    assert slow == ["MISSED"] * 3 + ["met", "MISSED", "met", "met", "not measured"]
    poor = verdicts({"rows": rows(**{"GFLOP/s": 34.0, "evaluation s": 1.0})})
    assert poor[5:7] == ["MISSED", "MISSED"]
    assert set(verdicts({"rows": []})) == {"not measured"}
    assert set(verdicts({"rows": [{"algo": "td3n", "agents": 15, "out of memory": "x"}]})) == {
        "not measured"
    }
