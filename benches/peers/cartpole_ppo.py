"""PPO on CartPole-v1 with CleanRL's settings (4 lanes x 128 steps, 64-64 tanh, 4 epochs of 4 mini-batches): ours beside JAX compiled whole and Stable-Baselines3.

Steps a second with learning, on one pinned core and on all. Ours is `grandmodel train configs/control/cartpole-ppo.toml` from its first to its last line but one (the last
comes after an evaluation); JAX is the second run of the compiled program, and once more with start and compilation counted; Stable-Baselines3 is slow enough
that 30,000 of the 500,000 steps do. The last row is what was learned: the mean return of the episodes at the end of training.
"""

import json
import os
import sys
import time

import side_by_side as beside

JAX = ["jax[cpu]==0.10.2", "gymnax==0.0.9", "flax==0.12.8", "optax==0.2.8", "six==1.17.0"]
STEPS, SB3_STEPS = 500_000, 30_000
SPEED, WHOLE, SCORE = "CartPole PPO: steps/s", "CartPole PPO: steps/s, start included", "CartPole PPO: mean return at the end"
ALL = "CartPole PPO: steps/s, all cores"


def in_jax() -> dict[str, float]:
    started = time.perf_counter()
    import jax

    import jax_ppo

    updates = STEPS // (jax_ppo.LANES * jax_ppo.STEPS)
    jax_ppo.train(jax.random.key(0), updates).block_until_ready()
    first = time.perf_counter() - started
    before = time.perf_counter()
    returns = jax_ppo.train(jax.random.key(1), updates).block_until_ready()
    seconds = time.perf_counter() - before
    return {SPEED: STEPS / seconds, WHOLE: STEPS / first, SCORE: float(jax.numpy.nanmean(returns[-20:]))}


def in_sb3() -> dict[str, float]:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    widths = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh}
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", 4, seed=0), n_steps=128, batch_size=128, n_epochs=4, learning_rate=2.5e-4, gamma=0.99,
                gae_lambda=0.95, clip_range=0.2, clip_range_vf=0.2, ent_coef=0.01, vf_coef=0.5, max_grad_norm=0.5, policy_kwargs=widths,
                seed=0, device="cpu")
    model.learn(512)
    before = time.perf_counter()
    model.learn(SB3_STEPS)
    return {SPEED: model.num_timesteps / (time.perf_counter() - before)}


def main() -> None:
    options = beside.arguments(__doc__).parse_args()
    jax, sb3 = beside.environment("jax", JAX), beside.environment("torch", beside.TORCH)

    def ours(core):
        settings = ["train.eval_every=0", "train.checkpoint_every=0"]
        lines, ended = beside.train(options.binary, beside.ROOT / "configs/control/cartpole-ppo.toml", settings, core)
        returns = [line["values"]["charts/episodic_return"] for line in lines[-2:] if "charts/episodic_return" in line["values"]]
        speed = beside.speed_between(lines[:-1])
        return {SPEED: speed, WHOLE: lines[-1]["step"] / ended.seconds, SCORE: sum(returns) / len(returns)}, ended.rss_mib

    def peer(python, which):
        return lambda core: beside.worker(python, __file__, which, core=core, threads=1 if core is not None else len(os.sched_getaffinity(0)))

    def both(once):
        """Every row on one core, and the speed once more on all."""
        rows, rss = once(options.core)
        every, all_rss = once(None)
        return {**rows, ALL: every[SPEED]}, max(rss, all_rss)

    beside.compare("cartpole-ppo", "steps/s, or a return", [
        beside.Side("grandmodel", lambda: both(ours)),
        beside.Side("JAX, one program", lambda: both(peer(jax, "jax")), beside.versions(jax, ["jax", "gymnax", "optax"])),
        beside.Side("Stable-Baselines3", lambda: both(peer(sb3, "sb3")), beside.versions(sb3, ["stable-baselines3", "torch", "gymnasium"])),
    ], options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(in_jax() if sys.argv[2] == "jax" else in_sb3()))
    else:
        main()
