//! Checked rows in, a series and its report out: symbol, order, volume, interval, grid, instrument, in that order.

use std::collections::HashMap;

use super::{
    BadRow, BarSeries, ImportReport, SegmentSpan,
    columns::PRICE_NAMES,
    config::Label,
    grid::{Grid, GridFinder, MAX_PRICE_TICKS},
    intake::Intake,
    order::{Sorting, put_in_order},
    report::{self, MAX_NAMED_ROWS},
    volume,
};
use crate::{
    Bar, Instrument, MarketError,
    instrument::{OffGrid, auto_lot},
    resample::{self, MAX_INTERVAL_NS},
    session::Session,
};

/// Symbols that an error names.
const MAX_NAMED_SYMBOLS: usize = 10;
/// Share of steps below which the interval found is doubted aloud.
const MIN_INTERVAL_SHARE: f64 = 0.5;

/// Turns everything read from a file into bars.
///
/// # Errors
/// As [`super::import`].
pub(super) fn finish(mut intake: Intake<'_>) -> Result<(BarSeries, ImportReport), MarketError> {
    let (symbol, num_other_symbols) = choose_symbol(&mut intake)?;
    let sorting = put_in_order(&mut intake)?;
    let rows = |intake: &Intake<'_>| intake.rows.iter().map(|row| (row.prices[3], row.volumes)).collect::<Vec<_>>();
    let chosen = volume::choose(&intake.columns, &intake.names, Some(&symbol), rows(&intake).into_iter());
    let volumes = read_volumes(&mut intake, chosen.slot)?;
    check_shares(&mut intake)?;
    let interval = find_interval(&intake)?;
    let mut bars = make_bars(&intake, &volumes, interval.ns)?;
    let grid = put_on_grid(&intake, &mut bars)?;
    let config = &intake.config.instrument;
    let whole = chosen.slot.is_some() && volumes.iter().all(|volume| volume.fract() == 0.0);
    let tick_size = grid.grid.tick();
    let lot_size = config.lot.stated().unwrap_or_else(|| auto_lot(tick_size, config.multiplier, whole));
    let instrument = Instrument { symbol, tick_size, lot_size, multiplier: config.multiplier, session: config.session.clone() };
    let lot_why = match (config.lot.stated(), whole) {
        (Some(_), _) => "stated",
        (None, true) => "auto: the file's volumes are whole numbers",
        (None, false) => "auto: the finest power of ten with which cash is exact",
    };
    let series = BarSeries { instrument, interval_ns: interval.ns, bars, has_volume: chosen.slot.is_some() };
    let mut notes = grid.notes;
    notes.extend(Some(chosen.why).filter(|why| !why.is_empty()));
    if interval.share < MIN_INTERVAL_SHARE {
        notes.push(format!(
            "only {:.0} % of the steps between rows are one interval: import.interval states another",
            100.0 * interval.share
        ));
    }
    if let Err(error) = series.instrument.micros_per_tick_lot() {
        notes.push(error.to_string());
    }
    let tick = (tick_size, grid.why);
    let report = make_report(intake, &series, interval, sorting, num_other_symbols, chosen.slot, tick, (lot_size, lot_why.into()), notes);
    Ok((series, report))
}

/// Keeps the rows of one symbol; returns its name and how many rows were left out.
fn choose_symbol(intake: &mut Intake<'_>) -> Result<(String, usize), MarketError> {
    let stated = intake.config.instrument.symbol.clone();
    if intake.symbols.len() > 1 {
        let index = stated.as_ref().and_then(|stated| intake.symbols.iter().position(|symbol| symbol.eq_ignore_ascii_case(stated)));
        let Some(index) = index else {
            let symbols: Vec<&str> = intake.symbols.iter().take(MAX_NAMED_SYMBOLS).map(String::as_str).collect();
            return Err(MarketError::ManySymbols {
                path: intake.path.into(),
                num_symbols: intake.symbols.len(),
                symbols: symbols.join(", "),
            });
        };
        let before = intake.rows.len();
        intake.rows.retain(|row| row.symbol as usize == index);
        return Ok((intake.symbols[index].clone(), before - intake.rows.len()));
    }
    let stem = || intake.path.file_stem().map_or_else(|| "unnamed".into(), |stem| stem.to_string_lossy().into_owned());
    Ok((stated.or_else(|| intake.symbols.first().filter(|symbol| !symbol.is_empty()).cloned()).unwrap_or_else(stem), 0))
}

