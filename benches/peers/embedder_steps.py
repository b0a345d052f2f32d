"""One training step of an embedder, forward, backward and Adam, of 64 windows: ours beside PyTorch, on one thread and on two.

The rows are `network: <preset> <embedder> training step` of `grandmodel bench`; the loss on both sides is the mean of all outputs. One-thread rows run on one
pinned core. PyTorch eager with its fused Adam, and compiled by TorchInductor where `--compiled` asks for it (a minute more for every repetition).
"""

import json
import sys

import side_by_side as beside

PRESETS, KINDS, BATCH = ("small", "full"), ("structure", "tactical"), 64
TWO = ", two threads"


def row(preset: str, kind: str, threads: int) -> str:
    return f"network: {preset} {kind} training step" + (TWO if threads == 2 else "")


def work(threads: int, compiled: bool) -> dict[str, float]:
    """Microseconds of a step by row."""
    import torch

    import torch_networks as networks

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    out = {}
    for preset in PRESETS:
        for kind, build, shape in (("structure", networks.Structure, networks.STRUCTURE), ("tactical", networks.Tactical, networks.TACTICAL)):
            module = build(preset)
            adam = torch.optim.Adam(module.parameters(), lr=1e-4, fused=True)
            run = torch.compile(module) if compiled else module
            windows = torch.rand(BATCH, *shape) * 2 - 1

            def step():
                mean, aux = run(windows)
                (mean.mean() + aux.mean()).backward()
                adam.step()
                adam.zero_grad(set_to_none=True)

            out[row(preset, kind, threads)] = beside.timed(step) * 1e6
    return out


def main() -> None:
    parser = beside.arguments(__doc__)
    parser.add_argument("--compiled", action="store_true", help="PyTorch through TorchInductor, too; needs a C++ compiler")
    options = parser.parse_args()
    python = beside.environment("torch", beside.TORCH)

    def both(once) -> tuple[dict[str, float], float]:
        """One thread pinned to a core, then two threads."""
        (one, one_rss), (two, two_rss) = once(1, options.core), once(2, None)
        return one | two, max(one_rss, two_rss)

    def ours(threads: int, core: int | None):
        wanted = [row(preset, kind, threads) for preset in PRESETS for kind in KINDS]
        rows, rss = beside.bench(options.binary, wanted, "median_us", core)
        return {name: us for name, us in rows.items() if name in wanted}, rss

    def torch(*mode: str):
        return lambda: both(lambda threads, core: beside.worker(python, __file__, str(threads), *mode, core=core, threads=threads))

    found = beside.versions(python, ["torch"])
    sides = [beside.Side("grandmodel", lambda: both(ours)), beside.Side("PyTorch eager", torch("eager"), found)]
    if options.compiled:
        sides.append(beside.Side("PyTorch compiled", torch("compiled"), found))
    beside.compare("embedder-steps", "microseconds a step, less is better", sides, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(work(int(sys.argv[2]), sys.argv[3] == "compiled")))
    else:
        main()
