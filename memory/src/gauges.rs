//! Small files into bytes: resident size, cgroup use and limit, machine memory, stalls; a few microseconds at any resident size.
//!
//! It never reads `smaps_rollup` (34 ms at 2 GiB), keeps no history and judges nothing. Missing files are absent figures; files that are there
//! and make no sense are errors. The roots are arguments.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::{MemoryError, budget::SIZE_BYTES_MAX};

/// Bytes of a page where the kernel does not tell.
const PAGE_BYTES_DEFAULT: u64 = 4096;
/// Key of the page size in the auxiliary vector (`AT_PAGESZ`).
const AUXV_PAGE_SIZE: u64 = 6;

/// Where the kernel's files are.
#[derive(Clone, Debug)]
pub struct GaugeRoots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
}

impl Default for GaugeRoots {
    fn default() -> Self {
        Self { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

/// What the allocator says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AllocatorReading {
    /// Bytes handed out.
    pub live_bytes: u64,
    /// Bytes it keeps in memory for that.
    pub resident_bytes: u64,
}

/// What the accelerator's pools say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReading {
    /// Bytes in use.
    pub in_use_bytes: u64,
    /// Bytes reserved from the device.
    pub reserved_bytes: u64,
}

/// Asks the allocator; given by the binary, which alone knows which one it has.
pub type AllocatorGauge = Arc<dyn Fn() -> Option<AllocatorReading> + Send + Sync>;
/// Gives the allocator's free pages back to the system; given by the binary.
pub type FreeHeap = Arc<dyn Fn() + Send + Sync>;
/// Asks the device pools.
pub type DeviceGauge = Arc<dyn Fn() -> Option<DeviceReading> + Send + Sync>;

/// Share of the last ten seconds in which tasks waited for memory, in percent (PSI).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PressureStall {
    /// At least one task waited.
    pub some_avg10: f64,
    /// All tasks waited.
    pub full_avg10: f64,
}

/// One reading of all files; what a machine does not have is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GaugeReading {
    /// Resident bytes of this process.
    pub resident_bytes: Option<u64>,
    /// File-backed or shared part of them.
    pub resident_shared_bytes: Option<u64>,
    /// Use of the cgroup, page cache included.
    pub cgroup_used_bytes: Option<u64>,
    /// Tightest limit of the cgroup and those above it.
    pub cgroup_limit_bytes: Option<u64>,
    /// Memory of the machine.
    pub machine_bytes: Option<u64>,
    /// Time lost waiting for memory, of the cgroup or else of the machine.
    pub stall: Option<PressureStall>,
}

impl GaugeReading {
    /// Resident bytes that no file stands behind: what the kernel cannot take back.
    pub fn anonymous_bytes(&self) -> Option<u64> {
        self.resident_bytes.map(|resident| resident.saturating_sub(self.resident_shared_bytes.unwrap_or(0)))
    }

    /// What a process here can have at most: the machine's memory or the tightest cgroup limit.
    pub fn limit_bytes(&self) -> Option<u64> {
        [self.machine_bytes, self.cgroup_limit_bytes].into_iter().flatten().min()
    }
}

/// A file that stays open: one call a reading.
#[derive(Clone, Debug)]
struct GaugeFile {
    path: PathBuf,
    file: Arc<fs::File>,
}

impl GaugeFile {
    /// Absent where there is no such file.
    fn open(path: PathBuf) -> Option<Self> {
        let file = Arc::new(fs::File::open(&path).ok()?);
        Some(Self { path, file })
    }

    /// Its text from the beginning; these files are far shorter than the buffer.
    fn text(&self, buffer: &mut [u8; 512]) -> std::io::Result<String> {
        let len = self.file.read_at(buffer, 0)?;
        Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    fn bytes(&self, buffer: &mut [u8; 512]) -> Result<Option<u64>, MemoryError> {
        let text = self.text(buffer).map_err(|error| gauge(&self.path, error.to_string()))?;
        limit(&self.path, &text)
    }
}

/// Files found once at the start, read at every sample.
#[derive(Clone, Debug)]
pub struct Gauges {
    statm: Option<GaugeFile>,
    page_bytes: u64,
    machine_bytes: Option<u64>,
    cgroup_used: Option<GaugeFile>,
    /// This group's limit and those of the groups above it: any of them may be the tightest, and change.
    cgroup_limits: Vec<GaugeFile>,
    stall: Option<GaugeFile>,
}

impl Gauges {
    /// Finds the files; those that are not there are left out.
    ///
    /// # Errors
    /// A file that is there and makes no sense.
    pub fn open(roots: &GaugeRoots) -> Result<Self, MemoryError> {
        let page_bytes = fs::read(roots.proc.join("self/auxv")).ok().and_then(|auxv| page_bytes(&auxv)).unwrap_or(PAGE_BYTES_DEFAULT);
        let meminfo = roots.proc.join("meminfo");
        let machine_bytes = match read(&meminfo)? {
            Some(text) => Some(mem_total(&text).ok_or_else(|| gauge(&meminfo, "no line \"MemTotal: <number> kB\"".into()))?),
            None => None,
        };
        let group = Group::find(roots)?;
        let existing = GaugeFile::open;
        let stall = group.as_ref().and_then(|group| existing(group.folders[0].join("memory.pressure")));
        Ok(Self {
            statm: existing(roots.proc.join("self/statm")),
            page_bytes,
            machine_bytes,
            cgroup_used: group.as_ref().and_then(|group| existing(group.folders[0].join(group.used_name))),
            cgroup_limits: group
                .map_or(Vec::new(), |group| group.folders.iter().filter_map(|folder| existing(folder.join(group.limit_name))).collect()),
            stall: stall.or_else(|| existing(roots.proc.join("pressure/memory"))),
        })
    }

