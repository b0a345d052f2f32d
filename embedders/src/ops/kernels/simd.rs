//! One body, compiled for several instruction sets, chosen at run time.
//!
//! [`simd_fn`] writes a safe function whose body the compiler vectorises for AVX-512, AVX2 and the target's base set. The body
//! must inline whole: everything it calls is `#[inline(always)]` or from the standard library.

use std::fmt;

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 16 numbers at a time.
    Avx512,
    /// 8 numbers at a time.
    Avx2,
    /// What every processor of this architecture has.
    Base,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Base => "baseline",
        })
    }
}

/// The best instruction set of this processor.
#[inline]
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(forced) = FORCED.get() {
        return forced;
    }
    detected()
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    use std::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma");
    if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
        Level::Avx512
    } else if avx2 {
        Level::Avx2
    } else {
        Level::Base
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Base
}

#[cfg(test)]
thread_local! {
    /// The instruction set that this thread's kernels take instead of the best one; never one that the processor lacks.
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// Runs `f` with the kernels of another instruction set, where the processor has it.
#[cfg(test)]
pub fn with_level<T>(wanted: Level, f: impl FnOnce() -> T) -> Option<T> {
    let usable = match detected() {
        Level::Avx512 => true,
        Level::Avx2 => wanted != Level::Avx512,
        Level::Base => wanted == Level::Base,
    };
    usable.then(|| {
        FORCED.set(Some(wanted));
        let result = f();
        FORCED.set(None);
        result
    })
}

/// Writes a function that picks its instruction set at run time. The arguments are taken as they are, so slices stay slices.
#[macro_export]
macro_rules! simd_fn {
    ($(#[$meta:meta])* pub fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name($($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($argument: $type),*) {
                    body($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($argument: $type),*) {
                    body($($argument),*)
                }
                match $crate::ops::kernels::simd::level() {
                    // SAFETY: `level` has just found every feature that this function is compiled with.
                    $crate::ops::kernels::simd::Level::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::ops::kernels::simd::Level::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::ops::kernels::simd::Level::Base => {}
                }
            }
            body($($argument),*)
        }
    };
}

pub use crate::simd_fn;
