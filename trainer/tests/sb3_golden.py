"""Reference numbers from other people's training code: advantages, n-step sums, priorities, and single updates of PPO, DQN, QR-DQN and SAC.

    pip install "gymnasium==1.4.0" "stable-baselines3==2.9.2" "sb3-contrib==2.9.2" "cpprb==11.0.0"
    CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 python trainer/tests/sb3_golden.py --out trainer/tests/golden

The libraries' own functions run on made-up experience; this file only draws the inputs and writes down what went in and what came out. No
formula of theirs is written again here, except where a key says `formula`.

A file is one JSON object. An array is {"shape": [..], "values": [..]}, row-major, every number the shortest text of its float32. Networks
are {PyTorch's name: array}, linear weights [out, in]. An update file holds `settings`, `batch`, `before` (parameters; Adam starts from
zero moments), and `steps`: three updates on the same batch, each with `loss`, the `gradient` which Adam was given (after clipping), and the
parameters `after`. The first is the one update from given weights; the others show that the moments and the targets are carried.
"""

import argparse
import json
from pathlib import Path

import gymnasium
import numpy as np
import torch
from cpprb import PrioritizedReplayBuffer
from gymnasium.spaces import Box, Discrete
from sb3_contrib import QRDQN
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.distributions import normal

BATCH, STEPS = 32, 3
TERMINATED, TRUNCATED = "terminated", "truncated"


class Scripted(gymnasium.Env):
    """Random observations and rewards; episodes of the given lengths and ends, over and over."""

    def __init__(self, seed, action_space, episodes, width=4, reward_scale=1.0):
        self.observation_space = Box(-10.0, 10.0, (width,), np.float32)
        self.action_space, self.rng = action_space, np.random.default_rng(seed)
        self.episodes, self.episode, self.reward_scale = episodes, -1, reward_scale

    def observe(self):
        return self.rng.normal(size=self.observation_space.shape).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        self.episode, self.left = self.episode + 1, self.episodes[(self.episode + 1) % len(self.episodes)][0]
        return self.observe(), {}

    def step(self, action):
        self.left -= 1
        end = self.episodes[self.episode % len(self.episodes)][1] if self.left == 0 else None
        reward = float(np.float32(self.reward_scale * self.rng.normal()))
        return self.observe(), reward, end == TERMINATED, end == TRUNCATED, {}


def array(x):
    x = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
    assert np.isfinite(x).all(), x
    return {"shape": list(x.shape), "values": [v.item() if np.issubdtype(x.dtype, np.integer) else np.float32(v) for v in x.ravel()]}


def parameters(module, prefix=""):
    return {f"{prefix}{name}": array(p) for name, p in module.named_parameters()}


def encode(x):
    if isinstance(x, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{encode(value)}" for key, value in x.items()) + "}"
    if isinstance(x, (list, tuple)):
        return "[" + ",".join(map(encode, x)) + "]"
    return str(np.float32(x)) if isinstance(x, (float, np.float32, np.float64)) else json.dumps(x)


def write(folder, name, content):
    text = "{\n" + ",\n".join(f"{json.dumps(key)}:{encode(value)}" for key, value in content.items()) + "\n}\n"
    json.loads(text)
    (folder / f"{name}.json").write_text(text, encoding="ascii", newline="\n")
    print(f"{name}: {len(text)} bytes")


def quiet(model):
    model.set_logger(configure(None, []))
    return model


def losses(model):
    return {
        key.removeprefix("train/"): float(v)
        for key, v in model.logger.name_to_value.items()
        if "loss" in key or "kl" in key or "clip_fr" in key
    }


