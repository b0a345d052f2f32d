//! The door: parses the command line, calls the library, prints errors and sets the exit code.

use std::process::ExitCode;

use clap::Parser;
use grandmodel_cli::{args::Args, explain, run};

// Flex allocates for every operation; the system allocator gives large blocks back to the kernel each time (docs/log.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}
