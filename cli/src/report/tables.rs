//! `equity.csv` and `trades.csv`: curves and round trips in, lines of text out, and back. Money is exact: micro-units in memory, decimals
//! in the file. No field needs quotes.

use std::{fmt::Write as _, io};

use anyhow::{Context, Result, bail, ensure};

use super::strategy::Strategy;

/// `equity.csv`: `path,ts,position_lots,exposure,agent,...`; one row a bar, one column a strategy (names of [`Strategy`]), times in
/// nanoseconds UTC at the close of the bar, rows of one path together and rising in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EquityTable {
    /// One entry a held-out path; a single one on real bars.
    pub paths: Vec<PathEquity>,
}

/// Equity at each close of one path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PathEquity {
    /// Index of the path.
    pub path: u32,
    /// Equity before the first bar.
    pub initial_micros: i64,
    /// Closes of the bars, rising.
    pub ts: Vec<i64>,
    /// The agent's signed position after each bar.
    pub position_lots: Vec<i64>,
    /// The agent's signed notional over equity after each bar.
    pub exposure: Vec<f64>,
    /// Equity of each strategy, the agent's among them.
    pub curves: Vec<(Strategy, Vec<i64>)>,
}

impl PathEquity {
    /// A path with the agent's columns, checked.
    ///
    /// # Errors
    /// Columns of different length, none at all, times that do not rise, an exposure that is not finite, no money at the start.
    pub fn new(path: u32, initial_micros: i64, ts: Vec<i64>, position_lots: Vec<i64>, exposure: Vec<f64>, agent: Vec<i64>) -> Result<Self> {
        let len = ts.len();
        ensure!(len > 0, "path {path} has no bars");
        ensure!(
            position_lots.len() == len && exposure.len() == len && agent.len() == len,
            "path {path} has {len} times, {} positions, {} exposures and {} equities, expected one of each a bar",
            position_lots.len(),
            exposure.len(),
            agent.len()
        );
        ensure!(initial_micros > 0, "path {path} starts with {initial_micros} micro-units, expected more than 0");
        if let Some(row) = ts.windows(2).position(|pair| pair[1] <= pair[0]) {
            bail!("path {path}: time {} does not come after {}", ts[row + 1], ts[row]);
        }
        if let Some(row) = exposure.iter().position(|value| !value.is_finite()) {
            bail!("path {path}: exposure was {} at bar {row}, expected a finite number", exposure[row]);
        }
        Ok(Self { path, initial_micros, ts, position_lots, exposure, curves: vec![(Strategy::Agent, agent)] })
    }

    /// Adds the curve of another strategy. A curve that ends early (a ruined account) keeps its last equity.
    ///
    /// # Errors
    /// A curve that is empty or longer than the path, a strategy that is already there.
    pub fn add(&mut self, strategy: Strategy, mut equity_micros: Vec<i64>) -> Result<()> {
        let name = strategy.name();
        ensure!(self.curve(strategy).is_none(), "path {} already has a curve `{name}`", self.path);
        ensure!(
            equity_micros.len() <= self.ts.len(),
            "curve `{name}` has {} bars, path {} has {}",
            equity_micros.len(),
            self.path,
            self.ts.len()
        );
        let Some(&last) = equity_micros.last() else { bail!("curve `{name}` of path {} is empty", self.path) };
        equity_micros.resize(self.ts.len(), last);
        self.curves.push((strategy, equity_micros));
        Ok(())
    }

    /// Equity of a strategy.
    pub fn curve(&self, strategy: Strategy) -> Option<&[i64]> {
        self.curves.iter().find(|(found, _)| *found == strategy).map(|(_, equity)| equity.as_slice())
    }
}

impl EquityTable {
    /// Strategies of the first path.
    pub fn strategies(&self) -> impl Iterator<Item = Strategy> {
        self.paths.first().into_iter().flat_map(|path| path.curves.iter().map(|(strategy, _)| *strategy))
    }

