//! Candles with the fills in them: a window of bars in, one `<figure>` out. Candles are grey (hollow rises, filled falls), so that colour is
//! left for what the agent did: shaded where it was long or short, triangles where it traded, dashes where its stop rested.

use std::fmt::Write as _;

use super::{
    lines::bounds,
    scale,
    svg::{escape, script_json, tenth},
    window::{CandleWindow, FillMark},
};

const SIZE: (f64, f64) = (1040.0, 400.0);

/// What stands below the bars.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Dates and times.
    Calendar,
    /// Numbers of bars since the open of the first, where dates mean nothing.
    Bars {
        /// Open of the first bar.
        first_open: i64,
        /// Length of a bar.
        interval_ns: i64,
    },
}

impl Clock {
    fn moment(self, ts: i64) -> String {
        match self {
            Self::Calendar => scale::moment(ts),
            Self::Bars { .. } => format!("bar {}", scale::plain(self.number(ts), 1.0)),
        }
    }

    fn number(self, ts: i64) -> f64 {
        match self {
            Self::Calendar => ts as f64,
            Self::Bars { first_open, interval_ns } => ts.saturating_sub(first_open) as f64 / interval_ns.max(1) as f64,
        }
    }

    fn ticks(self, first: i64, last: i64) -> Vec<(i64, String)> {
        match self {
            Self::Calendar => scale::time_ticks(first, last, 9),
            Self::Bars { first_open, interval_ns } => {
                let (ticks, step) = scale::linear_ticks(self.number(first), self.number(last), 9);
                let ts = |tick: f64| first_open.saturating_add((tick * interval_ns as f64) as i64);
                ticks.into_iter().map(|tick| (ts(tick), scale::plain(tick, step.max(1.0)))).collect()
            }
        }
    }
}

