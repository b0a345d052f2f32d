//! Who holds the heap: jemalloc's sampled profile in, the call sites that hold most out. Built with feature `heap-profile`; without it nothing is sampled.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

/// Names of functions that hand memory on and are nobody's site.
const PASSING_ON: [&str; 11] =
    ["_rjem", "prof_", "imalloc", "do_rallocx", "__rust", "alloc::", "<alloc::", "core::", "<core::", "std::", "tikv_jemallocator"];
/// What functions of this workspace are called.
const OURS: &str = "grandmodel";

/// What one call site holds, estimated from samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Bytes held now.
    pub bytes: u64,
    /// Allocations that they are.
    pub allocations: u64,
    /// The innermost function that is not the allocator's or a collection's.
    pub function: String,
    /// The innermost function of this workspace above it, where that is another one.
    pub caller: Option<String>,
}

/// One stack of a profile.
#[derive(Debug, PartialEq)]
struct Stack {
    addresses: Vec<usize>,
    allocations: f64,
    bytes: f64,
}

/// Stacks of a profile in jemalloc's text format, scaled from samples to what they stand for.
///
/// # Source
/// jemalloc, `jeprof.in`, `AdjustSamples` for `heap_v2`: an allocation of `b` bytes is sampled with probability `1 - exp(-b / period)`.
fn parse(profile: &str) -> Result<Vec<Stack>> {
    let mut lines = profile.lines();
    let head = lines.next().unwrap_or_default();
    let period: f64 = head
        .strip_prefix("heap_v2/")
        .and_then(|period| period.parse().ok())
        .with_context(|| format!("heap profile begins with {head:?}"))?;
    let mut stacks = Vec::new();
    let mut addresses: Option<Vec<usize>> = None;
    for line in lines {
        if let Some(stack) = line.strip_prefix("@ ") {
            let address = |word: &str| {
                usize::from_str_radix(word.trim_start_matches("0x"), 16).with_context(|| format!("heap profile: address {word:?}"))
            };
            addresses = Some(stack.split_ascii_whitespace().map(address).collect::<Result<_>>()?);
        } else if let (Some(counts), Some(_)) = (line.trim_start().strip_prefix("t*: "), &addresses) {
            let mut numbers = counts.split([':', '[', ' ']).filter(|word| !word.is_empty()).map(str::parse::<f64>);
            let (Some(Ok(count)), Some(Ok(bytes))) = (numbers.next(), numbers.next()) else { bail!("heap profile: counts {counts:?}") };
            let addresses = addresses.take().unwrap_or_default();
            if count > 0.0 {
                let scale = 1.0 / (1.0 - (-bytes / count / period).exp());
                stacks.push(Stack { addresses, allocations: count * scale, bytes: bytes * scale });
            }
        }
    }
    Ok(stacks)
}

/// The `count` sites that hold most, stacks that end at the same site together.
fn largest_of(stacks: &[Stack], count: usize, mut name: impl FnMut(usize) -> Vec<String>) -> Vec<Site> {
    let mut known: HashMap<usize, Vec<String>> = HashMap::new();
    let mut sites: HashMap<(String, Option<String>), (f64, f64)> = HashMap::new();
    for stack in stacks {
        let mut names = Vec::new();
        for address in &stack.addresses {
            names.extend_from_slice(known.entry(*address).or_insert_with(|| name(*address)));
        }
        let innermost = names.iter().position(|name| !PASSING_ON.iter().any(|passing| name.starts_with(passing))).unwrap_or(0);
        let function = names.get(innermost).cloned().unwrap_or_else(|| "?".into());
        let caller = names.iter().skip(innermost).find(|name| name.contains(OURS)).filter(|name| **name != function).cloned();
        let (bytes, allocations) = sites.entry((function, caller)).or_default();
        (*bytes, *allocations) = (*bytes + stack.bytes, *allocations + stack.allocations);
    }
    let mut sites: Vec<Site> = sites
        .into_iter()
        .map(|((function, caller), (bytes, allocations))| Site { bytes: bytes as u64, allocations: allocations as u64, function, caller })
        .collect();
    sites.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.function.cmp(&b.function)));
    sites.truncate(count);
    sites
}

