//! Several columns that may be the volume in, the one that counts the base asset out, with the reason.

use super::columns::{Columns, VolumeHint};

/// Relative distance up to which one volume is called price times the other.
const RATIO_TOLERANCE: f64 = 0.1;

/// What is known of the volumes of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    /// Position in [`Columns::volumes`]; none where the file has no volume.
    pub slot: Option<usize>,
    /// What to tell the user; empty where there was nothing to choose.
    pub why: String,
}

/// Chooses among the volume columns.
///
/// `rows` yields close and volumes of each row, NaN where a volume is missing. Volume in quote currency is about price times volume in
/// the base asset: that tells two columns apart whatever they are called.
pub(super) fn choose(
    columns: &Columns,
    names: &[String],
    symbol: Option<&str>,
    rows: impl Iterator<Item = (f64, [f64; super::columns::MAX_VOLUMES])>,
) -> Chosen {
    let candidates = &columns.volumes;
    let name = |slot: usize| {
        names.get(candidates[slot].index).map_or_else(|| format!("column {}", candidates[slot].index + 1), |name| name.trim().to_owned())
    };
    let mut sums = [0.0; super::columns::MAX_VOLUMES];
    let mut notional = [0.0; super::columns::MAX_VOLUMES];
    for (close, volumes) in rows {
        for slot in 0..candidates.len() {
            if volumes[slot].is_finite() {
                sums[slot] += volumes[slot];
                notional[slot] += volumes[slot] * close;
            }
        }
    }
    let used: Vec<usize> = (0..candidates.len()).filter(|&slot| sums[slot] > 0.0).collect();
    let trades: Vec<usize> = used.iter().copied().filter(|&slot| candidates[slot].hint != VolumeHint::Ticks).collect();
    let pick = |slot: usize, why: String| Chosen { slot: Some(slot), why };
    match trades[..] {
        [] => match used.first() {
            Some(&slot) => {
                pick(slot, format!("volume is {}, a count of trades or price changes: no traded volume in the file", name(slot)))
            }
            None if candidates.is_empty() => Chosen { slot: None, why: "no volume column: volume features will be 0".into() },
            None => Chosen { slot: None, why: format!("{} is 0 or empty throughout: volume features will be 0", name(0)) },
        },
        [slot] if candidates[slot].hint == VolumeHint::Quote => {
            pick(slot, format!("volume is {}, which seems to count the quote currency: there is no other", name(slot)))
        }
        [slot] => pick(slot, String::new()),
        [..] => {
            let is_quote_of = |quote: usize, base: usize| (sums[quote] / notional[base] - 1.0).abs() < RATIO_TOLERANCE;
            let pair = trades
                .iter()
                .flat_map(|&base| trades.iter().map(move |&quote| (base, quote)))
                .find(|&(base, quote)| base != quote && is_quote_of(quote, base));
            if let Some((base, quote)) = pair {
                return pick(
                    base,
                    format!(
                        "volume is {}, the base asset's: {} is about close times that, so it counts the quote currency",
                        name(base),
                        name(quote)
                    ),
                );
            }
            let symbol = symbol.unwrap_or_default().to_lowercase();
            let by_unit =
                trades.iter().copied().find(|&slot| !candidates[slot].unit.is_empty() && symbol.starts_with(&candidates[slot].unit));
            let (slot, why) = by_unit.map_or((trades[0], "the likeliest name"), |slot| (slot, "its name begins the symbol"));
            pick(slot, format!("volume is {} of {} columns ({why}); import.columns.volume names another", name(slot), trades.len()))
        }
    }
}
