//! The same short run again and again in one process: live bytes must return, and a leak that is put in must be found. As many minutes as the environment says,
//! else the fewest cycles that can be judged; `.ci/run` asks for ten. Live bytes are counted by the allocator of [`super`].

use crate::{
    process::grandmodel,
    runs::{BARS, fresh},
};

/// Minutes for both tests, which run side by side.
const MINUTES: &str = "GRANDMODEL_SOAK_MINUTES";

/// What the soak says of itself.
fn soak(minutes: &str, more: &[&str]) -> String {
    assert!(BARS.exists());
    let (_folder, config) = fresh(1, 1);
    let config = config.to_str().expect("UTF-8");
    grandmodel(&[&["soak", config, "--minutes", minutes], more].concat()).expect_success("soak")
}

#[test]
fn the_same_run_again_and_again_leaks_nothing() {
    let said = soak(&std::env::var(MINUTES).unwrap_or_else(|_| "0".into()), &[]);
    let verdict = said.lines().find(|line| line.contains("slope")).unwrap_or_else(|| panic!("no verdict: {said}"));
    println!("{verdict}");
}

#[test]
fn a_leak_that_is_put_in_is_found() {
    let said = soak("0", &["--leak", "1 KiB"]);
    assert!(said.contains("was found"), "{said}");
}
