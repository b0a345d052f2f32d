//! The structure row: eight numbers a closed structure bar.

use super::{
    STRUCTURE_FEATURES, Scaling,
    heikin_ashi::HeikinAshi,
    lvn::{self, LowVolumeNodes},
    mlmi::Mlmi,
    nwrqk::NwRqk,
    ta::Atr,
};
use crate::{Bar, Instrument};

/// Nanoseconds in an hour.
const HOUR_NS: i64 = 3_600_000_000_000;

/// The streaming row; also the owner of the low-volume nodes that the base rows look at.
#[derive(Clone, Debug)]
pub struct Structure {
    scaling: Scaling,
    instrument: Instrument,
    atr: Atr,
    heikin_ashi: HeikinAshi,
    mlmi: Mlmi,
    nwrqk: NwRqk,
    nodes: LowVolumeNodes,
}

impl Structure {
    /// A row for bars of an instrument.
    pub fn new(instrument: &Instrument, scaling: Scaling) -> Self {
        Self {
            scaling,
            instrument: instrument.clone(),
            atr: Atr::new(instrument.tick_size),
            heikin_ashi: HeikinAshi::default(),
            mlmi: Mlmi::default(),
            nwrqk: NwRqk::default(),
            nodes: LowVolumeNodes::default(),
        }
    }

    /// A new segment begins with the next bar.
    pub fn start_segment(&mut self) {
        self.mlmi.drop_open_event();
    }

    /// Low-volume nodes as of the last bar.
    pub fn nodes(&self) -> &LowVolumeNodes {
        &self.nodes
    }

    /// The ATR of the structure frame, and the row with NaN for what is absent.
    pub fn update(&mut self, bar: &Bar) -> (Option<f64>, [f32; STRUCTURE_FEATURES]) {
        let atr = self.atr.update(bar);
        let smooth = self.heikin_ashi.update(bar).close;
        let mlmi = self.mlmi.update(smooth);
        let nwrqk = self.nwrqk.update(smooth);
        let nodes_defined = self.nodes.update(bar, &self.instrument);
        let mut row = [f64::NAN; STRUCTURE_FEATURES];
        if let Some(mlmi) = mlmi {
            row[0] = mlmi.value;
            row[1] = mlmi.signal;
        }
        if let (Some(atr), Some(value)) = (atr, nwrqk) {
            row[2] = match self.scaling {
                Scaling::Volatility => ((value.level - bar.close) / (2.0 * atr)).tanh(),
                Scaling::Fixed => (100.0 * (value.level - bar.close) / bar.close).clamp(-5.0, 5.0) / 5.0,
            };
            row[3] = value.slope.map_or(f64::NAN, |slope| (4.0 * slope / atr).tanh());
        }
        if let (Some(atr), true) = (atr, nodes_defined) {
            [row[4], row[5]] = lvn::structure_columns(self.nodes.nearest(bar.close), bar.close, atr, self.scaling);
        }
        let hour = bar.ts_close.rem_euclid(24 * HOUR_NS) as f64 / HOUR_NS as f64;
        let angle = std::f64::consts::TAU * hour / 24.0;
        (row[6], row[7]) = angle.sin_cos();
        (atr, row.map(|value| value as f32))
    }
}
