//! The command line as a user meets it: a process of its own, with an exit code and two streams. A run sizes the worker pool of its process
//! once, so runs that must differ in threads cannot share one; and a panic anywhere shows as an exit code.
//!
//! The process is this test binary, asked to run [`door`] alone.

use std::{
    env,
    io::{BufRead, BufReader, IsTerminal, Write},
    process::{Command, ExitCode, Stdio, exit},
};

use clap::Parser;
use grandmodel_cli::{args::Args, explain, run, session::EXIT_STOPPED};

/// Arguments of the process, one a line.
const ARGUMENTS: &str = "GRANDMODEL_TEST_ARGUMENTS";
/// Bytes to which a file of the process may grow, where set: the next write fails as on a full disk.
const MAX_FILE_KIB: &str = "GRANDMODEL_TEST_MAX_FILE_KIB";

/// What a command did.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Asserts success and gives the output.
    pub fn expect_success(self, what: &str) -> String {
        assert_eq!(Some(0), self.code, "{what}\n{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `grandmodel <arguments>`.
pub fn grandmodel(arguments: &[&str]) -> Finished {
    finished(command(arguments))
}

/// The same where no file may grow beyond so many KiB.
#[cfg(unix)]
pub fn grandmodel_on_a_full_disk(arguments: &[&str], max_file_kib: u32) -> Finished {
    let inner = command(arguments);
    // The limit's signal is ignored, so that the write fails as it does on a full disk: with an error.
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f $(({max_file_kib} * {BLOCKS_PER_KIB})); exec \"$0\" \"$@\"")]);
    shell.arg(inner.get_program()).args(inner.get_args()).envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    shell.env(MAX_FILE_KIB, max_file_kib.to_string());
    finished(shell)
}

/// Runs `grandmodel <arguments>` and interrupts it, as Ctrl-C does, once a line of standard error holds `after`.
#[cfg(unix)]
pub fn grandmodel_interrupted(arguments: &[&str], after: &str) -> Finished {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the process starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut stderr: Vec<String> = Vec::new();
    for line in lines.by_ref() {
        let reached = line.contains(after);
        stderr.push(line);
        if reached {
            let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
            assert!(sent.is_ok_and(|status| status.success()), "the signal was not sent");
            break;
        }
    }
    stderr.extend(lines);
    let output = child.wait_with_output().expect("it ends");
    Finished { code: output.status.code(), stdout: String::from_utf8_lossy(&output.stdout).into_owned(), stderr: stderr.join("\n") }
}

/// `ulimit -f` counts blocks of 512 bytes in a POSIX shell.
#[cfg(unix)]
const BLOCKS_PER_KIB: u32 = 2;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test knows its own file"));
    command.args(["--exact", "process::door", "--nocapture", "--test-threads=1"]);
    command.env(ARGUMENTS, arguments.join("\n")).env_remove("RUST_BACKTRACE");
    command
}

fn finished(mut command: Command) -> Finished {
    let output = command.output().expect("the process starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The inside of [`grandmodel`]; without arguments for it, it passes.
#[test]
fn door() {
    let Ok(arguments) = env::var(ARGUMENTS) else { return };
    assert!(!std::io::stdout().is_terminal());
    let arguments = std::iter::once("grandmodel").chain(arguments.lines());
    let code = match Args::try_parse_from(arguments).map(run) {
        Ok(Ok(code)) if code == ExitCode::SUCCESS => 0,
        Ok(Ok(code)) if code == ExitCode::from(EXIT_STOPPED) => i32::from(EXIT_STOPPED),
        Ok(Ok(_)) => 1,
        Ok(Err(error)) => {
            eprintln!("error: {}", explain(&error));
            1
        }
        Err(usage) => {
            eprintln!("{usage}");
            2
        }
    };
    let _ = std::io::stdout().flush();
    exit(code)
}