def perturb(module, by, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p += by * torch.randn(p.shape, generator=generator)


class Given:
    """Notes the gradients with which an optimiser steps."""

    def __init__(self, optimizer, names):
        self.names, self.optimizer, self.step, self.gradient = names, optimizer, optimizer.step, {}
        optimizer.step = self

    def __call__(self, *args, **kwargs):
        found = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.gradient = {name: array(p.grad) for name, p in zip(self.names, found, strict=True)}
        return self.step(*args, **kwargs)


def names_of(module, prefix=""):
    return [f"{prefix}{name}" for name, _ in module.named_parameters()]


def gae():
    ends = [  # lane 0 ends with the rollout, lane 1 is cut with it, lane 2 runs on, lane 3 has episodes of one step
        [(5, TERMINATED), (4, TRUNCATED), (7, TERMINATED)],
        [(3, TRUNCATED), (6, TERMINATED), (7, TRUNCATED)],
        [(10, TRUNCATED), (20, TERMINATED)],
        [(1, TERMINATED), (1, TRUNCATED), (11, TERMINATED), (9, TRUNCATED)],
    ]
    env = DummyVecEnv(
        [lambda i=i, episodes=episodes: Scripted(i, Discrete(3), episodes, reward_scale=0.25) for i, episodes in enumerate(ends)]
    )
    model = quiet(
        PPO(
            "MlpPolicy",
            env,
            n_steps=16,
            batch_size=64,
            gamma=0.99,
            gae_lambda=0.95,
            policy_kwargs={"net_arch": [16, 16]},
            seed=1,
            device="cpu",
        )
    )
    with torch.no_grad():
        model.policy.value_net.weight *= 0.25  # numbers below 1, whose float32 rounding is far below 1e-6
    _, callback = model._setup_learn(64, None)
    seen = {"reward": [], TERMINATED: [], TRUNCATED: [], "terminal_value": []}
    step_wait = env.step_wait

    def noted():
        observation, reward, ended, infos = step_wait()
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        terminal = [
            model.policy.predict_values(torch.tensor(info["terminal_observation"])[None])[0, 0].item() if cut else 0.0
            for cut, info in zip(truncated, infos)
        ]
        for key, value in zip(seen, (reward.copy(), (ended & ~truncated).astype(int), truncated.astype(int), np.float32(terminal))):
            seen[key].append(value)
        return observation, reward, ended, infos

    env.step_wait = noted
    buffer, last_value = model.rollout_buffer, []
    compute = buffer.compute_returns_and_advantage

    def given(last_values, dones):
        last_value.append(last_values.flatten())
        compute(last_values=last_values, dones=dones)

    buffer.compute_returns_and_advantage = given
    model.collect_rollouts(env, callback, buffer, 16)
    out = {"settings": {"num_steps": 16, "num_envs": 4, "gamma": 0.99, "gae_lambda": 0.95}}
    out |= {key: array(np.stack(rows)) for key, rows in seen.items()}
    out |= {"value": array(buffer.values), "last_value": array(last_value[0]), "reward_with_bootstrap": array(buffer.rewards)}
    return out | {"advantage": array(buffer.advantages), "return": array(buffer.returns)}


def nstep():
    steps, lanes, n_step, gamma = 24, 2, 3, 0.97
    rng = np.random.default_rng(2)
    reward = rng.normal(size=(steps, lanes)).astype(np.float32)
    terminated, truncated = np.zeros((2, steps, lanes), int)
    terminated[[4, 10, 23], [0, 1, 1]] = 1
    truncated[[9, 10, 3, 18, 22], [0, 0, 1, 1, 0]] = 1
    out = {"settings": {"n_step": n_step, "gamma": gamma, "num_steps": steps, "num_envs": lanes}}
    out |= {"reward": array(reward), TERMINATED: array(terminated), TRUNCATED: array(truncated), "cases": []}
    for capacity in (40, 16):  # steps a lane; the second has overwritten the oldest eight
        buffer = NStepReplayBuffer(
            capacity * lanes, Box(-1e3, 1e3, (3,)), Discrete(2), device="cpu", n_envs=lanes, n_steps=n_step, gamma=gamma
        )
        for t in range(steps):
            ended = (terminated[t] | truncated[t]).astype(bool)
            now = np.array([[t, lane, 0] for lane in range(lanes)], np.float32)
            then = np.array([[t, lane, 1] if ended[lane] else [t + 1, lane, 0] for lane in range(lanes)], np.float32)
            buffer.add(now, then, np.zeros(lanes), reward[t], ended, [{"TimeLimit.truncated": bool(cut)} for cut in truncated[t]])
        np.random.seed(0)
        drawn = buffer._get_samples(np.repeat(np.arange(buffer.size()), 64))
        rows = {}
        for i, (t, lane, _) in enumerate(drawn.observations.int().tolist()):
            next_t, _, terminal = drawn.next_observations[i].int().tolist()
            live = 1.0 - drawn.dones[i].item()
            rows[t, lane] = (drawn.rewards[i].item(), drawn.discounts[i].item() * live, next_t, terminal)
        first = steps - buffer.size()
        keys = [(t, lane) for t in range(first, steps) for lane in range(lanes)]
        columns = [np.array([rows[key][c] for key in keys]) for c in range(4)]
        case = {"capacity_steps": capacity, "first_step": first, "reward_sum": array(columns[0]), "discount": array(columns[1])}
        out["cases"].append(case | {"next_step": array(columns[2].astype(int)), "next_is_terminal": array(columns[3].astype(int))})
    return out


def priorities():
    size, alpha, beta = 48, 0.6, 0.4
    rng = np.random.default_rng(3)
    priority = rng.exponential(size=size).astype(np.float32) + np.float32(1e-3)
    buffer = PrioritizedReplayBuffer(64, {"observation": {}}, alpha=alpha, eps=0.0)
    buffer.add(observation=np.arange(size), priorities=priority)
    weight = np.zeros(size, np.float32)
    while (weight == 0.0).any():  # cpprb draws from a generator of its own, so every slot is asked for
        drawn = buffer.sample(1024, beta=beta)
        weight[drawn["indexes"].astype(int).ravel()] = drawn["weights"].ravel()
    index = rng.integers(0, size, BATCH)
    powered = priority.astype(np.float64) ** alpha
    probability = powered / powered.sum()
    unscaled = (size * probability) ** -beta
    assert np.allclose(unscaled / unscaled.max(), weight, rtol=1e-6), "cpprb weighs otherwise"
    return {
        "settings": {"alpha": alpha, "beta": beta, "eps": 0.0},
        "priority": array(priority),
        "weight": array(weight),
        "formula_probability": array(probability),
        "formula_weight_unscaled": array(unscaled),
        "index": array(index),
        "formula_weight_batch_max": array(unscaled[index] / unscaled[index].max()),
    }


def ppo(action_space, by):
    ends = [[(5, TERMINATED), (4, TRUNCATED)], [(3, TRUNCATED), (6, TERMINATED)], [(20, TERMINATED)], [(1, TERMINATED), (4, TRUNCATED)]]
    env = DummyVecEnv([lambda i=i, episodes=episodes: Scripted(10 + i, action_space, episodes) for i, episodes in enumerate(ends)])
    settings = {
        "learning_rate": 3e-4,
        "clip_range": 0.2,
        "ent_coef": 0.01,
        "vf_coef": 0.5,
        "max_grad_norm": 0.5,
        "normalize_advantage": True,
        "gamma": 0.99,
        "gae_lambda": 0.95,
    }
    model = quiet(
        PPO(
            "MlpPolicy",
            env,
            n_steps=8,
            batch_size=BATCH,
            n_epochs=1,
            policy_kwargs={"net_arch": [16, 16]},
            seed=4,
            device="cpu",
            **settings,
        )
    )
    _, callback = model._setup_learn(BATCH, None)
    model.collect_rollouts(env, callback, model.rollout_buffer, 8)
    perturb(model.policy, by, 5)  # so that ratios leave 1 and some are clipped
    out = {
        "settings": settings | {"adam_eps": model.policy.optimizer.param_groups[0]["eps"], "activation": "tanh"},
        "batch": None,
        "before": parameters(model.policy),
        "steps": [],
    }
    given = Given(model.policy.optimizer, names_of(model.policy))
    for _ in range(STEPS):
        model.train()
        out["steps"].append({"loss": losses(model), "gradient": given.gradient, "after": parameters(model.policy)})
    buffer = model.rollout_buffer  # flattened by the first update
    columns = {
        "observation": buffer.observations,
        "action": buffer.actions,
        "log_prob": buffer.log_probs,
        "value": buffer.values,
        "advantage": buffer.advantages,
        "return": buffer.returns,
    }
    out["batch"] = {name: array(column if name in ("observation", "action") else column.ravel()) for name, column in columns.items()}
    return out


def off_policy(algorithm, action_space, width, settings, policy_kwargs):
    """A model with 200 made-up transitions, of which a fifth terminate and a fifth are cut by time, and the one batch it is given."""
    env = DummyVecEnv([lambda: Scripted(20, action_space, [(9, TERMINATED)], width)])
    model = quiet(
        algorithm(
            "MlpPolicy",
            env,
            buffer_size=200,
            learning_starts=0,
            batch_size=BATCH,
            policy_kwargs=policy_kwargs,
            seed=6,
            device="cpu",
            **settings,
        )
    )
    model._setup_learn(BATCH, None)
    rng = np.random.default_rng(7)
    for _ in range(200):
        now, then = rng.normal(size=(2, 1, width)).astype(np.float32)
        action = (
            rng.uniform(-1.0, 1.0, (1, *action_space.shape)).astype(np.float32)
            if isinstance(action_space, Box)
            else rng.integers(0, action_space.n, 1)
        )
        ended, cut = rng.random() < 0.4, rng.random() < 0.5
        model.replay_buffer.add(
            now, then, action, rng.normal(size=1).astype(np.float32), np.array([ended]), [{"TimeLimit.truncated": bool(ended and cut)}]
        )
    batch = model.replay_buffer.sample(BATCH)
    model.replay_buffer.sample = lambda *args, **kwargs: batch
    columns = {
        "observation": batch.observations,
        "action": batch.actions,
        "reward": batch.rewards.flatten(),
        TERMINATED: batch.dones.flatten().int(),
        "next_observation": batch.next_observations,
    }
    return model, {name: array(column) for name, column in columns.items()}


def q_learning(algorithm, settings, policy_kwargs, net):
    model, batch = off_policy(algorithm, Discrete(3), 4, settings, {"net_arch": [16, 16]} | policy_kwargs)
    online, target = getattr(model, net), getattr(model, f"{net}_target")
    perturb(target, 0.1, 8)
    optimizer = model.policy.optimizer
    settings = (
        settings
        | policy_kwargs
        | {"adam_eps": optimizer.param_groups[0]["eps"], "activation": "relu", "max_grad_norm": model.max_grad_norm}
    )
    out = {"settings": settings, "batch": batch, "before": parameters(online), "target": parameters(target), "steps": []}
    given = Given(optimizer, names_of(online))
    for _ in range(STEPS):
        model.train(gradient_steps=1, batch_size=BATCH)
        out["steps"].append({"loss": losses(model), "gradient": given.gradient, "after": parameters(online)})
    return out


def sac(use_sde):
    settings = {"learning_rate": 1e-3, "gamma": 0.99, "tau": 0.005, "ent_coef": "auto_0.5", "use_sde": use_sde}
    policy_kwargs = {"net_arch": [16, 16]} | ({"log_std_init": -1.0} if use_sde else {})
    model, batch = off_policy(SAC, Box(-1.0, 1.0, (2,), np.float32), 3, settings, policy_kwargs)
    perturb(model.critic_target, 0.1, 9)
    perturb(model.actor, 0.1, 10)
    if use_sde:
        with torch.no_grad():
            model.actor.mu[0].weight *= 4.5  # so that some means are beyond clip_mean
    drawn, standard_normal = [], normal._standard_normal

    def noted(*args, **kwargs):
        drawn.append(standard_normal(*args, **kwargs))
        return drawn[-1]

    def networks():
        return {
            "actor": parameters(model.actor),
            "critic": parameters(model.critic),
            "critic_target": parameters(model.critic_target),
            "log_ent_coef": array(model.log_ent_coef),
        }

    settings |= {"adam_eps": model.actor.optimizer.param_groups[0]["eps"], "activation": "relu", "target_entropy": model.target_entropy}
    settings |= (
        {"log_std_init": -1.0, "clip_mean": model.actor.clip_mean, "sde_epsilon": model.actor.action_dist.epsilon}
        if use_sde
        else {"log_std_min": -20.0, "log_std_max": 2.0}
    )
    out = {"settings": settings, "batch": batch, "before": networks(), "steps": []}
    given = {key: Given(module.optimizer, names_of(module)) for key, module in (("actor", model.actor), ("critic", model.critic))}
    given["log_ent_coef"] = Given(model.ent_coef_optimizer, ["log_ent_coef"])
    normal._standard_normal = noted
    for _ in range(STEPS):
        drawn.clear()
        model.train(gradient_steps=1, batch_size=BATCH)
        assert len(drawn) == 2, f"{len(drawn)} draws of noise, 2 expected"
        noise = {"noise_matrix": array(drawn[0])} if use_sde else {"noise": array(drawn[0]), "next_noise": array(drawn[1])}
        gradient = {key: seen.gradient for key, seen in given.items()}
        gradient["log_ent_coef"] = gradient["log_ent_coef"]["log_ent_coef"]
        out["steps"].append({**noise, "loss": losses(model), "gradient": gradient, "after": networks()})
    normal._standard_normal = standard_normal
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the golden files")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    write(args.out, "gae", gae())
    write(args.out, "nstep", nstep())
    write(args.out, "priorities", priorities())
    write(args.out, "ppo_discrete", ppo(Discrete(3), 0.2))
    write(args.out, "ppo_continuous", ppo(Box(-1.0, 1.0, (2,), np.float32), 0.05))
    settings = {"learning_rate": 1e-3, "gamma": 0.99}
    write(args.out, "dqn", q_learning(DQN, settings, {}, "q_net"))
    write(args.out, "qrdqn", q_learning(QRDQN, settings, {"n_quantiles": 5}, "quantile_net"))
    write(args.out, "sac", sac(False))
    write(args.out, "sac_sde", sac(True))


if __name__ == "__main__":
    main()
