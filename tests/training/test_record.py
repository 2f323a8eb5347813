"""Records: written whole, read strictly, scored as fixed in advance."""

import dataclasses
import json
import math
import subprocess
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.records import RECORD, evaluation

from rdlib.training import provenance as provenance_module
from rdlib.training.provenance import provenance
from rdlib.training.record import (
    ADDED,
    SCHEMA,
    Record,
    RecordError,
    as_row,
    fingerprint,
    finite,
    load_files,
    load_record,
    load_records,
    pack_records,
    save_record,
)


def test_round_trip_and_nothing_else_in_the_folder(tmp_path):
    path = save_record(RECORD, tmp_path / "new")
    assert load_record(path) == RECORD
    assert [p.name for p in path.parent.iterdir()] == [RECORD.file_name]
    bare = dataclasses.replace(RECORD, plugin=None, reference=None, commit="ab+", seconds=2)
    assert load_record(save_record(bare, tmp_path)) == bare


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_a_record_of_an_earlier_schema_is_read_and_says_what_it_does_not_hold(tmp_path, schema):
    path = save_record(RECORD, tmp_path)
    old = json.loads(path.read_text()) | {"schema": schema}
    unknown = dict.fromkeys(name for since, names in ADDED.items() if since > schema for name in names)
    for name in unknown:
        del old[name]
    path.write_text(json.dumps(old))
    assert load_record(path) == dataclasses.replace(RECORD, **unknown)
    path.write_text(json.dumps(old | {"schema": schema + 1}))
    with pytest.raises(RecordError, match="is missing"):
        load_record(path)


def test_scores_are_d4rls_and_the_last_k_were_fixed_in_advance():
    """Normalised to (-20, 180): 100 (return + 20) / 200."""
    np.testing.assert_allclose(RECORD.scores(), [10.0, 260.0, 20.0, 40.0])
    assert RECORD.last_score() == pytest.approx(30.0)  # of 20 and 40: neither all four nor the best
    assert RECORD.best_score() == pytest.approx(260.0)
    assert RECORD.steps_evaluated().tolist() == [0, 100, 200, 400]
    raw = dataclasses.replace(RECORD, reference=None, last_k=1)
    assert raw.last_score() == pytest.approx(60.0) and raw.best_score() == pytest.approx(500.0)
    few = dataclasses.replace(RECORD, last_k=10)
    assert few.last_score() == pytest.approx(np.mean([260.0, 20.0, 40.0]))


def test_the_untrained_network_is_no_best_score():
    evaluations = [evaluation(0, 900.0), *RECORD.evaluations[1:]]
    assert dataclasses.replace(RECORD, evaluations=evaluations).best_score() == pytest.approx(260.0)
    gone = dataclasses.replace(RECORD, evaluations=evaluations[:1], status="diverged", stopped_at=50)
    assert gone.best_score() == pytest.approx(460.0)  # there is no other


def test_a_diverged_run_has_no_last_score():
    gone = dataclasses.replace(RECORD, status="diverged", stopped_at=250)
    assert math.isnan(gone.last_score()) and gone.best_score() == pytest.approx(260.0)
    row = as_row(gone)
    assert row["status"] == "diverged" and row["steps"] == 250 and math.isnan(row["last"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_never_written(tmp_path, value):
    rotten = dataclasses.replace(RECORD, evaluations=[evaluation(0, value)])
    with pytest.raises(ValueError):
        save_record(rotten, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError):
        fingerprint({"x": value})
    assert finite(value) is None and finite(2) == 2.0


def test_a_file_name_belongs_to_one_run():
    changes = {
        "algo": "td3n", "dataset": "other", "dataset_digest": "ff", "seed": 4, "config_hash": "ee",
    }  # fmt: skip
    names = {dataclasses.replace(RECORD, **{k: v}).file_name for k, v in changes.items()}
    assert len(names | {RECORD.file_name}) == len(changes) + 1
    later = dataclasses.replace(RECORD, started="2027", seconds=9.0, device="cuda")
    assert later.file_name == RECORD.file_name


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


# ---- reading


def changed(path: Path, **values: Any) -> Path:
    """The record with some fields set, or left out where the value is `...`."""
    content = json.loads(save_record(RECORD, path).read_text()) | values
    file = path / "record-changed.json"
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))
    return file


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Record)])
def test_a_missing_field_is_named(tmp_path, field):
    path = changed(tmp_path, **{field: ...})
    with pytest.raises(RecordError, match=field) as error:
        load_record(path)
    assert str(path) in str(error.value)