/// Volumes of the chosen column, 0 where there is none; rows without a readable one are bad.
fn read_volumes(intake: &mut Intake<'_>, slot: Option<usize>) -> Result<Vec<f64>, MarketError> {
    let Some(slot) = slot else { return Ok(vec![0.0; intake.rows.len()]) };
    let texts: HashMap<u64, &str> =
        intake.bad_volumes.iter().filter(|(_, other, _)| *other == slot).map(|(number, _, text)| (*number, text.as_str())).collect();
    let field = intake.field(Some(intake.columns.volumes[slot].index));
    let mut bad: Vec<(u64, BadRow)> = Vec::new();
    intake.rows.retain(|row| {
        let readable = row.volumes[slot].is_finite();
        if !readable {
            let value = texts.get(&row.number).copied().unwrap_or("unreadable").to_owned();
            bad.push((row.number, BadRow { field: field.clone(), value, expected: "a number of 0 or more".into() }));
        }
        readable
    });
    bad.sort_by_key(|(number, _)| *number);
    for (number, row) in bad {
        intake.bad.put(number, row)?;
    }
    Ok(intake.rows.iter().map(|row| row.volumes[slot]).collect())
}

/// Refuses a file of which too much had to be set aside.
fn check_shares(intake: &mut Intake<'_>) -> Result<(), MarketError> {
    intake.bad.rows.sort_by_key(|row| row.number);
    let max_share = intake.config.max_bad_share;
    match intake.bad.rows.first() {
        Some(first) if intake.bad.num_rows as f64 > max_share * intake.num_rows as f64 => Err(MarketError::TooManyBadRows {
            path: intake.path.into(),
            num_bad: intake.bad.num_rows,
            num_rows: intake.num_rows,
            max_share,
            unit: intake.unit,
            number: first.number,
            first: Box::new(first.row.clone()),
        }),
        _ => Ok(()),
    }
}

/// Length of a bar, and the share of steps that have it.
#[derive(Clone, Copy)]
struct FoundInterval {
    ns: i64,
    share: f64,
}

/// The stated interval, or the most frequent step; of equally frequent ones the shorter.
fn find_interval(intake: &Intake<'_>) -> Result<FoundInterval, MarketError> {
    let stated = intake.config.interval.map(|interval| interval.ns());
    let needed = if stated.is_some() { 1 } else { 2 };
    let why = if stated.is_some() { "" } else { ": their steps show the interval (import.interval states it)" };
    if intake.rows.len() < needed {
        return Err(MarketError::TooFewRows { path: intake.path.into(), num_rows: intake.rows.len(), needed, why });
    }
    let mut steps: HashMap<i64, usize> = HashMap::new();
    for pair in intake.rows.windows(2) {
        *steps.entry(pair[1].moment.ts - pair[0].moment.ts).or_default() += 1;
    }
    let mode = steps.iter().max_by_key(|&(&step, &num)| (num, std::cmp::Reverse(step))).map_or(MAX_INTERVAL_NS, |(&step, _)| step);
    let ns = stated.unwrap_or(mode);
    if !(1..=MAX_INTERVAL_NS).contains(&ns) {
        return Err(MarketError::Setting {
            key: "import.interval",
            value: report::length(ns),
            expected: format!("at most {} (found as the most frequent step unless stated)", report::length(MAX_INTERVAL_NS)),
        });
    }
    let share = steps.get(&ns).copied().unwrap_or(0) as f64 / (intake.rows.len() - 1).max(1) as f64;
    Ok(FoundInterval { ns, share })
}

/// Bars from rows. A bar never overlaps its neighbour: where a step is shorter than the interval, the bar is.
fn make_bars(intake: &Intake<'_>, volumes: &[f64], interval_ns: i64) -> Result<Vec<Bar>, MarketError> {
    let rows = &intake.rows;
    let bar = |t: usize| {
        let ts = rows[t].moment.ts;
        let (ts_open, ts_close) = match intake.config.label {
            Label::Open => (ts, rows.get(t + 1).map_or(ts + interval_ns, |next| next.moment.ts.min(ts + interval_ns))),
            Label::Close => (t.checked_sub(1).map_or(ts - interval_ns, |last| rows[last].moment.ts.max(ts - interval_ns)), ts),
        };
        let [open, high, low, close] = rows[t].prices;
        Bar::new_checked(ts_open, ts_close, open, high, low, close, volumes[t])
    };
    (0..rows.len()).map(bar).collect()
}

