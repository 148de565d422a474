//! Numbers as people read them: a few digits, with a unit. `--json` has the exact ones.

/// Decimal prefixes, each a thousand times the one before. 2^64 is 18.4 E.
const PREFIXES: [char; 6] = ['k', 'M', 'G', 'T', 'P', 'E'];

/// A count: exact up to 9 999, then three digits and a decimal prefix: `1.23M`. At most 5 characters.
pub fn count(value: u64) -> String {
    if value < 10_000 {
        return value.to_string();
    }
    let mut unit = 1_000_u64;
    for prefix in PREFIXES {
        // What rounds up to 1 000 belongs to the next prefix.
        if let Some(text) = three_digits(value, unit) {
            return format!("{text}{prefix}");
        }
        unit = unit.saturating_mul(1_000);
    }
    value.to_string()
}

/// `value / unit` in three digits, if it rounds to less than 1 000.
fn three_digits(value: u64, unit: u64) -> Option<String> {
    for (decimals, scale) in [(2_usize, 100_u128), (1, 10), (0, 1)] {
        let scaled = (u128::from(value) * scale + u128::from(unit) / 2) / u128::from(unit);
        if scaled < 1_000 {
            let (whole, part) = (scaled / scale, scaled % scale);
            return Some(if decimals == 0 {
                whole.to_string()
            } else {
                format!("{whole}.{part:0decimals$}")
            });
        }
    }
    None
}

/// A count that may not be there.
pub fn fraction(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if !value.is_finite() => "-".to_owned(),
        Some(value) if value < 99.95 => format!("{value:.1}"),
        Some(value) => count(value.round() as u64),
    }
}

/// A share from 0 to 1, as per cent.
pub fn percent(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if ratio.is_finite() => format!("{:.1}%", ratio.clamp(0.0, 1.0) * 100.0),
        _ => "-".to_owned(),
    }
}

/// A span of time in two units at most: `0.25s`, `12.3s`, `4m05s`, `3h20m`, `5d04h`. At most 6 characters up to
/// 27 years.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "-".to_owned();
    }
    if value < 9.995 {
        return format!("{value:.2}s");
    }
    if value < 59.95 {
        return format!("{value:.1}s");
    }
    let whole = value.round() as u64;
    match whole {
        0..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_while_they_fit_and_then_three_digits() {
        let cases = [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (12_345, "12.3k"),
            (99_949, "99.9k"),
            (99_950, "100k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (1_234_567, "1.23M"),
            (999_999_999, "1.00G"),
            (1_000_000_000_000_000, "1.00P"),
            (u64::MAX, "18.4E"),
        ];
        for (value, text) in cases {
            assert_eq!(count(value), text, "{value}");
        }
    }

    #[test]
    fn a_count_is_within_half_a_last_digit_and_five_characters() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let value = random.u64(..) >> random.u32(0..64);
            let text = count(value);
            assert!(text.len() <= 5, "{value}: {text}");
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let scale = match text.chars().last() {
                Some(last) => PREFIXES.iter().position(|&p| p == last).map_or(0, |index| index + 1),
                None => 0,
            };
            let shown = digits.parse::<f64>().expect("digits") * 1000_f64.powi(scale as i32);
            assert!((shown - value as f64).abs() <= value as f64 * 0.00501, "{value}: {text}");
        }
    }

    #[test]
    fn times_and_shares_read_well() {
        let cases = [
            (0.0, "0.00s"),
            (9.994, "9.99s"),
            (9.996, "10.0s"),
            (59.94, "59.9s"),
            (59.96, "1m00s"),
            (3_599.7, "1h00m"),
            (12_000.0, "3h20m"),
            (86_399.9, "1d00h"),
            (446_400.0, "5d04h"),
            (f64::NAN, "-"),
            (-1.0, "-"),
        ];
        for (value, text) in cases {
            assert_eq!(seconds(value), text, "{value}");
        }
        assert_eq!([percent(Some(0.1234)), percent(Some(1.0)), percent(None)], ["12.3%", "100.0%", "-"]);
        assert_eq!([fraction(Some(1.04)), fraction(Some(1234.5)), fraction(None)], ["1.0", "1235", "-"]);
    }
}
