//! Generalised state-dependent exploration: noise that is a linear function of the last hidden layer `z`, with one matrix held over
//! a whole collection, so that equal states get equal noise and movements are smooth.
//!
//! `mean = clip(z W + b, +-2)`, `deviate = z (S . E)` with `S = exp(log_std)` and `E` standard normal, both `[latent, width]`, so that
//! `variance = z^2 S^2`. Parameters: trunk, `W`, `b`, `log_std`.
//!
//! # Source
//! Raffin et al. 2022, arXiv:2005.05719, equations 5 to 8; the clip as Stable-Baselines3's `clip_mean`.

use grandmodel_embedders::ops::kernels::gemm::{Matrix, gemm};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::SquashedTape;
use crate::net::{Columns, ColumnsMut, MlpShape, MlpTape};

/// Means beyond this saturate `tanh`.
const CLIP_MEAN: f32 = 2.0;
/// Added to the variance, so that a state whose features are all zero has a density.
const VARIANCE_MIN: f32 = 1e-6;

/// Widths of the trunk, whose output before activation is the last hidden layer, and of the mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StateDependent {
    pub(super) trunk: MlpShape,
    mean: MlpShape,
    log_std_init: f32,
}

/// The last hidden layer and what is linear in it.
#[derive(Clone, Debug, Default)]
pub(super) struct LatentTape {
    /// `[batch, latent]`.
    z: Vec<f32>,
    /// `[batch, latent]` squares of `z`.
    z_squared: Vec<f32>,
    mean: MlpTape,
    /// `[latent, width]` `S . E`.
    matrix: Vec<f32>,
    /// `[latent, width]` squares of `S`.
    std_squared: Vec<f32>,
    d_z: Vec<f32>,
    d_part: Vec<f32>,
    d_matrix: Vec<f32>,
}

impl StateDependent {
    /// From the network that gives the means.
    pub fn new(net: MlpShape, log_std_init: f32) -> Self {
        let MlpShape { input, mut hidden, output, activation } = net;
        let latent = hidden.pop().expect("Invariant: state-dependent exploration has a hidden layer");
        Self {
            trunk: MlpShape { input, hidden, output: latent, activation },
            mean: MlpShape { input: latent, hidden: Vec::new(), output, activation },
            log_std_init,
        }
    }

    /// Values of an action.
    pub fn width(&self) -> usize {
        self.mean.output
    }

    /// Values of a matrix `[latent, width]`.
    pub fn matrix_len(&self) -> usize {
        self.trunk.output * self.mean.output
    }

    pub fn num_parameters(&self) -> usize {
        self.trunk.num_parameters() + self.mean.num_parameters() + self.matrix_len()
    }

    pub fn init(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut parameters = self.trunk.uniform(rng);
        parameters.extend(self.mean.uniform(rng));
        parameters.resize(self.num_parameters(), self.log_std_init);
        parameters
    }

    pub fn arrays(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        let mut arrays = self.trunk.arrays(prefix);
        arrays.extend(self.mean.arrays(&format!("{prefix}.mean")));
        arrays.push((format!("{prefix}.log_std"), vec![self.trunk.output, self.mean.output]));
        arrays
    }