/// The grid, how it was found, and what else there is to say of it.
struct GridFound {
    grid: Grid,
    why: String,
    notes: Vec<String>,
}

/// Finds or checks the grid and moves every price to the float nearest to its tick.
fn put_on_grid(intake: &Intake<'_>, bars: &mut [Bar]) -> Result<GridFound, MarketError> {
    let config = &intake.config.instrument;
    let prices = |bar: &Bar| [bar.open, bar.high, bar.low, bar.close];
    let Some(tick) = config.tick.stated() else {
        let mut finder = GridFinder::default();
        bars.iter().flat_map(prices).for_each(|price| finder.push(price));
        let found = finder.found();
        if found.exact {
            return Ok(GridFound { grid: found.grid, why: "auto: every price is a whole multiple of it".into(), notes: Vec::new() });
        }
        let largest = round(intake, bars, found.grid)?;
        let note = format!(
            "prices carry more digits than a price has (the noise of binary fractions): rounded to {}, the largest change was {largest:.3e}",
            found.grid.tick()
        );
        return Ok(GridFound { grid: found.grid, why: "auto: no exact grid, seven digits kept".into(), notes: vec![note] });
    };
    let refuse = || MarketError::Setting {
        key: "instrument.tick",
        value: tick.to_string(),
        expected: "a decimal number of at most 18 digits".into(),
    };
    let grid = Grid::of_tick(tick).ok_or_else(refuse)?;
    let mut off = bars
        .iter()
        .zip(&intake.rows)
        .flat_map(|(bar, row)| prices(bar).into_iter().enumerate().map(move |(i, price)| (row.number, i, price)))
        .filter(|(.., price)| !grid.holds(*price));
    let Some(first) = off.next() else {
        round(intake, bars, grid)?;
        return Ok(GridFound { grid, why: "stated; every price lies on it".into(), notes: Vec::new() });
    };
    let (rest, (number, field, value)) =
        off.fold((0, first), |(num, first), other| (num + 1, if other.0 < first.0 { other } else { first }));
    let num_off = rest + 1;
    let num_prices = 4 * bars.len();
    if config.off_grid == OffGrid::Error {
        let field = PRICE_NAMES[field];
        return Err(MarketError::OffGrid { path: intake.path.into(), unit: intake.unit, number, field, value, tick, num_off, num_prices });
    }
    let largest = round(intake, bars, grid)?;
    let note = format!("{num_off} of {num_prices} prices were off the grid and rounded to it; the largest change was {largest:.3e}");
    Ok(GridFound { grid, why: "stated".into(), notes: vec![note] })
}

/// Rounds every price to the grid and returns the largest change. Order is kept: rounding never swaps two prices.
fn round(intake: &Intake<'_>, bars: &mut [Bar], grid: Grid) -> Result<f64, MarketError> {
    let mut largest = 0.0_f64;
    for bar in bars {
        for price in [&mut bar.open, &mut bar.high, &mut bar.low, &mut bar.close] {
            if *price / grid.tick() > MAX_PRICE_TICKS || grid.ticks(*price) < 1 {
                return Err(MarketError::File {
                    path: intake.path.into(),
                    found: format!("the price {price} is {:e} ticks of {}", *price / grid.tick(), grid.tick()),
                    expected: format!("1 to {MAX_PRICE_TICKS:e} ticks: state instrument.tick"),
                });
            }
            let rounded = grid.price(grid.ticks(*price));
            largest = largest.max((rounded - *price).abs());
            *price = rounded;
        }
    }
    Ok(largest)
}

