//! The allocator of this binary: what it has handed out, and orders to give back what it keeps at hand.

#[cfg(any(test, feature = "heap-profile"))]
pub mod sites;

use std::{ffi::CStr, ptr::null_mut};

use grandmodel_memory::AllocatorReading;

/// jemalloc's own count.
pub fn reading() -> Option<AllocatorReading> {
    tikv_jemalloc_ctl::epoch::advance().ok()?;
    Some(AllocatorReading {
        live_bytes: tikv_jemalloc_ctl::stats::allocated::read().ok()? as u64,
        resident_bytes: tikv_jemalloc_ctl::stats::resident::read().ok()? as u64,
    })
}

/// Gives the free pages of all arenas back to the system.
pub fn purge() {
    // 4096 stands for all arenas (MALLCTL_ARENAS_ALL).
    order(c"arena.4096.purge");
}

/// Gives back what this thread keeps at hand for its next allocations.
pub fn flush_thread_cache() {
    order(c"thread.tcache.flush");
}

/// A control that takes and gives no value.
fn order(name: &CStr) {
    // SAFETY: the name is nul-terminated, and no pointer is read or written.
    unsafe {
        tikv_jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0);
    }
}

/// Writes jemalloc's profile to a file.
#[cfg(feature = "heap-profile")]
fn dump_profile(path: &std::path::Path) -> anyhow::Result<()> {
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut pointer = name.as_ptr();
    // SAFETY: `prof.dump` reads one pointer to a nul-terminated path, which lives until the call has returned.
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(c"prof.dump".as_ptr(), null_mut(), null_mut(), (&raw mut pointer).cast(), size_of_val(&pointer))
    };
    anyhow::ensure!(code == 0, "jemalloc does not write {}: error {code}", path.display());
    Ok(())
}
