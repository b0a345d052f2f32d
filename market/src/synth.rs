//! Two seeded synthetic markets whose best possible policy is known: a seed and a path index in, bars and the hidden state out.
//!
//! `regime` has a drift of either sign that switches at random times; `ou` returns to a fixed mean. Both are 24x7, five minutes a bar,
//! and their volume says nothing about the hidden state. No cost lives here: costs belong to the venue, and to
//! [`crate::optimum`], which solves these markets. Not a model of any real market: a yardstick.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rand_distr::StandardNormal;

use crate::{Bar, Instrument, MarketError, import::BarSeries, session::Session};

/// Bars generated before the first bar that counts: two weeks, 672 structure bars of 30 minutes.
///
/// The MMD needs 249 structure bars and the window of 48 structure rows needs eight stored MLMI events before it; events of smoothed
/// averages are rare on a trending path: with one week, six of sixteen paths became ready late, one of them by 1,715 bars.
pub const WARM_UP_BARS: usize = 4_032;
/// Training bars of the benchmark, after warm-up.
pub const TRAIN_BARS: usize = 20_000;
/// Bars of each validation and held-out path, after warm-up.
pub const PATH_BARS: usize = 5_000;
/// Validation paths of the benchmark (choice of model and thresholds).
pub const NUM_VALIDATION_PATHS: usize = 4;
/// Held-out paths of the benchmark (read once, for the report).
pub const NUM_HELD_OUT_PATHS: usize = 16;
/// Longest path, in bars: at 56 bytes a bar, 560 MB.
pub const MAX_BARS: usize = 10_000_000;
/// Most sub-steps in a bar.
pub const MAX_SUB_STEPS: usize = 1_000;
/// Lowest starting price, in ticks.
pub const MIN_START_TICKS: f64 = 10_000.0;
/// Lowest price that may occur, in ticks: below it the rounding to ticks would bend the returns.
pub const MIN_PRICE_TICKS: f64 = 1_000.0;
/// Highest price that may occur, in ticks: above it 64-bit floats no longer hold every tick with room to spare.
pub const MAX_PRICE_TICKS: f64 = 1e12;
/// Opening time of the first bar: 2024-01-01T00:00:00Z, on the boundary of every frame up to a day.
pub const START_NS: i64 = 1_704_067_200_000_000_000;

/// Which synthetic market.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SynthMarket {
    /// Drift of plus or minus `drift_bp` a bar, switching sign with `switch_probability` before each bar.
    #[default]
    Regime,
    /// Log price that returns to a fixed mean with `half_life_bars`.
    Ou,
}

/// Parameters of a synthetic market; the defaults are the benchmark's.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthConfig {
    /// Which market.
    pub market: SynthMarket,
    /// Length of a bar, in seconds.
    pub interval_s: u32,
    /// Starting price (`regime`) or mean price (`ou`).
    pub price: f64,
    /// Tick size.
    pub tick: f64,
    /// Lot size; tick x lot must be a whole number of micro-units.
    pub lot: f64,
    /// Deviation of one bar's innovation, in basis points of price.
    pub sigma_bp: f64,
    /// `regime`: drift of the log price, in basis points a bar.
    pub drift_bp: f64,
    /// `regime`: probability that the drift changes sign before a bar.
    pub switch_probability: f64,
    /// `ou`: bars in which half of a deviation is gone.
    pub half_life_bars: f64,
    /// Gaussian steps within a bar, for high and low.
    pub sub_steps: usize,
    /// Median volume of a bar, in base units.
    pub volume: f64,
    /// Deviation of the log volume, independent from bar to bar.
    pub volume_sigma: f64,
}

impl Default for SynthConfig {
    fn default() -> Self {
        Self {
            market: SynthMarket::Regime,
            interval_s: 300,
            price: 1000.0,
            tick: 0.01,
            lot: 0.01,
            sigma_bp: 10.0,
            drift_bp: 3.0,
            switch_probability: 1.0 / 120.0,
            half_life_bars: 8.0,
            sub_steps: 12,
            volume: 1000.0,
            volume_sigma: 0.5,
        }
    }
}

