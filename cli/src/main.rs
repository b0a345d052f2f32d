//! The door: parses the command line, calls the library, prints errors and sets the exit code.

use std::process::ExitCode;

use clap::Parser;
use grandmodel_cli::{args::Args, explain, run};

// Flex allocates for every operation; the system allocator gives large blocks back to the kernel each time (docs/log.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc before anything runs: one sample every 512 KiB.
// SAFETY: the symbol is jemalloc's own name for a pointer to nul-terminated settings, which a slice begins with.
#[cfg(feature = "heap-profile")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"prof:true,lg_prof_sample:19\0";

fn main() -> ExitCode {
    // Software Vulkan complains on standard error where a session has no such folder, as on servers.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
    // What actors have to say goes to standard error; RUST_LOG=info says more.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}
