//! Who may know whom: the list below is the law, `cargo metadata` and the sources are what is compared with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use crate::repository::{ROOMS, files, root, rust_files};

/// Crates of ours that a crate of ours may use.
const EDGES: [(&str, &[&str]); 8] = [
    ("market", &[]),
    ("memory", &[]),
    ("embedders", &["market"]),
    ("buffers", &["memory"]),
    ("agents", &["market", "embedders", "buffers"]),
    ("trainer", &["market", "memory", "embedders", "buffers", "agents"]),
    ("cli", &["market", "memory", "embedders", "buffers", "agents", "trainer"]),
    ("tests", &["market", "cli"]),
];

/// Outside crates that a room must not use.
const MUST_NOT_KNOW: [(&str, &[&str]); 3] = [("market", &["burn", "actix"]), ("memory", &["burn"]), ("buffers", &["burn"])];

/// Direct dependencies of each room, ours without their prefix, of every kind.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let name = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| (name(package), package["dependencies"].as_array().expect("dependencies").iter().map(name).collect()))
        .collect()
}

fn package(room: &str) -> String {
    format!("grandmodel-{room}")
}

#[test]
fn crates_depend_only_downwards() {
    let found = dependencies();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), ROOMS.map(package).into_iter().collect(), "packages of the workspace");
    for (room, expected) in EDGES {
        let ours: BTreeSet<_> = found[&package(room)].iter().filter(|name| name.starts_with("grandmodel-")).cloned().collect();
        assert_eq!(ours, expected.iter().map(|other| package(other)).collect(), "dependencies of {room}");
    }
}

#[test]
fn low_floors_know_neither_tensors_nor_actors_that_are_not_theirs() {
    let found = dependencies();
    for (room, banned) in MUST_NOT_KNOW {
        for other in banned {
            let knows = found[&package(room)].iter().any(|name| name == other || name.starts_with(&format!("{other}-")));
            assert!(!knows, "{room} depends on {other}");
        }
    }
}

/// Whether a line of code, not of documentation, names a crate or a type.
fn names(text: &str, wanted: &[&str]) -> Option<usize> {
    text.lines()
        .position(|line| !line.trim_start().starts_with("//") && wanted.iter().any(|word| line.contains(word)))
        .map(|index| index + 1)
}

#[test]
fn only_shells_name_the_actor_framework() {
    let is_shell = |name: &str| {
        let file = name.rsplit('/').next().unwrap_or(name);
        matches!(file, "actor.rs" | "messages.rs" | "supervisor.rs")
            || name.contains("/src/actors/")
            || ["cli/src/cast.rs", "cli/src/profile.rs", "cli/src/session.rs", "cli/src/train.rs", "cli/src/backtest.rs", "cli/src/main.rs"]
                .contains(&name)
            || name.starts_with("cli/src/bench")
    };
    for file in rust_files().into_iter().filter(|file| !is_shell(&file.name) && !file.is_test()) {
        let found = names(&file.text(), &["actix"]);
        assert!(found.is_none(), "{}:{} names actix; only shells do", file.name, found.unwrap_or(0));
    }
}

#[test]
fn one_place_names_the_backends_of_burn() {
    let may = |name: &str| name == "embedders/src/device.rs";
    for file in rust_files().into_iter().filter(|file| !may(&file.name) && file.name != "tests/tests/floors.rs") {
        let found = names(&file.text(), &["burn::backend", "DispatchDevice", "burn_flex", "burn::Dispatch"]);
        assert!(
            found.is_none(),
            "{}:{} names a backend; embedders/src/device.rs gives Infer, Train and Device",
            file.name,
            found.unwrap_or(0)
        );
    }
}

#[test]
fn every_room_is_there() {
    let names: Vec<String> = files().into_iter().map(|file| file.name).collect();
    for room in ROOMS {
        assert!(names.contains(&format!("{room}/Cargo.toml")), "{room}/Cargo.toml is missing");
    }
}
