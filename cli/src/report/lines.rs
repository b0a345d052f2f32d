//! Line charts: series in, one `<figure>` out, with direct labels, a thin grid and values under the pointer. Long series are thinned.

use std::fmt::Write as _;

use super::{
    scale::{self, Unit},
    svg::{decimate, escape, points, script_json, spread, tenth},
};

/// Points of a line under the pointer.
const MAX_HOVER_POINTS: usize = 200;
/// Width of a chart that takes the whole page, and the room for its labels.
pub const WIDE: f64 = 1040.0;
const WIDE_MARGIN: f64 = 176.0;
/// Height of a line of label text.
const LABEL_GAP: f64 = 15.0;

/// Points rising in x.
pub type Line = Vec<(f64, f64)>;

/// What runs along the bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Along {
    /// Nanoseconds UTC.
    Time,
    /// Numbers with their unit.
    Number(Unit),
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The one to look at.
    Strong,
    /// Beside it.
    Normal,
    /// One of many.
    Faint,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Class of the page's palette: `agent`, `optimum`, ...
    pub color: &'static str,
    /// Written at its end; empty for none.
    pub label: String,
    /// Rising in x.
    pub points: Line,
    /// Weight.
    pub look: Look,
    /// Fills the area down (or up) to this height.
    pub fill_to: Option<f64>,
    /// Dots at the points, for lines of few points.
    pub dots: bool,
}

impl Series {
    /// A plain line.
    pub fn new(color: &'static str, label: impl Into<String>, points: Line, look: Look) -> Self {
        Self { color, label: label.into(), points, look, fill_to: None, dots: false }
    }
}

/// A horizontal line with a text: a threshold.
#[derive(Clone, Debug)]
pub struct Level {
    /// Height.
    pub value: f64,
    /// Text at its right end.
    pub label: String,
    /// Class of the page's palette.
    pub color: &'static str,
}

/// A chart of lines over one another.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// Width and height in units of the drawing.
    pub size: (f64, f64),
    /// For readers who cannot see it.
    pub description: String,
    /// Along the bottom.
    pub along: Along,
    /// Title of the bottom axis; empty for none.
    pub along_title: &'static str,
    /// Unit of heights.
    pub unit: Unit,
    /// Logarithmic heights.
    pub log: bool,
    /// Heights that must be in the picture.
    pub include: Vec<f64>,
    /// Lines, drawn in order: the last is on top.
    pub series: Vec<Series>,
    /// Thresholds.
    pub levels: Vec<Level>,
    /// Lower and upper edge of an area behind the lines.
    pub band: Option<(Line, Line)>,
    /// Values at the right ends.
    pub end_values: bool,
}

impl LineChart {
    /// An empty chart.
    pub fn new(size: (f64, f64), description: impl Into<String>, along: Along, unit: Unit) -> Self {
        Self {
            size,
            description: description.into(),
            along,
            along_title: "",
            unit,
            log: false,
            include: Vec::new(),
            series: Vec::new(),
            levels: Vec::new(),
            band: None,
            end_values: true,
        }
    }

