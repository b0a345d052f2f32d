//! Minutes of the same short run in one process: `cargo test -- --ignored`, which `.ci/run` asks for. Live bytes are counted by the allocator of [`super`].

use crate::{
    process::grandmodel,
    runs::{ONE_THREAD, fresh},
};

/// What the soak says of itself, and whether it succeeded.
fn soak(minutes: &str, more: &[&str]) -> String {
    // The table of its bars is in the cache before it begins.
    assert!(!ONE_THREAD.stdout.is_empty());
    let (_folder, config) = fresh(1, 1);
    let config = config.to_str().expect("UTF-8");
    grandmodel(&[&["soak", config, "--minutes", minutes], more].concat()).expect_success("soak")
}

#[test]
#[ignore = "takes minutes"]
fn the_same_run_for_minutes_leaks_nothing() {
    let said = soak("9", &[]);
    assert!(said.contains("slope"), "{said}");
    println!("{}", said.lines().filter(|line| line.contains("slope")).collect::<String>());
}

#[test]
#[ignore = "takes minutes"]
fn a_leak_that_is_put_in_is_found() {
    let said = soak("1", &["--leak", "1 KiB"]);
    assert!(said.contains("was found"), "{said}");
}