/// All windows with buttons to choose one; the last is shown first.
pub fn figures(windows: &[CandleWindow], clock: Clock) -> String {
    let drawn: Vec<(&CandleWindow, String)> = windows.iter().filter_map(|window| Some((window, figure(window, clock)?))).collect();
    let names = names(&drawn, clock);
    let mut out = String::new();
    if drawn.len() > 1 {
        out.push_str(r#"<div class="tabs" role="group" aria-label="Window of the test part">"#);
        for (index, name) in names.iter().enumerate() {
            let pressed = index + 1 == drawn.len();
            let _ = write!(out, r#"<button type="button" data-tab="{index}" aria-pressed="{pressed}">{}</button>"#, escape(name));
        }
        out.push_str("</div>");
    }
    for (index, (_, figure)) in drawn.iter().enumerate() {
        let hidden = if index + 1 == drawn.len() { "" } else { " hidden" };
        let _ = write!(out, r#"<div class="pane" data-pane="{index}"{hidden}>{figure}</div>"#);
    }
    out
}

/// Where each window begins: the date alone where that tells them apart.
fn names(drawn: &[(&CandleWindow, String)], clock: Clock) -> Vec<String> {
    let moments = drawn.iter().map(|(window, _)| window.bars.first().map_or_else(String::new, |bar| clock.moment(bar.ts_open)));
    let full: Vec<String> = moments.collect();
    let dates: Vec<String> = match clock {
        Clock::Calendar => full.iter().map(|moment| moment.chars().take(10).collect()).collect(),
        Clock::Bars { .. } => return full,
    };
    if dates.windows(2).all(|pair| pair[0] != pair[1]) { dates } else { full }
}

fn figure(window: &CandleWindow, clock: Clock) -> Option<String> {
    let plot = Plot::of(window, clock)?;
    let mut out = format!(
        r#"<figure class="chart wide candles"><svg viewBox="0 0 {} {}" role="img" aria-label="{} bars with {} fills">"#,
        SIZE.0,
        SIZE.1,
        window.bars.len(),
        window.fills.len()
    );
    plot.draw_positions(window, &mut out);
    plot.draw_axes(window, &mut out);
    plot.draw_bars(window, &mut out);
    plot.draw_stops(window, &mut out);
    plot.draw_fills(window, &mut out);
    let _ = write!(
        out,
        r#"<line class="cross" y1="0" y2="0" x1="0" x2="0"/></svg><script type="application/json">{}</script></figure>"#,
        plot.hover(window)
    );
    Some(out)
}

struct Plot {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    low: f64,
    high: f64,
    pitch: f64,
    step: f64,
    clock: Clock,
}

impl Plot {
    fn of(window: &CandleWindow, clock: Clock) -> Option<Self> {
        if window.bars.is_empty() {
            return None;
        }
        let prices = window.bars.iter().flat_map(|bar| [bar.low, bar.high, bar.open, bar.close]);
        let (low, high) = bounds(prices.chain(window.fills.iter().map(|fill| fill.price)))?;
        let pad = ((high - low) * 0.07).max(low.abs() * 1e-6 + f64::MIN_POSITIVE);
        let (low, high) = (low - pad, high + pad);
        let (left, right) = (12.0, SIZE.0 - 76.0);
        let pitch = (right - left) / window.bars.len() as f64;
        Some(Self { left, right, top: 12.0, bottom: SIZE.1 - 30.0, low, high, pitch, step: scale::nice_step(low, high, 8), clock })
    }

    fn x(&self, index: usize) -> f64 {
        self.left + (index as f64 + 0.5) * self.pitch
    }

    fn y(&self, price: f64) -> f64 {
        self.bottom - (price - self.low) / (self.high - self.low) * (self.bottom - self.top)
    }

    /// Bar of a moment: the last that had opened.
    fn index_of(window: &CandleWindow, ts: i64) -> usize {
        window.bars.partition_point(|bar| bar.ts_open <= ts).saturating_sub(1)
    }

    /// Shades where the agent was long or short: from fill to fill.
    fn draw_positions(&self, window: &CandleWindow, out: &mut String) {
        let fills: Vec<(usize, &FillMark)> = window.fills.iter().map(|fill| (Self::index_of(window, fill.ts_open), fill)).collect();
        let Some((_, first)) = fills.first() else { return };
        let signed = if first.buy { first.lots } else { first.lots.saturating_neg() };
        let mut spans = vec![(0, first.position_after.saturating_sub(signed))];
        spans.extend(fills.iter().map(|(index, fill)| (*index, fill.position_after)));
        for (number, &(from, position)) in spans.iter().enumerate().filter(|(_, (_, position))| *position != 0) {
            let until = spans.get(number + 1).map_or(self.right, |next| self.x(next.0));
            let start = if number == 0 { self.left } else { self.x(from) };
            let class = if position > 0 { "long" } else { "short" };
            let _ = write!(
                out,
                r#"<rect class="held {class}" x="{}" y="{}" width="{}" height="{}"/>"#,
                tenth(start),
                tenth(self.top),
                tenth((until - start).max(0.0)),
                tenth(self.bottom - self.top)
            );
        }
    }

    fn draw_axes(&self, window: &CandleWindow, out: &mut String) {
        let (left, right) = (tenth(self.left), tenth(self.right));
        for tick in scale::linear_ticks(self.low, self.high, 8).0 {
            let (y, text) = (tenth(self.y(tick)), scale::plain(tick, self.step));
            let text_x = tenth(self.right + 8.0);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/><text class="tick" x="{text_x}" y="{y}" dy="4">{text}</text>"#
            );
        }
        let (first, last) = (window.bars[0].ts_open, window.bars[window.bars.len() - 1].ts_open);
        let mut free_from = self.left;
        for (ts, text) in self.clock.ticks(first, last) {
            // bars stand at equal distances, so a night or a weekend between two of them takes no room
            let index = window.bars.partition_point(|bar| bar.ts_open < ts).min(window.bars.len() - 1);
            let x = self.x(index);
            let half = text.chars().count() as f64 * 3.3 + 4.0;
            if x - half < free_from || x + half > self.right + 40.0 {
                continue;
            }
            free_from = x + half;
            let (x, bottom) = (tenth(x), self.bottom);
            let _ = write!(
                out,
                r#"<line class="mark" x1="{x}" x2="{x}" y1="{}" y2="{}"/><text class="tick mid" x="{x}" y="{}">{}</text>"#,
                tenth(bottom),
                tenth(bottom + 4.0),
                tenth(bottom + 18.0),
                escape(&text)
            );
        }
    }

    /// Two paths for all bars: a hundred times smaller than an element a bar.
    fn draw_bars(&self, window: &CandleWindow, out: &mut String) {
        let (mut wicks, mut rises, mut falls) = (String::new(), String::new(), String::new());
        let half = (self.pitch * 0.32).max(0.4);
        for (index, bar) in window.bars.iter().enumerate() {
            let x = self.x(index);
            let (top, bottom) = (self.y(bar.open.max(bar.close)), self.y(bar.open.min(bar.close)));
            let body = (bottom - top).max(0.8);
            let _ = write!(
                wicks,
                "M{0} {1}V{2}M{0} {3}V{4}",
                tenth(x),
                tenth(self.y(bar.high)),
                tenth(top),
                tenth(bottom),
                tenth(self.y(bar.low))
            );
            let target = if bar.close >= bar.open { &mut rises } else { &mut falls };
            let _ = write!(target, "M{} {}h{}v{}h{}z", tenth(x - half), tenth(top), tenth(2.0 * half), tenth(body), tenth(-2.0 * half));
        }
        let _ = write!(out, r#"<path class="wick" d="{wicks}"/><path class="rise" d="{rises}"/><path class="fall" d="{falls}"/>"#);
    }

    fn draw_stops(&self, window: &CandleWindow, out: &mut String) {
        for stop in window.stops.iter().filter(|stop| (self.low..=self.high).contains(&stop.price)) {
            let from = self.x(Self::index_of(window, stop.from_ts)) - self.pitch / 2.0;
            let to = self.x(Self::index_of(window, stop.to_ts)) + self.pitch / 2.0;
            let y = tenth(self.y(stop.price));
            let _ = write!(out, r#"<line class="stop" x1="{}" x2="{}" y1="{y}" y2="{y}"/>"#, tenth(from), tenth(to));
        }
    }

    fn draw_fills(&self, window: &CandleWindow, out: &mut String) {
        for fill in &window.fills {
            let index = Self::index_of(window, fill.ts_open);
            let (x, bar) = (self.x(index), &window.bars[index]);
            let title = fill_text(fill, self.step);
            let price_y = tenth(self.y(fill.price));
            let (class, tip, base) = if fill.buy { ("buy", self.y(bar.low) + 5.0, 11.0) } else { ("sell", self.y(bar.high) - 5.0, -11.0) };
            let _ = write!(
                out,
                r#"<g class="{class}"><path class="tickmark" d="M{} {price_y}h{}"/>"#,
                tenth(x - self.pitch.max(4.0) * 0.6),
                tenth(self.pitch.max(4.0) * 1.2)
            );
            if fill.kind == "stop" || fill.kind == "liquidation" {
                let y = tip + base / 2.0;
                let _ = write!(out, r#"<path class="cross-mark" d="M{} {}l8 8m0 -8l-8 8"/>"#, tenth(x - 4.0), tenth(y - 4.0));
            } else {
                let _ = write!(out, r#"<path class="triangle" d="M{} {}l-6 {base}h12z"/>"#, tenth(x), tenth(tip));
            }
            let _ = write!(out, "<title>{}</title></g>", escape(&title));
        }
    }

    fn hover(&self, window: &CandleWindow) -> String {
        let write = |price: f64| scale::plain(price, self.step / 10.0);
        let column = |value: fn(&super::window::CandleBar) -> f64| window.bars.iter().map(|bar| write(value(bar))).collect::<Vec<_>>();
        let mut done: Vec<String> = vec![String::new(); window.bars.len()];
        for fill in &window.fills {
            let text = &mut done[Self::index_of(window, fill.ts_open)];
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(&fill_text(fill, self.step));
        }
        script_json(&serde_json::json!({
            "top": self.top, "bottom": self.bottom,
            "x": (0..window.bars.len()).map(|index| (self.x(index) * 10.0).round() / 10.0).collect::<Vec<_>>(),
            "at": window.bars.iter().map(|bar| self.clock.moment(bar.ts_open)).collect::<Vec<_>>(),
            "rows": [
                { "n": "Open", "c": "ink", "v": column(|bar| bar.open) },
                { "n": "High", "c": "ink", "v": column(|bar| bar.high) },
                { "n": "Low", "c": "ink", "v": column(|bar| bar.low) },
                { "n": "Close", "c": "ink", "v": column(|bar| bar.close) },
                { "n": "Fill", "c": "agent", "v": done },
            ],
        }))
    }
}

fn fill_text(fill: &FillMark, step: f64) -> String {
    let verb = if fill.buy { "buy" } else { "sell" };
    let kind = if fill.kind == "open" { String::new() } else { format!(" ({})", fill.kind.replace('_', " ")) };
    let position = scale::plain(fill.position_after as f64, 1.0);
    format!("{verb} {} at {}{kind}, then {position}", scale::plain(fill.lots as f64, 1.0), scale::plain(fill.price, step / 10.0))
}