    /// The figure; a sentence where there is nothing to draw.
    pub fn figure(&self) -> String {
        let Some(frame) = Frame::of(self) else { return r#"<p class="none">No values to draw.</p>"#.into() };
        let (width, height) = self.size;
        let wide = if width >= WIDE { " wide" } else { "" };
        let mut out = format!(
            r#"<figure class="chart{wide}"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
            escape(&self.description)
        );
        let step = self.draw_axes(&frame, &mut out);
        self.draw_band(&frame, &mut out);
        for level in &self.levels {
            let y = tenth(frame.y(level.value));
            let _ = write!(
                out,
                r#"<line class="level s-{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/>"#,
                level.color,
                tenth(frame.left),
                tenth(frame.right),
            );
        }
        for series in &self.series {
            draw_series(series, &frame, &mut out);
        }
        self.draw_labels(&frame, step, &mut out);
        out.push_str(r#"<line class="cross" y1="0" y2="0" x1="0" x2="0"/></svg>"#);
        let _ = write!(out, r#"<script type="application/json">{}</script></figure>"#, self.hover(&frame, step));
        out
    }

    /// Grid, ticks and axis titles; returns the step between heights, which says how exact numbers are written.
    fn draw_axes(&self, frame: &Frame, out: &mut String) -> f64 {
        let max_ticks = ((frame.bottom - frame.top) / 38.0).clamp(3.0, 9.0) as usize;
        let (low, high) = frame.heights;
        let (ticks, step) =
            if self.log { (scale::log_ticks(low, high, max_ticks), 1.0) } else { scale::linear_ticks(low, high, max_ticks) };
        for tick in ticks {
            let y = tenth(frame.y(tick));
            let class = if tick == 0.0 && !self.log { "zero" } else { "grid" };
            let text = self.unit.write(tick, if self.log { scale::last_digit(tick) } else { step });
            let (left, right) = (tenth(frame.left), tenth(frame.right));
            let text_x = tenth(frame.left - 8.0);
            let _ = write!(
                out,
                r#"<line class="{class}" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/><text class="tick end" x="{text_x}" y="{y}" dy="4">{text}</text>"#
            );
        }
        for (x, text) in self.along_ticks(frame) {
            let (x, bottom) = (tenth(x), frame.bottom);
            let _ = write!(
                out,
                r#"<line class="mark" x1="{x}" x2="{x}" y1="{}" y2="{}"/><text class="tick mid" x="{x}" y="{}">{}</text>"#,
                tenth(bottom),
                tenth(bottom + 4.0),
                tenth(bottom + 17.0),
                escape(&text)
            );
        }
        if !self.along_title.is_empty() {
            let (x, y) = (tenth((frame.left + frame.right) / 2.0), tenth(self.size.1 - 3.0));
            let _ = write!(out, r#"<text class="axis mid" x="{x}" y="{y}">{}</text>"#, escape(self.along_title));
        }
        step
    }

    fn along_ticks(&self, frame: &Frame) -> Vec<(f64, String)> {
        let room = if self.along == Along::Time { 95.0 } else { 58.0 };
        let max_ticks = ((frame.right - frame.left) / room).clamp(2.0, 10.0) as usize;
        let (low, high) = frame.along;
        match self.along {
            Along::Time => {
                scale::time_ticks(low as i64, high as i64, max_ticks).into_iter().map(|(ts, text)| (frame.x(ts as f64), text)).collect()
            }
            Along::Number(unit) => {
                let (ticks, step) = scale::linear_ticks(low, high, max_ticks);
                ticks.into_iter().map(|tick| (frame.x(tick), unit.write(tick, step))).collect()
            }
        }
    }

    fn draw_band(&self, frame: &Frame, out: &mut String) {
        let Some((low, high)) = &self.band else { return };
        let mut edge = frame.thin(low, 300);
        let mut upper = frame.thin(high, 300);
        upper.reverse();
        edge.append(&mut upper);
        let _ = write!(out, r#"<polygon class="band" points="{}"/>"#, points(&edge));
    }

    /// Names at the right ends of lines and thresholds, pushed apart.
    fn draw_labels(&self, frame: &Frame, step: f64, out: &mut String) {
        // (colour, strong, text, end of the line)
        let mut labels: Vec<(&str, bool, String, (f64, f64))> = Vec::new();
        for series in self.series.iter().filter(|series| !series.label.is_empty()) {
            let Some((x, value)) = series.points.iter().rfind(|(_, y)| y.is_finite()) else { continue };
            let text =
                if self.end_values { format!("{} {}", series.label, self.unit.write(*value, step / 100.0)) } else { series.label.clone() };
            labels.push((series.color, series.look == Look::Strong, text, (frame.x(*x), frame.y(*value))));
        }
        labels.extend(self.levels.iter().map(|level| (level.color, false, level.label.clone(), (frame.right, frame.y(level.value)))));
        let wanted: Vec<f64> = labels.iter().map(|label| label.3.1).collect();
        let placed = spread(&wanted, LABEL_GAP, frame.top + 4.0, frame.bottom - 2.0);
        for ((color, strong, text, (x, wanted)), y) in labels.into_iter().zip(placed) {
            let _ = write!(
                out,
                r#"<polyline class="lead s-{color}" points="{},{} {},{} {},{y}"/><text class="label f-{color}{}" x="{}" y="{y}" dy="4">{}</text>"#,
                tenth(x + 2.0),
                tenth(wanted),
                tenth(frame.right + 6.0),
                tenth(wanted),
                tenth(frame.right + 12.0),
                if strong { " strong" } else { "" },
                tenth(frame.right + 15.0),
                escape(&text),
                y = tenth(y),
            );
        }
    }

    /// Values under the pointer, read by the page's script.
    fn hover(&self, frame: &Frame, step: f64) -> String {
        let named: Vec<&Series> = self.series.iter().filter(|series| !series.label.is_empty() && !series.points.is_empty()).collect();
        let Some(longest) = named.iter().max_by_key(|series| series.points.len()) else { return "{}".into() };
        let len = longest.points.len();
        let num = len.min(MAX_HOVER_POINTS);
        let picked: Vec<f64> = (0..num).map(|i| longest.points[if num < 2 { 0 } else { i * (len - 1) / (num - 1) }].0).collect();
        let at = |x: f64| match self.along {
            Along::Time => scale::moment(x as i64),
            Along::Number(unit) => format!(
                "{}{}",
                if self.along_title.is_empty() { String::new() } else { format!("{} ", self.along_title) },
                unit.write(x, 1.0)
            ),
        };
        let rows: Vec<_> = named
            .iter()
            .rev()
            .map(|series| {
                let value = |x: &f64| {
                    let index = series.points.partition_point(|point| point.0 <= *x).saturating_sub(1);
                    self.unit.write(series.points[index].1, step / 100.0)
                };
                serde_json::json!({ "n": series.label, "c": series.color, "v": picked.iter().map(value).collect::<Vec<_>>() })
            })
            .collect();
        script_json(&serde_json::json!({
            "top": frame.top, "bottom": frame.bottom,
            "x": picked.iter().map(|x| (frame.x(*x) * 10.0).round() / 10.0).collect::<Vec<_>>(),
            "at": picked.iter().map(|x| at(*x)).collect::<Vec<_>>(),
            "rows": rows,
        }))
    }
}

fn draw_series(series: &Series, frame: &Frame, out: &mut String) {
    let line = frame.thin(&series.points, if series.look == Look::Faint { 160 } else { 500 });
    let (Some(first), Some(last)) = (line.first(), line.last()) else { return };
    let color = series.color;
    if let Some(base) = series.fill_to {
        let y = frame.y(base);
        let _ = write!(
            out,
            r#"<polygon class="area f-{color}" points="{} {},{} {},{}"/>"#,
            points(&line),
            tenth(last.0),
            tenth(y),
            tenth(first.0),
            tenth(y)
        );
    }
    let look = match series.look {
        Look::Strong => "strong",
        Look::Normal => "normal",
        Look::Faint => "faint",
    };
    let _ = write!(out, r#"<polyline class="line {look} s-{color}" points="{}"/>"#, points(&line));
    if series.dots {
        for (x, y) in &line {
            let _ = write!(out, r#"<circle class="f-{color}" cx="{}" cy="{}" r="2.6"/>"#, tenth(*x), tenth(*y));
        }
    }
}

/// Where the plot lies in the drawing, and what its edges stand for.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    along: (f64, f64),
    heights: (f64, f64),
    log: bool,
}

impl Frame {
    fn of(chart: &LineChart) -> Option<Self> {
        let bands = chart.band.iter().flat_map(|(low, high)| low.iter().chain(high));
        let all = || chart.series.iter().flat_map(|series| series.points.iter());
        let (mut x_low, mut x_high) = bounds(all().map(|point| point.0))?;
        let levels = chart.levels.iter().map(|level| level.value);
        let (mut low, mut high) = bounds(all().chain(bands).map(|point| point.1).chain(levels).chain(chart.include.iter().copied()))?;
        if x_low == x_high {
            (x_low, x_high) = (x_low - 0.5, x_high + 0.5);
        }
        if low == high {
            let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
            (low, high) = (low - half, high + half);
        }
        if chart.log {
            (low, high) = (low * 0.97, high * 1.03);
        } else {
            // a bound that must be in the picture and is its edge (often 0) gets no room beyond it
            let pad = (high - low) * 0.05;
            low -= if chart.include.contains(&low) { 0.0 } else { pad };
            high += if chart.include.contains(&high) { 0.0 } else { pad };
        }
        let (width, height) = chart.size;
        let characters = |series: &Series| series.label.chars().count() + if chart.end_values { 9 } else { 0 };
        let labels = chart.series.iter().filter(|series| !series.label.is_empty()).map(characters);
        let longest = labels.chain(chart.levels.iter().map(|level| level.label.chars().count())).max();
        let margin = longest.map_or(14.0, |longest| 22.0 + 6.9 * longest as f64);
        // charts below one another begin and end at the same place
        let right = width - if width >= WIDE { margin.max(WIDE_MARGIN) } else { margin };
        let bottom = height - if chart.along_title.is_empty() { 26.0 } else { 42.0 };
        Some(Self { left: 62.0, right, top: 10.0, bottom, along: (x_low, x_high), heights: (low, high), log: chart.log })
    }

    fn x(&self, value: f64) -> f64 {
        self.left + (value - self.along.0) / (self.along.1 - self.along.0) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.heights;
        let share = if self.log { (value / low).ln() / (high / low).ln() } else { (value - low) / (high - low) };
        self.bottom - share * (self.bottom - self.top)
    }

    fn thin(&self, line: &[(f64, f64)], num_buckets: usize) -> Vec<(f64, f64)> {
        let drawn: Vec<(f64, f64)> = line.iter().map(|(x, y)| (self.x(*x), self.y(*y))).collect();
        decimate(&drawn, num_buckets)
    }
}

/// Lowest and highest of the finite values.
pub fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |found, value| match found {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}
