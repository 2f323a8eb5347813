"""Three sentences of a run: each case is told from small made-up records."""

import dataclasses

import numpy as np
import pytest
from helpers import synthetic
from helpers.records import evaluation, record

from rdlib.results import sentences

# Ten rows of reward 1 in two episodes of five: undiscounted at most 5, and 2 for ever at γ = 0.5.
DATA = synthetic.dataset(
    n=10, rew=np.ones(10), last=np.arange(10) % 5 == 4, terminal=np.arange(10) % 5 == 4
)
KERNEL = {"kernel_data_policy": 8.0, "cosine_data_policy": 0.5, "feature_norm": 4.0}


def run(q_policy, score=50.0, seed=0, start=KERNEL, end=KERNEL, **more):
    """A run that ends with these values, score and diagnostics."""
    found = record(seed=seed, score=score, config={"gamma": 0.5}, **more)
    first, last = found.evaluations
    last = last | {"diagnostics": {"q_policy": q_policy, **end}}
    return dataclasses.replace(
        found, evaluations=[first | {"diagnostics": {"q_policy": 0.0, **start}}, last]
    )


def test_the_best_discounted_return_is_within_an_episode_and_no_policy_s_is_above_the_bound():
    seen, bound = sentences.best_discounted(DATA, 0.5)
    assert seen == pytest.approx(1 + 0.5 + 0.25 + 0.125 + 0.0625) and bound == pytest.approx(2.0)
    falling = dataclasses.replace(DATA, rew=-np.arange(1.0, 11.0, dtype=np.float32))
    assert sentences.best_discounted(falling, 0.5) == pytest.approx((-1 - 1 - 3 / 4 - 4 / 8 - 5 / 16, -2.0))


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([1.5], "Values did not run away: Q(s, π(s)) ends at 1.5; the best discounted return in the data"),
        ([1.5, 1.95], "Values are above every return in the data in 1 of 2 agents, though not impossible"),
        ([1.5, 7e5], "Values ran away in 1 of 2 agents: Q(s, π(s)) ends at 1.5 to 7e+05;"),
        ([None], "Values ran away in 1 of 1 agents: Q(s, π(s)) is not finite at the end;"),
    ],
)  # fmt: skip
def test_values_ran_away_or_not(ends, words):
    assert sentences.values([run(x, seed=i) for i, x in enumerate(ends)], DATA).startswith(words)


def test_values_that_are_none_or_in_other_units_are_not_compared():
    assert sentences.values(
        [record("bc", evaluations=[evaluation(4, 1.0) | {"diagnostics": {}}])], DATA
    ) == ("Values: bc has no critic.")
    scaled = dataclasses.replace(run(1.5), config={"gamma": 0.5, "rewards": "standardised"})
    assert "rescaled rewards" in sentences.values([scaled], DATA)


def test_the_score_is_above_or_below_the_data_and_the_clone(monkeypatch):
    plain = dataclasses.replace(DATA, env_id=None)
    assert sentences.dataset_score(plain) == pytest.approx(5.0)  # no reference: the mean return
    one, clone = run(1.0, score=50.0), run(1.0, score=60.0)
    said = sentences.scores([one], [clone], plain)
    assert said.startswith(
        "The score ends at 50.0, above the data's 5.0 and below behaviour cloning's 60.0"
    )
    assert said.endswith(", which is one seed and may be luck.")
    two = [run(1.0, score=s, seed=i) for i, s in enumerate((2.0, 4.0))]
    assert sentences.scores(two, [], plain) == "The score ends at 3.0 ± 1.0, below the data's 5.0."
    lost = dataclasses.replace(one, status="diverged")
    assert sentences.scores([*two, lost], [], plain).endswith("; 1 of 3 agents diverged.")
    assert sentences.scores([lost], [], plain) == "The score: all 1 agents diverged, and have none."


def test_the_kernel_fell_or_grew_or_was_not_measured():
    small = {"kernel_data_policy": 0.1, "cosine_data_policy": 0.25, "feature_norm": 1.0}
    assert sentences.kernel([run(1.0, end=small)]) == (
        "The kernel between the data's action and the policy's fell from 8 to 0.1, with features' norm "
        "from 4 to 1 and their cosine from 0.50 to 0.25."
    )
    assert "policy's grew from 0.1 to 8" in sentences.kernel([run(1.0, start=small)])
    assert "not measured" in sentences.kernel([run(1.0, end={})])


def test_there_are_three_of_them():
    assert len(sentences.sentences([run(1.0)], [], DATA)) == 3
