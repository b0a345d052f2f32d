//! House style that a machine can see. Each ban says what to do instead.

use std::{collections::BTreeMap, fs};

use crate::repository::{RepositoryFile, files, rust_files};

/// Lines of a source file before its tests; more is a sign of two jobs.
const MAX_LINES: usize = 500;
/// Lines of a file of tests.
const MAX_TEST_LINES: usize = 800;
/// Bytes of any file: what is larger is generated, or belongs elsewhere.
const MAX_FILE_BYTES: u64 = 1_000_000;
/// Words that end the name of nothing: they do not say what the thing does.
const EMPTY_WORDS: [&str; 9] = ["Manager", "System", "Helper", "Handler", "Engine", "Service", "Processor", "Data", "Info"];
/// Modules that would collect whatever has no place.
const EMPTY_MODULES: [&str; 9] = ["utils", "util", "common", "core", "helpers", "helper", "manager", "misc", "engine"];

/// Texts that no source file holds, and what to do instead. Split, so that this file passes.
const BANNED: [(&str, &str, &str); 6] = [
    ("to", "do!(", "write it, or return an error that says what is missing"),
    ("unimple", "mented!(", "write it, or return an error that says what is missing"),
    (".do_", "send(", "await `send`, or count what `try_send` refuses"),
    ("#[ig", "nore", "a test runs, or prints why it cannot"),
    ("db", "g!(", "use `tracing`"),
    ("thread::sl", "eep(", "wait for the event itself"),
];

fn complain(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn each_rust_file(judge: impl Fn(&RepositoryFile, &str) -> Vec<String>) {
    complain(&rust_files().iter().flat_map(|file| judge(file, &file.text())).collect::<Vec<_>>());
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    each_rust_file(|file, text| if text.starts_with("//! ") { vec![] } else { vec![format!("{} does not begin with `//! `", file.name)] });
}

#[test]
fn files_stay_short() {
    each_rust_file(|file, text| {
        let before_tests = text.lines().position(|line| line.trim() == "#[cfg(test)]" && !file.is_test());
        let (lines, max) = if file.is_test() {
            (text.lines().count(), MAX_TEST_LINES)
        } else {
            (before_tests.unwrap_or_else(|| text.lines().count()), MAX_LINES)
        };
        if lines <= max { vec![] } else { vec![format!("{} has {lines} lines, at most {max}: give its second job a file", file.name)] }
    });
}

#[test]
fn nothing_banned_is_written() {
    each_rust_file(|file, text| {
        let code = |line: &&str| !line.trim_start().starts_with("//");
        BANNED
            .iter()
            .filter(|(head, tail, _)| text.lines().filter(code).any(|line| line.contains(&format!("{head}{tail}"))))
            .map(|(head, tail, instead)| format!("{} holds `{head}{tail}`: {instead}", file.name))
            .collect()
    });
}

#[test]
fn names_say_what_a_thing_does() {
    let kinds = ["struct ", "enum ", "trait ", "type "];
    each_rust_file(|file, text| {
        let mut problems = Vec::new();
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
            let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            let named = kinds.iter().find_map(|kind| line.strip_prefix(kind));
            let name: String = named.unwrap_or("").chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(word) = EMPTY_WORDS.iter().find(|word| name.ends_with(**word)) {
                problems.push(format!("{}: {name} ends in {word}, which says nothing", file.name));
            }
        }
        problems.extend(file.name.split('/').filter_map(|part| {
            let part = part.trim_end_matches(".rs");
            EMPTY_MODULES.contains(&part).then(|| format!("{}: a module {part} collects what has no place", file.name))
        }));
        problems
    });
}

#[test]
fn no_file_knows_a_machine() {
    let places: Vec<String> = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["/tmp", "/gm"], ["artif", "actory"]]
        .iter()
        .map(|p| p.concat())
        .collect();
    let mut problems = Vec::new();
    for file in files() {
        let text = file.text();
        problems.extend(places.iter().filter(|place| text.contains(*place)).map(|place| format!("{} names {place}", file.name)));
    }
    complain(&problems);
}

#[test]
fn files_stay_small() {
    let bytes: BTreeMap<String, u64> =
        files().into_iter().map(|file| (file.name, fs::metadata(&file.path).map_or(0, |found| found.len()))).collect();
    complain(
        &bytes
            .iter()
            .filter(|(_, len)| **len >= MAX_FILE_BYTES)
            .map(|(name, len)| format!("{name} has {len} bytes, below {MAX_FILE_BYTES} allowed"))
            .collect::<Vec<_>>(),
    );
}
