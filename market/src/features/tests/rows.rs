//! Every column of a whole table against its slow reference.

use super::{sample, slow};
use crate::{
    Bar, FeatureTable,
    features::{FeatureConfig, Readiness, Scaling},
    import::BarSeries,
    table::NO_STRUCTURE_ROW,
};

fn close(found: f32, expected: f64, what: &str, row: usize) {
    assert!((f64::from(found) - expected).abs() <= 2e-6, "{what} at row {row}: {found}, expected {expected}");
}

fn structure_bars(table: &FeatureTable) -> Vec<Bar> {
    (0..table.structure_len()).map(|row| table.structure_bar(row)).collect()
}

fn both() -> (BarSeries, FeatureTable, FeatureTable) {
    let series = sample(1, 3_600);
    let volatility = FeatureTable::build(&series, &FeatureConfig::default()).unwrap();
    let fixed = FeatureTable::build(&series, &FeatureConfig { scaling: Scaling::Fixed, ..FeatureConfig::default() }).unwrap();
    (series, volatility, fixed)
}

#[test]
fn tactical_rows_are_the_formulas() {
    let (series, table, fixed) = both();
    let bars = &series.bars;
    let ratios = slow::volume_ratio(bars);
    let mut seen = [false; 5];
    for t in 0..bars.len() {
        let row = &table.tactical()[t * 7..t * 7 + 7];
        let Some((atr, ratio)) = slow::atr(bars, t, 0.25).zip(ratios[t]) else {
            assert!(row.iter().all(|value| value.is_nan()), "row {t} should be absent");
            continue;
        };
        let gaps = slow::fvg(bars, table.segment(), t, atr);
        for (index, expected) in gaps.into_iter().enumerate() {
            close(row[index], expected, "gap column", t);
            seen[index] |= expected != 0.0;
        }
        close(row[5], ((bars[t].close - bars[t - 5].close) / (5_f64.sqrt() * atr)).tanh(), "momentum", t);
        close(row[6], ratio, "volume ratio", t);
        assert!((table.atr()[t] - atr).abs() < 1e-9);
        let row = &fixed.tactical()[t * 7..t * 7 + 7];
        assert_eq!(row[0], f32::from(u8::from(gaps[0] > 0.0)));
        close(row[5], (100.0 * (bars[t].close / bars[t - 5].close - 1.0) / 5.0).clamp(-1.0, 1.0), "fixed momentum", t);
    }
    assert_eq!(seen, [true; 5], "the sample should show every gap column at work");
}

#[test]
fn structure_rows_are_the_formulas() {
    let (_, table, fixed) = both();
    let bars = structure_bars(&table);
    let votes = slow::mlmi(&bars, table.structure_segment());
    let (mut votes_seen, mut nodes_seen) = (0, 0);
    for t in 0..bars.len() {
        let row = &table.structure()[t * 8..t * 8 + 8];
        match votes[t] {
            None => assert!(row[0].is_nan() && row[1].is_nan(), "vote at row {t} should be absent"),
            Some((value, signal)) => {
                close(row[0], value, "mlmi_value", t);
                close(row[1], signal, "mlmi_signal", t);
                votes_seen += 1;
            }
        }
        let hour = (bars[t].ts_close % 86_400_000_000_000) as f64 / 3.6e12;
        close(row[6], (std::f64::consts::TAU * hour / 24.0).sin(), "hour_sin", t);
        close(row[7], (std::f64::consts::TAU * hour / 24.0).cos(), "hour_cos", t);
        let Some((atr, level)) = slow::atr(&bars, t, 0.25).zip(slow::nwrqk(&bars, t)) else {
            assert!(row[2].is_nan() && row[3].is_nan());
            continue;
        };
        close(row[2], ((level - bars[t].close) / (2.0 * atr)).tanh(), "nwrqk_value", t);
        match slow::nwrqk(&bars, t - 1) {
            None => assert!(row[3].is_nan()),
            Some(before) => close(row[3], (4.0 * (level - before) / atr).tanh(), "nwrqk_slope", t),
        }
        let node = slow::nearest_node(&bars, t, 0.25, bars[t].close);
        nodes_seen += usize::from(node.is_some());
        let strength = node.map_or(50.0, |node| node.1);
        close(row[4], node.map_or(0.0, |(price, _)| (-(bars[t].close - price).abs() / (2.0 * atr)).exp()), "lvn_distance", t);
        close(row[5], ((strength - 50.0) / 50.0).clamp(0.0, 1.0), "lvn_strength", t);
        let row = &fixed.structure()[t * 8..t * 8 + 8];
        close(row[2], (100.0 * (level - bars[t].close) / bars[t].close).clamp(-5.0, 5.0) / 5.0, "fixed nwrqk_value", t);
        close(
            row[4],
            node.map_or(0.0, |(price, _)| (-100.0 * (bars[t].close - price).abs() / bars[t].close).exp()),
            "fixed lvn_distance",
            t,
        );
        close(row[5], node.map_or(0.0, |(_, strength)| strength / 100.0), "fixed lvn_strength", t);
    }
    assert!(votes_seen > 200 && nodes_seen > 100, "{votes_seen} votes, {nodes_seen} nodes");
}

