//! Shapes, sizes, scale at the start, the likelihood, and what each part of a module is there for.

use super::inputs::{normal_inputs, stack, tensor, values};
use crate::{
    EMBEDDING_DIM, EMBEDDING_DIMS, EmbedderKind, Preset,
    device::{self, Infer},
    embedding::{AUX_WIDTH, LOG_SIGMA_MIN},
    gaussian_nll,
    parameters::num_parameters,
};

#[test]
fn presets_have_the_sizes_that_they_promise() {
    // LVN: 5*16 + 16 = 96 | norm 2*16 = 32 | readout 16*8 + 8 = 136, norm 16, aux 8*4 + 4 = 36 -> 316.
    // Regime, tiny: 8*32 + 32 = 288 | 32*16 + 16 = 528 | norm 32 | prototypes 256 | readout 32*16 + 16 = 528, norm 32, aux 68 -> 1,732.
    // Structure, tiny: 8*24 + 24 = 216 | norms 96, in 24*72 + 72 = 1,800, out 600, 24*96 + 96 = 2,400, 96*24 + 24 = 2,328 | norm 48
    //   | query 24 | readout 24*64 + 64 = 1,600, norm 128, aux 260 -> 9,500.
    // Tactical, tiny: 7*24 + 24 = 192 | norm 48 | 2 directions of 24*96 + 24*96 + 96 = 4,704 | queries 3*48 = 144
    //   | readout 144*48 + 48 = 6,960, norm 96, aux 196 -> 17,044.
    let counts = |preset| {
        let stack = stack(preset, 1);
        [num_parameters(&stack.structure), num_parameters(&stack.tactical), num_parameters(&stack.regime), num_parameters(&stack.lvn)]
    };
    assert_eq!(counts(Preset::Tiny), [9_500, 17_044, 1_732, 316]); // 28,592: about 30 thousand
    assert_eq!(counts(Preset::Small), [72_260, 167_956, 2_532, 316]); // 243,064: about 250 thousand
    assert_eq!(counts(Preset::Full), [604_996, 1_024_724, 4_132, 316]); // 1,634,168: about 1.6 million
}

#[test]
fn every_preset_gives_the_same_shapes() {
    let device = device::cpu();
    for preset in [Preset::Tiny, Preset::Small, Preset::Full] {
        let output = stack(preset, 1).forward(normal_inputs(1, 2, &device));
        for (kind, (mean, aux)) in EmbedderKind::ALL.iter().zip(output.means.iter().zip(&output.aux)) {
            assert_eq!(mean.dims(), [2, kind.dim()]);
            assert_eq!(aux.dims(), [2, AUX_WIDTH]);
        }
        assert_eq!(output.mean().dims(), [2, EMBEDDING_DIM]);
    }
    assert_eq!(EMBEDDING_DIM, 136);
}

#[test]
fn a_fresh_embedding_has_unit_scale_and_tells_samples_apart() {
    let device = device::cpu();
    let batch = 64;
    for preset in [Preset::Tiny, Preset::Small] {
        let output = stack(preset, 3).forward(normal_inputs(3, batch, &device));
        for (kind, mean) in EmbedderKind::ALL.iter().zip(output.means) {
            let square = values(mean.clone() * mean.clone()).iter().sum::<f32>() / (batch * kind.dim()) as f32;
            assert!((square - 1.0).abs() < 0.01, "{preset:?} {kind}: mean square {square}");
            let centred = mean.clone() - mean.mean_dim(0);
            let between = values(centred.clone() * centred).iter().sum::<f32>() / (batch * kind.dim()) as f32;
            println!("{preset:?} {kind}: variance between samples {between}");
            assert!(between > 0.1, "{preset:?} {kind}: variance between samples {between}");
        }
        let largest = output.aux.into_iter().flat_map(values).fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert!(largest < 0.6, "fresh auxiliary heads predict about a standard normal, one says {largest}");
    }
}

