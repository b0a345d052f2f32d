//! Rows in the order of the file in, rows in the order of time out: either direction, hours that clocks show twice, strays, duplicates.

use super::{
    BadRow,
    config::UnsortedPolicy,
    intake::{Intake, Row},
    report::{self, MAX_NAMED_ROWS},
};
use crate::MarketError;

/// What was found of the order of rows.
pub(super) struct Sorting {
    /// Whether the newest row comes first.
    pub newest_first: bool,
    /// Rows that were out of order.
    pub num_sorted: usize,
    /// The first of their numbers.
    pub sorted: Vec<u64>,
}

/// Puts the rows in order of time, the oldest first, without duplicates.
///
/// # Errors
/// The first row that is bad, when the settings say to stop.
pub(super) fn put_in_order(intake: &mut Intake<'_>) -> Result<Sorting, MarketError> {
    let mut rows = std::mem::take(&mut intake.rows);
    let num_back = rows.windows(2).filter(|pair| pair[1].moment.ts < pair[0].moment.ts).count();
    let newest_first = num_back > rows.len().saturating_sub(1) / 2;
    if newest_first {
        rows.reverse();
    }
    unfold(&mut rows);
    let mut out_of_order = out_of_order(&rows);
    if intake.config.on_unsorted == UnsortedPolicy::Bad {
        for &index in &out_of_order {
            let Row { moment, number, .. } = rows[index];
            let expected = format!("a time {} that of the row before", if newest_first { "before" } else { "after" });
            intake.bad.put(number, BadRow { field: intake.field(intake.columns.time), value: report::time(moment.ts), expected })?;
        }
        let mut aside = out_of_order.drain(..).peekable();
        let mut index = 0;
        rows.retain(|_| {
            index += 1;
            aside.next_if_eq(&(index - 1)).is_none()
        });
    }
    let mut sorted: Vec<u64> = out_of_order.iter().map(|&index| rows[index].number).collect();
    sorted.sort_unstable();
    let num_sorted = sorted.len();
    sorted.truncate(MAX_NAMED_ROWS);
    // Of rows with one time, the first in the file is kept.
    rows.sort_by_key(|row| (row.moment.ts, row.number));
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match kept.last().filter(|last| last.moment.ts == row.moment.ts) {
            Some(last) => {
                let same = if last.prices == row.prices { "the same prices" } else { "other prices" };
                let expected = format!("a time that no other row has ({} {} has it, with {same})", intake.unit, last.number);
                intake
                    .bad
                    .put(row.number, BadRow { field: intake.field(intake.columns.time), value: report::time(row.moment.ts), expected })?;
            }
            None => kept.push(row),
        }
    }
    intake.rows = kept;
    Ok(Sorting { newest_first, num_sorted, sorted })
}

/// Takes the later reading of a time that clocks show twice, where the row before already has the earlier one.
fn unfold(rows: &mut [Row]) {
    let mut ts_tm1 = i64::MIN;
    for row in rows {
        let moment = &mut row.moment;
        if moment.fold_ns > 0 && moment.ts <= ts_tm1 {
            moment.ts += moment.fold_ns;
        }
        ts_tm1 = moment.ts;
    }
}

/// Indices of as few rows as possible without which times never fall: all but a longest ascending run.
fn out_of_order(rows: &[Row]) -> Vec<usize> {
    // tails[n]: index of the row with the lowest time that ends an ascending run of n + 1 rows.
    let mut tails: Vec<usize> = Vec::new();
    let mut before = vec![usize::MAX; rows.len()];
    for (index, row) in rows.iter().enumerate() {
        let len = tails.partition_point(|&tail| rows[tail].moment.ts <= row.moment.ts);
        if len > 0 {
            before[index] = tails[len - 1];
        }
        if len == tails.len() { tails.push(index) } else { tails[len] = index }
    }
    let mut in_order = vec![false; rows.len()];
    let mut at = tails.last().copied().unwrap_or(usize::MAX);
    while at != usize::MAX {
        in_order[at] = true;
        at = before[at];
    }
    (0..rows.len()).filter(|&index| !in_order[index]).collect()
}
