"""DT: Decision Transformer, actions predicted from the returns that followed them in the data.

Paper: Chen et al. 2021 (arXiv 2106.01345), algorithm 1 and section 3. Official code:
github.com/kzl/decision-transformer at e2d82e6, folder gym.

    min_π  E |π(… R_t-1 s_t-1 a_t-1 R_t s_t) - a_t|²,   R_t = Σ_{t' >= t} r_t'

A causal transformer (GPT-2's blocks: LayerNorm first, ReLU) reads the last K steps as 3K tokens R, s, a,
each with a learned embedding of its timestep; a_t is predicted from the token of s_t. It acts on a return
that is asked for, from which the rewards received are subtracted. No critic, no bootstrapping.

Deviations
1. All weights, the embeddings and the head too, are drawn from N(0, 0.02²), as CORL and HF do; the official
   code leaves embeddings and head to PyTorch (timesteps from N(0, 1)). Its heads for states and returns,
   which no loss of the paper trains, are left out.
2. The last block is computed for the tokens of states only, the others' outputs being read by nobody:
   the same function at four fifths of the price.
3. Masked scores are -inf, not -10⁴; a padded token attends to itself alone, and nobody to it.
4. Embeddings are dropped at the same rate as the rest (official: always 0.1). Rates are rounded to 2⁻¹⁶.
5. States are divided by their deviation + 1e-3, not + 1e-6. Returns-to-go miss the last reward of timed-out
   D4RL episodes (rdlib.data.batches).
6. An evaluation is 10 episodes at one target return; the authors play 100 at each of two.
7. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.data import catalog
from rdlib.data.batches import Windows
from rdlib.data.dataset import Dataset
from rdlib.engine.base import Algorithm, Metrics, Player, Plugin
from rdlib.engine.config import ConfigError, check_least
from rdlib.engine.nets import Initialiser, LayerNorm, Linear
from rdlib.engine.optim import adamw, descend
from rdlib.engine.rng import Streams, uniform_int16

# The higher of the two returns that the paper asks for (pen: CORL); half of it is the other.
TARGET_RETURNS = {"hopper": 3600.0, "halfcheetah": 12000.0, "walker2d": 5000.0, "pen": 3100.0}


@dataclass(frozen=True)
class Config:
    """Hyperparameters of DT."""

    context: int = 20  # K
    width: int = 128  # of the embeddings; four times as wide inside the blocks
    depth: int = 3  # blocks
    heads: int = 1
    dropout: float = 0.1
    horizon: int = 1000  # timesteps with an embedding of their own; later ones share the last
    return_scale: float = 1000.0  # returns-to-go are divided by it
    target_return: float = 0.0  # asked for at the start of an episode; 0: see `for_data`
    actor_lr: float = 1e-4  # after the warm-up
    warmup: int = 10_000  # updates over which the learning rate rises
    weight_decay: float = 1e-4
    max_norm: float = 0.25  # of the gradient
    batch_size: int = 64  # windows
    normalize_states: bool = True

    def __post_init__(self):
        check_least(self, 1, "context", "depth", "heads", "horizon", "warmup")
        if self.width % self.heads:
            raise ConfigError(f"heads = {self.heads}: expected a divisor of width = {self.width}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout = {self.dropout}: expected in [0, 1)")
        for field in ("return_scale", "max_norm"):
            if not getattr(self, field) > 0:
                raise ConfigError(f"{field} = {getattr(self, field)}: expected > 0")
        check_least(self, 0, "weight_decay")

    def for_data(self, dataset: Dataset, env_id: str) -> "Config":
        """This configuration with a target return: where none is set, the paper's for the environment, else
        the best episode of the data."""
        if self.target_return:
            return self
        published = TARGET_RETURNS.get(catalog.environment_of(env_id) or "")
        target = float(dataset.episode_returns().max()) if published is None else published
        return replace(self, target_return=target)


class Block(nn.Module):
    """x + attention(LN x), then x + MLP(LN x)."""

    def __init__(self, init: Initialiser, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = LayerNorm(init, (), width), LayerNorm(init, (), width)
        self.query = Linear(init, (), width, width)
        self.key_value = Linear(init, (), width, 2 * width)
        self.mix = Linear(init, (), width, width)
        self.inner = Linear(init, (), width, 4 * width)
        self.outer = Linear(init, (), 4 * width, width)

    def forward(self, x: Tensor, closed: Tensor, of: slice, keep: Sequence[Tensor] | None) -> Tensor:
        """Tokens (A,B,T,H) -> those `of` them (A,B,Q,H), which do not attend where closed (A,B,Q,T).
        `keep`: factors on attention (A,B,heads,Q,T), its result (A,B,Q,H) and the MLP's (A,B,Q,H)."""
        y = flat(self.norm1, x)
        x = x[:, :, of]  # (A,B,Q,H)
        split = (self.heads, -1)
        q = flat(self.query, y[:, :, of]).unflatten(-1, split).transpose(2, 3)  # (A,B,heads,Q,·)
        both = flat(self.key_value, y).chunk(2, -1)
        k, v = (z.unflatten(-1, split).transpose(2, 3) for z in both)  # (A,B,heads,T,·)
        scores = (q * q.shape[-1] ** -0.5) @ k.mT  # (A,B,heads,Q,T)
        weights = scores.masked_fill(closed[:, :, None], -torch.inf).softmax(-1)
        y = ((weights * keep[0] if keep else weights) @ v).transpose(2, 3).flatten(-2)  # (A,B,Q,H)
        y = flat(self.mix, y)
        x = x + (y * keep[1] if keep else y)
        y = flat(self.outer, flat(self.inner, flat(self.norm2, x)).relu())
        return x + (y * keep[2] if keep else y)


