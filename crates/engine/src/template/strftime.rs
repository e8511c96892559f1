//! The date and time formats that templates use, in English as Python's C locale
//! writes them.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const SECONDS_PER_DAY: i64 = 86_400;

/// Writes `unix_s`, seconds since 1970, in a format of `strftime`'s. Directives
/// that are not known stay as they are.
pub(super) fn strftime(unix_s: i64, format: &str) -> String {
    let moment = Moment::new(unix_s);
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
        match directive.and_then(|directive| moment.field(directive)) {
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

struct Moment {
    year: i64,
    /// 1 to 12.
    month: usize,
    /// 1 to 31.
    day: i64,
    /// 1 to 366.
    day_of_year: i64,
    /// Sunday is 0.
    weekday: usize,
    second_of_day: i64,
}

impl Moment {
    /// # Source
    /// Howard Hinnant, “chrono-Compatible Low-Level Date Algorithms”, `civil_from_days`.
    fn new(unix_s: i64) -> Self {
        let days = unix_s.div_euclid(SECONDS_PER_DAY);
        // Day 0 is the 1st of March of the year 0, so that leap days end a year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before_march = 59 + i64::from(is_leap);
        let day_of_year = match month {
            1 | 2 => from_march - 306,
            _ => from_march + before_march,
        } + 1;
        Self {
            year,
            month: month as usize,
            day,
            day_of_year,
            // The 1st of January 1970 was a Thursday.
            weekday: (days + 4).rem_euclid(7) as usize,
            second_of_day: unix_s.rem_euclid(SECONDS_PER_DAY),
        }
    }

    fn field(&self, directive: char) -> Option<String> {
        let (hour, minute) = (self.second_of_day / 3600, self.second_of_day / 60 % 60);
        let second = self.second_of_day % 60;
        let hour_of_12 = (hour + 11) % 12 + 1;
        let (month_name, day_name) = (MONTHS[self.month - 1], DAYS[self.weekday]);
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name[..3].to_owned(),
            'A' => day_name.to_owned(),
            'a' => day_name[..3].to_owned(),
            'w' => self.weekday.to_string(),
            'H' => format!("{hour:02}"),
            'I' => format!("{hour_of_12:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'f' => "000000".to_owned(),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'D' | 'x' => format!(
                "{:02}/{:02}/{:02}",
                self.month,
                self.day,
                self.year.rem_euclid(100)
            ),
            'T' | 'X' => format!("{hour:02}:{minute:02}:{second:02}"),
            'R' => format!("{hour:02}:{minute:02}"),
            'c' => format!(
                "{} {} {:2} {hour:02}:{minute:02}:{second:02} {}",
                &day_name[..3],
                &month_name[..3],
                self.day,
                self.year
            ),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            // Python writes nothing for a time without a zone.
            'Z' | 'z' => String::new(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
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
