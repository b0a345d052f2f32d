//! Flat vectors and safetensors: there and back without losing a bit, and refused where they do not fit.

use burn::optim::GradientsParams;

use super::inputs::{normal_inputs, stack, values};
use crate::{
    EmbedderStack, EmbeddersError, Preset,
    device::{self, Train},
    parameters::{
        from_flat, gradients_from_flat, gradients_to_flat, num_parameters, parameter_names, parameter_slots, to_flat, training_copy,
    },
    weights,
};

#[test]
fn a_flat_vector_goes_there_and_back_bit_for_bit() {
    let (one, other) = (stack(Preset::Tiny, 1), stack(Preset::Tiny, 2));
    let flat = to_flat(&one);
    let copy = from_flat(other, &flat).unwrap();
    assert_eq!(to_flat(&copy), flat);
    let device = device::cpu();
    assert_eq!(values(one.forward(normal_inputs(1, 2, &device)).mean()), values(copy.forward(normal_inputs(1, 2, &device)).mean()));
}

#[test]
fn names_and_slots_follow_the_fields_in_order() {
    let stack = stack(Preset::Tiny, 1);
    let names = parameter_names(&stack);
    assert_eq!(
        names[..4],
        ["structure.input.weight", "structure.input.bias", "structure.blocks.0.norm1.weight", "structure.blocks.0.norm1.bias"]
    );
    assert!(names.iter().any(|name| name == "tactical.layers.0.w_ih"));
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    let slots = parameter_slots(&stack);
    assert_eq!(slots[0].shape, [8, 24]);
    assert_eq!(slots[0].owner, "Linear");
    assert!(slots.windows(2).all(|pair| pair[0].range.end == pair[1].range.start), "slots lie end to end");
    assert_eq!(to_flat(&stack).len(), num_parameters(&stack));
}

