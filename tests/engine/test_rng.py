"""The random streams: known answers of Philox, independence, distributions."""

import math

import pytest
import torch
from torch import Tensor

from rdlib.engine.rng import Streams, philox

# kat_vectors of Random123 (Salmon et al. 2011): counter, key, result of philox4x32-10.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def hexadecimal(text: str) -> list[Tensor]:
    return [torch.tensor(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_vectors(counter, key, expected):
    assert philox(hexadecimal(counter), hexadecimal(key)) == hexadecimal(expected)


def test_words_are_philox_of_block_step_purpose_and_seed():
    import zlib

    seed, step = 2**40 + 7, 2**33 + 5  # both need their high words
    words = Streams([seed]).words("batch", step, 1, 8)[0, 0].tolist()
    for block in range(2):
        counter = [block, step & 0xFFFFFFFF, step >> 32, zlib.crc32(b"batch")]
        key = [seed & 0xFFFFFFFF, seed >> 32]
        expected = philox([torch.tensor(c) for c in counter], [torch.tensor(k) for k in key])
        assert words[4 * block : 4 * block + 4] == [int(w) for w in expected]


def draws(streams: Streams, step: int, count: int) -> dict[str, Tensor]:
    high = torch.arange(1, len(streams) + 1) * 1000
    return {
        "words": streams.words("a", step, count, 7),
        "integers": streams.integers("a", step, count, 7, high),
        "uniform": streams.uniform("a", step, count, (3, 5)),
        "normal": streams.normal("a", step, count, (3, 5)),
    }


def test_an_agents_draws_do_not_depend_on_the_batch_it_is_in():
    together = draws(Streams([11, 2**62, 0]), 4, 2)
    # `high` goes with the position in the batch, so compare first agents only for integers.
    alone = draws(Streams([11]), 4, 2)
    for name, values in alone.items():
        assert torch.equal(values[:, 0], together[name][:, 0]), name
    alone = draws(Streams([2**62]), 4, 2)
    for name in ("words", "uniform", "normal"):
        assert torch.equal(alone[name][:, 0], together[name][:, 1]), name


def test_steps_drawn_at_once_equal_steps_drawn_one_by_one():
    streams = Streams([3, 4])
    at_once = draws(streams, 2**32 - 2, 4)  # across the carry into the step's high word
    for k in range(4):
        for name, values in draws(streams, 2**32 - 2 + k, 1).items():
            assert torch.equal(values[0], at_once[name][k]), name


def test_a_shorter_draw_is_the_beginning_of_a_longer_one():
    streams = Streams([3])
    assert torch.equal(streams.words("a", 0, 1, 5), streams.words("a", 0, 1, 64)[..., :5])


def test_purposes_seeds_and_steps_give_unrelated_numbers():
    n = 20_000
    streams = Streams([0, 1])
    series = [
        streams.normal("batch", 0, 1, (n,), torch.float64)[0, 0],
        streams.normal("batch", 0, 1, (n,), torch.float64)[0, 1],
        streams.normal("batch", 1, 1, (n,), torch.float64)[0, 0],
        streams.normal("policy", 0, 1, (n,), torch.float64)[0, 0],
    ]
    correlation = torch.corrcoef(torch.stack(series)) - torch.eye(4)
    assert correlation.abs().max() < 5 / math.sqrt(n)


def kolmogorov_smirnov(x: Tensor, cdf: Tensor) -> float:
    """√n times the largest distance between the empirical and the given distribution function,
    `cdf` being the latter at the sorted sample `x`."""
    n = len(x)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return math.sqrt(n) * max((cdf - steps[:-1]).max().item(), (steps[1:] - cdf).max().item())


KS_LIMIT = 1.95  # exceeded with probability 1e-3; the streams are fixed, so the test never flickers


def test_uniform_numbers_are_uniform():
    u = Streams([5]).uniform("u", 0, 1, (100_000,), torch.float64).flatten().sort().values
    assert 0 < u[0] and u[-1] < 1
    assert abs(u.mean() - 0.5) < 4 / math.sqrt(12 * len(u))
    assert abs(u.var() * 12 - 1) < 0.02
    assert kolmogorov_smirnov(u, u) < KS_LIMIT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("word", [0, 2**32 - 1])
def test_uniform_numbers_stay_inside_the_open_interval(monkeypatch, dtype, word):
    streams = Streams([0])
    monkeypatch.setattr(streams, "words", lambda *args: torch.tensor([[[word]]]))
    u = streams.uniform("u", 0, 1, (1,), dtype)
    assert u.dtype == dtype and 0 < u.item() < 1


def test_normal_numbers_are_standard_normal():
    z = Streams([5]).normal("z", 0, 1, (100_001,), torch.float64).flatten()  # odd: half a pair
    assert abs(z.mean()) < 4 / math.sqrt(len(z))
    assert abs(z.var() - 1) < 0.02
    assert abs((z**3).mean()) < 0.04 and abs((z**4).mean() - 3) < 0.1
    assert abs((z[:-1:2] * z[1::2]).mean()) < 0.02  # the two halves of Box-Muller
    x = z.sort().values
    assert kolmogorov_smirnov(x, torch.special.ndtr(x)) < KS_LIMIT


def test_integers_are_uniform_below_each_agents_own_bound():
    high, n = torch.tensor([10, 3, 2**31 - 1]), 30_000
    k = Streams([1, 2, 3]).integers("batch", 0, 1, n, high)[0]  # (A,n)
    assert (k >= 0).all() and (k < high[:, None]).all()
    for agent in (0, 1):
        bins = int(high[agent])
        count = torch.bincount(k[agent], minlength=bins)
        chi2 = ((count - n / bins) ** 2 / (n / bins)).sum()
        assert chi2 < bins - 1 + 4 * math.sqrt(2 * (bins - 1))
    assert abs(k[2].double().mean() / 2**30 - 1) < 4 / math.sqrt(3 * n)


def test_shapes_and_dtypes():
    streams = Streams([1, 2])
    assert len(streams) == 2
    assert streams.uniform("a", 0, 3, (4, 5)).shape == (3, 2, 4, 5)
    assert streams.normal("a", 0, 3, (7,)).shape == (3, 2, 7)
    assert streams.normal("a", 0, 3, (7,)).dtype == torch.float32
    assert streams.integers("a", 0, 3, 6, torch.tensor([5, 5])).shape == (3, 2, 6)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_an_error_that_names_it(seed):
    with pytest.raises(ValueError, match=str(seed)):
        Streams([0, seed])