    /// Reads all files that were found.
    ///
    /// # Errors
    /// [`MemoryError::Gauge`] names the file that makes no sense.
    pub fn read(&self) -> Result<GaugeReading, MemoryError> {
        let mut buffer = [0; 512];
        let pages = match &self.statm {
            Some(statm) => {
                let text = statm.text(&mut buffer).map_err(|error| gauge(&statm.path, error.to_string()))?;
                let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
                // Fields: total, resident, shared, ... in pages.
                match (fields.nth(1), fields.next()) {
                    (Some(Ok(resident)), Some(Ok(shared))) => Some((resident * self.page_bytes, shared * self.page_bytes)),
                    _ => return Err(gauge(&statm.path, format!("found {:?}, expected at least three numbers of pages", text.trim()))),
                }
            }
            None => None,
        };
        let mut reading = GaugeReading {
            resident_bytes: pages.map(|(resident, _)| resident),
            resident_shared_bytes: pages.map(|(_, shared)| shared),
            machine_bytes: self.machine_bytes,
            ..GaugeReading::default()
        };
        if let Some(used) = &self.cgroup_used {
            reading.cgroup_used_bytes = used.bytes(&mut buffer)?;
        }
        for of_group in &self.cgroup_limits {
            let limits = [reading.cgroup_limit_bytes, of_group.bytes(&mut buffer)?];
            reading.cgroup_limit_bytes = limits.into_iter().flatten().min();
        }
        if let Some(file) = &self.stall {
            // Kernels with PSI compiled in but switched off fail here with "not supported": an absent figure, not an error.
            reading.stall = file.text(&mut buffer).ok().and_then(|text| stall(&text));
        }
        Ok(reading)
    }
}

/// The memory cgroup of this process: its folder first, then those above it.
struct Group {
    folders: Vec<PathBuf>,
    used_name: &'static str,
    limit_name: &'static str,
}

impl Group {
    fn find(roots: &GaugeRoots) -> Result<Option<Self>, MemoryError> {
        let Some(text) = read(&roots.proc.join("self/cgroup"))? else { return Ok(None) };
        // Lines "id:controllers:path"; version 2 has the one line "0::path", mixed systems may have both.
        let path_of = |wanted: fn(&str) -> bool| {
            text.lines()
                .filter_map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>().try_into().ok())
                .find_map(|[controllers, path]: [&str; 2]| wanted(controllers).then(|| path.trim_start_matches('/').to_owned()))
        };
        let version_1 = path_of(|controllers| controllers.split(',').any(|name| name == "memory"));
        let (mount, path, used_name, limit_name) = match (version_1, path_of(str::is_empty)) {
            (Some(path), _) => (roots.cgroup.join("memory"), path, "memory.usage_in_bytes", "memory.limit_in_bytes"),
            (None, Some(path)) => (roots.cgroup.clone(), path, "memory.current", "memory.max"),
            (None, None) => return Ok(None),
        };
        // Inside a container the path may be the host's and not be mounted here: the folders that exist are ours.
        let mut folders: Vec<PathBuf> =
            Path::new(&path).ancestors().map(|above| mount.join(above)).filter(|folder| folder.is_dir()).collect();
        folders.dedup();
        Ok((!folders.is_empty()).then_some(Self { folders, used_name, limit_name }))
    }
}

fn gauge(path: &Path, reason: String) -> MemoryError {
    MemoryError::Gauge { path: path.display().to_string(), reason }
}

/// The file's text, `None` where there is no such file.
fn read(path: &Path) -> Result<Option<String>, MemoryError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(gauge(path, error.to_string())),
    }
}

/// A file of one number; "max" (version 2) and anything above 2^60 (version 1's way to say it) are no limit.
fn limit(path: &Path, text: &str) -> Result<Option<u64>, MemoryError> {
    match text.trim() {
        "max" => Ok(None),
        number => match number.parse::<u64>() {
            Ok(bytes) => Ok((bytes < SIZE_BYTES_MAX).then_some(bytes)),
            Err(_) => Err(gauge(path, format!("found {number:?}, expected a number of bytes or \"max\""))),
        },
    }
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Pairs of native words: key, value.
fn page_bytes(auxv: &[u8]) -> Option<u64> {
    let word = |bytes: &[u8]| Some(u64::from(usize::from_ne_bytes(bytes.try_into().ok()?) as u32));
    let mut pairs = auxv.chunks_exact(2 * size_of::<usize>()).map(|pair| pair.split_at(size_of::<usize>()));
    pairs.find_map(|(key, value)| (word(key)? == AUXV_PAGE_SIZE).then(|| word(value))?).filter(|bytes| bytes.is_power_of_two())
}

/// Lines "some avg10=0.00 avg60=... total=..." and "full ...".
fn stall(text: &str) -> Option<PressureStall> {
    let avg10 = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse::<f64>().ok()
    };
    Some(PressureStall { some_avg10: avg10("some ")?, full_avg10: avg10("full ").unwrap_or(0.0) })
}

#[cfg(test)]
mod tests;
