//! Reference numbers for tests: the files that `tests/sb3_golden.py` wrote with Stable-Baselines3, in this workspace's layout.

use grandmodel_buffers::replay::ReplayBatch;
use serde_json::Value;

/// One file of `tests/golden`.
pub fn read(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A number.
pub fn number(value: &Value) -> f32 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number")) as f32
}

/// Values of an array, row-major.
pub fn floats(array: &Value) -> Vec<f32> {
    array["values"].as_array().expect("an array has values").iter().map(number).collect()
}

/// Parameters of linear layers that stand side by side, `[in, out]` and then the bias, from PyTorch's `[out, in]`; `unit` says which of
/// the file's outputs stands at each place.
pub fn linear_by(network: &Value, names: &[&str], unit: impl Fn(usize) -> usize) -> Vec<f32> {
    let column = |what| names.iter().flat_map(|name| floats(&network[format!("{name}.{what}")])).collect::<Vec<f32>>();
    let (weight, bias) = (column("weight"), column("bias"));
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    let weights = (0..inputs).flat_map(|i| (0..outputs).map(move |o| (i, o))).map(|(i, o)| weight[unit(o) * inputs + i]);
    weights.chain((0..outputs).map(|o| bias[unit(o)])).collect()
}

/// As [`linear_by`], in the file's order.
pub fn linear(network: &Value, names: &[&str]) -> Vec<f32> {
    linear_by(network, names, |o| o)
}

/// Parameters of an actor and a critic of two hidden layers each, in the order of [`grandmodel_agents::heads::ActorCritic`].
pub fn actor_critic(network: &Value) -> Vec<f32> {
    let layers = ["policy_net.0", "policy_net.2", "value_net.0", "value_net.2"].map(|layer| format!("mlp_extractor.{layer}"));
    let order = [&layers[0], &layers[1], "action_net", &layers[2], &layers[3], "value_net"];
    let mut parameters: Vec<f32> = order.iter().flat_map(|layer| linear(network, &[layer])).collect();
    if !network["log_std"].is_null() {
        parameters.extend(floats(&network["log_std"]));
    }
    parameters
}

/// A recorded batch; nothing in it is weighted or scaled.
pub fn replay_batch(batch: &Value, [observation_width, action_width]: [usize; 2], gamma: f32) -> ReplayBatch {
    let column = |name: &str| floats(&batch[name]);
    let reward = column("reward");
    ReplayBatch {
        batch: reward.len(),
        observation_width,
        action_width,
        observation: column("observation"),
        action: column("action"),
        discount: column("terminated").iter().map(|terminated| gamma * (1.0 - terminated)).collect(),
        next_observation: column("next_observation"),
        weight: vec![1.0; reward.len()],
        reward_scale: 1.0,
        reward,
        ..ReplayBatch::default()
    }
}

/// Holds two arrays against each other.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(expected.len(), found.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{what} {index}: {found}, expected {expected}");
    }
}
