"""Replay buffers on one core: transitions of 17 + 6 f32, batches of 256. Ours beside cpprb, Stable-Baselines3 and TorchRL.

The rows are those of `grandmodel bench "replay: push" "replay: sample 256 of 1 M" ...`, in transitions a second. Each side is pushed to as it likes it best: ours a
block of 2,048, cpprb and TorchRL 2,048 at once, Stable-Baselines3, which takes one step of its environments at a time, steps of 16 environments.
"""

import json
import sys

import side_by_side as beside

CPPRB = ["cpprb==11.0.0", "numpy==2.4.6"]
OBSERVATION, ACTION, LARGE, MEDIUM, BLOCK, BATCH = 17, 6, 1_000_000, 100_000, 2048, 256
PUSH, SAMPLE, SAMPLE_MEDIUM = "replay: push", "replay: sample 256 of 1 M", "replay: sample 256 of 100 k"
PRIORITISED = "replay: prioritised sample + update of 1 M"


def per_second(items: int, work) -> float:
    return items / beside.timed(work, budget_s=0.8)


def columns(rows: int):
    import numpy as np

    draw = np.random.default_rng(1)
    normal = lambda *shape: draw.standard_normal(shape).astype(np.float32)
    return {"obs": normal(rows, OBSERVATION), "act": normal(rows, ACTION), "rew": normal(rows, 1), "next_obs": normal(rows, OBSERVATION),
            "done": np.zeros((rows, 1), np.float32)}


def in_cpprb() -> dict[str, float]:
    import numpy as np
    from cpprb import PrioritizedReplayBuffer, ReplayBuffer

    shapes = {"obs": {"shape": OBSERVATION}, "act": {"shape": ACTION}, "rew": {}, "next_obs": {"shape": OBSERVATION}, "done": {}}
    block, out = columns(BLOCK), {}

    def filled(kind, size):
        buffer = kind(size, shapes)
        for _ in range(size // BLOCK + 1):
            buffer.add(**block)
        return buffer

    large = filled(ReplayBuffer, LARGE)
    out[PUSH] = per_second(BLOCK, lambda: large.add(**block))
    out[SAMPLE] = per_second(BATCH, lambda: large.sample(BATCH))
    medium = filled(ReplayBuffer, MEDIUM)
    out[SAMPLE_MEDIUM] = per_second(BATCH, lambda: medium.sample(BATCH))
    prioritised, errors = filled(PrioritizedReplayBuffer, LARGE), np.abs(block["rew"][:BATCH, 0]) + 1e-3

    def once():
        prioritised.update_priorities(prioritised.sample(BATCH, 0.5)["indexes"], errors)

    out[PRIORITISED] = per_second(BATCH, once)
    return out


def in_sb3() -> dict[str, float]:
    import gymnasium
    import numpy as np
    import torch
    from stable_baselines3.common.buffers import ReplayBuffer

    torch.set_num_threads(1)
    lanes, out = 16, {}
    box = lambda width: gymnasium.spaces.Box(-1, 1, (width,), np.float32)
    step, ends, said = columns(lanes), np.zeros(lanes, bool), [{} for _ in range(lanes)]
    for name, size in ((SAMPLE_MEDIUM, MEDIUM), (SAMPLE, LARGE)):
        buffer = ReplayBuffer(size, box(OBSERVATION), box(ACTION), device="cpu", n_envs=lanes)
        push = lambda: buffer.add(step["obs"], step["next_obs"], step["act"], step["rew"][:, 0], ends, said)
        for _ in range(size // lanes):
            push()
        out[name] = per_second(BATCH, lambda: buffer.sample(BATCH))
    out[PUSH] = per_second(lanes, push)
    return out


def in_torchrl() -> dict[str, float]:
    import torch
    from tensordict import TensorDict
    from torchrl.data import LazyTensorStorage, TensorDictPrioritizedReplayBuffer, TensorDictReplayBuffer

    torch.set_num_threads(1)
    block, out = TensorDict({name: torch.from_numpy(column) for name, column in columns(BLOCK).items()}, [BLOCK]), {}

    def filled(kind, size, **settings):
        buffer = kind(storage=LazyTensorStorage(size), batch_size=BATCH, **settings)
        for _ in range(size // BLOCK + 1):
            buffer.extend(block)
        return buffer

    large = filled(TensorDictReplayBuffer, LARGE)
    out[PUSH] = per_second(BLOCK, lambda: large.extend(block))
    out[SAMPLE] = per_second(BATCH, large.sample)
    medium = filled(TensorDictReplayBuffer, MEDIUM)
    out[SAMPLE_MEDIUM] = per_second(BATCH, medium.sample)
    prioritised = filled(TensorDictPrioritizedReplayBuffer, LARGE, alpha=0.6, beta=0.5)

    def once():
        batch = prioritised.sample()
        batch.set("td_error", batch["rew"][:, 0].abs() + 1e-3)
        prioritised.update_tensordict_priority(batch)

    out[PRIORITISED] = per_second(BATCH, once)
    return out


def main() -> None:
    options = beside.arguments(__doc__).parse_args()
    torch = beside.environment("torch", beside.TORCH)
    pythons = {"cpprb": beside.environment("cpprb", CPPRB), "sb3": torch, "torchrl": torch}
    wanted = [PUSH, SAMPLE, SAMPLE_MEDIUM, PRIORITISED]

    def ours():
        rows, rss = beside.bench(options.binary, wanted, "per_second", options.core)
        return {name: rows[name] for name in wanted}, rss

    def peer(which):
        return lambda: beside.worker(pythons[which], __file__, which, core=options.core)

    beside.compare("replay", "transitions/s", [
        beside.Side("grandmodel", ours),
        beside.Side("cpprb", peer("cpprb"), beside.versions(pythons["cpprb"], ["cpprb", "numpy"])),
        beside.Side("Stable-Baselines3", peer("sb3"), beside.versions(pythons["sb3"], ["stable-baselines3", "torch"])),
        beside.Side("TorchRL", peer("torchrl"), beside.versions(pythons["torchrl"], ["torchrl", "torch"])),
    ], options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps({"cpprb": in_cpprb, "sb3": in_sb3, "torchrl": in_torchrl}[sys.argv[2]]()))
    else:
        main()