#[test]
fn regime_rows_are_the_formulas() {
    let (_, table, _) = both();
    let bars = structure_bars(&table);
    for t in 0..bars.len() {
        let row = &table.regime()[t * 8..t * 8 + 8];
        if t < 96 {
            assert!(row[0].is_nan(), "row {t} should be absent");
            continue;
        }
        for (index, expected) in slow::regime(&bars, t).into_iter().enumerate() {
            close(row[index], expected, "regime column", t);
        }
        if t < 248 {
            assert!(row[7].is_nan());
        } else if t % 11 == 0 {
            let squared = slow::mmd(&bars, t, 48, 200).unwrap();
            let found = f64::from(1.0 - row[7]).clamp(0.0, 1.999_999) / 2.0;
            assert!(
                (found.atanh() / 2.5 - squared.max(0.0).sqrt()).abs() < 1e-4,
                "MMD at row {t}: stability {}, squared {squared}",
                row[7]
            );
        }
    }
}

#[test]
fn lvn_context_is_the_formula_seen_from_the_base_close() {
    let (series, table, _) = both();
    let bars = structure_bars(&table);
    let mut absent_nodes = 0;
    for t in (0..series.bars.len()).step_by(3) {
        let (row, s) = (table.lvn_row(t), table.structure_row()[t]);
        if s == NO_STRUCTURE_ROW || s < 49 {
            assert!(row[0].is_nan());
            continue;
        }
        let (price, atr) = (series.bars[t].close, table.structure_atr()[s as usize]);
        let Some((level, strength)) = slow::nearest_node(&bars, s as usize, 0.25, price) else {
            assert_eq!(row, [0.0, 1.0, 0.0, 0.0, 0.0]);
            absent_nodes += 1;
            continue;
        };
        let s = ((strength - 50.0) / 50.0).clamp(0.0, 1.0);
        let d = ((price - level).abs() / (4.0 * atr)).min(1.0);
        let expected = [s, d, ((price - level) / (2.0 * atr)).tanh(), f64::from(u8::from(price > level)), s * (1.0 - d)];
        for (found, expected) in row.iter().zip(expected) {
            close(*found, expected, "lvn context", t);
        }
    }
    assert!(absent_nodes > 0, "the sample should have rows without a node");
}

#[test]
fn structure_bars_join_as_of_the_close() {
    let (series, table, _) = both();
    for (t, bar) in series.bars.iter().enumerate() {
        assert_eq!(table.bar(t), *bar);
        let closed = (0..table.structure_len()).filter(|s| table.structure_bar(*s).ts_close <= bar.ts_close).count();
        let expected = closed.checked_sub(1).map_or(NO_STRUCTURE_ROW, |row| row as u32);
        assert_eq!(table.structure_row()[t], expected, "row {t}");
    }
    for s in 0..table.structure_len() {
        let bar = table.structure_bar(s);
        assert_eq!((bar.ts_close - bar.ts_open, bar.ts_close % 1_800_000_000_000), (1_800_000_000_000, 0));
    }
}

#[test]
fn readiness_follows_the_windows() {
    let (_, table, _) = both();
    for t in 0..table.len() {
        let tactical = t >= 59 && table.tactical()[(t - 59) * 7..(t + 1) * 7].iter().all(|value| value.is_finite());
        let s = table.structure_row()[t];
        let structure = s != NO_STRUCTURE_ROW && s >= 47 && {
            let s = s as usize;
            let window = &table.structure()[(s - 47) * 8..(s + 1) * 8];
            window.iter().chain(table.regime_row(s)).chain(table.lvn_row(t)).all(|value| value.is_finite())
        };
        assert_eq!(table.is_ready(t), tactical && structure, "row {t}: {:?}", table.readiness(t));
    }
    let reasons = table.reasons(0..table.len());
    assert!(reasons.ready() > 1_500, "{reasons}");
    assert_eq!(Readiness::ALL.iter().map(|reason| reasons.of(*reason)).sum::<usize>(), table.len());
    // The MMD needs 249 structure bars, the vote eight labels 47 rows earlier still.
    let first = (0..table.len()).find(|row| table.is_ready(*row)).unwrap();
    assert!((248..400).contains(&table.structure_row()[first]), "{}", table.structure_row()[first]);
}
