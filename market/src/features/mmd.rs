//! MMD, maximum mean discrepancy: how much the newest structure bars differ from those before them. Bars in, the unbiased squared estimate out.
//!
//! A pure function of the bars in its window: where history starts does not matter, so a batch may compute many rows at once and get the same
//! bits as a stream.

use super::{
    expansion::PointSet,
    kernel::{MedianWorkspace, median_distance_squared},
    regime::true_range,
    window::{Window, sum},
};
use crate::Bar;

/// The two coordinates of a bar after another: log return, and true range as a share of the close before.
pub(super) fn point(bar: &Bar, close_tm1: f64) -> (f64, f64) {
    ((bar.close / close_tm1).ln(), true_range(bar, close_tm1) / close_tm1)
}

/// Says at which bars the estimate is refreshed: the first of every `stride` windows, counted from 1970 and not from the start of a file.
#[derive(Clone, Debug)]
pub(super) struct MmdStride {
    length_ns: i64,
    current: Option<i64>,
}

impl MmdStride {
    pub fn new(stride: u32, structure_ns: i64) -> Self {
        Self { length_ns: structure_ns.saturating_mul(i64::from(stride)), current: None }
    }

    /// Whether the bar that opens at `ts_open` refreshes. The first bar of a file never does with a stride above 1: it may lie anywhere.
    pub fn refreshes(&mut self, ts_open: i64) -> bool {
        let bucket = ts_open.div_euclid(self.length_ns);
        self.current.replace(bucket).is_some_and(|previous| previous != bucket)
    }
}

/// The streaming estimate.
#[derive(Clone, Debug)]
pub struct Mmd {
    reference: usize,
    stride: MmdStride,
    close_tm1: Option<f64>,
    x: Window<f64>,
    y: Window<f64>,
    held: Option<f64>,
    workspace: MmdWorkspace,
}

impl Mmd {
    /// Compares the newest `test` bars with the `reference` before them, every `stride` bars of `structure_ns`.
    pub fn new(test: usize, reference: usize, stride: u32, structure_ns: i64) -> Self {
        Self {
            reference,
            stride: MmdStride::new(stride, structure_ns),
            close_tm1: None,
            x: Window::new(test + reference),
            y: Window::new(test + reference),
            held: None,
            workspace: MmdWorkspace::default(),
        }
    }

    /// Takes the next bar; nothing before `test + reference + 1` bars, or where the reference has no spread.
    pub fn update(&mut self, bar: &Bar) -> Option<f64> {
        let refreshes = self.stride.refreshes(bar.ts_open);
        if let Some(close_tm1) = self.close_tm1.replace(bar.close) {
            let (x, y) = point(bar, close_tm1);
            self.x.push(x);
            self.y.push(y);
        }
        if refreshes && self.x.is_full() {
            self.held = mmd_squared(self.x.as_slice(), self.y.as_slice(), self.reference, &mut self.workspace);
        }
        self.held
    }
}

/// Buffers of [`mmd_squared`], kept between calls, and the last median as a first guess of the next; neither changes the result.
#[derive(Clone, Debug, Default)]
pub struct MmdWorkspace {
    x: Vec<f64>,
    y: Vec<f64>,
    median: MedianWorkspace,
    guess: Option<f64>,
    reference: PointSet,
    test: PointSet,
    distances: Vec<f64>,
}

/// Unbiased squared MMD between the first `reference` points and the rest, oldest first.
///
/// ```text
/// k(a, b) = exp(-|a - b|^2 / (2 sigma^2)),  sigma = median distance in the reference
/// mean_{i != j} k(r_i, r_j) + mean_{i != j} k(t_i, t_j) - 2 mean_{i, j} k(r_i, t_j)
/// ```
///
/// Both coordinates are standardised by the reference (a deviation of 0 counts as 1). `None` when sigma is 0.
///
/// # Source
/// Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), equation 3.
pub fn mmd_squared(x: &[f64], y: &[f64], reference: usize, workspace: &mut MmdWorkspace) -> Option<f64> {
    let MmdWorkspace { x: xs, y: ys, median, guess, reference: known, test: new, distances } = workspace;
    standardise(x, reference, xs);
    standardise(y, reference, ys);
    let test = x.len() - reference;
    let sigma_squared = median_distance_squared(&xs[..reference], &ys[..reference], *guess, median);
    *guess = Some(sigma_squared);
    if sigma_squared <= 0.0 {
        return None;
    }
    let width = 1.0 / sigma_squared.sqrt();
    let mut points = xs.iter().zip(ys.iter()).map(|(x, y)| (x * width, y * width));
    known.set(points.by_ref().take(reference));
    new.set(points);
    let pairs = |n: usize| (n * (n - 1) / 2) as f64;
    let within = known.within(distances) / pairs(reference) + new.within(distances) / pairs(test);
    Some(within - 2.0 * new.between(known, distances) / (reference * test) as f64)
}

fn standardise(values: &[f64], reference: usize, out: &mut Vec<f64>) {
    let known = &values[..reference];
    let mean = sum(known.iter().copied()) / reference as f64;
    let deviation = (sum(known.iter().map(|value| (value - mean) * (value - mean))) / reference as f64).sqrt();
    let deviation = if deviation > 0.0 { deviation } else { 1.0 };
    out.clear();
    out.extend(values.iter().map(|value| (value - mean) / deviation));
}
