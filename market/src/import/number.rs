//! A number as written in, its value out; and of a value its decimal digits, which say on which price grid it lies.

/// Most digits a number may have to be placed on a grid.
const MAX_DIGITS: usize = 18;

/// `value = mantissa / 10^decimals`, exactly as its shortest decimal form says and without trailing zeros; none when that does not fit
/// 18 digits.
pub(super) fn digits(value: f64) -> Option<(i64, u32)> {
    let text = value.to_string();
    let (negative, text) = text.strip_prefix('-').map_or((false, &text[..]), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let mut mantissa = 0_i64;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        mantissa = mantissa * 10 + i64::from(byte - b'0');
    }
    Some((if negative { -mantissa } else { mantissa }, fraction.len() as u32))
}

/// A 32-bit float by its shortest decimal form: `101.15`, not `101.1500015258789`.
pub(super) fn of_f32(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// Reads a number with the given decimal mark; thousands separators, a currency sign and the suffixes K, M and B are understood.
/// NaN and infinity are numbers here: whoever takes them says what is wrong with them.
pub(super) fn parse(text: &str, mark: char) -> Option<f64> {
    let text = text.trim();
    if mark == '.'
        && let Ok(value) = text.parse::<f64>()
    {
        return Some(value);
    }
    let text = text.trim_start_matches(['$', '€', '£']);
    let (text, factor) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'B' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    Some(without_thousands(text, mark)?.parse::<f64>().ok()? * factor)
}

/// The number with `.` as its mark and without separators, which must stand three digits apart.
fn without_thousands(text: &str, mark: char) -> Option<String> {
    let separator = if mark == '.' { ',' } else { '.' };
    let (whole, fraction) = text.split_once(mark).unwrap_or((text, ""));
    let groups: Vec<&str> = whole.split([separator, ' ', '\'', '\u{a0}']).collect();
    if groups.len() > 1 && groups[1..].iter().any(|group| group.len() != 3) {
        return None;
    }
    Some(if fraction.is_empty() { groups.concat() } else { format!("{}.{fraction}", groups.concat()) })
}

/// Decimal mark of a sample of numbers: a comma where one stands alone in a number and not three digits from its end.
pub(super) fn decimal_mark<'a>(sample: impl Iterator<Item = &'a str>) -> char {
    let mut mark = '.';
    for text in sample {
        let text = text.trim();
        match (text.rfind(','), text.rfind('.')) {
            (Some(comma), None) if text.matches(',').count() == 1 && text.len() - comma - 1 != 3 => mark = ',',
            (Some(comma), Some(point)) => return if comma > point { ',' } else { '.' },
            (None, Some(_)) if text.matches('.').count() == 1 => return '.',
            _ => {}
        }
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_exact() {
        for (text, expected) in [
            ("1676.75", Some((167_675, 2))),
            ("8051", Some((8051, 0))),
            ("8051.00", Some((8051, 0))),
            ("0.00000832", Some((832, 8))),
            ("8.32e-06", Some((832, 8))),
            ("-0.5", Some((-5, 1))),
            ("198.52853393554688", Some((19_852_853_393_554_688, 14))),
            ("1e300", None),
            ("NaN", None),
        ] {
            assert_eq!(digits(parse(text, '.').unwrap()), expected, "{text}");
        }
        assert_eq!(of_f32(101.15), 101.15);
    }

    #[test]
    fn the_ways_people_write_numbers() {
        assert_eq!(parse("$1,234.50", '.'), Some(1234.5));
        assert_eq!(parse("61.25K", '.'), Some(61_250.0));
        assert_eq!(parse("1.234,5", ','), Some(1234.5));
        assert_eq!(parse("1,05236", ','), Some(1.05236));
        assert!(parse("NaN", '.').unwrap().is_nan());
        for bad in ["", "null", "-", "1,23", "12:30", "1.2.3", "é", "€", "B", "1,é23"] {
            assert_eq!(parse(bad, '.'), None, "{bad:?}");
        }
    }

    #[test]
    fn the_mark_is_found() {
        assert_eq!(decimal_mark(["1,05236"].into_iter()), ',');
        assert_eq!(decimal_mark(["1.05236"].into_iter()), '.');
        assert_eq!(decimal_mark(["1,234", "1,234.5"].into_iter()), '.');
        assert_eq!(decimal_mark(["1.234,5"].into_iter()), ',');
        assert_eq!(decimal_mark(["12", ""].into_iter()), '.');
    }
}
