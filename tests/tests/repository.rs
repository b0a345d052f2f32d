//! The checkout as data: its root and its files. It judges nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Folders with Rust code of ours.
pub const ROOMS: [&str; 8] = ["market", "memory", "embedders", "buffers", "agents", "trainer", "cli", "tests"];
/// What else is committed, looked at where git does not answer.
const OTHERS: [&str; 4] = [".ci", "benches", "configs", "docs"];

/// A file, by its path from the root with `/` between folders.
#[derive(Clone, Debug)]
pub struct RepositoryFile {
    pub name: String,
    pub path: PathBuf,
}

impl RepositoryFile {
    /// As text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_else(|e| panic!("{}: {e}", self.name))).into_owned()
    }

    /// Whether the name ends in `.rs`.
    pub fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }

    /// Whether the whole file is tests: in this package, or below a crate's `tests` folder or file.
    pub fn is_test(&self) -> bool {
        self.name.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "testing.rs" | "test_support.rs"))
    }
}

/// The checkout's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the root").to_path_buf()
}

/// Files of ours, sorted: what git tracks and what lies untracked in the rooms.
pub fn files() -> Vec<RepositoryFile> {
    let root = root();
    let mut names = tracked(&root);
    for folder in ROOMS.iter().chain(&OTHERS) {
        walk(&root, &root.join(folder), &mut names);
    }
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| RepositoryFile { path: root.join(&name), name })
        // tracked and deleted, but not committed yet
        .filter(|file| file.path.is_file())
        .collect()
}

/// Rust files of ours.
pub fn rust_files() -> Vec<RepositoryFile> {
    files().into_iter().filter(RepositoryFile::is_rust).collect()
}

/// Empty where there is no git or no repository: an unpacked archive is tested as well.
fn tracked(root: &Path) -> Vec<String> {
    let output = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output();
    let listed = output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, names);
        } else if let Ok(relative) = path.strip_prefix(root) {
            names.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
}