fn make_report(
    intake: Intake<'_>,
    series: &BarSeries,
    interval: FoundInterval,
    sorting: Sorting,
    num_other_symbols: usize,
    volume_slot: Option<usize>,
    tick: (f64, String),
    lot: (f64, String),
    notes: Vec<String>,
) -> ImportReport {
    let config = intake.config;
    let columns = intake.columns.clone();
    let bars = &series.bars;
    let gaps = resample::gaps(bars, interval.ns);
    let max_gap_ns = resample::default_max_gap_ns(interval.ns);
    let segment = |rows: std::ops::Range<usize>| SegmentSpan {
        ts_open: bars[rows.start].ts_open,
        ts_close: bars[rows.end - 1].ts_close,
        num_bars: rows.len(),
    };
    let mut used = vec![(if columns.clock.is_some() { "date" } else { "time" }, intake.field(columns.time))];
    used.extend(columns.clock.map(|clock| ("clock", intake.field(Some(clock)))));
    used.extend(PRICE_NAMES.into_iter().zip(columns.prices.map(|price| intake.field(price))));
    used.extend(volume_slot.map(|slot| ("volume", intake.field(Some(columns.volumes[slot].index)))));
    used.extend(columns.symbol.map(|symbol| ("symbol", intake.field(Some(symbol)))));
    let mut ignored = columns.ignored.clone();
    let other_volumes = columns.volumes.iter().enumerate().filter(|(slot, _)| Some(*slot) != volume_slot);
    ignored.extend(other_volumes.map(|(_, volume)| (intake.field(Some(volume.index)), "another volume")));
    let hours = SessionCount::of(&series.instrument.session, bars, interval.ns);
    let mut quarantined = intake.bad.rows.clone();
    quarantined.truncate(MAX_NAMED_ROWS);
    ImportReport {
        file: intake.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        format: intake.format.clone(),
        unit: intake.unit,
        num_rows: intake.num_rows,
        num_bars: bars.len(),
        num_other_symbols,
        newest_first: sorting.newest_first,
        span: (bars.first().map_or(0, |bar| bar.ts_open), bars.last().map_or(0, |bar| bar.ts_close)),
        interval_ns: interval.ns,
        interval_share: interval.share,
        interval_stated: config.interval.is_some(),
        label: match config.label {
            Label::Open => "open",
            Label::Close => "close",
        },
        time_zone: config.time_zone.clone(),
        time_format: intake.time_format.clone(),
        gaps,
        longest_gap_after: gaps.longest_index.checked_sub(1).map_or(0, |last| bars[last].ts_close),
        gaps_in_session: hours.as_ref().map(|hours| hours.num_gaps),
        bars_out_of_session: hours.as_ref().map(|hours| hours.num_outside),
        num_sessions: hours.as_ref().map(|hours| hours.num_sessions),
        max_gap_ns,
        segments: resample::segments(bars, interval.ns, max_gap_ns).into_iter().map(segment).collect(),
        columns: used,
        ignored,
        symbol: series.instrument.symbol.clone(),
        tick,
        lot,
        multiplier: config.instrument.multiplier,
        session: config.instrument.session.to_string(),
        num_sorted: sorting.num_sorted,
        sorted: sorting.sorted,
        num_quarantined: intake.bad.num_rows,
        quarantined,
        notes,
    }
}

/// How bars and gaps lie in trading hours.
struct SessionCount {
    num_sessions: usize,
    num_outside: usize,
    /// Gaps during which the instrument trades.
    num_gaps: usize,
}

impl SessionCount {
    fn of(session: &Session, bars: &[Bar], interval_ns: i64) -> Option<Self> {
        if *session == Session::Always {
            return None;
        }
        let mut count = Self { num_sessions: 0, num_outside: 0, num_gaps: 0 };
        // The bar before: where its session starts, and where the bar ends.
        let (mut start_tm1, mut ts_close_tm1) = (None, None);
        for bar in bars {
            let start = session.session_start(bar.ts_open);
            match start {
                None => count.num_outside += 1,
                Some(_) if start != start_tm1 => count.num_sessions += 1,
                Some(_) => {}
            }
            start_tm1 = start.or(start_tm1);
            if let Some(ts_close) = ts_close_tm1
                && bar.ts_open - ts_close >= interval_ns
                && session.next_open(ts_close).is_some_and(|open| open < bar.ts_open)
            {
                count.num_gaps += 1;
            }
            ts_close_tm1 = Some(bar.ts_close);
        }
        Some(count)
    }
}