def flat(layer: nn.Module, x: Tensor) -> Tensor:
    """A stacked layer, which takes (A,B,n), on (A,…,n)."""
    return layer(x.flatten(1, -2)).unflatten(1, x.shape[1:-1])


class Transformer(nn.Module):
    """π: the last steps to an action for each of them."""

    def __init__(self, init: Initialiser, obs_dim: int, act_dim: int, c: Config):
        super().__init__()
        self.return_scale = c.return_scale
        self.embed_return = Linear(init, (), 1, c.width)
        self.embed_obs = Linear(init, (), obs_dim, c.width)
        self.embed_act = Linear(init, (), act_dim, c.width)
        self.embed_time = nn.Parameter(init.affine((), c.horizon, c.width)[0])  # (A,horizon,H)
        self.norm_in, self.norm_out = LayerNorm(init, (), c.width), LayerNorm(init, (), c.width)
        self.blocks = nn.ModuleList(Block(init, c.width, c.heads) for _ in range(c.depth))
        self.head = Linear(init, (), c.width, act_dim)

    def forward(self, past: Windows, keep: Sequence[Tensor] | None = None) -> Tensor:
        """Actions (A,B,K,U) in [-1, 1]; `keep` as in `DT.keep`."""
        agents, horizon = self.embed_time.shape[:2]
        first = torch.arange(0, agents * horizon, horizon, device=past.time.device)
        rows = past.time.clamp(max=horizon - 1) + first[:, None, None]
        time = F.embedding(rows, self.embed_time.flatten(0, 1))  # (A,B,K,H)
        to_go = flat(self.embed_return, past.to_go[..., None] / self.return_scale)
        obs, act = flat(self.embed_obs, past.obs), flat(self.embed_act, past.act)
        tokens = torch.stack([to_go, obs, act], 3) + time[:, :, :, None]  # (A,B,K,3,H)
        x = flat(self.norm_in, tokens.flatten(2, 3))  # (A,B,3K,H)
        x = x * keep[0] if keep else x
        valid = past.valid.repeat_interleave(3, -1)  # (A,B,3K)
        itself = torch.eye(valid.shape[-1], dtype=torch.bool, device=valid.device)
        later = torch.ones_like(itself).triu(1)
        closed = (later | ~valid[:, :, None]) & ~itself  # (A,B,3K,3K)
        for i, block in enumerate(self.blocks):
            states_only = i == len(self.blocks) - 1  # every third token
            of = slice(1, None, 3) if states_only else slice(None)
            x = block(x, closed[:, :, of], of, keep and keep[1 + 3 * i : 4 + 3 * i])
        return flat(self.head, flat(self.norm_out, x)).tanh()


