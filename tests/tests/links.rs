//! What the documents point at exists.

use crate::repository::{files, root};

fn documents() -> Vec<(String, String)> {
    files().into_iter().filter(|file| file.name.ends_with(".md")).map(|file| (file.name.clone(), file.text())).collect()
}

/// Targets of `[text](target)` and `![text](target)`.
fn targets(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// Words between single back-ticks that look like a file of ours, outside code blocks.
fn named_files(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let looks_like = |word: &&str| {
        word.contains('/')
            && [".rs", ".toml", ".md", ".py"].iter().any(|end| word.ends_with(end))
            && !word.contains(['*', '<', ' ', '{', '$'])
    };
    prose.split('`').skip(1).step_by(2).filter(looks_like).map(str::to_owned).collect()
}

#[test]
fn the_documents_are_there() {
    let names: Vec<String> = documents().into_iter().map(|(name, _)| name).collect();
    for wanted in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is missing");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (name, text) in documents() {
        let folder = root().join(&name).parent().expect("a file lies in a folder").to_path_buf();
        for target in targets(&text) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere =
                target.starts_with("http://") || target.starts_with("https://") || target.starts_with("mailto:") || path.is_empty();
            if !elsewhere && !folder.join(path).exists() {
                broken.push(format!("{name}: ({target})"));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn files_that_the_documents_name_exist() {
    let mut missing = Vec::new();
    for (name, text) in documents().into_iter().filter(|(name, _)| name == "README.md" || name == "ARCHITECTURE.md") {
        let absent = named_files(&text).into_iter().filter(|file| !file.starts_with("..") && !root().join(file).exists());
        missing.extend(absent.map(|file| format!("{name}: {file}")));
    }
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}
