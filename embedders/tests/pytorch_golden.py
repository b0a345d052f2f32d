"""The four embedders in plain PyTorch: weights exported by Rust in; inputs, outputs and gradients for src/tests/parity.rs out.

    GRANDMODEL_GOLDEN_OUT="$PWD"/target/golden cargo test -p grandmodel-embedders write_golden_weights
    cp "$PWD"/target/golden/tiny_weights.safetensors embedders/tests/golden/
    python embedders/tests/pytorch_golden.py tiny "$PWD"/target/golden/tiny_weights.safetensors embedders/tests/golden/tiny_expected.safetensors --gradients
    python embedders/tests/pytorch_golden.py small "$PWD"/target/golden/small_weights.safetensors embedders/tests/golden/small_expected.safetensors

Needs torch, numpy and safetensors. Written from the specification with PyTorch's own layers, not from the Rust code: a mistake would
have to be made twice.
"""

import argparse
import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

WIDTHS = {  # structure: d, heads, feed-forward, blocks; tactical: d, hidden, layers; regime: hidden
    "tiny": ((24, 2, 96, 1), (24, 24, 1), 32),
    "small": ((64, 4, 128, 2), (32, 64, 2), 64),
    "full": ((128, 4, 512, 3), (64, 128, 3), 128),
}


class Readout(nn.Module):
    def __init__(self, width, dim):
        super().__init__()
        self.proj, self.norm, self.aux = nn.Linear(width, dim), nn.LayerNorm(dim), nn.Linear(dim, 4)

    def forward(self, x):
        mean = self.norm(self.proj(x))
        return mean, self.aux(mean)


class Pooling(nn.Module):
    def __init__(self, width, scales):
        super().__init__()
        self.scores, self.scales = nn.Linear(width, len(scales), bias=False), scales

    def forward(self, x):
        pooled = []
        for query, scale in zip(self.scores.weight, self.scales):
            recent = x[:, -scale:]
            weights = torch.softmax(recent @ query, dim=1)
            pooled.append((weights.unsqueeze(-1) * recent).sum(1))
        return torch.cat(pooled, dim=1)


class Structure(nn.Module):
    def __init__(self, d, heads, ff, blocks):
        super().__init__()
        self.input = nn.Linear(8, d)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(d, heads, ff, dropout=0.0, activation="gelu", batch_first=True, norm_first=True) for _ in range(blocks)
        )
        self.norm, self.pool, self.readout = nn.LayerNorm(d), Pooling(d, [48]), Readout(d, 64)

    def forward(self, x):
        x = self.input(x)
        time, d = x.shape[1:]
        angle = torch.arange(time, dtype=torch.float64)[:, None] * 16.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        x = x + 0.25 * torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(time, d).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.readout(self.pool(self.norm(x)))


class Tactical(nn.Module):
    def __init__(self, d, hidden, layers):
        super().__init__()
        self.input, self.norm = nn.Linear(7, d), nn.LayerNorm(d)
        self.layers = nn.ModuleList(
            nn.LSTM(2 * hidden if layer else d, hidden, batch_first=True, bidirectional=True) for layer in range(layers)
        )
        self.pool, self.readout = Pooling(2 * hidden, [5, 15, 30]), Readout(6 * hidden, 48)

    def forward(self, x):
        x = self.norm(self.input(x))
        for index, layer in enumerate(self.layers):
            y, _ = layer(x)
            x = x + y if index else y
        return self.readout(self.pool(x))


class Regime(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.hidden, self.features, self.norm = nn.Linear(8, hidden), nn.Linear(hidden, 16), nn.LayerNorm(16)
        self.prototypes, self.readout = nn.Parameter(torch.zeros(16, 16)), Readout(32, 16)

    def forward(self, x):
        z = self.norm(self.features(F.gelu(self.hidden(x))))
        cosines = F.normalize(z, dim=1) @ F.normalize(self.prototypes, dim=1).T
        return self.readout(torch.cat([z, torch.softmax(cosines / 0.2, dim=1) @ self.prototypes], dim=1))


class Lvn(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.readout = nn.Linear(5, 16), nn.LayerNorm(16), Readout(16, 8)

    def forward(self, x):
        return self.readout(F.gelu(self.norm(self.hidden(x))))


class Stack(nn.Module):
    def __init__(self, preset):
        super().__init__()
        structure, tactical, regime = WIDTHS[preset]
        self.structure, self.tactical, self.regime, self.lvn = Structure(*structure), Tactical(*tactical), Regime(regime), Lvn()


def gaussian_nll(aux, labels):
    mean, log_sigma = aux[:, 0::2], aux[:, 1::2].clamp(-5.0, 3.0)
    return (0.5 * ((labels - mean) / log_sigma.exp()) ** 2 + log_sigma + 0.5 * math.log(2.0 * math.pi)).sum(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=WIDTHS)
    parser.add_argument("weights")
    parser.add_argument("expected")
    parser.add_argument("--gradients", action="store_true", help="write those of the loss below too")
    args = parser.parse_args()

    torch.manual_seed(20)
    batch = 3
    stack = Stack(args.preset)
    stack.load_state_dict(load_file(args.weights))  # strict: every name and shape
    labels = torch.randn(batch, 2)
    out, loss = {"labels": labels}, 0.0
    for name, shape in (("structure", (48, 8)), ("tactical", (60, 7)), ("regime", (8,)), ("lvn", (5,))):
        x = torch.randn(batch, *shape)
        mean, aux = getattr(stack, name)(x)
        direction = torch.randn_like(mean)
        loss = loss + (mean * direction).sum() + gaussian_nll(aux, labels).sum()
        out |= {f"input.{name}": x, f"mean.{name}": mean, f"aux.{name}": aux, f"direction.{name}": direction}
    out["loss"] = loss.reshape(1)
    if args.gradients:
        loss.backward()
        out |= {f"grad.{name}": parameter.grad for name, parameter in stack.named_parameters()}
    save_file({name: tensor.detach().contiguous() for name, tensor in out.items()}, args.expected)
    print(f"{args.preset}: {sum(p.numel() for p in stack.parameters())} parameters in PyTorch, loss {loss.item():.6f}")


if __name__ == "__main__":
    main()
