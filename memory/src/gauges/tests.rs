//! Gauges over made-up file trees in a temporary folder, and once over the real one.

use super::*;
use tempfile::TempDir;

/// A folder that stands for `/`.
struct Tree(TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(TempDir::new().unwrap());
        for (path, text) in files {
            tree.write(path, text.as_bytes());
        }
        tree
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn roots(&self) -> GaugeRoots {
        GaugeRoots { proc: self.0.path().join("proc"), cgroup: self.0.path().join("cgroup") }
    }

    fn read(&self) -> Result<GaugeReading, MemoryError> {
        Gauges::open(&self.roots())?.read()
    }
}

const PROC: [(&str, &str); 2] =
    [("proc/self/statm", "90000 2500 500 10 0 400 0\n"), ("proc/meminfo", "MemTotal:       16384 kB\nMemFree:         1 kB\n")];

#[test]
fn resident_is_pages_times_the_page_size() {
    let tree = Tree::new(&PROC);
    let reading = tree.read().unwrap();
    // 2500 pages * 4096; 16384 kB * 1024.
    assert_eq!(reading.resident_bytes, Some(10_240_000));
    assert_eq!(reading.resident_shared_bytes, Some(2_048_000));
    assert_eq!(reading.limit_bytes(), Some(16_777_216));
    let auxv: Vec<u8> = [33_usize, 1 << 40, 6, 65_536, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    tree.write("proc/self/auxv", &auxv);
    assert_eq!(tree.read().unwrap().resident_bytes, Some(2500 * 65_536));
}

#[test]
fn version_2_takes_the_tightest_limit_above_and_its_own_use() {
    let tree = Tree::new(&PROC);
    for (path, text) in [
        ("proc/self/cgroup", "0::/slice/run.scope\n"),
        ("cgroup/slice/run.scope/memory.current", "3000000\n"),
        ("cgroup/slice/run.scope/memory.max", "max\n"),
        ("cgroup/slice/memory.max", "8000000\n"),
        (
            "cgroup/slice/run.scope/memory.pressure",
            "some avg10=1.25 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.50 avg60=0 avg300=0 total=4\n",
        ),
        ("proc/pressure/memory", "some avg10=99.0 avg60=0.00 avg300=0.00 total=9\n"),
    ] {
        tree.write(path, text.as_bytes());
    }
    let reading = tree.read().unwrap();
    assert_eq!(reading.cgroup_used_bytes, Some(3_000_000));
    assert_eq!(reading.limit_bytes(), Some(8_000_000));
    assert_eq!(reading.stall, Some(PressureStall { some_avg10: 1.25, full_avg10: 0.5 }));
}

#[test]
fn version_1_reads_its_own_names_and_its_word_for_no_limit() {
    let tree = Tree::new(&PROC);
    for (path, text) in [
        ("proc/self/cgroup", "12:cpu,cpuacct:/\n7:memory:/job\n0::/job\n"),
        ("cgroup/memory/job/memory.usage_in_bytes", "123\n"),
        ("cgroup/memory/job/memory.limit_in_bytes", "4000000\n"),
        ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("proc/pressure/memory", "some avg10=2.00 avg60=0.00 avg300=0.00 total=9\n"),
    ] {
        tree.write(path, text.as_bytes());
    }
    let reading = tree.read().unwrap();
    assert_eq!((reading.cgroup_used_bytes, reading.cgroup_limit_bytes), (Some(123), Some(4_000_000)));
    assert_eq!(reading.stall, Some(PressureStall { some_avg10: 2.0, full_avg10: 0.0 }));
}

#[test]
fn a_path_that_is_the_hosts_falls_back_to_what_is_mounted() {
    let tree = Tree::new(&PROC);
    tree.write("proc/self/cgroup", b"4:memory:/docker/0123abcd\n");
    tree.write("cgroup/memory/memory.usage_in_bytes", b"55");
    tree.write("cgroup/memory/memory.limit_in_bytes", b"1000");
    let reading = tree.read().unwrap();
    assert_eq!((reading.cgroup_used_bytes, reading.limit_bytes()), (Some(55), Some(1000)));
}

#[test]
fn what_is_not_there_is_absent() {
    assert_eq!(Tree::new(&[]).read().unwrap(), GaugeReading::default());
    let tree = Tree::new(&PROC);
    tree.write("proc/self/cgroup", b"0::/gone\n");
    assert_eq!(tree.read().unwrap().cgroup_used_bytes, None);
}

#[test]
fn what_makes_no_sense_is_named() {
    for (path, text, found) in [
        ("proc/self/statm", "many pages\n", "many pages"),
        ("proc/self/statm", "", "\"\""),
        ("proc/meminfo", "MemTotal: lots\n", "MemTotal"),
        ("cgroup/memory.max", "12 apples\n", "12 apples"),
        ("cgroup/memory.current", "-1\n", "-1"),
    ] {
        let tree = Tree::new(&PROC);
        tree.write("proc/self/cgroup", b"0::/\n");
        tree.write(path, text.as_bytes());
        match tree.read() {
            Err(MemoryError::Gauge { path: named, reason }) => {
                assert!(named.ends_with(path) && reason.contains(found), "{named}: {reason}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    let tree = Tree::new(&PROC);
    tree.write("proc/self/statm", &[0xff, 0xfe, 0x00]);
    assert!(matches!(tree.read(), Err(MemoryError::Gauge { .. })));
}

#[test]
fn a_limit_that_changes_is_seen() {
    let tree = Tree::new(&PROC);
    tree.write("proc/self/cgroup", b"0::/\n");
    tree.write("cgroup/memory.max", b"1000");
    let gauges = Gauges::open(&tree.roots()).unwrap();
    assert_eq!(gauges.read().unwrap().cgroup_limit_bytes, Some(1000));
    tree.write("cgroup/memory.max", b"2000");
    assert_eq!(gauges.read().unwrap().cgroup_limit_bytes, Some(2000));
}

/// The machine that runs the tests, where it is Linux: touching memory must show.
#[test]
#[cfg(target_os = "linux")]
fn the_real_files_show_what_is_touched() {
    let gauges = Gauges::open(&GaugeRoots::default()).unwrap();
    let before = gauges.read().unwrap();
    let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
    let after = gauges.read().unwrap();
    let grown = after.resident_bytes.unwrap().saturating_sub(before.resident_bytes.unwrap());
    // Other tests of this process may free a little meanwhile.
    assert!(grown > 48 << 20, "{grown} of {} bytes seen", touched.len());
    assert!(after.limit_bytes().is_some_and(|limit| limit > after.resident_bytes.unwrap()));
}
