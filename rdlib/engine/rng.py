"""Counter-based random streams: one per agent and purpose, with no state to save.

Every number is a pure function of (agent's seed, purpose, step, position), by Philox4x32-10
(Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3"). So agent i of a batch draws
what it would draw alone, a resumed run draws what it would have drawn, and the bits are the same on
every device; only the step counter has to be remembered.
"""

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> list[Tensor]:
    """Philox4x32-10 of four counter words and two key words (int64 tensors holding 32 bits each,
    broadcast against each other); returns four int64 tensors of random words in [0, 2^32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # 32x32 -> 64 bits: int64 wraps, and the mask after >> undoes the sign extension.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def uniform_int16(keys: Tensor, n: int) -> Tensor:
    """Uniform 16-bit numbers in [-2^15, 2^15), int16 (A, n), from one key each, int64 (A,).

    SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), a third of Philox's time for the same bits. For masks
    of millions of elements, which are made inside an update from a key that `Streams.words` drew for it:
    those of all the updates of a call would not fit in memory.
    """
    return _uniform_int16(keys, n)


# One operation for rdlib.engine.compiled: C++ leaves int64 overflow open, and a compiler made use of that.
@torch.library.custom_op("rdlib::uniform_int16", mutates_args=())
def _uniform_int16(keys: Tensor, n: int) -> Tensor:
    z = torch.arange(1, -(-n // 4) + 1, device=keys.device) * -0x61C8864680B583EB + keys[:, None]
    # >> copies the sign bit: the masks make it a logical shift. The odd constants are those of the
    # paper minus 2^64.
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    z = z ^ ((z >> 31) & 0x1FFFFFFFF)
    return z.view(torch.int16)[:, :n]


@_uniform_int16.register_fake
def _(keys: Tensor, n: int) -> Tensor:
    return keys.new_empty((len(keys), -(-n // 4) * 4), dtype=torch.int16)[:, :n]


class Streams:
    """The random streams of A agents.

    `seeds` holds one integer in [0, 2^63) per agent. All draws take a `purpose` (any string: distinct
    purposes are independent streams), the first `step` and a `count` of consecutive steps; draws
    of several steps at once equal the same draws made one step at a time.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu"):
        for seed in seeds:
            if not isinstance(seed, int) or not 0 <= seed < 2**63:
                raise ValueError(f"seed {seed}: expected an integer in [0, 2^63)")
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        key = torch.tensor(self.seeds, dtype=torch.int64, device=self.device)
        self._key = [(key & _MASK)[:, None], ((key >> 32) & _MASK)[:, None]]  # (A,1)

    def __len__(self) -> int:
        return len(self.seeds)

    def words(self, purpose: str, step: int, count: int, n: int) -> Tensor:
        """Random 32-bit words, int64 (count, A, n)."""
        blocks = -(-n // 4)
        steps = torch.arange(step, step + count, device=self.device)[:, None, None]
        counter = [
            torch.arange(blocks, device=self.device),
            steps & _MASK,
            (steps >> 32) & _MASK,
            torch.full((), zlib.crc32(purpose.encode()), device=self.device),  # filled there
        ]
        words = torch.stack(philox(counter, self._key), -1)  # (count,A,blocks,4)
        return words.flatten(2)[..., :n]

    def integers(self, purpose: str, step: int, count: int, n: int, high: Tensor) -> Tensor:
        """Uniform integers in [0, high) with one `high` (A,) < 2^31 per agent: (count, A, n).

        By multiply and shift; the bias is below high / 2^32.
        """
        return (self.words(purpose, step, count, n) * high[:, None]) >> 32

    def uniform(
        self, purpose: str, step: int, count: int, shape: Sequence[int], dtype=torch.float32
    ) -> Tensor:
        """Uniform numbers in (0, 1): (count, A, *shape)."""
        words = self.words(purpose, step, count, math.prod(shape))
        u = ((words.double() + 0.5) * 2.0**-32).to(dtype)
        u = u.clamp(max=1 - torch.finfo(dtype).eps / 2)  # the largest words round to 1 in float32
        return u.unflatten(-1, tuple(shape))

    def normal(
        self, purpose: str, step: int, count: int, shape: Sequence[int], dtype=torch.float32
    ) -> Tensor:
        """Standard normal numbers by Box-Muller in float64: (count, A, *shape)."""
        n = math.prod(shape)
        half = -(-n // 2)
        u = (self.words(purpose, step, count, 2 * half).double() + 0.5) * 2.0**-32
        u = u.unflatten(-1, (half, 2))
        radius, angle = (-2 * u[..., 0].log()).sqrt(), 2 * math.pi * u[..., 1]
        z = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(-2)[..., :n]
        return z.to(dtype).unflatten(-1, tuple(shape))
