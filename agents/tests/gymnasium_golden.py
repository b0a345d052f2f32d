"""Transitions recorded from Gymnasium itself, to which the classic-control environments in Rust are held.

    pip install "gymnasium[classic-control]==1.4.0"
    python agents/tests/gymnasium_golden.py --out agents/tests/gymnasium
    python agents/tests/gymnasium_golden.py --out target/gymnasium --transitions 100000

The first line writes the small recordings which are committed, the second the large ones which the tests use when they are there.
Same seed and versions, same bytes. One `<task>.csv` for each task: a header, then a line for each transition, comma separated:

    episode, step            counted from 0; step 0 starts from a reset, or from a scattered state (below)
    state_0 ..               internal state before the step, float64
    action                   index of a discrete action, or the float32 given to the environment
    next_state_0 ..          internal state after the step, float64
    observation_0 ..         what the step returned, float32
    reward                   float64
    terminated, truncated    0 or 1; truncated is the time limit of the registered task and can stand beside terminated

Floats are the shortest text which reads back to the same bits. Within an episode next_state is the next line's state; the last episode
may be cut short by the number of transitions. Actions are random, and in some episodes steered, so that every kind of end is met;
scattered episodes start anywhere within WIDE, with random actions, so that the limits of velocity and position are met too.
"""

import argparse
import math
from pathlib import Path

import gymnasium
import numpy as np

EXPLORE = 0.1  # share of random actions in a steered episode


def balance(state, _):
    """CartPole upright until the time limit."""
    x, x_dot, theta, theta_dot = state
    return int(0.05 * x + 0.15 * x_dot + theta + 0.3 * theta_dot > 0.0)


def pump_joint(state, _):
    """Acrobot: torque along the second joint's velocity adds energy until the tip is high enough."""
    return 2 if state[3] > 0.0 else 0


def spin(state, _):
    """Pendulum: full torque along the velocity, up to the largest speed and over many turns."""
    return math.copysign(2.0, state[1])


def push_along(state, _):
    """MountainCar: along the velocity, up to the goal."""
    return 2 if state[1] >= 0.0 else 0


def push_to_wall(state, step):
    """MountainCar: one swing to the right, then left for good, into the wall."""
    return 2 if step < 25 else 0


def drive_along(state, _):
    return math.copysign(1.0, state[1])


def drive_to_wall(state, step):
    return 1.0 if step < 25 else -1.0


def scatter(*_):
    """Stands for a random episode from a scattered state."""


SCATTERED_STEPS = 40  # the longest of a scattered episode, which then just stops
WIDE = {  # largest magnitudes around a centre
    "CartPole-v1": ([0.0, 0.0, 0.0, 0.0], [2.4, 3.0, 0.2, 3.0]),
    "Acrobot-v1": ([0.0, 0.0, 0.0, 0.0], [math.pi, math.pi, 4.0 * math.pi, 9.0 * math.pi]),
    "Pendulum-v1": ([0.0, 0.0], [20.0, 8.0]),
    "MountainCar-v0": ([-0.35, 0.0], [0.85, 0.07]),
    "MountainCarContinuous-v0": ([-0.4, 0.0], [0.8, 0.07]),
}
# Task: transitions of the committed file, then the episodes' policies in turn (None: random actions from a reset).
TASKS = {
    "CartPole-v1": (800, [None, scatter, balance] + [None, scatter] * 20),
    "Acrobot-v1": (700, [pump_joint, scatter, None, scatter]),
    "Pendulum-v1": (1000, [None, scatter, spin]),
    "MountainCar-v0": (1200, [push_along, scatter, scatter, None, push_to_wall]),
    "MountainCarContinuous-v0": (1500, [drive_along, scatter, drive_to_wall, scatter, drive_along, None]),
}


def text(value):
    """The shortest decimal which reads back to the same bits of its own type."""
    return str(value) if isinstance(value, np.float32) else repr(float(value))


def choose(env, policy, state, step, rng):
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    if policy in (None, scatter) or (policy is not balance and rng.random() < EXPLORE):
        low, high = (0, env.action_space.n) if discrete else (env.action_space.low[0], env.action_space.high[0])
        action = rng.integers(low, high) if discrete else rng.uniform(low, high)
    else:
        action = policy(state, step)
    return int(action) if discrete else np.array([action], dtype=np.float32)


def record(task, transitions, policies, seed, path):
    env, rng = gymnasium.make(task), np.random.default_rng(seed)
    lines, ends, episode = [], {"terminated": 0, "truncated": 0}, 0
    header = None
    while len(lines) < transitions:
        env.reset(seed=seed if episode == 0 else None)
        policy, ended, step = policies[episode % len(policies)], False, 0
        if policy is scatter:
            centre, width = map(np.array, WIDE[task])
            env.unwrapped.state = rng.uniform(centre - width, centre + width)
        while not ended and len(lines) < transitions:
            state = np.array(env.unwrapped.state, dtype=np.float64)
            action = choose(env, policy, state, step, rng)
            observation, reward, terminated, truncated, _ = env.step(action)
            next_state = np.array(env.unwrapped.state, dtype=np.float64)
            if header is None:
                columns = ["episode", "step", *(f"state_{i}" for i in range(state.size)), "action"]
                columns += [*(f"next_state_{i}" for i in range(state.size)), *(f"observation_{i}" for i in range(observation.size))]
                header = ",".join([*columns, "reward", "terminated", "truncated"])
            fields = [str(episode), str(step), *map(text, state), str(action) if isinstance(action, int) else text(action[0])]
            fields += [*map(text, next_state), *map(text, observation), text(reward), str(int(terminated)), str(int(truncated))]
            lines.append(",".join(fields))
            ends["terminated"] += terminated
            ends["truncated"] += truncated
            step += 1
            ended = terminated or truncated or (policy is scatter and step == SCATTERED_STEPS)
        episode += 1
    path.write_text("\n".join([header, *lines]) + "\n", encoding="ascii", newline="\n")
    print(f"{task}: {len(lines)} transitions, {episode} episodes, {ends['terminated']} terminated, {ends['truncated']} truncated")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--transitions", type=int, help="for each task; the size of the committed file when not given")
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for task, (transitions, policies) in TASKS.items():
        record(task, args.transitions or transitions, policies, args.seed, args.out / f"{task}.csv")


if __name__ == "__main__":
    main()