WRONG = {str: 3, int: "3", float: "1.5", dict: [], list: {}}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Record)])
def test_an_ill_typed_field_is_named(tmp_path, field):
    kind = Record.__dataclass_fields__[field].type
    optional = isinstance(kind, types.UnionType)
    bare = kind.__args__[0] if optional else kind
    wrong = [WRONG[getattr(bare, "__origin__", bare)], True]
    wrong += [] if optional else [None]
    for value in wrong:
        path = changed(tmp_path, **{field: value})
        with pytest.raises(RecordError, match=field) as error:
            load_record(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"surprise": 1}, "surprise"), ({"schema": SCHEMA + 1}, "schema 4, this version reads 1 to 3"),
        ({"schema": "1"}, "schema"), ({"schema": 0}, "schema 0"), ({"schema": True}, "schema True"),
        ({"status": "running"}, "status 'running'"),
        ({"evaluations": []}, "evaluations"), ({"evaluations": [3]}, "evaluations"),
        ({"evaluations": [{"returns": [1.0]}]}, "evaluations"),
        ({"evaluations": [evaluation(0)]}, "evaluations"),
        ({"evaluations": [evaluation(-1, 1.0)]}, "evaluations"),
        ({"evaluations": [evaluation(0, 1.0), evaluation(0, 1.0)]}, "evaluations"),
        ({"evaluations": [evaluation(5, 1.0), evaluation(0, 1.0)]}, "evaluations"),
        ({"evaluations": [{"step": "0", "returns": [1.0]}]}, "evaluations"),
        ({"evaluations": [{"step": 0, "returns": ["1"]}]}, "evaluations"),
        ({"evaluations": [{"step": 0, "returns": 1.0}]}, "evaluations"),
        ({"evaluations": [{"step": 0, "returns": [None]}]}, "evaluations"),
        ({"evaluations": [evaluation(0, math.nan)]}, "evaluations"),
        *[
            ({"evaluations": [*RECORD.evaluations[:-1], {**evaluation(400, 1.0), **change}]},
             f"evaluation after 400 updates: field {message}")
            for change, message in (
                ({"diagnostics": None}, "'diagnostics' = None, expected names and numbers"),
                ({"training": [1.0]}, r"'training' = \[1.0\], expected names"),
                ({"diagnostics": {"srank": "4"}}, "'diagnostics': srank = '4', expected a finite number"),
                ({"training": {"loss": math.inf}}, "'training': loss = inf, expected a finite"),
                ({"lengths": [10, 10]}, r"'lengths' = \[10, 10\], expected one for each of 1 episodes"),
            )
        ],
        ({"reference": [1.0]}, "reference"), ({"reference": [180.0, -20.0]}, "reference"),
        ({"reference": [None, None]}, "reference"), ({"reference": ["a", "b"]}, "reference"),
        ({"reference": [1, 1]}, "reference"), ({"reference": [0, 10**400]}, "reference"),
        ({"evaluations": [evaluation(400, 10**400)]}, "evaluations"),
        ({"evaluations": [evaluation(400, 1e308, 1e308)]}, "too large to be scored"),
        ({"evaluations": RECORD.evaluations[:-1]}, "finished, .* last evaluation is after 200"),
        ({"stopped_at": 399}, "finished, but of 400 updates 399 were done"),
        ({"status": "diverged", "stopped_at": 399}, "diverged after 399 of 400 .*, evaluated after 400"),
        ({"status": "diverged", "stopped_at": 401}, "diverged after 401 of 400"),
        ({"seed": -1}, "'seed' = -1"), ({"steps": 0}, "'steps' = 0"), ({"agents": 0}, "'agents' = 0"),
        ({"last_k": 0}, "'last_k' = 0"), ({"dataset_size": 0}, "'dataset_size' = 0"),
        ({"seconds": -1.0}, "'seconds' = -1.0"), ({"seconds": math.nan}, "'seconds' = nan"),
        ({"dataset_digest": ""}, "'dataset_digest' is empty"), ({"algo": ""}, "'algo' is empty"),
    ],
    ids=str,
)  # fmt: skip
def test_other_contents_are_refused(tmp_path, values, message):
    path = changed(tmp_path, **values)
    with pytest.raises(RecordError, match=message) as error:
        load_record(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("field", ["lengths", "diagnostics", "training"])
@pytest.mark.parametrize("schema", [1, SCHEMA])
def test_a_missing_part_of_an_evaluation_is_named_with_its_step(tmp_path, schema, field):
    """The first schema had all of them too."""
    evaluations = [dict(e) for e in RECORD.evaluations]
    del evaluations[1][field]
    new = dict.fromkeys((name for names in ADDED.values() for name in names), ...) if schema == 1 else {}
    path = changed(tmp_path, evaluations=evaluations, schema=schema, **new)
    with pytest.raises(RecordError, match=f"evaluation after 100 updates: field '{field}' = None"):
        load_record(path)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    path = save_record(RECORD, tmp_path)
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 3, "seed": 4'))
    with pytest.raises(RecordError, match=r"record-.*: a name stands twice in \['agents'"):
        load_record(path)


NOTHING = [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'"text"', b"[" * 100_000]


@pytest.mark.parametrize("content", NOTHING, ids=lambda c: repr(c[:8]))
def test_files_that_are_no_records_are_refused(tmp_path, content):
    path = tmp_path / "record-x.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="record-x.json"):
        load_record(path)
    with pytest.raises(RecordError, match="record-x.json"):
        load_records(tmp_path)  # never skipped
    with pytest.raises(RecordError, match="absent.json"):
        load_record(tmp_path / "absent.json")


def test_a_folder_is_read_whole_or_not_at_all(tmp_path):
    with pytest.raises(RecordError, match="no records"):
        load_records(tmp_path)
    other = dataclasses.replace(RECORD, seed=4)
    save_record(RECORD, tmp_path / "a")
    save_record(other, tmp_path / "b")
    folders = [tmp_path / "a", tmp_path / "b"]
    assert {r.seed for r in load_records(*folders)} == {3, 4}
    assert {Path(where).parent.name: r.seed for where, r in load_files(*folders)} == {"a": 3, "b": 4}
    with pytest.raises(RecordError, match="no records"):
        load_records(*folders, tmp_path)
    again = save_record(dataclasses.replace(RECORD, seconds=9.0), tmp_path / "c")
    with pytest.raises(RecordError, match="same run") as error:
        load_records(*folders, tmp_path / "c")
    assert str(again) in str(error.value) and "/a/record" in str(error.value)


def test_packed_records_are_read_like_a_run_s_and_sorted_whatever_came_first(tmp_path):
    other = dataclasses.replace(RECORD, algo="td3n", env_id="suite/Pen v1", seed=30)
    tenth = dataclasses.replace(RECORD, seed=10)
    assert pack_records([tenth, other], tmp_path) == [
        tmp_path / "records-td3n-suite-Pen-v1.jsonl",
        tmp_path / "records-td3n_rd-Hopper-v5.jsonl",
    ]
    path = tmp_path / RECORD.packed_name
    before = path.read_text()
    assert pack_records([RECORD], tmp_path) == [path]
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [3, 10]
    assert path.read_text().endswith(before)  # what a review sees is one new line
    beside = dataclasses.replace(RECORD, seed=4)
    save_record(beside, tmp_path)
    assert {r.key: r for r in load_records(tmp_path)} == {r.key: r for r in (RECORD, tenth, other, beside)}
    pack_records([dataclasses.replace(RECORD, seconds=9.0)], tmp_path)
    assert path.read_text().endswith(before) and RECORD in load_records(tmp_path)  # a line stays as it is
    save_record(RECORD, tmp_path)
    with pytest.raises(RecordError, match=r"-v5.jsonl, line 1 and .*/record-\w+.json record the same run"):
        load_records(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "", '{"schema": 2}'])
