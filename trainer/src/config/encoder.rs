//! Settings of the market's encoder before a head that learns from replay.

use serde::{Deserialize, Serialize};

use super::schedule::check_ranges;
use crate::TrainerError;

/// How the encoder learns; its optimiser is one of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// Adam's step size; absent: that of the values. Annealed with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Weight of the auxiliary likelihood of the next bar.
    pub aux_coef: f32,
    /// Global norm to which its gradient is clipped.
    pub max_grad_norm: f32,
    /// Samples of one gradient block. Part of the result's bits.
    pub grad_block: u32,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self { learning_rate: None, aux_coef: 0.1, max_grad_norm: 0.5, grad_block: 16 }
    }
}

/// Dotted names of the settings, for errors.
pub(super) struct EncoderKeys {
    pub learning_rate: &'static str,
    pub aux_coef: &'static str,
    pub max_grad_norm: &'static str,
    pub grad_block: &'static str,
}

/// [`EncoderKeys`] below a table's name.
macro_rules! encoder_keys {
    ($table:literal) => {
        $crate::config::encoder::EncoderKeys {
            learning_rate: concat!($table, ".encoder.learning_rate"),
            aux_coef: concat!($table, ".encoder.aux_coef"),
            max_grad_norm: concat!($table, ".encoder.max_grad_norm"),
            grad_block: concat!($table, ".encoder.grad_block"),
        }
    };
}
pub(super) use encoder_keys;

impl EncoderConfig {
    /// Checks every field; the block must divide the batch where there is an encoder.
    pub(super) fn validate(&self, keys: &EncoderKeys, batch: u32, encoder: bool) -> Result<(), TrainerError> {
        if encoder && self.grad_block > 0 && !batch.is_multiple_of(self.grad_block) {
            let expected = format!("a divisor of batch_size = {batch}");
            return Err(TrainerError::Setting { key: keys.grad_block, value: self.grad_block.to_string(), expected });
        }
        check_ranges(&[
            (keys.learning_rate, self.learning_rate.unwrap_or(1.0), 1e-9, 1.0),
            (keys.aux_coef, f64::from(self.aux_coef), 0.0, 100.0),
            (keys.max_grad_norm, f64::from(self.max_grad_norm), 1e-6, 1e6),
            (keys.grad_block, f64::from(self.grad_block), 1.0, 512.0),
        ])
    }
}
