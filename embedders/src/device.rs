//! From `device = auto | cpu | wgpu | cuda` to a device, at run time.
//!
//! The only place that names Burn's backends: everything above sees [`Infer`], [`Train`] and [`Device`]. What it is not: a cache of
//! opened devices (Burn opens one at first use), nor a promise that the device has memory left.
//!
//! Asking costs milliseconds (driver libraries are loaded, adapters counted): ask once, at start.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::cuda::CudaDevice;
use burn::backend::flex::FlexDevice;
use burn::backend::wgpu::WgpuDevice;
use burn::prelude::DeviceOps;
use burn::tensor::backend::Backend;
use burn::{Dispatch, DispatchDevice};
use serde::{Deserialize, Serialize};

use crate::error::EmbeddersError;

/// The backend without a tape: forward passes of published weights.
pub type Infer = Dispatch;

/// The backend with a tape: training. Its devices are plain ones, never `DispatchDevice::autodiff(..)`.
pub type Train = burn::backend::Autodiff<Dispatch>;

/// Where tensors live; chosen by [`resolve`].
pub type Device = DispatchDevice;

/// Fewest parameters for which `auto` leaves the CPU.
///
/// An estimate, not a measurement. A training step is some hundreds of GPU kernels of ten microseconds and more to launch, several
/// milliseconds whatever the model; the CPU's fused operations finish small steps in that time. With two million parameters the
/// products of 32 windows of 48 rows are 6 * 2e6 * 1536 = 18 GFLOP, near 0.1 s of one core, which a discrete GPU beats by far.
pub const AUTO_GPU_MIN_PARAMETERS: usize = 2_000_000;

/// Names under which CUDA's driver is installed.
const CUDA_DRIVER_NAMES: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] };

/// Names under which CUDA's run-time compiler is installed; it is part of the toolkit, not of the driver, and Burn needs both.
const CUDA_COMPILER_NAMES: &[&str] = if cfg!(windows) {
    &["nvrtc64_120_0.dll", "nvrtc64_130_0.dll", "nvrtc.dll"]
} else {
    &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11"]
};

/// What a run asks for: `device = "auto"` in its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A discrete GPU for models of at least [`AUTO_GPU_MIN_PARAMETERS`], else the CPU.
    #[default]
    Auto,
    /// This machine's processor, with the fused operations.
    Cpu,
    /// Vulkan, Metal or DirectX 12; the best adapter there is, software included.
    Wgpu,
    /// The first NVIDIA GPU.
    Cuda,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        })
    }
}

/// What kind of hardware stands behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// This machine's processor, used directly.
    Cpu,
    /// A graphics card with its own memory.
    Discrete,
    /// A graphics unit that shares the processor's memory.
    Integrated,
    /// A graphics card that a hypervisor passes through.
    Virtual,
    /// A processor that plays graphics card; for tests, slower than [`DeviceKind::Cpu`].
    Software,
}

/// One line of `grandmodel devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// What to write into `device = ...` to get it.
    pub choice: DeviceChoice,
    /// What it is; `None` where nothing was found.
    pub kind: Option<DeviceKind>,
    /// How many of this kind.
    pub num_devices: usize,
    /// For a reader: what was found, or why not.
    pub detail: String,
}

/// The device for a choice and the number of parameters of the model that will live there.
///
/// # Errors
/// [`EmbeddersError::DeviceAbsent`] where the machine has no such device; it never falls back in silence.
pub fn resolve(choice: DeviceChoice, num_parameters: usize) -> Result<Device, EmbeddersError> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu()),
        DeviceChoice::Cuda => match cuda_count() {
            Ok(_) => Ok(DispatchDevice::Cuda(CudaDevice::new(0))),
            Err(reason) => Err(EmbeddersError::DeviceAbsent { choice, reason }),
        },
        DeviceChoice::Wgpu => wgpu_kinds()
            .first()
            .map(|&(kind, _)| wgpu(kind))
            .ok_or_else(|| EmbeddersError::DeviceAbsent { choice, reason: NO_ADAPTER.to_owned() }),
        DeviceChoice::Auto if num_parameters < AUTO_GPU_MIN_PARAMETERS => Ok(cpu()),
        DeviceChoice::Auto if cuda_count().is_ok() => Ok(DispatchDevice::Cuda(CudaDevice::new(0))),
        DeviceChoice::Auto => Ok(match wgpu_kinds().first() {
            Some(&(DeviceKind::Discrete, _)) => wgpu(DeviceKind::Discrete),
            _ => cpu(),
        }),
    }
}

