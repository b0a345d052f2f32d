"""The networks of grandmodel-embedders and of the market's policy in PyTorch: same widths, same operations, same outputs.

What `embedders/src/{structure,tactical,regime,lvn}.rs` and `agents/src/encoder.rs` say, written as a PyTorch user would who wants speed: scaled dot-product
attention, `nn.LSTM`, nothing computed twice. First weights are PyTorch's own, which changes no time.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

STRUCTURE, TACTICAL, REGIME, LVN = (48, 8), (60, 7), 8, 5
DIMS = (64, 48, 16, 8)
SCALES = (5, 15, 30)
TOKEN_DIM, TOKEN_HEADS = 64, 4
# Preset.structure(), .tactical(), .regime_hidden() and the trunk's width.
PRESETS = {
    "tiny": {"structure": (24, 2, 96, 1), "tactical": (24, 24, 1), "regime": 32, "trunk": 64},
    "small": {"structure": (64, 4, 128, 2), "tactical": (32, 64, 2), "regime": 64, "trunk": 128},
    "full": {"structure": (128, 4, 512, 3), "tactical": (64, 128, 3), "regime": 128, "trunk": 256},
}


def attention(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, time, 3 d] to [batch, time, d]."""
    batch, time, width = qkv.shape
    q, k, v = qkv.view(batch, time, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, time, width // 3)


class Readout(nn.Module):
    """An embedding of unit variance, and the auxiliary heads that tap it."""

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.proj, self.norm, self.aux = nn.Linear(width, dim), nn.LayerNorm(dim), nn.Linear(dim, 4)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.norm(self.proj(features))
        return mean, self.aux(mean)


class Pooling(nn.Module):
    """For each scale of the most recent rows a mean weighted by one learnt query."""

    def __init__(self, width: int, scales: tuple[int, ...]):
        super().__init__()
        self.scores, self.longest = nn.Linear(width, len(scales), bias=False), max(scales)
        outside = torch.arange(self.longest)[:, None] < self.longest - torch.tensor(scales)[None]
        self.register_buffer("mask", outside.float() * -1e9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        recent = x[:, -self.longest:]
        weights = torch.softmax(self.scores(recent) + self.mask, dim=1)
        return (weights.transpose(1, 2) @ recent).flatten(1)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, d: int, heads: int, wide: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.norm2, self.linear1, self.linear2 = nn.LayerNorm(d), nn.Linear(d, wide), nn.Linear(wide, d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.out(attention(self.qkv(self.norm1(x)), self.heads))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Structure(nn.Module):
    """Transformer over the last 48 structure bars."""

    def __init__(self, preset: str):
        super().__init__()
        d, heads, wide, blocks = PRESETS[preset]["structure"]
        self.input = nn.Linear(STRUCTURE[1], d)
        self.blocks = nn.Sequential(*(Block(d, heads, wide) for _ in range(blocks)))
        self.norm, self.pool, self.readout = nn.LayerNorm(d), Pooling(d, (STRUCTURE[0],)), Readout(d, DIMS[0])
        angle = torch.arange(STRUCTURE[0])[:, None] * 16.0 ** (-(torch.arange(d) // 2 * 2) / d)
        self.register_buffer("positions", 0.25 * torch.where(torch.arange(d) % 2 == 0, angle.sin(), angle.cos()))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.readout(self.pool(self.norm(self.blocks(self.input(window) + self.positions))))


class Tactical(nn.Module):
    """Bidirectional LSTM layers with residuals over the last 60 bars, pooled at three scales."""

    def __init__(self, preset: str):
        super().__init__()
        d_input, hidden, layers = PRESETS[preset]["tactical"]
        width = 2 * hidden
        self.input, self.norm = nn.Linear(TACTICAL[1], d_input), nn.LayerNorm(d_input)
        self.layers = nn.ModuleList(
            nn.LSTM(width if layer else d_input, hidden, batch_first=True, bidirectional=True) for layer in range(layers))
        self.pool, self.readout = Pooling(width, SCALES), Readout(len(SCALES) * width, DIMS[1])

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(self.input(window))
        for index, layer in enumerate(self.layers):
            y = layer(x)[0]
            x = x + y if index else y
        return self.readout(self.pool(x))


class Regime(nn.Module):
    """A small network whose features are compared with sixteen prototypes."""

    def __init__(self, preset: str):
        super().__init__()
        hidden = PRESETS[preset]["regime"]
        self.hidden, self.features, self.norm = nn.Linear(REGIME, hidden), nn.Linear(hidden, 16), nn.LayerNorm(16)
        self.prototypes, self.readout = nn.Parameter(torch.randn(16, 16)), Readout(32, DIMS[2])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.norm(self.features(F.gelu(self.hidden(x))))
        share = torch.softmax(F.normalize(features) @ F.normalize(self.prototypes).T / 0.2, dim=1)
        return self.readout(torch.cat([features, share @ self.prototypes], 1))


class Lvn(nn.Module):
    """5-16-8."""

    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.readout = nn.Linear(LVN, 16), nn.LayerNorm(16), Readout(16, DIMS[3])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.readout(F.gelu(self.norm(self.hidden(x))))


class Policy(nn.Module):
    """The whole network of a market: embedders, attention over their tokens, a trunk with the account, policy and value."""

    def __init__(self, preset: str, account_width: int, actions: int):
        super().__init__()
        trunk = PRESETS[preset]["trunk"]
        self.embedders = nn.ModuleList([Structure(preset), Tactical(preset), Regime(preset), Lvn()])
        self.tokens = nn.ModuleList(nn.Linear(dim, TOKEN_DIM) for dim in DIMS)
        self.qkv, self.out = nn.Linear(TOKEN_DIM, 3 * TOKEN_DIM), nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.into_trunk, self.account = nn.Linear(len(DIMS) * TOKEN_DIM, trunk, bias=False), nn.Linear(account_width, trunk)
        self.trunk, self.heads = nn.Linear(trunk, trunk), nn.Linear(trunk, actions + 1)

    def ahead(self, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What does not depend on the account: computed once for a whole rollout, as we do."""
        outputs = [embedder(x) for embedder, x in zip(self.embedders, inputs)]
        tokens = torch.stack([linear(mean) for linear, (mean, _) in zip(self.tokens, outputs)], 1)
        tokens = tokens + self.out(attention(self.qkv(tokens), TOKEN_HEADS))
        return self.into_trunk(tokens.flatten(1)), [aux for _, aux in outputs]

    def act(self, ahead: torch.Tensor, account: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [batch, actions] and values [batch]."""
        out = self.heads(torch.tanh(self.trunk(torch.tanh(ahead + self.account(account)))))
        return out[:, :-1], out[:, -1]


def gaussian_nll(aux: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood [batch] of two labels under mean and log-sigma of each."""
    mean, log_sigma = aux[:, 0::2], aux[:, 1::2].clamp(-5.0, 3.0)
    return (0.5 * ((labels - mean) * torch.exp(-log_sigma)) ** 2 + log_sigma + 0.5 * math.log(2 * math.pi)).sum(1)