class DT(Algorithm):
    """A agents of DT."""

    own = ("target_return",)
    target_return: Tensor  # (A,1)
    plays_on_device = True

    def __init__(
        self,
        configs: Sequence[Config],
        streams: Streams,
        obs_dim: int,
        act_dim: int,
        plugin: Plugin | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(configs, streams, plugin)
        c = configs[0]
        self.context, self.act_dim = c.context, act_dim
        self.actor = Transformer(Initialiser(streams, "actor", dtype, "gpt2"), obs_dim, act_dim, c)
        self.keep_own(self.actor.head.bias)
        lr = torch.tensor(c.actor_lr, device=streams.device)  # a tensor: `update` writes it
        self.optimizers |= {"actor": adamw(self.actor.parameters(), lr, c.weight_decay)}

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """The learning rate (count,), and a key for each update's dropout (count,A)."""
        c = self.configs[0]
        rates = [c.actor_lr * min((t + 1) / c.warmup, 1.0) for t in range(step, step + count)]
        own = {"actor_lr": torch.tensor(rates).to(streams.device, non_blocking=True)}
        if c.dropout:
            low, high = streams.words("dropout", step, count, 2).unbind(-1)
            own["dropout"] = low | (high << 32)
        return {**own, **super().noise(streams, step, count)}

    def keep(self, keys: Tensor) -> list[Tensor]:
        """What dropout keeps, from keys (A,): factors 0 or 1 / (1 - rate) on the tokens (A,B,3K,H), then
        three for each block (see `Block`)."""
        c = self.configs[0]
        tokens, states = 3 * c.context, c.context
        shapes: list[tuple[int, ...]] = [(tokens, c.width)]
        for q in [tokens] * (c.depth - 1) + [states]:
            shapes += [(c.heads, q, tokens), (q, c.width), (q, c.width)]
        sizes = [c.batch_size * torch.Size(s).numel() for s in shapes]
        dropped = min(max(round(c.dropout * 2**16), 1), 2**16 - 1)  # of 2¹⁶
        kept = (uniform_int16(keys, sum(sizes)) >= dropped - 2**15).to(self.target_return)
        kept *= 2**16 / (2**16 - dropped)
        parts = kept.split(sizes, -1)
        return [p.unflatten(-1, (c.batch_size, *s)) for p, s in zip(parts, shapes, strict=True)]

    def update(  # type: ignore[override]  # `context` asks for windows
        self, batch: Windows, noise: dict[str, Tensor], phase: int
    ) -> Metrics:
        """One step of regression."""
        actor_loss = self.actor_loss(batch, noise)
        self.optimizers["actor"].param_groups[0]["lr"].copy_(noise["actor_lr"])
        descend(self.optimizers["actor"], actor_loss, self.configs[0].max_norm)
        return {"actor_loss": actor_loss}

    def actor_loss(self, batch: Windows, noise: dict[str, Tensor]) -> Tensor:
        """|π(… R_t s_t) - a_t|² / dim A, mean over the steps that exist: (A,)."""
        keep = self.keep(noise["dropout"]) if "dropout" in noise else None
        error = (self.actor(batch, keep) - batch.act).square().mean(-1)  # (A,B,K)
        return (error * batch.valid).sum((1, 2)) / batch.valid.sum((1, 2))

    def act(self, obs: Tensor) -> Tensor:
        """Actions in states without a past, each the first of an episode of the target return:
        (A,n,O) -> (A,n,U). What is evaluated is `player`, which has a past."""
        return self.player(obs.shape[1])(obs, torch.zeros_like(obs[..., 0]))

    def player(self, copies: int) -> Player:
        """The policy over one round of episodes that begin together; it remembers the last K steps."""
        to_go = self.target_return.expand(-1, copies)  # (A,n)
        past: list[list[Tensor]] = [[], [], []]
        step = 0

        def play(obs: Tensor, reward: Tensor) -> Tensor:
            nonlocal to_go, step
            to_go = to_go - reward
            nothing = obs.new_zeros(*obs.shape[:2], self.act_dim)  # a_t, which s_t does not see
            for memory, value in zip(past, (obs, nothing, to_go), strict=True):
                memory.append(value)
                del memory[: -self.context]
            seen = [torch.stack(memory, 2) for memory in past]  # (A,n,K,·)
            step += 1
            time = torch.arange(step - len(past[0]), step, device=obs.device).expand_as(seen[2])
            valid = torch.ones_like(time, dtype=torch.bool)
            act = self.actor(Windows(seen[0], seen[1], seen[2], time, valid))[:, :, -1]
            past[1][-1] = act
            return act

        return play
