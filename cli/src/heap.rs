//! The allocator of this binary: what it has handed out, and orders to give back what it keeps at hand.

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