/// Every device that this machine offers, one report a kind; what is missing is listed with the reason.
pub fn list() -> Vec<DeviceReport> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut reports = vec![DeviceReport {
        choice: DeviceChoice::Cpu,
        kind: Some(DeviceKind::Cpu),
        num_devices: 1,
        detail: format!("{cores} hardware threads, {} kernels", crate::ops::simd_level()),
    }];
    let wgpu = wgpu_kinds();
    if wgpu.is_empty() {
        reports.push(DeviceReport { choice: DeviceChoice::Wgpu, kind: None, num_devices: 0, detail: NO_ADAPTER.to_owned() });
    }
    reports.extend(wgpu.into_iter().map(|(kind, num_devices)| DeviceReport {
        choice: DeviceChoice::Wgpu,
        kind: Some(kind),
        num_devices,
        detail: match kind {
            DeviceKind::Software => "software adapter: for tests, slower than cpu".to_owned(),
            _ => format!("{num_devices} adapter(s)"),
        },
    }));
    reports.push(match cuda_count() {
        Ok(num_devices) => {
            let detail = format!("{num_devices} NVIDIA GPU(s)");
            DeviceReport { choice: DeviceChoice::Cuda, kind: Some(DeviceKind::Discrete), num_devices, detail }
        }
        Err(detail) => DeviceReport { choice: DeviceChoice::Cuda, kind: None, num_devices: 0, detail },
    });
    reports
}

/// Whether it is the CPU, where [`crate::plain`] runs instead of Burn.
pub fn is_cpu(device: &Device) -> bool {
    matches!(device, DispatchDevice::Flex(_))
}

/// The CPU device, which every machine has.
pub fn cpu() -> Device {
    DispatchDevice::Flex(FlexDevice)
}

const NO_ADAPTER: &str =
    "no Vulkan, Metal or DirectX 12 adapter answers; install a graphics driver (on Debian without a card: mesa-vulkan-drivers)";

fn wgpu(kind: DeviceKind) -> Device {
    DispatchDevice::Wgpu(match kind {
        DeviceKind::Discrete => WgpuDevice::DiscreteGpu(0),
        DeviceKind::Integrated => WgpuDevice::IntegratedGpu(0),
        DeviceKind::Virtual => WgpuDevice::VirtualGpu(0),
        DeviceKind::Software | DeviceKind::Cpu => WgpuDevice::Cpu,
    })
}

/// Adapters by kind, best first; empty where there is none or the graphics stack falls over when asked.
fn wgpu_kinds() -> Vec<(DeviceKind, usize)> {
    [DeviceKind::Discrete, DeviceKind::Integrated, DeviceKind::Virtual, DeviceKind::Software]
        .into_iter()
        .filter_map(|kind| {
            let type_id = wgpu(kind).to_id().type_id;
            let count = catch_unwind(AssertUnwindSafe(|| Dispatch::device_count(type_id))).unwrap_or(0);
            (count > 0).then_some((kind, count))
        })
        .collect()
}

/// How many CUDA devices answer, or why none does. Looks for the libraries first: Burn panics where they are missing.
fn cuda_count() -> Result<usize, String> {
    if !any_library(CUDA_DRIVER_NAMES) {
        return Err(format!("no NVIDIA driver here (looked for {})", CUDA_DRIVER_NAMES.join(", ")));
    }
    if !any_library(CUDA_COMPILER_NAMES) {
        return Err(format!(
            "the NVIDIA driver is here but not the run-time compiler of the CUDA toolkit (looked for {})",
            CUDA_COMPILER_NAMES.join(", ")
        ));
    }
    let type_id = DispatchDevice::Cuda(CudaDevice::new(0)).to_id().type_id;
    match catch_unwind(AssertUnwindSafe(|| Dispatch::device_count(type_id))) {
        Ok(0) => Err("the NVIDIA driver is here but reports no GPU".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("the NVIDIA driver is here but panicked when asked for its GPUs".to_owned()),
    }
}

fn any_library(names: &[&str]) -> bool {
    // SAFETY: loading runs the library's initialisers. These are NVIDIA's own libraries under their fixed names, which Burn itself
    // would load in the same way a moment later; nothing is called through the handle.
    names.iter().any(|name| unsafe { libloading::Library::new(name) }.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_always_there_and_first_in_the_list() {
        assert!(is_cpu(&resolve(DeviceChoice::Cpu, usize::MAX).unwrap()));
        assert_eq!(list()[0].kind, Some(DeviceKind::Cpu));
    }

    #[test]
    fn auto_keeps_small_models_on_the_cpu_whatever_the_machine_has() {
        assert!(is_cpu(&resolve(DeviceChoice::Auto, AUTO_GPU_MIN_PARAMETERS - 1).unwrap()));
    }

    #[test]
    fn the_list_and_resolve_agree_on_what_is_there() {
        for report in list() {
            match (resolve(report.choice, 0), report.kind) {
                (Ok(_), Some(_)) => assert!(report.num_devices > 0),
                (Err(error), None) => assert!(error.to_string().contains(&report.choice.to_string()), "{error}"),
                (device, kind) => panic!("{}: resolve says {device:?}, the list says {kind:?}", report.choice),
            }
        }
    }

    #[test]
    fn choices_are_written_in_lower_case() {
        assert_eq!(serde_json::to_string(&DeviceChoice::Wgpu).unwrap(), "\"wgpu\"");
        assert_eq!(serde_json::from_str::<DeviceChoice>("\"cuda\"").unwrap(), DeviceChoice::Cuda);
        assert!(serde_json::from_str::<DeviceChoice>("\"tpu\"").is_err());
    }
}