#[test]
fn equal_seeds_give_equal_weights_and_different_ones_do_not() {
    let flat = |seed| crate::parameters::to_flat(&stack(Preset::Tiny, seed));
    assert_eq!(flat(5), flat(5));
    assert_ne!(flat(5), flat(6));
}

#[test]
fn the_tactical_embedder_hears_its_oldest_bar_through_the_lstm_only() {
    // The pools reach 30 bars back; bar 0 of 60 must still matter, and the newest more.
    let device = device::cpu();
    let module = stack(Preset::Tiny, 2).tactical;
    let moved_by = |bar: usize| {
        let window = normal_inputs::<Infer>(9, 1, &device).tactical;
        let mut changed = values(window.clone());
        changed[bar * 7] += 1.0;
        let difference = module.forward(tensor(changed, [1, 60, 7], &device)).mean - module.forward(window).mean;
        values(difference.abs()).iter().sum::<f32>()
    };
    assert!(moved_by(0) > 0.0);
    assert!(moved_by(59) > 100.0 * moved_by(0));
}

#[test]
fn the_structure_embedder_knows_the_order_of_bars() {
    let device = device::cpu();
    let module = stack(Preset::Tiny, 2).structure;
    let window = normal_inputs::<Infer>(9, 1, &device).structure;
    let reversed = module.forward(window.clone().flip([1])).mean;
    let difference = values((reversed - module.forward(window).mean).abs()).iter().sum::<f32>();
    assert!(difference > 0.1, "positions are in: reversing the window moves the embedding by {difference}");
}

#[test]
fn prototype_shares_are_shares() {
    let device = device::cpu();
    let module = stack(Preset::Tiny, 2).regime;
    let shares = values(module.assignment(normal_inputs::<Infer>(1, 8, &device).regime));
    for row in shares.chunks_exact(16) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        // 16 prototypes at temperature 0.2: soft, but no longer uniform.
        assert!(row.iter().fold(0.0f32, |top, share| top.max(*share)) > 2.0 / 16.0);
    }
    // A regime vector of zeros has a defined direction too.
    assert!(values(module.forward(tensor(vec![0.0; 8], [1, 8], &device)).mean).iter().all(|v| v.is_finite()));
}

#[test]
fn the_likelihood_is_the_one_on_paper() {
    let device = device::cpu();
    // Return: mean 0.5, sigma 1, label 1.5: 0.5 * 1^2 + 0 + 0.9189385 = 1.4189385.
    // Range: mean 1, sigma e^0.5, label 2: 0.5 * (1 / e^0.5)^2 + 0.5 + 0.9189385 = 0.5 * 0.3678794 + 1.4189385 = 1.6028782.
    let nll = gaussian_nll(tensor::<Infer, 2>(vec![0.5, 0.0, 1.0, 0.5], [1, 4], &device), tensor(vec![1.5, 2.0], [1, 2], &device));
    assert!((values(nll)[0] - 3.021_816_7).abs() < 1e-6);
}

#[test]
fn the_likelihood_stays_finite_where_sigma_would_vanish() {
    let device = device::cpu();
    let aux = tensor::<Infer, 2>(vec![0.0, -1e6, 0.0, 1e6], [1, 4], &device);
    let found = values(gaussian_nll(aux, tensor(vec![0.0, 0.0], [1, 2], &device)))[0];
    // Both errors are 0, so what is left is LOG_SIGMA_MIN + LOG_SIGMA_MAX + 2 * 0.9189385 = -5 + 3 + 1.837877.
    assert_eq!(LOG_SIGMA_MIN, -5.0);
    assert!((found + 0.162_123).abs() < 1e-5, "{found}");
}

#[test]
fn dims_are_in_the_order_of_the_kinds() {
    assert_eq!(EMBEDDING_DIMS, EmbedderKind::ALL.map(EmbedderKind::dim));
}
