//! Names of columns in, what each column is out. By the settings first, then by the names that vendors use.

use super::config::{ColumnChoice, ColumnRef};

/// Which column is what; indices count from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// Date and time, or the date alone.
    pub time: Option<usize>,
    /// Time of day, where it has its own column.
    pub clock: Option<usize>,
    /// Open, high, low, close.
    pub prices: [Option<usize>; 4],
    /// Columns that may be the volume, at most [`MAX_VOLUMES`].
    pub volumes: Vec<VolumeColumn>,
    /// Name of the instrument.
    pub symbol: Option<usize>,
    /// Columns that are not used, and why.
    pub ignored: Vec<(String, &'static str)>,
}

/// A column that may be the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VolumeColumn {
    /// Which column.
    pub index: usize,
    /// What its name says it counts.
    pub hint: VolumeHint,
    /// The unit in its name: `btc` of `volume_btc`.
    pub unit: String,
}

/// What the name of a volume column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VolumeHint {
    /// Named by the settings.
    Stated,
    /// The base asset.
    Base,
    /// Nothing.
    Plain,
    /// The quote currency.
    Quote,
    /// Trades or price changes.
    Ticks,
}

/// Most columns that are considered for the volume.
pub(super) const MAX_VOLUMES: usize = 3;
/// Names of the four prices, in the order of [`Columns::prices`].
pub(super) const PRICE_NAMES: [&str; 4] = ["open", "high", "low", "close"];

const TIME_NAMES: [&str; 26] = [
    "timestamp",
    "datetime",
    "date_time",
    "unix",
    "unix_timestamp",
    "unix_time",
    "unixtime",
    "epoch",
    "open_time",
    "opentime",
    "time_open",
    "timeopen",
    "ts",
    "ts_open",
    "ts_event",
    "timestamp_utc",
    "datetime_utc",
    "time_utc",
    "utc_time",
    "utc",
    "gmt_time",
    "local_time",
    "time_period_start",
    "start_time",
    "start",
    "bar_time",
];
const DATE_NAMES: [&str; 7] = ["date", "day", "dtyyyymmdd", "trade_date", "trading_date", "trading_day", "date_utc"];
const CLOCK_NAMES: [&str; 4] = ["time", "tm", "clock", "time_of_day"];
/// An index that was written without a name.
const INDEX_NAMES: [&str; 4] = ["", "index", "unnamed_0", "index_level_0"];
const SYMBOL_NAMES: [&str; 6] = ["symbol", "ticker", "pair", "instrument", "sym", "tic"];
const BASE_NAMES: [&str; 5] = ["volume_base", "base_volume", "base_asset_volume", "vol_base", "volume_from"];
const QUOTE_NAMES: [&str; 8] =
    ["quote_volume", "volume_quote", "quote_asset_volume", "quote_av", "turnover", "vol_quote", "volumeto", "dollar_volume"];
const PLAIN_NAMES: [&str; 7] = ["volume", "vol", "v", "volumefrom", "qty", "quantity", "size"];
const TICK_NAMES: [&str; 5] = ["tick_volume", "tickvol", "tickvolume", "tick_vol", "ticks"];

/// What a price may be called, best first.
fn price_names(price: usize) -> &'static [&'static str] {
    match price {
        0 => &["open", "o", "open_price", "opening_price", "price_open", "px_open", "first"],
        1 => &["high", "h", "high_price", "price_high", "px_high", "max"],
        2 => &["low", "l", "low_price", "price_low", "px_low", "min"],
        _ => &[
            "close",
            "c",
            "close_price",
            "closing_price",
            "price_close",
            "px_close",
            "px_last",
            "last",
            "last_price",
            "close_last",
            "price",
        ],
    }
}

