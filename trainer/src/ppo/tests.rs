//! The PPO gradient against itself: blocks add up, the first ratio is 1, and a GPU driver gives the processor's numbers.

use burn::module::Module;
use grandmodel_agents::{
    env::ACCOUNT_WIDTH,
    head::{HeadScratch, log_softmax},
    policy::AgentNet,
};
use grandmodel_embedders::{
    Preset,
    device::{self, Device, DeviceChoice, Infer},
    parameters,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::*;
use crate::adam::{Adam, TreeSum};

const BATCH: usize = 16;

fn net(device: &Device) -> AgentNet<Infer> {
    AgentNet::new(Preset::Tiny, ACCOUNT_WIDTH, 3, &mut ChaCha8Rng::seed_from_u64(5), &device::cpu()).to_device(device)
}

/// Random inputs; log-probabilities are those of the network itself.
fn batch(net: &AgentNet<Infer>, n: usize) -> GradBatch {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut values = |len: usize| (0..len).map(|_| (rng.next_u32() as f32 / u32::MAX as f32) * 2.0 - 1.0).collect::<Vec<f32>>();
    let mut batch = GradBatch {
        batch: n,
        structure: values(n * 48 * 8),
        tactical: values(n * 60 * 7),
        regime: values(n * 8),
        lvn: values(n * 5),
        account: values(n * ACCOUNT_WIDTH),
        action: (0..n as i32).map(|i| i % 3).collect(),
        log_prob: Vec::new(),
        value: values(n),
        advantage: values(n),
        returns: values(n),
        base_label: values(n * 2),
        base_weight: vec![1.0; n],
        structure_label: values(n * 2),
        structure_weight: (0..n).map(|i| (i % 4 != 0) as u8 as f32).collect(),
    };
    let device = device::cpu();
    let embedding = net.embedders.forward(batch.inputs::<Infer>(&device)).mean();
    let market: Vec<f32> = net.policy.market_part(embedding).into_data().into_vec().unwrap();
    let head = net.policy.head();
    let (mut scratch, mut logits) = (HeadScratch::default(), vec![0.0; 3]);
    for (i, market) in market.chunks_exact(head.hidden()).enumerate() {
        head.forward(market, &batch.account[i * ACCOUNT_WIDTH..(i + 1) * ACCOUNT_WIDTH], &mut scratch, &mut logits);
        log_softmax(&mut logits);
        batch.log_prob.push(logits[batch.action[i] as usize]);
    }
    batch
}

fn half(batch: &GradBatch, second: bool) -> GradBatch {
    let n = batch.batch / 2;
    let cut = |values: &Vec<f32>| {
        let width = values.len() / batch.batch;
        let from = if second { n * width } else { 0 };
        values[from..from + n * width].to_vec()
    };
    GradBatch {
        batch: n,
        structure: cut(&batch.structure),
        tactical: cut(&batch.tactical),
        regime: cut(&batch.regime),
        lvn: cut(&batch.lvn),
        account: cut(&batch.account),
        action: batch.action[if second { n } else { 0 }..][..n].to_vec(),
        log_prob: cut(&batch.log_prob),
        value: cut(&batch.value),
        advantage: cut(&batch.advantage),
        returns: cut(&batch.returns),
        base_label: cut(&batch.base_label),
        base_weight: cut(&batch.base_weight),
        structure_label: cut(&batch.structure_label),
        structure_weight: cut(&batch.structure_weight),
    }
}

/// Relative distance of two vectors.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    square(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b))) / square(&mut b.iter().map(|b| f64::from(*b))).max(1e-12)
}

#[test]
fn the_policy_that_acted_is_the_policy_that_learns() {
    // The plain-Rust head collected, the Burn module learns: before the first step every ratio is 1, so KL and clipping are 0.
    let device = device::cpu();
    let net = net(&device);
    let sums = block_gradient(&net, &batch(&net, BATCH), BATCH, &PpoConfig::default(), &device).sums;
    assert!(sums.approx_kl.abs() < 1e-6 * BATCH as f64, "{}", sums.approx_kl);
    assert_eq!((BATCH as f64, 0.0), (sums.count, sums.clipped));
    // Three nearly equal actions: entropy of each sample is ln 3.
    assert!((sums.entropy / BATCH as f64 - 3f64.ln()).abs() < 1e-3, "{}", sums.entropy);
}

#[test]
fn blocks_add_up_to_the_whole() {
    let device = device::cpu();
    let (net, ppo) = (net(&device), PpoConfig::default());
    let whole = batch(&net, BATCH);
    let expected = block_gradient(&net, &whole, BATCH, &ppo, &device).gradient;
    let mut sum = TreeSum::default();
    for second in [false, true] {
        sum.push(block_gradient(&net, &half(&whole, second), BATCH, &ppo, &device).gradient);
    }
    let found = distance(&sum.finish(), &expected);
    assert!(found < 1e-5, "{found}");
}

#[test]
fn a_few_steps_on_software_vulkan_agree_with_the_processor() {
    let Ok(wgpu) = device::resolve(DeviceChoice::Wgpu, 0) else {
        println!("skipped: no Vulkan, Metal or DirectX adapter here (Debian: mesa-vulkan-drivers)");
        return;
    };
    let train = |device: &Device| {
        let ppo = PpoConfig::default();
        let mut net = net(device);
        let batch = batch(&self::net(&device::cpu()), BATCH);
        let mut parameters = parameters::to_flat(&net);
        let mut adam = Adam::new(parameters.len());
        for _ in 0..3 {
            let gradient = block_gradient(&net, &batch, BATCH, &ppo, device).gradient;
            adam.step(&mut parameters, &gradient, 1e-3, ppo.max_grad_norm);
            net = parameters::from_flat(net, &parameters).unwrap();
        }
        (parameters, block_gradient(&net, &batch, BATCH, &ppo, device).sums)
    };
    let (cpu_parameters, cpu) = train(&device::cpu());
    let (wgpu_parameters, wgpu) = train(&wgpu);
    let found = distance(&wgpu_parameters, &cpu_parameters);
    assert!(found < 1e-3, "{found}");
    for (name, cpu, wgpu) in [("policy", cpu.policy, wgpu.policy), ("value", cpu.value, wgpu.value), ("aux", cpu.aux, wgpu.aux)] {
        assert!((cpu - wgpu).abs() < 1e-3 * cpu.abs().max(1.0), "{name}: {cpu} on the processor, {wgpu} on the adapter");
    }
}