impl SynthConfig {
    /// The benchmark's parameters of one market.
    pub fn of(market: SynthMarket) -> Self {
        Self { market, ..Self::default() }
    }

    /// Deviation of a bar's innovation, as a log return.
    pub fn sigma(&self) -> f64 {
        self.sigma_bp * 1e-4
    }

    /// Drift in units of sigma (`regime`).
    pub fn drift_in_sigma(&self) -> f64 {
        self.drift_bp / self.sigma_bp
    }

    /// Share of a deviation left after one bar (`ou`): `phi = 2^(-1 / half_life)`.
    pub fn phi(&self) -> f64 {
        (-1.0 / self.half_life_bars).exp2()
    }

    /// Terms of the synthetic instrument.
    pub fn instrument(&self) -> Instrument {
        let symbol = match self.market {
            SynthMarket::Regime => "SYNTH-REGIME",
            SynthMarket::Ou => "SYNTH-OU",
        };
        Instrument { symbol: symbol.into(), tick_size: self.tick, lot_size: self.lot, multiplier: 1.0, session: Session::Always }
    }

    /// Refuses parameters that make no market.
    ///
    /// # Errors
    /// [`MarketError::Setting`] with the key, its value, and what was expected.
    pub fn validate(&self) -> Result<(), MarketError> {
        let refuse = |key, value: String, expected: &str| Err(MarketError::Setting { key, value, expected: expected.into() });
        for (key, value, low, high, expected) in [
            ("synth.price", self.price, 1e-6, 1e9, "a price from 1e-6 to 1e9"),
            ("synth.tick", self.tick, 1e-9, 1e6, "a tick from 1e-9 to 1e6"),
            ("synth.lot", self.lot, 1e-9, 1e6, "a lot from 1e-9 to 1e6"),
            ("synth.sigma_bp", self.sigma_bp, 0.01, 1000.0, "0.01 to 1000 basis points a bar"),
            (
                "synth.drift_bp",
                self.drift_bp / self.sigma_bp,
                0.01,
                3.0,
                "a drift of 0.01 to 3 sigma: weaker cannot be filtered, stronger needs no filter",
            ),
            ("synth.switch_probability", self.switch_probability, 1e-5, 0.499, "a probability from 1e-5 to 0.499"),
            ("synth.half_life_bars", self.half_life_bars, 0.5, 1000.0, "0.5 to 1000 bars"),
            ("synth.volume", self.volume, 1e-6, 1e12, "a volume from 1e-6 to 1e12"),
            ("synth.volume_sigma", self.volume_sigma, 0.0, 3.0, "a deviation from 0 to 3"),
        ] {
            if !(low..=high).contains(&value) {
                return refuse(key, value.to_string(), expected);
            }
        }
        if self.interval_s == 0 || self.interval_s > 7 * 86_400 {
            return refuse("synth.interval_s", self.interval_s.to_string(), "1 second to 7 days");
        }
        if self.sub_steps == 0 || self.sub_steps > MAX_SUB_STEPS {
            return refuse("synth.sub_steps", self.sub_steps.to_string(), &format!("1 to {MAX_SUB_STEPS}"));
        }
        if !(MIN_START_TICKS..=MAX_PRICE_TICKS).contains(&(self.price / self.tick)) {
            return refuse("synth.tick", self.tick.to_string(), "a tick that is a ten-thousandth of the price or finer");
        }
        self.instrument().micros_per_tick_lot().map(|_| ())
    }
}

/// One generated path.
#[derive(Clone, Debug)]
pub struct SynthPath {
    /// What everyone may see.
    pub series: BarSeries,
    /// What only the oracle may see, one value a bar. `regime`: the sign (+1 or -1) of the drift that made this bar.
    /// `ou`: the deviation of the log price from its mean at the bar's close, in units of sigma.
    pub hidden: Vec<f64>,
}

