//! Two pieces of work side by side, for pieces of some hundred microseconds: this thread does one, a thread of the pool the other, and neither sleeps meanwhile.
//! What each computes must not depend on the other, so the numbers are those of one after the other.

use std::sync::atomic::{AtomicBool, Ordering};

/// Turns of waiting before a thread offers its core to others.
const SPINS: u32 = 200;

/// Whether there is a thread for a second piece that this one may wait for. Within the pool there may be none: all may be waiting.
pub(crate) fn has_partner() -> bool {
    rayon::current_num_threads() > 1 && rayon::current_thread_index().is_none()
}

/// Does both.
pub(crate) fn side_by_side(here: impl FnOnce(), there: impl FnOnce() + Send) {
    if !has_partner() {
        here();
        there();
        return;
    }
    let done = AtomicBool::new(false);
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| {
            let _tells = Tells(&done);
            there();
        });
        here();
        // The scope would put this thread to sleep, and waking it costs more than most pieces are short of.
        wait_until(|| done.load(Ordering::Acquire).then_some(()));
    });
}

/// Waits in turns for what another thread says, and gives the core away when it takes long.
pub(crate) fn wait_until<T>(mut said: impl FnMut() -> Option<T>) -> T {
    let mut turns = 0;
    loop {
        if let Some(said) = said() {
            return said;
        }
        if turns < SPINS {
            turns += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// Says so when it ends, by a panic too.
struct Tells<'a>(&'a AtomicBool);

impl Drop for Tells<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_panic_on_either_side_comes_out_and_leaves_nobody_waiting() {
        let mut other = 0;
        assert!(catch_unwind(AssertUnwindSafe(|| side_by_side(|| panic!("here"), || other += 1))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| side_by_side(|| (), || panic!("there")))).is_err());
        side_by_side(|| (), || other += 1);
        assert!(other >= 1, "the pool goes on after a panic");
    }
}
