//! What can be wrong with a budget, a gauge or a batch plan; every variant carries the numbers and what was expected.

use crate::ByteSize;

/// The one error type of this crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MemoryError {
    /// A size that does not parse.
    #[error(
        "size {text:?} {reason}; expected a number of bytes such as 1048576 or \"1048576\", or a number with B, KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB or TiB (powers of 1024), such as \"2 GiB\""
    )]
    Size {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A percentage that does not parse.
    #[error("budget {text:?} is not a share above 0 % and at most 100 %; write \"80%\" or a size such as \"2 GiB\"")]
    Share {
        /// What was written.
        text: String,
    },
    /// The machine grants less than the budget asks for.
    #[error(
        "memory.budget is {budget} but the machine (or its cgroup) grants {limit}; set memory.budget to at most \"{limit}\", or to a share such as \"80%\""
    )]
    BudgetAboveLimit {
        /// What was asked for.
        budget: ByteSize,
        /// What there is.
        limit: ByteSize,
    },
    /// A share of an unknown limit.
    #[error(
        "memory.budget is a share of the machine's memory, but neither {meminfo} nor a cgroup limit could be read; set memory.budget to a size such as \"2 GiB\""
    )]
    NoLimit {
        /// The file that should have told.
        meminfo: String,
    },
    /// A setting outside its range.
    #[error("memory.{key} was {value}, must be {expected}")]
    Setting {
        /// Name in the configuration.
        key: &'static str,
        /// What was written.
        value: f64,
        /// The range, with its reason.
        expected: &'static str,
    },
    /// A gauge file that is there but cannot be understood.
    #[error("gauge {path}: {reason}")]
    Gauge {
        /// The file.
        path: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A batch size that has no plan at any budget.
    #[error("{key} was {value}, must be {expected}")]
    Batch {
        /// Name in the request.
        key: &'static str,
        /// Value in the request.
        value: usize,
        /// What would do.
        expected: String,
    },
    /// Even the smallest micro-batch does not fit.
    #[error(
        "the smallest micro-batch of {micro_batch} samples needs {} ({} fixed + {} in flight) but the budget has room for {}; \
         a memory.budget of {budget_needed} would fit it, or a model of at most {} fixed at this budget",
        .needed.rounded(), .fixed.rounded(), .in_flight.rounded(), .room.rounded(), .fixed_fits.rounded()
    )]
    PlanDoesNotFit {
        /// Smallest micro-batch that the limits allow.
        micro_batch: usize,
        /// Bytes of that plan.
        needed: ByteSize,
        /// Bytes that do not depend on the micro-batch.
        fixed: ByteSize,
        /// Bytes that do.
        in_flight: ByteSize,
        /// Bytes that a batch may use: its share, or what others leave.
        room: ByteSize,
        /// Smallest budget with which this request fits.
        budget_needed: ByteSize,
        /// Largest fixed part that fits this budget; 0 when the samples alone do not.
        fixed_fits: ByteSize,
    },
    /// One recipient too many.
    #[error("{kind} recipients are limited to {limit}")]
    TooManyRecipients {
        /// Which list is full.
        kind: &'static str,
        /// Its length.
        limit: usize,
    },
}
