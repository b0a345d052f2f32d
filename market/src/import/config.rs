//! Settings of the importer; every one may be left out.

/// How to read a file of bars.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportConfig {
    /// What to do with a row that cannot be used.
    pub on_bad_row: BadRowPolicy,
}

/// What to do with a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadRowPolicy {
    /// The import fails and names the row.
    #[default]
    Stop,
    /// The row is left out, and the report names it.
    Quarantine,
}