impl Columns {
    /// Says of every column what it is.
    pub fn find(names: &[String], choice: &ColumnChoice) -> Self {
        let plain: Vec<String> = names.iter().map(|name| normalise(name)).collect();
        let stated = |choice: &Option<ColumnRef>| choice.as_ref().and_then(|choice| locate(choice, names, &plain));
        let by_name = |names: &[&str]| names.iter().find_map(|name| plain.iter().position(|plain| plain == name));
        let prices = [&choice.open, &choice.high, &choice.low, &choice.close];
        // A column named by the settings and not there stays missing: that is an error, not a reason to look elsewhere.
        let price =
            |(price, choice): (usize, &Option<ColumnRef>)| if choice.is_some() { stated(choice) } else { by_name(price_names(price)) };
        let prices = [0, 1, 2, 3].map(|index| price((index, prices[index])));
        let mut columns = Self { prices, ..Self::default() };
        (columns.time, columns.clock) = match choice {
            ColumnChoice { date: Some(_), .. } => (stated(&choice.date), stated(&choice.clock)),
            ColumnChoice { time: Some(_), .. } => (stated(&choice.time), None),
            _ => match (by_name(&TIME_NAMES), by_name(&DATE_NAMES), by_name(&CLOCK_NAMES)) {
                (Some(time), ..) => (Some(time), None),
                (None, Some(date), clock) => (Some(date), clock),
                (None, None, Some(time)) => (Some(time), None),
                _ => (by_name(&INDEX_NAMES), None),
            },
        };
        columns.symbol = stated(&choice.symbol).or_else(|| by_name(&SYMBOL_NAMES));
        columns.find_volumes(&plain, stated(&choice.volume), choice.volume.is_some());
        columns.ignored = columns.unused(names, &plain);
        columns
    }

    fn find_volumes(&mut self, plain: &[String], stated: Option<usize>, is_stated: bool) {
        if is_stated {
            self.volumes = stated.map(|index| VolumeColumn { index, hint: VolumeHint::Stated, unit: String::new() }).into_iter().collect();
            return;
        }
        self.volumes = plain
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.uses(*index))
            .filter_map(|(index, name)| volume_hint(name).map(|(hint, unit)| VolumeColumn { index, hint, unit }))
            .collect();
        self.volumes.sort_by_key(|column| column.hint as u8);
        self.volumes.truncate(MAX_VOLUMES);
    }

    fn uses(&self, index: usize) -> bool {
        let index = Some(index);
        [self.time, self.clock, self.symbol].contains(&index) || self.prices.contains(&index)
    }

    fn unused(&self, names: &[String], plain: &[String]) -> Vec<(String, &'static str)> {
        (0..names.len())
            .filter(|&index| !self.uses(index) && self.volumes.iter().all(|volume| volume.index != index))
            .map(|index| {
                let name = if names[index].trim().is_empty() { format!("column {}", index + 1) } else { names[index].trim().to_owned() };
                let why = if plain[index].contains("adj") {
                    "adjusted prices are not used: they change the past whenever a dividend is paid"
                } else {
                    "not needed"
                };
                (name, why)
            })
            .collect()
    }

    /// How many of time, open, high, low, close were found.
    pub fn num_found(&self) -> usize {
        self.prices.iter().chain([&self.time]).filter(|column| column.is_some()).count()
    }

    /// Name of what is needed and was not found.
    pub fn missing(&self) -> Option<&'static str> {
        let price = self.prices.iter().position(Option::is_none).map(|price| PRICE_NAMES[price]);
        if self.time.is_none() { Some("time") } else { price }
    }

    /// Columns that hold something needed.
    pub fn needed(&self) -> Vec<usize> {
        let mut needed: Vec<usize> = self.prices.iter().chain([&self.time, &self.clock, &self.symbol]).flatten().copied().collect();
        needed.extend(self.volumes.iter().map(|volume| volume.index));
        needed
    }
}

/// Index of a column that the settings name.
fn locate(choice: &ColumnRef, names: &[String], plain: &[String]) -> Option<usize> {
    match choice {
        // A file without names has as many columns as its rows say.
        ColumnRef::Number(number) => Some(number - 1).filter(|&index| names.is_empty() || index < names.len()),
        ColumnRef::Name(name) => names
            .iter()
            .position(|other| other.trim() == name.trim())
            .or_else(|| plain.iter().position(|other| *other == normalise(name) && !other.is_empty())),
    }
}

/// Whether a name is one for a time, for tables that name it on a line of its own.
pub(super) fn is_time_name(name: &str) -> bool {
    let name = normalise(name);
    TIME_NAMES.iter().chain(&DATE_NAMES).chain(&CLOCK_NAMES).any(|other| *other == name)
}

