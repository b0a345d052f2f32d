"""PPO on bars, the whole run: `grandmodel train` beside the same network and the same PPO in PyTorch.

Both sides: 64 lanes x 32 steps a rollout, windows of four embedders embedded once a rollout, a small head each step, 2 epochs of 16 mini-batches of 128 windows
through the whole network, auxiliary likelihood, clipped global norm, Adam. PyTorch's windows are cut from random features and its environment is a vectorised
toy of five lines: the work of the network is what is compared, and what is left out of the environment is left out in PyTorch's favour. It embeds each distinct
structure window of a rollout once, as ours does. Steps of all lanes a second over the second update of a run. Ours uses every core; PyTorch runs once with as
many threads and once with one, which is faster where something else wants a core.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import side_by_side as beside

LANES, STEPS, EPOCHS, MINIBATCHES = 64, 32, 2, 16
ACCOUNT, ACTIONS, ROWS, STRUCTURE_BARS = 6, 3, 12_000, 6
GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, AUX, NORM = 0.95, 0.9, 0.2, 0.05, 0.5, 0.1, 0.5
ROW = "bars: PPO, small, env steps"


def work(threads: int) -> dict[str, float]:
    """Env steps a second of PyTorch."""
    import torch

    import torch_networks as networks

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    features = {"structure": torch.randn(ROWS // STRUCTURE_BARS + 1, 8), "tactical": torch.randn(ROWS, 7),
                "regime": torch.randn(ROWS // STRUCTURE_BARS + 1, 8), "lvn": torch.randn(ROWS, 5)}
    returns, labels = torch.randn(ROWS) * 1e-3, torch.randn(ROWS, 2)
    net = networks.Policy("small", ACCOUNT, ACTIONS)
    adam = torch.optim.Adam(net.parameters(), lr=5e-4, eps=1e-5, fused=True)
    ago = {"structure": torch.arange(1 - networks.STRUCTURE[0], 1), "tactical": torch.arange(1 - networks.TACTICAL[0], 1)}

    def inputs(rows):
        bars = rows // STRUCTURE_BARS
        return [features["structure"][bars[:, None] + ago["structure"]], features["tactical"][rows[:, None] + ago["tactical"]],
                features["regime"][bars], features["lvn"][rows]]

    def embed_ahead(rows):
        """Parts ahead of all rows of a rollout; a structure bar that several rows share is embedded once."""
        bars, which = torch.unique(rows // STRUCTURE_BARS, return_inverse=True)
        by_bar = [features["structure"][bars[:, None] + ago["structure"]], features["regime"][bars]]
        structure, regime = net.embedders[0](by_bar[0])[0][which], net.embedders[2](by_bar[1])[0][which]
        tactical = torch.cat([net.embedders[1](features["tactical"][part[:, None] + ago["tactical"]])[0] for part in rows.split(256)])
        means = [structure, tactical, regime, net.embedders[3](features["lvn"][rows])[0]]
        tokens = torch.stack([linear(mean) for linear, mean in zip(net.tokens, means)], 1)
        return net.into_trunk((tokens + net.out(networks.attention(net.qkv(tokens), networks.TOKEN_HEADS))).flatten(1))

    row = torch.randint(STRUCTURE_BARS * 60, ROWS - 4 * STEPS, (LANES,))
    position = torch.zeros(LANES)

    def observe(equity):
        return torch.stack([position, position.abs(), equity, torch.zeros(LANES), torch.zeros(LANES), torch.ones(LANES)], 1)

    def rollout():
        nonlocal position, row
        rows = row[None] + torch.arange(STEPS + 1)[:, None]
        kept = {name: [] for name in ("account", "action", "log_prob", "value", "reward")}
        equity = torch.zeros(LANES)
        with torch.no_grad():
            ahead = embed_ahead(rows.flatten()).view(STEPS + 1, LANES, -1)
            for t in range(STEPS):
                account = observe(equity)
                logits, value = net.act(ahead[t], account)
                log_probs = torch.log_softmax(logits, 1)
                action = torch.multinomial(log_probs.exp(), 1)
                target = action[:, 0] - 1.0
                reward = target * returns[rows[t + 1]] - 2e-4 * (target - position).abs() - 5e-5 * target.abs()
                position, equity = target, equity + reward
                for name, x in zip(kept, (account, action[:, 0], log_probs.gather(1, action)[:, 0], value, reward / 1e-3)):
                    kept[name].append(x)
            _, last = net.act(ahead[STEPS], observe(equity))
            advantage, advantages = torch.zeros(LANES), []
            for t in reversed(range(STEPS)):
                following = last if t == STEPS - 1 else kept["value"][t + 1]
                advantage = kept["reward"][t] + GAMMA * following - kept["value"][t] + GAMMA * LAMBDA * advantage
                advantages.append(advantage)
        row = row + STEPS
        batch = {name: torch.cat(columns) for name, columns in kept.items()}
        return batch | {"row": rows[:STEPS].flatten(), "advantage": torch.cat(advantages[::-1])}

    def learn(batch, epochs):
        batch["return"] = batch["advantage"] + batch["value"]
        for _ in range(epochs):
            for indices in torch.randperm(LANES * STEPS).split(LANES * STEPS // MINIBATCHES):
                one = {name: column[indices] for name, column in batch.items()}
                advantage = (one["advantage"] - one["advantage"].mean()) / (one["advantage"].std() + 1e-8)
                ahead, aux = net.ahead(inputs(one["row"]))
                logits, value = net.act(ahead, one["account"])
                log_probs = torch.log_softmax(logits, 1)
                ratio = (log_probs.gather(1, one["action"][:, None])[:, 0] - one["log_prob"]).exp()
                policy_loss = torch.max(-ratio * advantage, -ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
                value_loss = 0.5 * (value - one["return"]).square().mean()
                entropy = -(log_probs.exp() * log_probs).sum(1).mean()
                likelihood = sum(networks.gaussian_nll(head, labels[one["row"]]).mean() for head in aux) / 4
                (policy_loss + VALUE * value_loss - ENTROPY * entropy + AUX * likelihood).backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), NORM)
                adam.step()
                adam.zero_grad(set_to_none=True)

    learn(rollout(), 1)
    started = time.perf_counter()
    learn(rollout(), EPOCHS)
    return {ROW: LANES * STEPS / (time.perf_counter() - started)}


def main() -> None:
    options = beside.arguments(__doc__).parse_args()
    python = beside.environment("torch", beside.TORCH)
    with tempfile.TemporaryDirectory() as folder:
        bars = Path(folder) / "bars.csv"
        beside.spawn([options.binary, "data", "synth", "regime", bars, "--bars", ROWS])

        def ours():
            lines, ended = beside.train(options.binary, Path(__file__).parent / "bars.toml", [f"data.path={bars}"])
            return {ROW: beside.speed_between(lines[:-1])}, ended.rss_mib

        def torch(threads):
            return lambda: beside.worker(python, __file__, str(threads), threads=threads)

        found = beside.versions(python, ["torch"])
        beside.compare("bars-ppo", "env steps/s, learning included", [
            beside.Side("grandmodel", ours), beside.Side("PyTorch, one thread", torch(1), found),
            beside.Side("PyTorch, two threads", torch(2), found)], options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(work(int(sys.argv[2]))))
    else:
        main()
