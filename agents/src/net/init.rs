//! First weights of the small networks, drawn from a seeded stream.

use grandmodel_embedders::init::arrays;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{LstmShape, MlpShape};

/// How first weights are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Orthogonal weights, biases of zero: what PPO is usually given.
    #[default]
    Orthogonal,
    /// Weights and biases uniform within `1 / sqrt(inputs)`: PyTorch's default for linear layers.
    Uniform,
}

impl MlpShape {
    /// Orthogonal weights of gain `hidden_gain` in hidden layers; the output's columns in groups of `(columns, gain)`.
    ///
    /// # Source
    /// Saxe et al. 2014; the gains are those of CleanRL.
    pub fn orthogonal(&self, hidden_gain: f32, outputs: &[(usize, f32)], rng: &mut ChaCha8Rng) -> Vec<f32> {
        assert_eq!(
            self.output,
            outputs.iter().map(|(columns, _)| columns).sum::<usize>(),
            "Invariant: the groups are the output's columns"
        );
        let mut parameters = Vec::with_capacity(self.num_parameters());
        let mut inputs = self.input;
        for width in &self.hidden {
            parameters.extend(arrays::orthogonal(inputs, *width, hidden_gain, rng));
            parameters.resize(parameters.len() + width, 0.0);
            inputs = *width;
        }
        let groups: Vec<(usize, Vec<f32>)> =
            outputs.iter().map(|(columns, gain)| (*columns, arrays::orthogonal(inputs, *columns, *gain, rng))).collect();
        for row in 0..inputs {
            groups.iter().for_each(|(columns, weights)| parameters.extend_from_slice(&weights[row * columns..(row + 1) * columns]));
        }
        parameters.resize(parameters.len() + self.output, 0.0);
        parameters
    }

    /// Weights and biases uniform within `1 / sqrt(inputs)`.
    ///
    /// # Source
    /// PyTorch's `nn.Linear`.
    pub fn uniform(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut parameters = Vec::with_capacity(self.num_parameters());
        let ins = std::iter::once(self.input).chain(self.hidden.iter().copied());
        for (inputs, outputs) in ins.zip(self.hidden.iter().chain([&self.output])) {
            let bound = 1.0 / (inputs.max(1) as f32).sqrt();
            parameters.extend((0..(inputs + 1) * outputs).map(|_| rng.random_range(-bound..bound)));
        }
        parameters
    }
}

impl LstmShape {
    /// All parameters uniform within `1 / sqrt(hidden)`.
    ///
    /// # Source
    /// PyTorch's `nn.LSTM`.
    pub fn uniform(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let bound = 1.0 / (self.hidden as f32).sqrt();
        (0..self.num_parameters()).map(|_| rng.random_range(-bound..bound)).collect()
    }

    /// Orthogonal weights of gain 1, biases of zero.
    pub fn orthogonal(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut parameters = arrays::orthogonal(self.input, self.gates(), 1.0, rng);
        parameters.extend(arrays::orthogonal(self.hidden, self.gates(), 1.0, rng));
        parameters.resize(self.num_parameters(), 0.0);
        parameters
    }
}
