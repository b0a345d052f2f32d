"""PPO with CleanRL's settings on CartPole as one compiled JAX program: environment, rollout and learning in one `lax.scan`, as PureJaxRL does it.

Written from PPO's own formulas on gymnax's environment, as PureJaxRL is not on PyPI: separate policy and value networks 64-64 with tanh, orthogonal first weights,
advantages normalised over each mini-batch, clipped value loss, linear decay of the step size, Adam after a global-norm clip.
"""

from functools import partial
from typing import NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import optax

LANES, STEPS, EPOCHS, MINIBATCHES = 4, 128, 4, 4
GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, NORM, RATE = 0.99, 0.95, 0.2, 0.01, 0.5, 0.5, 2.5e-4


class Step(NamedTuple):
    """Columns of a rollout."""

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    ended: jax.Array


def first_weights(key: jax.Array, widths: tuple[int, ...], gain: float) -> list:
    keys = jax.random.split(key, len(widths) - 1)
    gains = [2.0**0.5] * (len(widths) - 2) + [gain]
    pairs = zip(keys, gains, widths[:-1], widths[1:])
    return [(jax.nn.initializers.orthogonal(g)(k, (d_in, d_out)), jnp.zeros(d_out)) for k, g, d_in, d_out in pairs]


def mlp(layers: list, x: jax.Array) -> jax.Array:
    for weight, bias in layers[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def forward(params: dict, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.nn.log_softmax(mlp(params["policy"], observation)), mlp(params["value"], observation)[..., 0]


def loss(params: dict, step: Step, advantage: jax.Array, returns: jax.Array) -> jax.Array:
    log_probs, value = forward(params, step.observation)
    ratio = jnp.exp(jnp.take_along_axis(log_probs, step.action[:, None], 1)[:, 0] - step.log_prob)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    policy = jnp.maximum(-ratio * advantage, -jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage).mean()
    near = step.value + jnp.clip(value - step.value, -CLIP, CLIP)
    of_value = 0.5 * jnp.maximum((value - returns) ** 2, (near - returns) ** 2).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return policy + VALUE * of_value - ENTROPY * entropy


def advantages(rollout: Step, last: jax.Array) -> jax.Array:
    def back(carry, step):
        advantage, following = carry
        alive = 1.0 - step.ended
        delta = step.reward + GAMMA * following * alive - step.value
        advantage = delta + GAMMA * LAMBDA * alive * advantage
        return (advantage, step.value), advantage

    return jax.lax.scan(back, (jnp.zeros_like(last), last), rollout, reverse=True)[1]


@partial(jax.jit, static_argnums=1)
def train(key: jax.Array, updates: int) -> jax.Array:
    """Mean return of the episodes that ended in each rollout, `[updates]`; NaN where none did."""
    env, settings = gymnax.make("CartPole-v1")
    key, of_policy, of_value, of_reset = jax.random.split(key, 4)
    params = {"policy": first_weights(of_policy, (4, 64, 64, 2), 0.01), "value": first_weights(of_value, (4, 64, 64, 1), 1.0)}
    rate = optax.linear_schedule(RATE, 0.0, updates * EPOCHS * MINIBATCHES)
    adam = optax.chain(optax.clip_by_global_norm(NORM), optax.adam(rate, eps=1e-5))
    observation, state = jax.vmap(env.reset, (0, None))(jax.random.split(of_reset, LANES), settings)

    def act(carry, key):
        params, state, observation, so_far = carry
        of_action, of_env = jax.random.split(key)
        log_probs, value = forward(params, observation)
        action = jax.random.categorical(of_action, log_probs)
        log_prob = jnp.take_along_axis(log_probs, action[:, None], 1)[:, 0]
        following, state, reward, ended, _ = jax.vmap(env.step, (0, 0, 0, None))(jax.random.split(of_env, LANES), state, action, settings)
        so_far = so_far + reward
        finished = jnp.where(ended, so_far, jnp.nan)
        step = Step(observation, action, log_prob, value, reward, ended.astype(jnp.float32))
        return (params, state, following, jnp.where(ended, 0.0, so_far)), (step, finished)

    def minibatch(carry, batch):
        params, moments = carry
        gradient = jax.grad(loss)(params, *batch)
        change, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, change), moments), None

    def update(carry, key):
        params, moments, state, observation, so_far = carry
        key, of_rollout = jax.random.split(key)
        (_, state, observation, so_far), (rollout, finished) = jax.lax.scan(
            act, (params, state, observation, so_far), jax.random.split(of_rollout, STEPS))
        advantage = advantages(rollout, forward(params, observation)[1])
        flat = jax.tree.map(lambda x: x.reshape(LANES * STEPS, *x.shape[2:]), (rollout, advantage, advantage + rollout.value))

        def epoch(carry, key):
            order = jax.random.permutation(key, LANES * STEPS)
            batches = jax.tree.map(lambda x: x[order].reshape(MINIBATCHES, -1, *x.shape[1:]), flat)
            return jax.lax.scan(minibatch, carry, batches)

        (params, moments), _ = jax.lax.scan(epoch, (params, moments), jax.random.split(key, EPOCHS))
        return (params, moments, state, observation, so_far), jnp.nanmean(finished)

    first = (params, adam.init(params), state, observation, jnp.zeros(LANES))
    return jax.lax.scan(update, first, jax.random.split(key, updates))[1]
