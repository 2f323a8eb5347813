"""The Decision Transformer as the official code has it: one agent, every token of every block, padding to
the left by concatenation, torch's own optimiser, schedule and clipping."""

import torch
from torch import nn


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.c_proj_2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, allowed, keep):
        """x (B,T,H), allowed (B,T,T), keep three factors or None."""
        heads = [[], [], []]
        for part, z in enumerate(self.c_attn(self.ln_1(x)).chunk(3, -1)):
            heads[part] = z.chunk(self.heads, -1)
        out = []
        for h, (q, k, v) in enumerate(zip(*heads)):
            scores = torch.einsum("bqd,bkd->bqk", q, k) / q.shape[-1] ** 0.5
            weights = torch.exp(scores) * allowed
            weights = weights / weights.sum(-1, keepdim=True)
            if keep is not None:
                weights = weights * keep[0][:, h]
            out.append(torch.einsum("bqk,bkd->bqd", weights, v))
        attention = self.c_proj(torch.cat(out, -1))
        x = x + (attention if keep is None else attention * keep[1])
        mlp = self.c_proj_2(torch.relu(self.c_fc(self.ln_2(x))))
        return x + (mlp if keep is None else mlp * keep[2])


class PlainDT(nn.Module):
    """With the weights of agent `agent` of `algorithm`."""

    def __init__(self, algorithm, agent: int):
        super().__init__()
        self.c = c = algorithm.configs[agent]
        theirs = algorithm.actor
        sizes = [p.shape[-2] for p in (theirs.embed_obs.weight, theirs.embed_act.weight)]
        self.embed_return = nn.Linear(1, c.width)
        self.embed_state, self.embed_action = (nn.Linear(n, c.width) for n in sizes)
        self.embed_timestep = nn.Embedding(c.horizon, c.width)
        self.embed_ln, self.ln_f = nn.LayerNorm(c.width), nn.LayerNorm(c.width)
        self.h = nn.ModuleList(PlainBlock(c.width, c.heads) for _ in range(c.depth))
        self.predict_action = nn.Linear(c.width, sizes[1])
        self.double()
        with torch.no_grad():
            for name, value in self.stacked(theirs, agent).items():
                self.get_parameter(name).copy_(value)
        self.optimizer = torch.optim.AdamW(
            self.parameters(), lr=c.actor_lr, weight_decay=c.weight_decay, foreach=False
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda steps: min((steps + 1) / c.warmup, 1)
        )

    @staticmethod
    def stacked(actor, agent: int) -> dict[str, torch.Tensor]:
        """The parameters of one agent of the stack under the names and in the shapes of this module."""
        found = {"embed_timestep.weight": actor.embed_time[agent]}

        def put(name, *layers):
            found[f"{name}.weight"] = torch.cat([x.weight[agent].T for x in layers])
            found[f"{name}.bias"] = torch.cat([x.bias[agent, 0] for x in layers])

        def put_norm(name, layer):
            found[f"{name}.weight"], found[f"{name}.bias"] = (layer.weight[agent, 0], layer.bias[agent, 0])

        put("embed_return", actor.embed_return)
        put("embed_state", actor.embed_obs)
        put("embed_action", actor.embed_act)
        put("predict_action", actor.head)
        put_norm("embed_ln", actor.norm_in)
        put_norm("ln_f", actor.norm_out)
        for i, block in enumerate(actor.blocks):
            put_norm(f"h.{i}.ln_1", block.norm1)
            put_norm(f"h.{i}.ln_2", block.norm2)
            put(f"h.{i}.c_attn", block.query, block.key_value)
            put(f"h.{i}.c_proj", block.mix)
            put(f"h.{i}.c_fc", block.inner)
            put(f"h.{i}.c_proj_2", block.outer)
        return {k: v.detach() for k, v in found.items()}

    def forward(self, states, actions, returns_to_go, timesteps, mask, keep=None):
        """(B,K,O), (B,K,U), (B,K) raw, (B,K), (B,K) -> (B,K,U)."""
        batch, steps = mask.shape
        time = self.embed_timestep(timesteps.clamp(max=self.c.horizon - 1))
        parts = [
            self.embed_return(returns_to_go[:, :, None] / self.c.return_scale) + time,
            self.embed_state(states) + time,
            self.embed_action(actions) + time,
        ]
        x = torch.stack(parts, 1).permute(0, 2, 1, 3).reshape(batch, 3 * steps, self.c.width)
        x = self.embed_ln(x)
        if keep is not None:
            x = x * keep[0]
        there = torch.stack([mask] * 3, 1).permute(0, 2, 1).reshape(batch, 3 * steps)
        allowed = torch.ones(3 * steps, 3 * steps, dtype=torch.float64).tril() * there[:, None]
        allowed[:, range(3 * steps), range(3 * steps)] = 1  # or padding would have nothing to attend to
        for i, block in enumerate(self.h):
            x = block(x, allowed, None if keep is None else keep[1 + 3 * i : 4 + 3 * i])
        x = self.ln_f(x).reshape(batch, steps, 3, self.c.width).permute(0, 2, 1, 3)
        return torch.tanh(self.predict_action(x[:, 1]))

    def update(self, states, actions, returns_to_go, timesteps, mask, keep=None):
        predicted = self.forward(states, actions, returns_to_go, timesteps, mask, keep)
        width = actions.shape[-1]
        chosen = predicted.reshape(-1, width)[mask.reshape(-1)]
        wanted = actions.reshape(-1, width)[mask.reshape(-1)]
        loss = torch.mean((chosen - wanted) ** 2)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.c.max_norm)
        self.optimizer.step()
        self.scheduler.step()
        return loss.detach()

    @torch.no_grad()
    def get_action(self, states, actions, returns_to_go):
        """The action in the last of `states` (t,O) after `actions` (t-1,U), with returns-to-go (t,): the
        official padding to K steps on the left, then the plain forward pass."""
        t, context = len(states), self.c.context
        actions = torch.cat([actions, torch.zeros(1, actions.shape[1], dtype=torch.float64)])
        timesteps = torch.arange(t)
        shown = [x[-context:] for x in (states, actions, returns_to_go, timesteps)]
        missing = context - len(shown[0])
        padded = [torch.cat([x.new_zeros(missing, *x.shape[1:]), x])[None] for x in shown]
        mask = torch.cat([torch.zeros(missing), torch.ones(len(shown[0]))]).bool()[None]
        return self.forward(*padded, mask)[0, -1]
