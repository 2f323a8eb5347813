"""What a run on one dataset says, in three sentences from its own records: of values, score and kernel."""

from collections.abc import Sequence

import numpy as np

from rdlib.data.dataset import Dataset
from rdlib.results.plots import dataset_score
from rdlib.results.tables import spread
from rdlib.training.record import Record


def best_discounted(dataset: Dataset, gamma: float) -> tuple[float, float]:
    """The largest discounted return from any row of the data to its episode's end, and what no policy can
    exceed with these rewards: the largest of them at every step for ever."""
    found, seen = 0.0, -np.inf
    for reward, last in zip(dataset.rew[::-1].astype(float).tolist(), dataset.last[::-1].tolist()):
        found = reward + (0.0 if last else gamma * found)
        seen = max(seen, found)
    return seen, max(seen, float(dataset.rew.max()) / (1 - gamma))


def sentences(records: Sequence[Record], clones: Sequence[Record], dataset: Dataset) -> list[str]:
    """Did values run away, did the score beat BC (`clones`, or none) and the data, what did the kernel do.
    `records`: of agents of one algorithm on `dataset`."""
    return [values(records, dataset), scores(records, clones, dataset), kernel(records)]


def values(records: Sequence[Record], dataset: Dataset) -> str:
    """Whether Q(s, π(s)) ended above what the data's rewards allow."""
    first = records[0]
    if "q_policy" not in first.evaluations[-1]["diagnostics"]:
        return f"Values: {first.algo} has no critic."
    if first.config.get("rewards", "raw") != "raw":
        return (
            f"Values: {first.algo} learns from rescaled rewards here, and returns are no measure of them."
        )
    seen, bound = best_discounted(dataset, first.config["gamma"])
    ends = [r.evaluations[-1]["diagnostics"]["q_policy"] for r in records]
    away = sum(x is None or r.status == "diverged" or x > bound for x, r in zip(ends, records))
    high = sum(x is not None and x > seen for x in ends)
    finite = [x for x in ends if x is not None]
    where = f"Q(s, π(s)) ends at {_range(finite)}" if finite else "Q(s, π(s)) is not finite at the end"
    beside = f"the best discounted return in the data is {seen:,.4g}"
    if away:
        verdict = f"ran away in {away} of {len(ends)} agents"
        beside += f", and none can be above {bound:,.4g} with its rewards"
    elif high:
        verdict = (
            f"are above every return in the data in {high} of {len(ends)} agents, though not impossible"
        )
        beside += f", and none can be above {bound:,.4g} with its rewards"
    else:
        verdict = "did not run away"
    return f"Values {verdict}: {where}; {beside}."


def scores(records: Sequence[Record], clones: Sequence[Record], dataset: Dataset) -> str:
    """Whether the last-iterate score is above that of the data and of behaviour cloning on it."""
    unit = "score" if records[0].reference else "return"
    last = [r.last_score() for r in records if r.status == "finished"]
    if not last:
        return f"The {unit}: all {len(records)} agents diverged, and have none."
    mean = float(np.mean(last))
    rivals = {"the data's": dataset_score(dataset)}
    if cloned := [r.last_score() for r in clones if r.status == "finished"]:
        rivals["behaviour cloning's"] = float(np.mean(cloned))
    words = " and ".join(
        f"{'above' if mean > other else 'below'} {whose} {other:.1f}" for whose, other in rivals.items()
    )
    lost = (
        f"; {len(records) - len(last)} of {len(records)} agents diverged"
        if len(last) < len(records)
        else ""
    )
    one = ", which is one seed and may be luck" if len(last) == 1 else ""
    return f"The {unit} ends at {spread(last)}, {words}{one}{lost}."


def kernel(records: Sequence[Record]) -> str:
    """What became of the product of features between the data's action and the policy's, and how."""
    known = ("kernel_data_policy", "cosine_data_policy", "feature_norm")
    ends = [[r.evaluations[i]["diagnostics"] for r in records] for i in (0, -1)]
    if any(name not in d or d[name] is None for moment in ends for d in moment for name in known):
        return "The kernel: it was not measured at the start and the end of every agent."
    product, cosine, norm = (
        [float(np.median([d[name] for d in moment])) for moment in ends] for name in known
    )
    grew = "grew" if product[1] > product[0] else "fell"
    return (
        f"The kernel between the data's action and the policy's {grew} from {product[0]:,.3g} to "
        f"{product[1]:,.3g}, with features' norm from {norm[0]:,.3g} to {norm[1]:,.3g} and their cosine "
        f"from {cosine[0]:.2f} to {cosine[1]:.2f}."
    )


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.4g}" if low == high else f"{low:,.4g} to {high:,.4g}"
