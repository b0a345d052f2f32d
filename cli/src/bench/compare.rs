//! Two files of `bench --json` side by side: times of an item, their ratio, and whether the difference is more than the noise. It judges nothing: a slower row
//! is said to be slower, and the exit code stays 0.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};

/// What is read of a file.
struct Results {
    /// What the results belong to, by key; only where two files must agree to be comparable.
    machine: Vec<(&'static str, String)>,
    rows: Vec<Measured>,
}

struct Measured {
    name: String,
    /// Of one repetition.
    items: f64,
    q1_us: f64,
    median_us: f64,
    q3_us: f64,
}

/// Keys in which two files should agree: another value is another machine or another way of measuring.
const MACHINE: [&str; 4] = ["machine.cpu", "machine.num_cpus", "threads", "simd"];

/// Prints a line a row, rows that only one file has, and what differs between the machines.
///
/// # Errors
/// A file that cannot be read, or does not hold what `bench --json` writes: names the file, the key and the value.
pub fn compare(a: &Path, b: &Path) -> Result<()> {
    let read = |path: &Path| Results::read(path).with_context(|| path.display().to_string());
    print!("{}", table(&read(a)?, &read(b)?));
    Ok(())
}

fn table(a: &Results, b: &Results) -> String {
    let mut lines = Vec::new();
    for ((key, of_a), (_, of_b)) in a.machine.iter().zip(&b.machine).filter(|(a, b)| a.1 != b.1) {
        lines.push(format!("not the same machine: {key} is {of_a} in a, {of_b} in b; ratios say nothing about the program"));
    }
    lines.push(format!("{:<52} {:>12} {:>12} {:>7}  {}", "", "a, us", "b, us", "b / a", "beside the spread of the repetitions"));
    for of_a in &a.rows {
        if let Some(of_b) = b.rows.iter().find(|row| row.name == of_a.name) {
            let ratio = (of_b.median_us / of_b.items) / (of_a.median_us / of_a.items);
            let remark = remark(of_a, of_b, ratio);
            lines.push(format!("{:<52} {:>12.1} {:>12.1} {ratio:>7.3}  {remark}", of_a.name, of_a.median_us, of_b.median_us));
        }
    }
    for (of, rows, others) in [("a", &a.rows, &b.rows), ("b", &b.rows, &a.rows)] {
        for row in rows.iter().filter(|row| others.iter().all(|other| other.name != row.name)) {
            lines.push(format!("{:<52} only in {of}: {:.1} us", row.name, row.median_us));
        }
    }
    lines.join("\n") + "\n"
}

/// Interquartile ranges that overlap leave open which one is faster.
fn remark(a: &Measured, b: &Measured, ratio: f64) -> String {
    let overlap = a.q1_us / a.items <= b.q3_us / b.items && b.q1_us / b.items <= a.q3_us / a.items;
    let mut remark = match (overlap, ratio < 1.0) {
        (true, _) => "within the noise".to_owned(),
        (false, true) => "b is faster".to_owned(),
        (false, false) => "b is slower".to_owned(),
    };
    if a.items != b.items {
        remark.push_str(&format!(" (by the item: {} a repetition in a, {} in b)", a.items, b.items));
    }
    remark
}

impl Results {
    fn read(path: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(path).context("cannot read results")?)
    }

    fn parse(text: &str) -> Result<Self> {
        let whole: Value = serde_json::from_str(text).context("expected the JSON of `grandmodel bench --json`")?;
        let machine = MACHINE.into_iter().map(|key| Ok((key, plain(at(&whole, key)?)))).collect::<Result<_>>()?;
        let rows = at(&whole, "rows")?;
        let rows = rows.as_array().ok_or_else(|| anyhow!("rows was {}, expected a list", brief(rows)))?;
        let rows = rows.iter().enumerate().map(|(index, row)| Measured::of(row, &format!("rows[{index}]"))).collect::<Result<_>>()?;
        Ok(Self { machine, rows })
    }
}

