"""What a run says of its cost and its progress, with a clock that the test moves."""

from types import SimpleNamespace

from rdlib.training.shown import ProgressBar


def shown(bar=None, **more):
    """A run of 10,000 updates, the clock that it reads, and the lines that it says."""
    plan = SimpleNamespace(steps=10_000, eval_every=2_000, asked=SimpleNamespace(algo="bc"))
    clock, said = SimpleNamespace(now=0.0), []
    return ProgressBar(plan, 0, bar, clock=lambda: clock.now, say=said.append, **more), clock, said


def updates(run, clock, count, seconds):
    for _ in range(count):
        clock.now += seconds
        run.updated(50)


def test_the_cost_is_said_once_after_seconds_of_updates_without_the_first_call():
    run, clock, said = shown(bar=True)
    updates(run, clock, 1, 100.0)  # the compiler's
    updates(run, clock, 2, 1.0)
    assert said == []
    updates(run, clock, 90, 1.0)
    assert said == ["bc: 50 updates/s here, 9,800 to go take 3 minutes"]


def test_an_evaluation_costs_what_episodes_of_full_length_would():
    run, clock, said = shown(bar=True, limit=1000)
    with run.evaluating():
        clock.now += 0.5  # of 25 steps: 20 s for a thousand
    run.evaluated("score 1.0", 25)
    updates(run, clock, 4, 1.0)
    assert said == [
        "bc: 50 updates/s here, 9,800 to go take 3 minutes, and 5 evaluations at most 2 minutes more"
    ]


def test_evaluations_beside_the_updates_cost_nothing_more():
    run, clock, said = shown(bar=True, limit=1000, beside=True)
    with run.evaluating():
        clock.now += 5.0
    run.evaluated("score 1.0", 25)
    updates(run, clock, 4, 1.0)
    assert said == ["bc: 50 updates/s here, 9,800 to go take 3 minutes"]


def test_without_a_terminal_a_line_every_half_minute(capsys):
    run, clock, said = shown()
    run.evaluated("score 7.0", 10)
    updates(run, clock, 1 + 3 + 61, 1.0)
    assert len(said) == 3 and said[1:] == [
        "bc: update 1,700 of 10,000, score 7.0; 50 updates/s here, 8,300 to go take 3 minutes",
        "bc: update 3,200 of 10,000, score 7.0; 50 updates/s here, 6,800 to go take 2 minutes",
    ]


def test_silent_where_nothing_is_to_be_shown():
    run, clock, said = shown(bar=False)
    updates(run, clock, 200, 1.0)
    assert said == []