    /// Writes the file. The row before the first bar of a path, with time empty, holds its equity at the start.
    ///
    /// # Errors
    /// Paths with different strategies, or what the writer says.
    pub fn to_csv(&self, out: &mut dyn io::Write) -> Result<()> {
        let strategies: Vec<Strategy> = self.strategies().collect();
        let mut line = String::from("path,ts,position_lots,exposure");
        for strategy in &strategies {
            line.push(',');
            line.push_str(strategy.name());
        }
        writeln!(out, "{line}")?;
        for path in &self.paths {
            ensure!(
                path.curves.iter().map(|(strategy, _)| *strategy).eq(strategies.iter().copied()),
                "path {} does not have the strategies of the first path, in their order",
                path.path
            );
            line.clear();
            write!(line, "{},,0,0", path.path)?;
            for _ in &strategies {
                line.push(',');
                push_decimal(&mut line, path.initial_micros);
            }
            writeln!(out, "{line}")?;
            for row in 0..path.ts.len() {
                line.clear();
                write!(line, "{},{},{},{}", path.path, path.ts[row], path.position_lots[row], path.exposure[row])?;
                for (_, equity) in &path.curves {
                    line.push(',');
                    push_decimal(&mut line, equity[row]);
                }
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// The first line that does not fit, by its number.
    pub fn from_csv(text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate();
        let header = lines.next().map(|(_, line)| line).context("the file is empty")?;
        let names: Vec<&str> = header.split(',').collect();
        ensure!(
            names.len() > 4 && names[..4] == ["path", "ts", "position_lots", "exposure"],
            "line 1 was `{header}`, expected path,ts,position_lots,exposure,agent,..."
        );
        let unknown = |name: &&str| format!("line 1: column `{name}` is no strategy");
        let strategies =
            names[4..].iter().map(|name| Strategy::of_name(name).with_context(|| unknown(name))).collect::<Result<Vec<_>>>()?;
        ensure!(strategies[0] == Strategy::Agent, "line 1: the first strategy was `{}`, expected `agent`", names[4]);
        let mut paths: Vec<PathEquity> = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
            read_equity_row(&mut paths, &strategies, line).with_context(|| format!("line {}", index + 1))?;
        }
        ensure!(paths.iter().any(|path| !path.ts.is_empty()), "it has no bars");
        Ok(Self { paths })
    }
}

fn read_equity_row(paths: &mut Vec<PathEquity>, strategies: &[Strategy], line: &str) -> Result<()> {
    let fields: Vec<&str> = line.split(',').collect();
    ensure!(fields.len() == strategies.len() + 4, "it has {} fields, expected {}", fields.len(), strategies.len() + 4);
    let path: u32 = number(fields[0], "path")?;
    if fields[1].is_empty() {
        ensure!(paths.iter().all(|seen| seen.path != path), "path {path} begins a second time");
        let initial_micros = parse_decimal(fields[4]).with_context(|| format!("agent was `{}`, expected an amount", fields[4]))?;
        ensure!(initial_micros > 0, "agent started with `{}`, expected more than 0", fields[4]);
        let curves = strategies.iter().map(|strategy| (*strategy, Vec::new())).collect();
        paths.push(PathEquity { path, initial_micros, curves, ..PathEquity::default() });
        return Ok(());
    }
    let current = paths
        .last_mut()
        .filter(|current| current.path == path)
        .with_context(|| format!("path {path} has no row with its equity at the start"))?;
    let ts: i64 = number(fields[1], "ts")?;
    ensure!(current.ts.last().is_none_or(|&last| ts > last), "time {ts} does not come after the row before");
    let exposure: f64 = number(fields[3], "exposure")?;
    ensure!(exposure.is_finite(), "exposure was {exposure}, expected a finite number");
    current.ts.push(ts);
    current.position_lots.push(number(fields[2], "position_lots")?);
    current.exposure.push(exposure);
    for ((strategy, equity), field) in current.curves.iter_mut().zip(&fields[4..]) {
        equity.push(parse_decimal(field).with_context(|| format!("{} was `{field}`, expected an amount", strategy.name()))?);
    }
    Ok(())
}

/// One line of `trades.csv`: a round trip of the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct TradeRow {
    /// Path it happened on.
    pub path: u32,
    /// Long, else short.
    pub long: bool,
    /// Largest position.
    pub lots: i64,
    /// First fill.
    pub entry_ts: i64,
    /// Last fill.
    pub exit_ts: i64,
    /// Mean price of the entries.
    pub entry_price: f64,
    /// Mean price of the exits.
    pub exit_price: f64,
    /// Bars from entry to exit.
    pub bars_held: u32,
    /// All costs.
    pub cost_micros: i64,
    /// Profit after all costs.
    pub pnl_micros: i64,
    /// How it ended: `open`, `stop`, `segment_end`, ...
    pub exit: String,
}

const TRADE_HEADER: &str = "path,side,lots,entry_ts,exit_ts,entry_price,exit_price,bars_held,cost,pnl,exit";

impl TradeRow {
    /// Writes the file.
    ///
    /// # Errors
    /// What the writer says; a kind of exit that is not one word.
    pub fn to_csv(rows: &[Self], out: &mut dyn io::Write) -> Result<()> {
        writeln!(out, "{TRADE_HEADER}")?;
        let mut line = String::new();
        for row in rows {
            ensure!(row.exit.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "exit was `{}`, expected one word", row.exit);
            line.clear();
            let side = if row.long { "long" } else { "short" };
            let Self { path, lots, entry_ts, exit_ts, entry_price, exit_price, bars_held, exit, .. } = row;
            write!(line, "{path},{side},{lots},{entry_ts},{exit_ts},{entry_price},{exit_price},{bars_held},")?;
            push_decimal(&mut line, row.cost_micros);
            line.push(',');
            push_decimal(&mut line, row.pnl_micros);
            writeln!(out, "{line},{exit}")?;
        }
        Ok(())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// The first line that does not fit, by its number.
    pub fn from_csv(text: &str) -> Result<Vec<Self>> {
        let mut lines = text.lines().enumerate();
        let header = lines.next().map(|(_, line)| line).context("the file is empty")?;
        ensure!(header == TRADE_HEADER, "line 1 was `{header}`, expected {TRADE_HEADER}");
        lines
            .filter(|(_, line)| !line.is_empty())
            .map(|(index, line)| Self::read(line).with_context(|| format!("line {}", index + 1)))
            .collect()
    }

    fn read(line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [path, side, lots, entry_ts, exit_ts, entry_price, exit_price, bars_held, cost, pnl, exit] = fields[..] else {
            bail!("it has {} fields, expected 11", fields.len());
        };
        let money = |text: &str, name: &str| parse_decimal(text).with_context(|| format!("{name} was `{text}`, expected an amount"));
        Ok(Self {
            path: number(path, "path")?,
            long: match side {
                "long" => true,
                "short" => false,
                _ => bail!("side was `{side}`, expected long or short"),
            },
            lots: number(lots, "lots")?,
            entry_ts: number(entry_ts, "entry_ts")?,
            exit_ts: number(exit_ts, "exit_ts")?,
            entry_price: number(entry_price, "entry_price")?,
            exit_price: number(exit_price, "exit_price")?,
            bars_held: number(bars_held, "bars_held")?,
            cost_micros: money(cost, "cost")?,
            pnl_micros: money(pnl, "pnl")?,
            exit: exit.into(),
        })
    }
}

fn number<T: std::str::FromStr>(text: &str, name: &str) -> Result<T> {
    text.parse().ok().with_context(|| format!("{name} was `{text}`, expected a number"))
}

/// Appends micro-units as a decimal, exactly: -1500000 is `-1.5`.
pub fn push_decimal(out: &mut String, micros: i64) {
    let (whole, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    // writing to a String cannot fail
    let _ = write!(out, "{}{whole}", if micros < 0 { "-" } else { "" });
    if rest > 0 {
        let digits = format!("{rest:06}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

/// Micro-units of a decimal with at most six places; `None` for anything else.
pub fn parse_decimal(text: &str) -> Option<i64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || places.len() > 6 || !whole.bytes().chain(places.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: i128 = format!("{whole}{places:0<6}").parse().ok()?;
    i64::try_from(if negative { -digits } else { digits }).ok()
}