/// Lower case, one `_` for whatever is no letter or digit, no numbering like `1. open`.
fn normalise(name: &str) -> String {
    let lower = name.trim_start_matches('\u{feff}').to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let numbered = words.len() > 1 && words[0].bytes().all(|byte| byte.is_ascii_digit());
    words[usize::from(numbered)..].join("_")
}

/// What a name says of a volume; the unit is what remains of it.
fn volume_hint(name: &str) -> Option<(VolumeHint, String)> {
    let is = |names: &[&str]| names.contains(&name);
    if is(&TICK_NAMES) {
        return Some((VolumeHint::Ticks, String::new()));
    }
    if is(&BASE_NAMES) {
        return Some((VolumeHint::Base, String::new()));
    }
    if is(&QUOTE_NAMES) {
        return Some((VolumeHint::Quote, String::new()));
    }
    if is(&PLAIN_NAMES) {
        return Some((VolumeHint::Plain, String::new()));
    }
    // `volume_btc`, `btc_volume`, but not `taker_buy_volume`: that is a part of it.
    let words: Vec<&str> = name.split('_').collect();
    let is_part =
        words.iter().any(|word| matches!(*word, "taker" | "maker" | "buy" | "sell" | "ask" | "bid" | "num" | "number" | "avg" | "adj"));
    match words[..] {
        ["volume" | "vol", unit] | [unit, "volume" | "vol"] if !is_part => Some((VolumeHint::Plain, unit.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(names: &str) -> Columns {
        Columns::find(&names.split(',').map(str::to_owned).collect::<Vec<_>>(), &ColumnChoice::default())
    }

    #[test]
    fn vendors_names_are_known() {
        for (names, time, clock, prices) in [
            ("Date,Open,High,Low,Close,Adj Close,Volume", 0, None, [1, 2, 3, 4]),
            ("date,symbol,open,high,low,close,volume_btc,volume", 0, None, [2, 3, 4, 5]),
            ("<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>,<SPREAD>", 0, Some(1), [2, 3, 4, 5]),
            ("unix,date,symbol,o,h,l,c", 0, None, [3, 4, 5, 6]),
            ("Open Time,Open,High,Low,Close,Volume,Close Time", 0, None, [1, 2, 3, 4]),
            ("timestamp,1. open,2. high,3. low,4. close,5. volume", 0, None, [1, 2, 3, 4]),
            (",Close,High,Low,Open", 0, None, [4, 2, 3, 1]),
            ("Date,Close/Last,Volume,Open,High,Low", 0, None, [3, 4, 5, 1]),
        ] {
            let columns = find(names);
            assert_eq!((columns.time, columns.clock, columns.prices), (Some(time), clock, prices.map(Some)), "{names}");
            assert_eq!(columns.missing(), None);
        }
        assert_eq!(find("date,open,high,low").missing(), Some("close"));
        assert_eq!(find("open,high,low,close").missing(), Some("time"));
    }

    #[test]
    fn volumes_are_told_apart_by_name() {
        let hints = |names| find(names).volumes.into_iter().map(|volume| (volume.index, volume.hint, volume.unit)).collect::<Vec<_>>();
        assert_eq!(hints("date,Volume BTC,Volume"), [(1, VolumeHint::Plain, "btc".into()), (2, VolumeHint::Plain, String::new())]);
        assert_eq!(
            hints("quote_asset_volume,volume,taker_buy_volume"),
            [(1, VolumeHint::Plain, String::new()), (0, VolumeHint::Quote, String::new())]
        );
        assert_eq!(find("Date,Open,High,Low,Close,Adj Close,Volume").ignored[0].0, "Adj Close");
    }

    #[test]
    fn settings_come_first_and_are_not_second_guessed() {
        let names: Vec<String> = ["date", "open", "high", "low", "close", "mid"].map(str::to_owned).into();
        let choice = ColumnChoice { close: Some(ColumnRef::Name("MID".into())), open: Some(ColumnRef::Number(2)), ..Default::default() };
        assert_eq!(Columns::find(&names, &choice).prices, [Some(1), Some(2), Some(3), Some(5)]);
        let choice = ColumnChoice { close: Some(ColumnRef::Name("last".into())), ..Default::default() };
        assert_eq!(Columns::find(&names, &choice).missing(), Some("close"));
    }
}