def test_a_bad_line_is_named(tmp_path, content):
    [path] = pack_records([RECORD], tmp_path)
    path.write_text(f"{path.read_text()}{content}\n")
    for read in (load_records, lambda folder: pack_records([RECORD], folder)):
        with pytest.raises(RecordError, match="records-td3n_rd-Hopper-v5.jsonl, line 2: "):
            read(tmp_path)


def test_only_changes_of_the_package_itself_mark_its_commit(tmp_path, monkeypatch):
    package = tmp_path / "rdlib"
    package.mkdir()

    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    (package / "training").mkdir()
    for path in (package / "__init__.py", package / "training" / "record.py", tmp_path / "README.md"):
        path.write_text("one")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(provenance_module, "__file__", str(package / "training" / "record.py"))
    clean = provenance()["commit"]
    assert len(clean) == 40
    (tmp_path / "README.md").write_text("two")
    assert provenance()["commit"] == clean
    (package / "__init__.py").write_text("two")
    assert provenance()["commit"] == f"{clean}+"
    monkeypatch.setenv("RDLIB_COMMIT", "told")
    assert provenance()["commit"] == f"{clean}+"  # the repository knows better
    monkeypatch.setenv("PATH", "")  # as in a container without git
    assert provenance()["commit"] == "told"
    monkeypatch.delenv("RDLIB_COMMIT")
    assert provenance()["commit"] is None


def test_provenance_names_the_versions():
    found = provenance()
    assert {"python", "torch", "mujoco", "rdlib"} <= found["versions"].keys()
    assert found["commit"] is None or len(found["commit"].rstrip("+")) == 40
