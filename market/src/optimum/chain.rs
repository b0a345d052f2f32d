//! A Markov chain whose moves we do not influence, and a position that we choose: transition weights in, best actions and gain out.
//!
//! Actions are 0, 1, 2 for short, flat, long. Not a general solver: the chain is exogenous, so one expectation a state and position
//! serves all actions.

/// Sweeps after which the iteration stops whatever its error: a chain that mixes in 1,000 steps is solved to 1e-12 by then.
const MAX_SWEEPS: usize = 30_000;
/// Span of the change of the values in one sweep, in units of the reward, at which they count as solved.
const TOLERANCE: f64 = 1e-9;
/// Points at which the policy is read within a cell of the grid.
const CELL_SAMPLES: u32 = 16;

/// Expected return of each state and the states that follow it.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    drift: Vec<f64>,
    first: Vec<usize>,
    /// Weights of row `i` are `weights[offsets[i]..offsets[i + 1]]`; they sum to 1 and belong to the states from `first[i]` on.
    offsets: Vec<usize>,
    weights: Vec<f64>,
}

/// Values of a solved chain.
#[derive(Clone, Debug)]
pub(super) struct Solution {
    /// Average reward a step.
    pub gain: f64,
    /// `[action][state]`: value of holding `action` over the next step, before the cost of getting there, up to a constant.
    pub action_values: [Vec<f64>; 3],
}

/// Best action from position `from`; ties go to the smaller change.
pub(super) fn best_action(values: &[f64; 3], from: usize, change: f64) -> usize {
    let after_cost = |action: usize| values[action] - change * action.abs_diff(from) as f64;
    let mut best = from;
    for distance in 1..3 {
        for action in [from.wrapping_sub(distance), from + distance] {
            if action < 3 && after_cost(action) > after_cost(best) {
                best = action;
            }
        }
    }
    best
}

impl Chain {
    /// Adds a state; its weights need not sum to 1 yet.
    pub fn push(&mut self, drift: f64, (first, weights): (usize, Vec<f64>)) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        let total: f64 = weights.iter().sum();
        assert!(total > 0.0, "Invariant: every state has a successor");
        self.drift.push(drift);
        self.first.push(first);
        self.weights.extend(weights.iter().map(|w| w / total));
        self.offsets.push(self.weights.len());
    }

    /// Relative value iteration: `W(s, a) = a drift(s) - h |a| + E[max_b W(s', b) - c |b - a|]`, less the gain.
    pub fn solve(&self, change: f64, holding: f64) -> Solution {
        self.iterate(
            |state, action| (action as f64 - 1.0) * self.drift[state] - if action == 1 { 0.0 } else { holding },
            |values, from, _| {
                let mut best = f64::NEG_INFINITY;
                for (action, value) in values.iter().enumerate() {
                    best = best.max(value - change * action.abs_diff(from) as f64);
                }
                best
            },
        )
    }

    /// Long-run average of `reward(state, action)` under the policy of a solution, for a chain whose states are points of a grid.
    ///
    /// A point stands for its cell: where a threshold cuts the cell, both actions are taken in proportion. Otherwise the average
    /// would jump whenever a threshold passes a point.
    pub fn average(&self, solution: &Solution, change: f64, reward: impl Fn(usize, usize) -> f64) -> f64 {
        let last = self.drift.len() - 1;
        let mut policy = vec![[[0.0; 3]; 3]; self.drift.len()];
        for (state, taken) in policy.iter_mut().enumerate() {
            for sample in 0..CELL_SAMPLES {
                let offset = (f64::from(sample) + 0.5) / f64::from(CELL_SAMPLES) - 0.5;
                let neighbour = if offset < 0.0 { state.saturating_sub(1) } else { (state + 1).min(last) };
                let values = [0, 1, 2].map(|action| {
                    let of_action = &solution.action_values[action];
                    of_action[state] + (of_action[neighbour] - of_action[state]) * offset.abs()
                });
                for (from, taken) in taken.iter_mut().enumerate() {
                    taken[best_action(&values, from, change)] += 1.0 / f64::from(CELL_SAMPLES);
                }
            }
        }
        self.iterate(reward, |values, from, state| policy[state][from].iter().zip(values).map(|(share, value)| share * value).sum()).gain
    }

    /// `choose(values of the three actions, position held, state)` gives the value of entering a state with a position.
    fn iterate(&self, reward: impl Fn(usize, usize) -> f64, choose: impl Fn(&[f64; 3], usize, usize) -> f64) -> Solution {
        let num_states = self.drift.len();
        let mut held = vec![[0.0f64; 3]; num_states];
        let mut values = vec![[0.0f64; 3]; num_states];
        let mut gain = 0.0;
        for _ in 0..MAX_SWEEPS {
            let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
            for (state, value) in values.iter_mut().enumerate() {
                let next = self.expect(state, &held);
                for action in 0..3 {
                    let new = reward(state, action) + next[action];
                    least = least.min(new - value[action]);
                    most = most.max(new - value[action]);
                    value[action] = new;
                }
            }
            gain = (least + most) / 2.0;
            // taking the gain off each sweep keeps the values bounded; a constant changes no decision
            for value in values.iter_mut().flatten() {
                *value -= gain;
            }
            for (state, (held, value)) in held.iter_mut().zip(&values).enumerate() {
                *held = [0, 1, 2].map(|from| choose(value, from, state));
            }
            if most - least < TOLERANCE {
                break;
            }
        }
        Solution { gain, action_values: [0, 1, 2].map(|action| values.iter().map(|value| value[action]).collect()) }
    }

    /// Expectation over the successors of a state, for the three positions at once.
    ///
    /// Plain indexing, since nearly all the time goes here and an unoptimised build would pay a call for every step of an iterator.
    fn expect(&self, state: usize, held: &[[f64; 3]]) -> [f64; 3] {
        let (start, end) = (self.offsets[state], self.offsets[state + 1]);
        let (weights, successors) = (&self.weights[start..end], &held[self.first[state]..]);
        let (mut short, mut flat, mut long) = (0.0, 0.0, 0.0);
        let mut i = 0;
        while i < weights.len() {
            let (weight, value) = (weights[i], &successors[i]);
            short += weight * value[0];
            flat += weight * value[1];
            long += weight * value[2];
            i += 1;
        }
        [short, flat, long]
    }
}
