"""What a run shows while it trains: what it costs here, and a bar or a line now and then."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from rdlib.training.plan import Plan

MEASURED = 3.0  # seconds of updates after which their cost is said
LINE_EVERY = 30.0  # seconds between two lines where there is no bar


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


class ProgressBar:
    """The progress of `plan` from update `step` on. `bar`: show one; None: only on a terminal, and else
    lines; False: nothing. `beside`: evaluations take no time from updates. `limit`: steps of an episode."""

    def __init__(
        self,
        plan: Plan,
        step: int,
        bar: bool | None,
        beside: bool = False,
        limit: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = _say,
    ):
        self.plan, self.step, self.beside, self.limit = plan, step, beside, limit
        self.clock, self.say, self.silent = clock, say, bar is False
        drawn = sys.stderr.isatty() if bar is None else bar
        self.lines = not drawn and not self.silent
        self.bar = tqdm(
            total=plan.steps,
            initial=step,
            unit="update",
            desc=plan.asked.algo,
            disable=not drawn,
            mininterval=1.0,
        )
        self.score = ""
        self.calls, self.updates, self.seconds = (
            0,
            0,
            0.0,
        )  # of updates, but for the first call, which warms up
        self.evaluation = 0.0  # seconds of one whose episodes last to their limit
        self.told = False
        self.since = self.last_line = clock()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Around an evaluation: its time is not the updates'."""
        began = self.clock()
        yield
        self.since = self.clock()
        self.evaluation = 0.0 if self.beside else self.since - began

    def evaluated(self, score: str, longest: int) -> None:
        """After one: what it found, and the steps of its longest episode."""
        self.score = score
        self.bar.set_postfix_str(score, refresh=False)
        if longest and self.limit:  # an untrained policy's episodes may be short
            self.evaluation *= self.limit / longest

    def updated(self, count: int) -> None:
        """After `count` more updates."""
        now = self.clock()
        if self.calls:
            self.updates, self.seconds = self.updates + count, self.seconds + now - self.since
        self.calls, self.step, self.since = self.calls + 1, self.step + count, now
        self.bar.update(count)
        if self.silent or not self.updates or not self.seconds:
            return
        if not self.told and self.seconds >= MEASURED:
            self.told, self.last_line = True, now
            self.say(f"{self.plan.asked.algo}: {self.cost()}")
        elif self.lines and now - self.last_line >= LINE_EVERY:
            self.last_line = now
            score = self.score and f", {self.score}"
            self.say(
                f"{self.plan.asked.algo}: update {self.step:,} of {self.plan.steps:,}{score}; {self.cost()}"
            )

    def cost(self) -> str:
        """What is left, at the speed measured here."""
        rate, left = self.updates / self.seconds, self.plan.steps - self.step
        text = f"{rate:,.0f} updates/s here, {left:,} to go take {_minutes(left / rate)}"
        count = math.ceil(left / self.plan.eval_every)
        if self.evaluation and count:
            text += f", and {count} evaluations at most {_minutes(count * self.evaluation)} more"
        return text

    def close(self) -> None:
        """End the bar."""
        self.bar.close()


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
