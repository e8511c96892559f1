//! The date and time formats that templates use, in English as Python's C locale
//! writes them.

use time::UtcDateTime;

/// Writes `unix_s`, seconds since 1970, in a format of `strftime`'s. Directives
/// that are not known stay as they are.
pub(super) fn strftime(unix_s: i64, format: &str) -> String {
    let moment = moment(unix_s);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        // `%-d` and its like drop the padding.
        let mut rest = chars.clone();
        let (padded, directive) = match rest.next() {
            Some('-') => (false, rest.next()),
            other => (true, other),
        };
        match directive.and_then(|directive| field(moment, directive)) {
            Some(text) => {
                chars = rest;
                let kept = text.trim_start_matches(['0', ' ']);
                // Midnight's hour is written as a single zero.
                out.push_str(match (padded, kept) {
                    (true, _) => &text,
                    (false, "") => "0",
                    (false, kept) => kept,
                });
            }
            None => out.push('%'),
        }
    }
    out
}

/// The moment; one beyond the calendar's ends is moved there.
fn moment(unix_s: i64) -> UtcDateTime {
    let (min, max) = (UtcDateTime::MIN, UtcDateTime::MAX);
    let unix_s = unix_s.clamp(min.unix_timestamp(), max.unix_timestamp());
    UtcDateTime::from_unix_timestamp(unix_s).unwrap_or(max)
}

fn field(at: UtcDateTime, directive: char) -> Option<String> {
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.as_hms();
    let hour_of_12 = (hour + 11) % 12 + 1;
    let year_of_100 = year.rem_euclid(100);
    let (month_name, day_name) = (at.month().to_string(), at.weekday().to_string());
    Some(match directive {
        'Y' => year.to_string(),
        'y' => format!("{year_of_100:02}"),
        'm' => format!("{month:02}"),
        'd' => format!("{day:02}"),
        'e' => format!("{day:2}"),
        'j' => format!("{:03}", at.ordinal()),
        'B' => month_name,
        'b' | 'h' => month_name[..3].to_owned(),
        'A' => day_name,
        'a' => day_name[..3].to_owned(),
        'w' => at.weekday().number_days_from_sunday().to_string(),
        'H' => format!("{hour:02}"),
        'I' => format!("{hour_of_12:02}"),
        'M' => format!("{minute:02}"),
        'S' => format!("{second:02}"),
        'f' => "000000".to_owned(),
        'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
        'F' => format!("{year}-{month:02}-{day:02}"),
        'D' | 'x' => format!("{month:02}/{day:02}/{year_of_100:02}"),
        'T' | 'X' => format!("{hour:02}:{minute:02}:{second:02}"),
        'R' => format!("{hour:02}:{minute:02}"),
        'c' => format!(
            "{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}",
            &day_name[..3],
            &month_name[..3],
        ),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        // Python writes nothing for a time without a zone.
        'Z' | 'z' => String::new(),
        '%' => "%".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (
                0,
                "%Y-%m-%d %H:%M:%S %A %j",
                "1970-01-01 00:00:00 Thursday 001",
            ),
            (1_795_353_600, "%d %b %Y", "22 Nov 2026"),
            (951_782_400, "%F %j %a", "2000-02-29 060 Tue"),
            (1_735_603_199, "%F %T %j", "2024-12-30 23:59:59 365"),
            (-1, "%F %T", "1969-12-31 23:59:59"),
            (4_107_542_400, "%F %B", "2100-03-01 March"),
            (1_772_323_200, "%-d %B %Y, %-I %p", "1 March 2026, 12 AM"),
            (1_772_323_200, "%-H|%e|100%%|%Q|%", "0| 1|100%|%Q|%"),
        ];
        for (unix_s, format, expected) in cases {
            assert_eq!(strftime(unix_s, format), expected, "{unix_s} {format}");
        }
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for unix_s in [i64::MIN, i64::MAX] {
            assert!(!strftime(unix_s, "%F %T %A %j").is_empty());
        }
    }
}
