//! Three updates of Stable-Baselines3 on one batch, with the noise that it drew.

use grandmodel_agents::{net::Activation, space::ActionSpace};
use serde_json::Value;

use super::super::*;
use crate::golden;

fn policy(actor: &Value, use_sde: bool) -> Vec<f32> {
    let hidden = [golden::linear(actor, &["latent_pi.0"]), golden::linear(actor, &["latent_pi.2"])].concat();
    let rest = if use_sde {
        [golden::linear(actor, &["mu.0"]), golden::floats(&actor["log_std"])].concat()
    } else {
        golden::linear(actor, &["mu", "log_std"])
    };
    [hidden, rest].concat()
}

fn critics(critic: &Value) -> Vec<f32> {
    let layers = ["qf0.0", "qf0.2", "qf0.4", "qf1.0", "qf1.2", "qf1.4"];
    layers.iter().flat_map(|layer| golden::linear(critic, &[layer])).collect()
}

fn networks(of: &Value, use_sde: bool) -> Vec<f32> {
    [policy(&of["actor"], use_sde), critics(&of["critic"]), golden::floats(&of["log_ent_coef"])].concat()
}

fn check_against(name: &str, use_sde: bool) {
    let file = golden::read(name);
    let number = |key: &str| golden::number(&file["settings"][key]);
    let learning_rate = file["settings"]["learning_rate"].as_f64().unwrap();
    let config = SacConfig {
        policy_lr: learning_rate,
        q_lr: learning_rate,
        gamma: number("gamma"),
        tau: number("tau"),
        adam_eps: number("adam_eps"),
        target_entropy: Some(number("target_entropy")),
        use_sde,
        ..SacConfig::default()
    };
    let batch = golden::replay_batch(&file["batch"], [3, 2], config.gamma);
    let shape = config.shape(3, false, &[16, 16], Activation::Relu, ActionSpace::Box { width: 2, low: -1.0, high: 1.0 });
    let mut learner = SacLearner::new(config, shape, 0);
    learner.parameters = networks(&file["before"], use_sde);
    learner.target_parameters = critics(&file["before"]["critic_target"]);
    for (index, step) in file["steps"].as_array().unwrap().iter().enumerate() {
        let [noise, next_noise] = if use_sde { ["noise_matrix"; 2] } else { ["noise", "next_noise"] };
        learner.room.noise = golden::floats(&step[noise]);
        learner.room.next_noise = golden::floats(&step[next_noise]);
        learner.step(&batch, None).unwrap();
        learner.blend_targets();
        let what = format!("{name} step {index}");
        golden::assert_close(&what, &learner.parameters, &networks(&step["after"], use_sde), 1e-5);
        golden::assert_close(&what, &learner.target_parameters, &critics(&step["after"]["critic_target"]), 1e-5);
        let loss = |key: &str| learner.update.losses.iter().find(|(name, _)| *name == key).unwrap().1 as f32;
        // Ours is the mean of the two critics' losses, theirs the sum.
        let found = [loss("actor_loss"), 2.0 * loss("qf_loss"), loss("alpha_loss")];
        let expected = ["actor_loss", "critic_loss", "ent_coef_loss"].map(|key| golden::number(&step["loss"][key]));
        // They add 1e-6 to 1 - tanh^2 where ours is exact: a few units in the fifth place of a loss of 3.
        golden::assert_close(&what, &found, &expected, 5e-5);
        if index == 0 {
            // Adam's first moment after one step is a tenth of the gradient.
            let [one, two] = &learner.critics;
            let adams = [&learner.policy_adam, &one.adam, &two.adam, &learner.alpha_adam];
            let gradient: Vec<f32> = adams.iter().flat_map(|adam| adam.first_moment.iter().map(|m| m * 10.0)).collect();
            golden::assert_close(&format!("{name} gradient"), &gradient, &networks(&step["gradient"], use_sde), 2e-5);
        }
    }
}

#[test]
fn an_update_is_that_of_stable_baselines3() {
    check_against("sac", false);
}

#[test]
fn an_update_with_state_dependent_exploration_is_that_of_stable_baselines3() {
    check_against("sac_sde", true);
}