impl Measured {
    fn of(row: &Value, place: &str) -> Result<Self> {
        let fields = row.as_object().ok_or_else(|| anyhow!("{place} was {}, expected a row", brief(row)))?;
        let number = |key| positive(fields, place, key);
        let found = field(fields, place, "name")?;
        let name = found.as_str().ok_or_else(|| anyhow!("{place}.name was {}, expected a text", brief(found)))?.to_owned();
        let this =
            Self { name, items: number("items")?, q1_us: number("q1_us")?, median_us: number("median_us")?, q3_us: number("q3_us")? };
        if !(this.q1_us <= this.median_us && this.median_us <= this.q3_us) {
            let Self { q1_us, median_us, q3_us, .. } = this;
            bail!("{place} had q1_us {q1_us}, median_us {median_us} and q3_us {q3_us}, expected them in this order");
        }
        Ok(this)
    }
}

fn positive(fields: &Map<String, Value>, place: &str, key: &str) -> Result<f64> {
    let found = field(fields, place, key)?;
    let value = found.as_f64().filter(|value| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| anyhow!("{place}.{key} was {}, expected a number above 0", brief(found)))
}

fn field<'a>(fields: &'a Map<String, Value>, place: &str, key: &str) -> Result<&'a Value> {
    fields.get(key).ok_or_else(|| anyhow!("{place}.{key} is missing"))
}

/// The value at a path like `machine.cpu`.
fn at<'a>(whole: &'a Value, path: &str) -> Result<&'a Value> {
    path.split('.').try_fold(whole, |value, key| value.get(key)).ok_or_else(|| anyhow!("{path} is missing"))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| brief(value), str::to_owned)
}

/// A value as an error shows it.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 40 { text.chars().take(40).chain("...".chars()).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(cpu: &str, rows: &[(&str, f64, [f64; 3])]) -> String {
        let row = |(name, items, [q1, median, q3]): &(&str, f64, [f64; 3])| serde_json::json!({ "name": name, "items": items, "q1_us": q1, "median_us": median, "q3_us": q3 });
        let machine = serde_json::json!({ "cpu": cpu, "num_cpus": 2 });
        let rows: Vec<Value> = rows.iter().map(row).collect();
        serde_json::json!({ "machine": machine, "threads": 2, "simd": "AVX2", "rows": rows }).to_string()
    }

    #[test]
    fn says_what_is_faster_and_what_is_noise() {
        let a = file("x", &[("one", 1.0, [9.0, 10.0, 11.0]), ("two", 1.0, [9.0, 10.0, 11.0]), ("gone", 1.0, [1.0, 1.0, 1.0])]);
        let b = file("x", &[("one", 2.0, [9.0, 10.0, 11.0]), ("two", 1.0, [10.5, 12.0, 13.0]), ("new", 1.0, [2.0, 2.0, 2.0])]);
        let text = table(&Results::parse(&a).expect("a is whole"), &Results::parse(&b).expect("b is whole"));
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(line("one").contains("0.500  b is faster (by the item: 1 a repetition in a, 2 in b)"), "{text}");
        assert!(line("two").contains("1.200  within the noise"), "{text}");
        assert!(line("gone").contains("only in a") && line("new").contains("only in b"), "{text}");
        assert!(!text.contains("not the same machine"), "{text}");
    }

    #[test]
    fn warns_of_another_machine() {
        let [a, b] = ["x", "y"].map(|cpu| Results::parse(&file(cpu, &[])).expect("whole"));
        assert!(table(&a, &b).starts_with("not the same machine: machine.cpu is x in a, y in b"));
    }

    #[test]
    fn bad_input_is_named() {
        let refused = |text: &str| format!("{:#}", Results::parse(text).err().expect("refused"));
        assert!(refused("{").contains("expected the JSON"));
        assert!(refused("{}").contains("machine.cpu is missing"));
        assert!(refused(&file("x", &[("one", 0.0, [1.0; 3])])).contains("rows[0].items was 0.0, expected a number above 0"));
        assert!(refused(&file("x", &[("one", 1.0, [3.0, 2.0, 1.0])])).contains("expected them in this order"));
        let text = file("x", &[("one", 1.0, [1.0; 3])]).replace("1.0", "\"fast\"");
        assert!(refused(&text).contains("\"fast\""), "{}", refused(&text));
    }
}
