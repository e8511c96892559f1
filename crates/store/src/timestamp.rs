//! Timestamps as text: UTC, the proleptic Gregorian calendar, years 0 to 9999.

use time::{Date, Month, Time, UtcDateTime};

/// The last millisecond of the year 9999.
const MAX_MS: i64 = 253_402_300_799_999;
/// The first millisecond of the year 0.
const MIN_MS: i64 = -62_167_219_200_000;

/// Whether a moment is one of the years that can be written as text.
pub(crate) fn is_moment(at_ms: i64) -> bool {
    (MIN_MS..=MAX_MS).contains(&at_ms)
}

/// A moment, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

impl Civil {
    /// Takes a moment apart; one outside of the years 0 to 9999 is moved to their
    /// edge.
    pub(crate) fn from_ms(at_ms: i64) -> Self {
        let unix_s = at_ms.clamp(MIN_MS, MAX_MS).div_euclid(1000);
        // The calendar reaches further than the edges.
        let moment = UtcDateTime::from_unix_timestamp(unix_s).unwrap_or(UtcDateTime::UNIX_EPOCH);
        Civil {
            year: moment.year().into(),
            month: u8::from(moment.month()).into(),
            day: moment.day().into(),
            hour: moment.hour().into(),
            minute: moment.minute().into(),
            second: moment.second().into(),
        }
    }

    /// The moment, if there is one: the 30th of February is none.
    pub(crate) fn to_ms(self) -> Option<i64> {
        let small = |n: i64| u8::try_from(n).ok();
        let month = Month::try_from(small(self.month)?).ok()?;
        let year = i32::try_from(self.year).ok()?;
        let date = Date::from_calendar_date(year, month, small(self.day)?).ok()?;
        let time = Time::from_hms(small(self.hour)?, small(self.minute)?, small(self.second)?);
        let at_ms = UtcDateTime::new(date, time.ok()?).unix_timestamp() * 1000;
        (MIN_MS..=MAX_MS).contains(&at_ms).then_some(at_ms)
    }

    /// `2026-11-22`.
    pub(crate) fn date(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `20261122-133037`.
    pub(crate) fn compact(self) -> String {
        format!(
            "{:04}{:02}{:02}-{:02}{:02}{:02}",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

/// `2026-11-22T13:30:37Z`; fractions of a second are dropped.
pub fn format_timestamp(at_ms: i64) -> String {
    let civil = Civil::from_ms(at_ms);
    format!(
        "{}T{:02}:{:02}:{:02}Z",
        civil.date(),
        civil.hour,
        civil.minute,
        civil.second
    )
}

/// Reads `2026-11-22T13:30:37Z`, also with a blank for the `T`, with fractions of a
/// second, and with an offset or none for the `Z` (none is UTC).
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    };
    let separator = |at: usize, allowed: &[u8]| {
        text.as_bytes()
            .get(at)
            .is_some_and(|byte| allowed.contains(byte))
    };
    let separated = separator(4, b"-")
        && separator(7, b"-")
        && separator(10, b"Tt ")
        && separator(13, b":")
        && separator(16, b":");
    if !separated {
        return None;
    }
    let at_ms = Civil {
        year: number(0, 4)?,
        month: number(5, 7)?,
        day: number(8, 10)?,
        hour: number(11, 13)?,
        minute: number(14, 16)?,
        second: number(17, 19)?,
    }
    .to_ms()?;

    let mut rest = text.get(19..)?;
    let mut fraction_ms = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let n_digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&n_digits) {
            return None;
        }
        fraction_ms = format!("{:0<3}", &after[..n_digits])[..3].parse().ok()?;
        rest = &after[n_digits..];
    }
    let offset_ms = match rest.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (rest.get(1..3)?, rest.get(4..6)?);
            let offset = (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60_000;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(at_ms + fraction_ms - offset_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn every_day_of_the_calendar_round_trips() {
        let mut at_ms = MIN_MS;
        while at_ms < MAX_MS {
            assert_eq!(Civil::from_ms(at_ms).to_ms(), Some(at_ms));
            at_ms += DAY_MS * 13;
        }
        assert_eq!(format_timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_timestamp(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(format_timestamp(i64::MIN), "0000-01-01T00:00:00Z");
        assert_eq!(
            parse_timestamp("2024-02-29T23:59:59Z").map(format_timestamp),
            Some("2024-02-29T23:59:59Z".to_owned())
        );
    }

    #[test]
    fn timestamps_are_read_in_the_forms_that_python_writes() {
        let noon = parse_timestamp("2026-11-22T12:00:00Z");
        assert!(noon.is_some());
        for text in [
            "2026-11-22 12:00:00",
            "2026-11-22T12:00:00+00:00",
            "2026-11-22T13:30:00+01:30",
            " 2026-11-22T10:00:00-02:00 ",
        ] {
            assert_eq!(parse_timestamp(text), noon, "{text}");
        }
        assert_eq!(
            parse_timestamp("2026-11-22T12:00:00.25Z"),
            noon.map(|ms| ms + 250)
        );
        for text in [
            "",
            "yesterday",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T12:00:00+1:30",
            "2026-11-22T12:00:00.Z",
            "+026-11-22T12:00:00Z",
            "2026-11-22T12:00:0éZ",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