    fn log_std<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[parameters.len() - self.matrix_len()..]
    }

    /// One `S . E` a lane.
    pub fn draw_matrices(&self, parameters: &[f32], lanes: usize, rng: &mut ChaCha8Rng, matrices: &mut Vec<f32>) {
        matrices.clear();
        for _ in 0..lanes {
            matrices.extend(self.log_std(parameters).iter().map(|log_std| log_std.exp() * rng.sample::<f32, _>(StandardNormal)));
        }
    }

    /// `z` and the clipped means.
    pub fn forward(&self, parameters: &[f32], observation: &[f32], ahead: Option<Columns<'_>>, batch: usize, tape: &mut SquashedTape) {
        self.masked_forward(parameters, observation, ahead, batch, &[], tape);
    }

    /// As [`StateDependent::forward`], all hidden layers but the last under their masks.
    pub fn masked_forward(
        &self,
        parameters: &[f32],
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        batch: usize,
        masks: &[Vec<f32>],
        tape: &mut SquashedTape,
    ) {
        let (trunk, rest) = parameters.split_at(self.trunk.num_parameters());
        self.trunk.masked_forward(trunk, observation, ahead, batch, masks, &mut tape.net);
        let LatentTape { z, mean, .. } = &mut tape.latent;
        z.clear();
        z.extend_from_slice(tape.net.output());
        self.trunk.activation.apply(z);
        self.mean.forward(&rest[..self.mean.num_parameters()], z, None, batch, mean);
        tape.mean.clear();
        tape.mean.extend(mean.output().iter().map(|mean| mean.clamp(-CLIP_MEAN, CLIP_MEAN)));
    }

    /// Adds each lane's own `z (S . E)` to `actions [lanes, width]`.
    pub fn add_noise(&self, lanes: usize, tape: &SquashedTape, actions: &mut [f32]) {
        assert_eq!(tape.matrices.len(), lanes * self.matrix_len(), "Invariant: matrices were drawn for these lanes");
        let lanes = tape.matrices.chunks_exact(self.matrix_len()).zip(tape.latent.z.chunks_exact(self.trunk.output));
        for (action, (matrix, z)) in actions.chunks_exact_mut(self.width()).zip(lanes) {
            for (z, row) in z.iter().zip(matrix.chunks_exact(self.width())) {
                action.iter_mut().zip(row).for_each(|(action, noise)| *action += z * noise);
            }
        }
    }

    /// Deviates and variances of a batch under one matrix `noise`.
    pub fn spread(&self, parameters: &[f32], noise: &[f32], batch: usize, tape: &mut SquashedTape) {
        let (latent, width) = (self.trunk.output, self.width());
        let LatentTape { z, z_squared, matrix, std_squared, .. } = &mut tape.latent;
        let log_std = self.log_std(parameters);
        matrix.clear();
        matrix.extend(log_std.iter().zip(noise).map(|(log_std, noise)| log_std.exp() * noise));
        std_squared.clear();
        std_squared.extend(log_std.iter().map(|log_std| (2.0 * log_std).exp()));
        z_squared.clear();
        z_squared.extend(z.iter().map(|z| z * z));
        tape.deviate.resize(batch * width, 0.0);
        gemm(&mut tape.deviate, [batch, width], width, false, Matrix::new(z, latent), Matrix::new(matrix, width), latent);
        tape.variance.clear();
        tape.variance.resize(batch * width, VARIANCE_MIN);
        gemm(&mut tape.variance, [batch, width], width, true, Matrix::new(z_squared, latent), Matrix::new(std_squared, width), latent);
    }

    /// From `tape.d_mean`, `tape.d_deviate` and `tape.d_variance` to the parameters.
    pub fn backward(
        &self,
        parameters: &[f32],
        observation: &[f32],
        batch: usize,
        tape: &mut SquashedTape,
        gradient: &mut [f32],
        d_ahead: Option<ColumnsMut<'_>>,
    ) {
        let (latent, width) = (self.trunk.output, self.width());
        let SquashedTape { net, latent: here, d_mean, d_deviate, d_variance, .. } = tape;
        let LatentTape { z, z_squared, mean, matrix, std_squared, d_z, d_part, d_matrix } = here;
        let (trunk, rest) = parameters.split_at(self.trunk.num_parameters());
        let (g_trunk, g_rest) = gradient.split_at_mut(self.trunk.num_parameters());
        let (g_mean, g_log_std) = g_rest.split_at_mut(self.mean.num_parameters());

        // The parameters: dE[S . E] -> log_std by the chain S . E, dS^2 -> log_std by 2 S^2.
        let z_by = |z: &[f32], d: &[f32], out: &mut Vec<f32>| {
            out.resize(latent * width, 0.0);
            gemm(out, [latent, width], width, false, Matrix::transposed(z, latent), Matrix::new(d, width), batch);
        };
        z_by(z, d_deviate, d_matrix);
        g_log_std.iter_mut().zip(d_matrix.iter().zip(&*matrix)).for_each(|(g, (d, m))| *g += d * m);
        z_by(z_squared, d_variance, d_matrix);
        g_log_std.iter_mut().zip(d_matrix.iter().zip(&*std_squared)).for_each(|(g, (d, s))| *g += 2.0 * d * s);

        // The last hidden layer: through the mean where it is not clipped, the deviate and the variance.
        d_mean.iter_mut().zip(mean.output()).for_each(|(d, mean)| *d = if mean.abs() < CLIP_MEAN { *d } else { 0.0 });
        d_z.resize(batch * latent, 0.0);
        d_part.resize(batch * latent, 0.0);
        self.mean.backward(&rest[..self.mean.num_parameters()], z, batch, mean, d_mean, Some(g_mean), Some(&mut *d_z), None);
        gemm(d_z, [batch, latent], latent, true, Matrix::new(d_deviate, width), Matrix::transposed(matrix, width), width);
        gemm(d_part, [batch, latent], latent, false, Matrix::new(d_variance, width), Matrix::transposed(std_squared, width), width);
        d_z.iter_mut().zip(&*d_part).zip(&*z).for_each(|((d_z, d_part), z)| *d_z += 2.0 * z * d_part);
        self.trunk.activation.backward(d_z, z);
        self.trunk.backward(trunk, observation, batch, net, d_z, Some(g_trunk), None, d_ahead);
    }
}