#[test]
fn parameter_ids_count_up_in_module_order() {
    let stack = stack(Preset::Tiny, 1);
    let ids: Vec<u64> = burn::module::list_param_ids(&stack).iter().map(|id| id.val()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
}

#[test]
fn vectors_that_do_not_fit_are_refused_with_the_place() {
    let stack = stack(Preset::Tiny, 1);
    let mut flat = to_flat(&stack);
    let found = from_flat(stack.clone(), &flat[1..]).unwrap_err();
    assert!(matches!(found, EmbeddersError::FlatLength { found, expected } if found + 1 == expected));
    // structure.input.weight holds 8 * 24 = 192 values, so 195 is the bias at 3.
    flat[195] = f32::NAN;
    assert_eq!(from_flat(stack, &flat).unwrap_err().to_string(), "weight structure.input.bias[3] was NaN, expected a finite number");
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = device::cpu();
    let plain = stack(Preset::Tiny, 4);
    let loss = |flat: &[f32]| {
        let output = from_flat(plain.clone(), flat).unwrap().forward(normal_inputs(5, 2, &device));
        let mean = output.mean();
        f64::from(values((mean.clone() * mean.clone() * mean).sum() + output.aux[1].clone().sum())[0])
    };
    let net: EmbedderStack<Train> = training_copy(&plain);
    let output = net.forward(normal_inputs(5, 2, &device));
    let mean = output.mean();
    let gradients = ((mean.clone() * mean.clone() * mean).sum() + output.aux[1].clone().sum()).backward();
    let gradient = gradients_to_flat(&net, &GradientsParams::from_grads(gradients, &net));
    let flat = to_flat(&plain);
    assert_eq!(gradient.len(), flat.len());
    // One value of each parameter; the auxiliary heads other than the tactical one are no part of this loss.
    let scale = gradient.iter().fold(0.0f32, |top, value| top.max(value.abs()));
    for slot in parameter_slots(&plain) {
        let at = (slot.range.start + slot.range.end) / 2;
        let step = 1e-2f32;
        let moved = |by: f32| {
            let mut flat = flat.clone();
            flat[at] += by;
            loss(&flat)
        };
        let expected = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
        let error = (expected - f64::from(gradient[at])).abs();
        assert!(error < 2e-3 * f64::from(scale) + 2e-2 * expected.abs(), "{}[{at}]: {} against {expected}", slot.name, gradient[at]);
        if slot.name.contains("aux") && !slot.name.starts_with("tactical") {
            assert_eq!(gradient[at], 0.0);
        }
    }
    let back = gradients_from_flat(&net, &gradient).unwrap();
    assert_eq!(gradients_to_flat(&net, &back), gradient);
}

#[test]
#[should_panic(expected = "copies for training come from training_copy")]
fn a_module_that_would_never_learn_is_noticed() {
    use burn::module::AutodiffModule;
    let device = device::cpu();
    let wished: EmbedderStack<Train> = training_copy(&stack(Preset::Tiny, 1));
    // Burn 0.21: the clone forgets that its parameters want gradients.
    let net = EmbedderStack::<Train>::from_inner(wished.valid().clone());
    let loss = net.forward(normal_inputs(1, 1, &device)).mean().require_grad().sum();
    gradients_to_flat(&net, &GradientsParams::from_grads(loss.backward(), &net));
}

#[test]
fn safetensors_go_there_and_back_bit_for_bit_and_are_equal_for_equal_weights() {
    let one = stack(Preset::Tiny, 1);
    let bytes = weights::to_bytes(&one).unwrap();
    assert_eq!(bytes, weights::to_bytes(&stack(Preset::Tiny, 1)).unwrap());
    let copy = weights::from_bytes(stack(Preset::Tiny, 2), &bytes).unwrap();
    assert_eq!(to_flat(&copy), to_flat(&one));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embedders.safetensors");
    weights::save(&one, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(to_flat(&weights::load(stack(Preset::Tiny, 3), &path).unwrap()), to_flat(&one));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written stays behind");
}

#[test]
fn safetensors_have_pytorch_names_and_layouts() {
    let bytes = weights::to_bytes(&stack(Preset::Tiny, 1)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, shape) in [
        ("structure.input.weight", vec![24, 8]),
        ("structure.blocks.0.self_attn.in_proj_weight", vec![72, 24]),
        ("structure.blocks.0.self_attn.in_proj_bias", vec![72]),
        ("structure.blocks.0.self_attn.out_proj.weight", vec![24, 24]),
        ("structure.blocks.0.linear1.weight", vec![96, 24]),
        ("tactical.layers.0.weight_ih_l0", vec![96, 24]),
        ("tactical.layers.0.weight_hh_l0_reverse", vec![96, 24]),
        ("tactical.layers.0.bias_ih_l0", vec![96]),
        ("tactical.layers.0.bias_hh_l0_reverse", vec![96]),
        ("regime.prototypes", vec![16, 16]),
        ("lvn.readout.proj.weight", vec![8, 16]),
    ] {
        assert_eq!(file.tensor(name).unwrap().shape(), shape, "{name}");
    }
}

#[test]
fn weights_of_another_preset_or_module_are_refused_by_name() {
    let bytes = weights::to_bytes(&stack(Preset::Tiny, 1)).unwrap();
    let refused = |error: EmbeddersError, start: &str| assert!(error.to_string().starts_with(start), "{error}");
    refused(
        weights::from_bytes(stack(Preset::Small, 1), &bytes).unwrap_err(),
        "tensor structure.input.weight is F32 [24, 8], expected F32 [64, 8]",
    );
    refused(weights::from_bytes(stack(Preset::Tiny, 1).lvn, &bytes).unwrap_err(), "no tensor hidden.weight of shape [16, 5] among the");
    let lvn = weights::to_bytes(&stack(Preset::Tiny, 1).lvn).unwrap();
    let mut longer = weights::to_torch(&parameter_slots(&stack(Preset::Tiny, 1).lvn), &to_flat(&stack(Preset::Tiny, 1).lvn));
    longer.insert("surplus".into(), weights::TorchTensor { shape: vec![1], values: vec![0.0] });
    let views = longer.iter().map(|(name, tensor)| {
        (
            name,
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(&tensor.values))
                .unwrap(),
        )
    });
    let longer = safetensors::serialize(views, None).unwrap();
    refused(
        weights::from_bytes(stack(Preset::Tiny, 1).lvn, &longer).unwrap_err(),
        "1 tensors have no place in this module, the first is surplus",
    );
    refused(weights::from_bytes(stack(Preset::Tiny, 1).lvn, &lvn[..40]).unwrap_err(), "not a safetensors file");
}

#[test]
fn the_second_lstm_bias_is_added_to_the_first() {
    let module = stack(Preset::Tiny, 1).tactical;
    let slots = parameter_slots(&module);
    let mut tensors = weights::to_torch(&slots, &to_flat(&module));
    tensors.get_mut("layers.0.bias_hh_l0_reverse").unwrap().values[5] = 0.25;
    let views = tensors.iter().map(|(name, tensor)| {
        (
            name,
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(&tensor.values))
                .unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let changed = to_flat(&weights::from_bytes(module.clone(), &bytes).unwrap());
    let bias = slots.iter().find(|slot| slot.name == "layers.0.bias").unwrap();
    // [2, 96]: value 5 of the backward half is at 96 + 5.
    let at = bias.range.start + 96 + 5;
    let mut expected = to_flat(&module);
    expected[at] += 0.25;
    assert_eq!(changed, expected);
}
