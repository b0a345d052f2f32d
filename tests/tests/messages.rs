//! The message table of ARCHITECTURE.md and the `messages.rs` files say the same.

use std::collections::BTreeMap;

use crate::repository::{files, rust_files};

/// Heading above the table.
const HEADING: &str = "## Messages";

/// Crate and reply of each message in the code, by name.
fn in_code() -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    for file in rust_files().into_iter().filter(|file| file.name.ends_with("/messages.rs") && file.name.contains("/src/")) {
        let room = file.name.split('/').next().unwrap_or_default().to_owned();
        let text = file.text();
        let mut reply = None;
        for line in text.lines().map(str::trim) {
            if let Some(stated) = line.strip_prefix("#[rtype(result = \"").and_then(|rest| rest.strip_suffix("\")]")) {
                reply = Some(stated.to_owned());
            } else if let Some(rest) = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum ")) {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                if let Some(reply) = reply.take() {
                    let before = found.insert(name.clone(), (room.clone(), reply));
                    assert!(before.is_none(), "two messages are named {name}");
                }
            }
        }
        assert!(reply.is_none(), "{}: a reply without a message", file.name);
    }
    found
}

/// The same of the document: rows `| message | crate | who sends | who receives | reply |`.
fn in_document() -> BTreeMap<String, (String, String)> {
    let document = files().into_iter().find(|file| file.name == "ARCHITECTURE.md").expect("ARCHITECTURE.md").text();
    let section = document.split_once(HEADING).unwrap_or_else(|| panic!("no heading {HEADING:?}")).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            assert_eq!(5, cells.len(), "a row of five cells: {line}");
            (cells[0].to_owned(), (cells[1].to_owned(), cells[4].to_owned()))
        })
        .collect()
}

#[test]
fn the_table_lists_every_message_and_no_other() {
    let (code, document) = (in_code(), in_document());
    assert!(code.len() > 20, "only {} messages were found in the code", code.len());
    let mut problems = Vec::new();
    for (name, (room, reply)) in &code {
        match document.get(name) {
            None => problems.push(format!("{name} is missing: | `{name}` | {room} | ? | ? | `{reply}` |")),
            Some(stated) if stated != &(room.clone(), reply.clone()) => {
                problems.push(format!("{name}: code says {room}, {reply}; table says {}, {}", stated.0, stated.1))
            }
            Some(_) => {}
        }
    }
    problems
        .extend(document.keys().filter(|name| !code.contains_key(*name)).map(|name| format!("{name} is in the table and not in the code")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