/// The sites of this process that hold most.
///
/// # Errors
/// A profile that cannot be written or read.
#[cfg(feature = "heap-profile")]
pub fn largest(count: usize) -> Result<Vec<Site>> {
    let path = std::env::temp_dir().join(format!("grandmodel-{}.heap", std::process::id()));
    super::dump_profile(&path)?;
    let profile = std::fs::read_to_string(&path).with_context(|| path.display().to_string());
    let _ = std::fs::remove_file(&path);
    let name = |address: usize| {
        let mut names = Vec::new();
        // A return address lies behind its call; inlined functions come innermost first.
        backtrace::resolve((address - 1) as *mut std::ffi::c_void, |symbol| {
            names.extend(symbol.name().map(|name| format!("{name:#}")));
        });
        names
    };
    Ok(largest_of(&parse(&profile?)?, count, name))
}

/// Prints the ten that hold most.
#[cfg(feature = "heap-profile")]
pub fn print() {
    match largest(10) {
        Ok(sites) => {
            eprintln!("{:>12}  {:>11}  site", "bytes held", "allocations");
            for Site { bytes, allocations, function, caller } in sites {
                let caller = caller.map_or_else(String::new, |caller| format!("  <- {caller}"));
                eprintln!("{:>12}  {allocations:>11}  {function}{caller}", grandmodel_memory::ByteSize(bytes).rounded());
            }
        }
        Err(error) => eprintln!("no heap profile: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "heap_v2/1000\n  t*: 9: 99 [0: 0]\n  t0: 9: 99 [0: 0]\n@ 0x1 0x10 0x20 0x30\n  t*: 1: 1000000 [0: 0]\n  t0: 1: 1000000 [0: 0]\n\
        @ 0x1 0x11 0x20\n  t*: 10: 10000 [0: 0]\n@ 0x1 0x10 0x40\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n0-1 r-xp\n";

    #[test]
    fn samples_are_scaled_to_what_they_stand_for() {
        let stacks = parse(PROFILE).unwrap();
        // Surely sampled; and 10 of 1000 bytes each, seen with probability 1 - 1/e. The stack that holds nothing any more is not listed.
        assert_eq!(stacks.len(), 2);
        assert_eq!((stacks[0].bytes, stacks[0].allocations), (1e6, 1.0));
        assert!((stacks[1].bytes - 10_000.0 / (1.0 - (-1.0_f64).exp())).abs() < 1e-6, "{:?}", stacks[1]);
    }

    #[test]
    fn a_site_is_the_innermost_function_that_is_not_the_allocators() {
        let names = |address: usize| -> Vec<String> {
            let name = match address {
                0x1 => "_rjem_malloc",
                0x10 => "alloc::raw_vec::grow",
                0x11 => "std::collections::insert",
                0x20 => "lz4::compress",
                _ => "grandmodel_buffers::pack",
            };
            vec![name.to_owned()]
        };
        let sites = largest_of(&parse(PROFILE).unwrap(), 10, names);
        assert_eq!(sites.len(), 2);
        assert_eq!((sites[0].function.as_str(), sites[0].caller.as_deref()), ("lz4::compress", Some("grandmodel_buffers::pack")));
        assert_eq!((sites[1].function.as_str(), sites[1].caller.as_deref()), ("lz4::compress", None));
        assert_eq!(largest_of(&parse(PROFILE).unwrap(), 1, names)[0].bytes, 1_000_000);
    }

    #[test]
    fn another_format_is_named() {
        assert!(parse("heap profile: 1").unwrap_err().to_string().contains("heap profile: 1"));
        assert!(parse("heap_v2/1000\n@ 0x1\n  t*: many: 3\n").unwrap_err().to_string().contains("many"));
    }
}