/// Generates path `path_index` of a seed.
///
/// Paths and, within a path, the hidden state, the price noise and the volume draw from streams of their own, so that a shorter path is
/// the beginning of a longer one and no path depends on which others were made.
///
/// # Errors
/// [`MarketError::Setting`] for parameters or a length out of range; [`MarketError::SynthPrice`] when the price leaves the range in which
/// ticks are exact (a `regime` path of millions of bars can).
pub fn generate_path(config: &SynthConfig, seed: u64, path_index: u64, num_bars: usize) -> Result<SynthPath, MarketError> {
    config.validate()?;
    if num_bars == 0 || num_bars > MAX_BARS {
        return Err(MarketError::Setting { key: "synth.num_bars", value: num_bars.to_string(), expected: format!("1 to {MAX_BARS} bars") });
    }
    let instrument = config.instrument();
    let interval_ns = i64::from(config.interval_s) * 1_000_000_000;
    let mut walk = Walk::new(config, seed, path_index);
    let mut volume_rng = stream(seed, path_index, Draw::Volume);
    let mut bars = Vec::with_capacity(num_bars);
    let mut hidden = Vec::with_capacity(num_bars);
    let mut open = on_grid(&instrument, walk.log_price, 0)?;
    for bar_index in 0..num_bars {
        walk.switch();
        let (mut high, mut low, mut close) = (open, open, open);
        for _ in 0..config.sub_steps {
            walk.sub_step();
            close = on_grid(&instrument, walk.log_price, bar_index)?;
            high = high.max(close);
            low = low.min(close);
        }
        let volume_noise: f64 = volume_rng.sample(StandardNormal);
        let volume = config.volume * (config.volume_sigma * volume_noise).exp();
        let ts_open = START_NS + bar_index as i64 * interval_ns;
        bars.push(Bar::new_checked(ts_open, ts_open + interval_ns, open, high, low, close, volume)?);
        hidden.push(walk.hidden());
        open = close;
    }
    Ok(SynthPath { series: BarSeries { instrument, interval_ns, bars, has_volume: true }, hidden })
}

/// Generates path 0 of a seed.
///
/// # Errors
/// As [`generate_path`].
pub fn generate(config: &SynthConfig, seed: u64, num_bars: usize) -> Result<SynthPath, MarketError> {
    generate_path(config, seed, 0, num_bars)
}

/// The paths of the benchmark; the first [`WARM_UP_BARS`] bars of each are for warm-up only.
#[derive(Clone, Debug)]
pub struct BenchmarkPaths {
    /// One path of [`TRAIN_BARS`] bars after warm-up (path index 0).
    pub train: SynthPath,
    /// [`NUM_VALIDATION_PATHS`] paths of [`PATH_BARS`] bars (path indices 1 to 4).
    pub validation: Vec<SynthPath>,
    /// [`NUM_HELD_OUT_PATHS`] paths of [`PATH_BARS`] bars (path indices 5 to 20).
    pub held_out: Vec<SynthPath>,
}

/// Generates the benchmark's paths of one seed.
///
/// # Errors
/// As [`generate_path`].
pub fn benchmark_paths(config: &SynthConfig, seed: u64) -> Result<BenchmarkPaths, MarketError> {
    let validation_len = NUM_VALIDATION_PATHS as u64;
    let path = |path_index| generate_path(config, seed, path_index, WARM_UP_BARS + PATH_BARS);
    Ok(BenchmarkPaths {
        train: generate_path(config, seed, 0, WARM_UP_BARS + TRAIN_BARS)?,
        validation: (1..=validation_len).map(path).collect::<Result<_, _>>()?,
        held_out: (validation_len + 1..=validation_len + NUM_HELD_OUT_PATHS as u64).map(path).collect::<Result<_, _>>()?,
    })
}

