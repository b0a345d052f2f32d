"""SAC on Pendulum-v1 (256-256, batches of 256, one update a step): ours beside RLtools, SBX (JAX) and Stable-Baselines3 (PyTorch).

Steps a second with learning, each step with one update of actor, critics and temperature, after a warm-up of each side's own. Ours is `grandmodel train
configs/control/pendulum-sac.toml`. On one pinned core and, in the second row, on all: ours and RLtools do not gain from more, the others may.
"""

import json
import sys
import time

import side_by_side as beside

RLTOOLS = ["rltools[mkl]==2.2.1", "mkl==2026.2.0", "pybind11==3.1.0", "gymnasium[classic-control]==1.4.0"]
ONE, ALL = "Pendulum SAC: steps/s, one core", "Pendulum SAC: steps/s, all cores"
STEPS = {"rltools": 800, "sbx": 800, "sb3": 400}


def learner(which: str, threads: int) -> float:
    """Steps a second of one of the two with Stable-Baselines3's interface."""
    if which == "sbx":
        from sbx import SAC
    else:
        import torch
        from stable_baselines3 import SAC

        torch.set_num_threads(threads)
    settings = {"learning_rate": 1e-3, "batch_size": 256, "learning_starts": 256, "buffer_size": 20_480, "policy_kwargs": {"net_arch": [256, 256]}}
    model = SAC("MlpPolicy", "Pendulum-v1", seed=0, **settings)
    model.learn(400)
    before = time.perf_counter()
    model.learn(STEPS[which], reset_num_timesteps=False)
    return STEPS[which] / (time.perf_counter() - before)


def rltools() -> float:
    """Steps a second; the C++ is compiled before, into the temporary folder, when it was not yet."""
    import gymnasium
    from gymnasium.wrappers import RescaleAction
    from rltools import SAC

    def environment():
        env = RescaleAction(gymnasium.make("Pendulum-v1"), -1, 1)
        env.reset(seed=0)
        return env

    widths = {f"{of}_{what}": value for of in ("ACTOR", "CRITIC") for what, value in (("HIDDEN_DIM", 256), ("NUM_LAYERS", 3), ("BATCH_SIZE", 256))}
    state = SAC(environment, enable_evaluation=False, interface_name="pendulum", STEP_LIMIT=20_480, **widths).State(0)
    for _ in range(400):
        state.step()
    before = time.perf_counter()
    for _ in range(STEPS["rltools"]):
        state.step()
    return STEPS["rltools"] / (time.perf_counter() - before)


def main() -> None:
    options = beside.arguments(__doc__).parse_args()
    torch = beside.environment("torch", beside.TORCH)
    pythons = {"rltools": beside.environment("rltools", RLTOOLS), "sbx": torch, "sb3": torch}

    def both(once) -> tuple[dict[str, float], float]:
        (one, one_rss), (every, all_rss) = once(options.core), once(None)
        return {ONE: one, ALL: every}, max(one_rss, all_rss)

    def ours(core):
        settings = ["sac.total_timesteps=2048", "train.eval_every=0", "train.checkpoint_every=0", "train.log_every=256"]
        lines, ended = beside.train(options.binary, beside.ROOT / "configs/control/pendulum-sac.toml", settings, core)
        return beside.speed_between(lines[:-1]), ended.rss_mib

    def peer(which):
        def once(core):
            threads = 1 if core is not None else len(beside.os.sched_getaffinity(0))
            rows, rss = beside.worker(pythons[which], __file__, which, str(threads), core=core, threads=threads)
            return rows["steps/s"], rss

        return lambda: both(once)

    beside.compare("pendulum-sac", "steps/s, an update each", [
        beside.Side("grandmodel", lambda: both(ours)),
        beside.Side("RLtools", peer("rltools"), beside.versions(pythons["rltools"], ["rltools", "mkl"])),
        beside.Side("SBX", peer("sbx"), beside.versions(pythons["sbx"], ["sbx-rl", "jax"])),
        beside.Side("Stable-Baselines3", peer("sb3"), beside.versions(pythons["sb3"], ["stable-baselines3", "torch"])),
    ], options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps({"steps/s": rltools() if sys.argv[2] == "rltools" else learner(sys.argv[2], int(sys.argv[3]))}))
    else:
        main()
