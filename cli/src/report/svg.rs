//! Small parts of every chart: texts made safe, lines thinned to what pixels can show, labels pushed apart. Numbers in, markup out.

use std::fmt::Write as _;

/// Text for HTML and SVG.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// Thins a line to the first, lowest, highest and last point of each of `num_buckets` columns of pixels: what is drawn stays the same,
/// peaks included. Points rise in x; those that are not finite are left out.
pub fn decimate(points: &[(f64, f64)], num_buckets: usize) -> Vec<(f64, f64)> {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if finite.len() <= 4 * num_buckets || num_buckets == 0 {
        return finite;
    }
    let (low, high) = (finite[0].0, finite[finite.len() - 1].0);
    let width = ((high - low) / num_buckets as f64).max(f64::MIN_POSITIVE);
    let mut out = Vec::with_capacity(4 * num_buckets);
    let mut start = 0;
    while start < finite.len() {
        let bucket = ((finite[start].0 - low) / width) as usize;
        let end = start + finite[start..].partition_point(|point| ((point.0 - low) / width) as usize <= bucket);
        let column = &finite[start..end];
        let by_height = |a: &(usize, &(f64, f64)), b: &(usize, &(f64, f64))| a.1.1.total_cmp(&b.1.1);
        let lowest = column.iter().enumerate().min_by(by_height).map_or(0, |(index, _)| index);
        let highest = column.iter().enumerate().max_by(by_height).map_or(0, |(index, _)| index);
        let mut kept = [0, lowest, highest, column.len() - 1];
        kept.sort_unstable();
        for (index, at) in kept.into_iter().enumerate() {
            if index == 0 || kept[index - 1] != at {
                out.push(column[at]);
            }
        }
        start = end;
    }
    out
}

/// `points` attribute of a polyline, a tenth of a pixel exact.
pub fn points(points: &[(f64, f64)]) -> String {
    let mut out = String::with_capacity(points.len() * 12);
    for (x, y) in points {
        // writing to a String cannot fail
        let _ = write!(out, "{},{} ", tenth(*x), tenth(*y));
    }
    out.truncate(out.trim_end().len());
    out
}

/// A coordinate with one decimal, none where it is 0.
pub fn tenth(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), Into::into)
}

/// Moves positions apart until neighbours keep `gap`, as little as needed, within `[low, high]`. Order is kept; with more labels than room
/// the distance shrinks.
pub fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let len = wanted.len();
    if len == 0 {
        return Vec::new();
    }
    let gap = gap.min((high - low) / len.max(2).saturating_sub(1) as f64);
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    // blocks of touching labels, each at the mean of what its labels want: (first, last, mean of wanted - offset)
    let mut blocks: Vec<(usize, usize, f64)> = Vec::new();
    for (rank, &index) in order.iter().enumerate() {
        blocks.push((rank, rank, wanted[index].clamp(low, high)));
        while let [.., (first, last, at), (next_first, next_last, next_at)] = blocks[..] {
            let size = (last - first + 1) as f64;
            if at + size * gap <= next_at + 1e-9 {
                break;
            }
            let next_size = (next_last - next_first + 1) as f64;
            let mean = (at * size + (next_at - size * gap) * next_size) / (size + next_size);
            blocks.truncate(blocks.len() - 2);
            blocks.push((first, next_last, mean.min(high - (size + next_size - 1.0) * gap).max(low)));
        }
    }
    let mut out = vec![0.0; len];
    for (first, last, at) in blocks {
        for rank in first..=last {
            out[order[rank]] = at + (rank - first) as f64 * gap;
        }
    }
    out
}

/// JSON inside a `<script>`: no `<` can end it early.
pub fn script_json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_peaks_and_ends() {
        let line: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), if i == 4_321 { 9.0 } else { f64::from(i % 7) * 0.1 })).collect();
        let thin = decimate(&line, 100);
        assert!(thin.len() <= 400 + 4, "{}", thin.len());
        assert_eq!((thin[0], thin[thin.len() - 1]), (line[0], line[9_999]));
        assert!(thin.contains(&(4_321.0, 9.0)));
        assert!(thin.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert_eq!(decimate(&[(0.0, f64::NAN), (1.0, 2.0)], 10), [(1.0, 2.0)]);
        assert_eq!(decimate(&[(3.0, 1.0); 1000], 10).len(), 2, "no width at all");
    }

    #[test]
    fn labels_do_not_touch() {
        assert_eq!(spread(&[10.0, 50.0], 14.0, 0.0, 100.0), [10.0, 50.0], "room enough");
        // 20 and 22 want a gap of 14: mean 21, so 14 and 28
        assert_eq!(spread(&[22.0, 20.0], 14.0, 0.0, 100.0), [28.0, 14.0]);
        let crowded = spread(&[95.0, 96.0, 97.0, 98.0], 14.0, 0.0, 100.0);
        assert_eq!(crowded, [58.0, 72.0, 86.0, 100.0]);
        let too_many = spread(&[5.0; 11], 14.0, 0.0, 100.0);
        assert_eq!((too_many[0], too_many[10]), (0.0, 100.0), "{too_many:?}");
    }

    #[test]
    fn texts_are_safe() {
        assert_eq!(escape("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
        assert!(!script_json(&serde_json::json!({"n": "</script>"})).contains('<'));
        assert_eq!(points(&[(1.04, 2.0), (3.0, -0.25)]), "1,2 3,-0.2");
    }
}