/// What a random stream is for; the number is part of the stream's address and must not change.
#[derive(Clone, Copy)]
enum Draw {
    Hidden = 0,
    Price = 1,
    Volume = 2,
}

/// The stream of one purpose of one path: the seed is ChaCha's key, path and purpose are its nonce.
fn stream(seed: u64, path_index: u64, draw: Draw) -> ChaCha12Rng {
    let mut key = *b"........grandmodel synthetic 001";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha12Rng::from_seed(key);
    rng.set_stream(path_index.wrapping_mul(4) + draw as u64);
    rng
}

/// Nearest price on the tick grid, refused outside the range in which ticks are exact.
fn on_grid(instrument: &Instrument, log_price: f64, bar_index: usize) -> Result<f64, MarketError> {
    let price = log_price.exp();
    let low = MIN_PRICE_TICKS * instrument.tick_size;
    let high = MAX_PRICE_TICKS * instrument.tick_size;
    if !(low..=high).contains(&price) {
        return Err(MarketError::SynthPrice { bar_index, price, low, high });
    }
    Ok(instrument.to_price(instrument.to_ticks(price)))
}

/// The unrounded log price and its hidden state.
struct Walk {
    market: SynthMarket,
    log_mean: f64,
    log_price: f64,
    sigma: f64,
    drift_sign: f64,
    sub_drift: f64,
    sub_phi: f64,
    sub_sigma: f64,
    switch_probability: f64,
    hidden_rng: ChaCha12Rng,
    price_rng: ChaCha12Rng,
}

impl Walk {
    /// `ou` starts from its stationary distribution, `regime` from a fair coin: no bar is special.
    fn new(config: &SynthConfig, seed: u64, path_index: u64) -> Self {
        let mut hidden_rng = stream(seed, path_index, Draw::Hidden);
        let (num_steps, sigma, phi) = (config.sub_steps as f64, config.sigma(), config.phi());
        let log_mean = config.price.ln();
        let start: f64 = hidden_rng.sample(StandardNormal);
        let sub_phi = phi.powf(1.0 / num_steps);
        let (log_price, sub_sigma) = match config.market {
            SynthMarket::Regime => (log_mean, sigma / num_steps.sqrt()),
            // sum over the sub-steps of sub_sigma^2 sub_phi^(2k) = sigma^2: the bar's innovation has deviation sigma
            SynthMarket::Ou => {
                (log_mean + start * sigma / (1.0 - phi * phi).sqrt(), sigma * ((1.0 - sub_phi * sub_phi) / (1.0 - phi * phi)).sqrt())
            }
        };
        Self {
            market: config.market,
            log_mean,
            log_price,
            sigma,
            drift_sign: if start < 0.0 { -1.0 } else { 1.0 },
            sub_drift: config.drift_bp * 1e-4 / num_steps,
            sub_phi,
            sub_sigma,
            switch_probability: config.switch_probability,
            hidden_rng,
            price_rng: stream(seed, path_index, Draw::Price),
        }
    }

    /// Between two bars the drift may change sign.
    fn switch(&mut self) {
        if self.hidden_rng.random::<f64>() < self.switch_probability {
            self.drift_sign = -self.drift_sign;
        }
    }

    fn sub_step(&mut self) {
        let noise: f64 = self.price_rng.sample(StandardNormal);
        self.log_price = match self.market {
            SynthMarket::Regime => self.log_price + self.drift_sign * self.sub_drift + self.sub_sigma * noise,
            SynthMarket::Ou => self.log_mean + self.sub_phi * (self.log_price - self.log_mean) + self.sub_sigma * noise,
        };
    }

    fn hidden(&self) -> f64 {
        match self.market {
            SynthMarket::Regime => self.drift_sign,
            SynthMarket::Ou => (self.log_price - self.log_mean) / self.sigma,
        }
    }
}

#[cfg(test)]
mod tests;
