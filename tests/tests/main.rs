//! Tests of the house as a whole: its rules as files (floors, tidy, messages, links) and its walks from bars to a report.

mod bad_inputs;
mod control;
mod floors;
mod links;
mod messages;
mod process;
mod real_files;
mod repository;
mod runs;
mod soak;
mod tidy;
mod walks;

// That of the binary: what a soak reads is what this counts.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
