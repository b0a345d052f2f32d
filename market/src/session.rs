//! When an instrument trades: around the clock, or exchange hours in a time zone with its daylight saving.
//!
//! Knows weekdays and the time zone's rules, no holidays and no early closes: on those days the file simply has no bars.

use serde::Deserialize as _;

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

use crate::MarketError;

/// Trading hours of an instrument.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Session {
    /// Around the clock, every day.
    #[default]
    Always,
    /// Exchange hours.
    Hours(Hours),
}

/// Hours that repeat on given weekdays, in local time.
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    config: HoursConfig,
    time_zone: TimeZone,
    open: Time,
    close: Time,
    /// Monday first: whether a session opens on that day.
    opens_on: [bool; 7],
}

/// Hours as written in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoursConfig {
    /// IANA name, such as `America/New_York`.
    pub time_zone: String,
    /// Local time at which a session opens, `HH:MM`.
    pub open: String,
    /// Local time at which it ends; at or before `open`: on the next day.
    pub close: String,
    /// Days on which a session opens, such as `["mon", "tue"]`; absent: Monday to Friday.
    #[serde(default = "weekdays")]
    pub days: Vec<String>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Days that are searched for the next session: every weekday occurs in eight, and one more for the session of the day before.
const SEARCH_DAYS: i64 = 9;

fn weekdays() -> Vec<String> {
    DAYS[..5].iter().map(|day| (*day).into()).collect()
}

impl Session {
    /// Whether it trades at `ts`.
    pub fn is_open(&self, ts: i64) -> bool {
        match self {
            Self::Always => true,
            Self::Hours(hours) => hours.current(ts).is_some(),
        }
    }

    /// End of the session that holds `ts`; none when closed, or when it never ends.
    pub fn session_end(&self, ts: i64) -> Option<i64> {
        match self {
            Self::Always => None,
            Self::Hours(hours) => hours.current(ts).map(|(_, end)| end),
        }
    }

    /// Start of the session that holds `ts`; none when closed, or when it never began.
    pub fn session_start(&self, ts: i64) -> Option<i64> {
        match self {
            Self::Always => None,
            Self::Hours(hours) => hours.current(ts).map(|(start, _)| start),
        }
    }

    /// First instant at or after `ts` at which it trades.
    pub fn next_open(&self, ts: i64) -> Option<i64> {
        match self {
            Self::Always => Some(ts),
            Self::Hours(hours) => hours.next_open(ts),
        }
    }
}

impl std::fmt::Display for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Always => f.write_str("24x7"),
            Self::Hours(Hours { config, .. }) => {
                write!(f, "{}-{} {} from {}", config.open, config.close, config.time_zone, config.days.join(", "))
            }
        }
    }
}

impl Hours {
    /// Hours from their configuration.
    ///
    /// # Errors
    /// [`MarketError::Setting`] for an unknown time zone, time or day.
    pub fn new(config: HoursConfig) -> Result<Self, MarketError> {
        let refuse = |key, value: &str, expected: &str| MarketError::Setting { key, value: value.into(), expected: expected.into() };
        let time_zone = TimeZone::get(&config.time_zone)
            .map_err(|_| refuse("instrument.session.time_zone", &config.time_zone, "an IANA time zone, such as America/New_York"))?;
        let time = |key, text: &str| text.parse::<Time>().map_err(|_| refuse(key, text, "a local time such as 09:30"));
        let (open, close) = (time("instrument.session.open", &config.open)?, time("instrument.session.close", &config.close)?);
        let mut opens_on = [false; 7];
        for day in &config.days {
            let index = DAYS.iter().position(|name| day.eq_ignore_ascii_case(name));
            opens_on[index.ok_or_else(|| refuse("instrument.session.days", day, "mon, tue, wed, thu, fri, sat or sun"))?] = true;
        }
        if !opens_on.contains(&true) {
            return Err(refuse("instrument.session.days", "[]", "at least one day on which a session opens"));
        }
        Ok(Self { config, time_zone, open, close, opens_on })
    }

    /// The session that holds `ts`: that of its own local date, or of the date before when it crosses midnight.
    fn current(&self, ts: i64) -> Option<(i64, i64)> {
        let date = self.local_date(ts);
        [Some(date), date.yesterday().ok()]
            .into_iter()
            .flatten()
            .filter_map(|date| self.on(date))
            .find(|&(start, end)| start <= ts && ts < end)
    }

    fn next_open(&self, ts: i64) -> Option<i64> {
        let first = self.local_date(ts).yesterday().ok()?;
        (0..SEARCH_DAYS)
            .filter_map(|offset| self.on(first.checked_add(offset.days()).ok()?))
            .find(|&(_, end)| ts < end)
            .map(|(start, _)| start.max(ts))
    }

    fn local_date(&self, ts: i64) -> Date {
        self.time_zone.to_datetime(Timestamp::from_nanosecond(ts.into()).unwrap_or_default()).date()
    }

    /// Start and end of the session that opens on a local date; a time that daylight saving skips is taken an hour later.
    fn on(&self, date: Date) -> Option<(i64, i64)> {
        let weekday: Weekday = date.weekday();
        if !self.opens_on[usize::from(weekday.to_monday_zero_offset().unsigned_abs())] {
            return None;
        }
        let end_date = if self.close > self.open { date } else { date.tomorrow().ok()? };
        let ts = |date: Date, time| i64::try_from(self.time_zone.to_timestamp(date.to_datetime(time)).ok()?.as_nanosecond()).ok();
        Some((ts(date, self.open)?, ts(end_date, self.close)?))
    }
}

impl serde::Serialize for Session {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Always => serializer.serialize_str("24x7"),
            Self::Hours(hours) => hours.config.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Session {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = Session;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("\"24x7\" or a table with time_zone, open, close and days")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Session, E> {
                if text == "24x7" { Ok(Session::Always) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Session, A::Error> {
                let config = HoursConfig::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Hours::new(config).map(Session::Hours).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> i64 {
        i64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
    }

    fn session(json: &str) -> Session {
        serde_json::from_str(json).unwrap()
    }

    fn globex() -> Session {
        session(r#"{"time_zone": "America/New_York", "open": "18:00", "close": "17:00", "days": ["sun", "mon", "tue", "wed", "thu"]}"#)
    }

    #[test]
    fn a_session_crosses_midnight_and_follows_daylight_saving() {
        let es = globex();
        // Sunday 2013-10-06 18:00 EDT = 22:00 UTC; in December 18:00 EST = 23:00 UTC.
        for (at, open) in [
            ("2013-10-06T21:59:59Z", false),
            ("2013-10-06T22:00:00Z", true),
            ("2013-10-07T20:59:59Z", true),
            ("2013-10-07T21:00:00Z", false),
            ("2013-10-07T22:00:00Z", true),
            ("2013-10-11T20:59:00Z", true),
            ("2013-10-11T22:30:00Z", false),
            ("2013-10-12T12:00:00Z", false),
            ("2013-12-02T22:30:00Z", false),
            ("2013-12-02T23:00:00Z", true),
        ] {
            assert_eq!(es.is_open(ts(at)), open, "{at}");
        }
        assert_eq!(es.session_end(ts("2013-10-07T03:00:00Z")), Some(ts("2013-10-07T21:00:00Z")));
        assert_eq!(es.session_start(ts("2013-10-07T03:00:00Z")), Some(ts("2013-10-06T22:00:00Z")));
        assert_eq!(es.session_end(ts("2013-12-03T03:00:00Z")), Some(ts("2013-12-03T22:00:00Z")));
        assert_eq!(es.session_end(ts("2013-10-12T12:00:00Z")), None);
        assert_eq!(es.next_open(ts("2013-10-11T21:00:00Z")), Some(ts("2013-10-13T22:00:00Z")));
        assert_eq!(es.next_open(ts("2013-10-07T03:00:00Z")), Some(ts("2013-10-07T03:00:00Z")));
        // The night of 2013-11-03 clocks went back: that Sunday's session opens at 18:00 EST.
        assert_eq!(es.next_open(ts("2013-11-02T12:00:00Z")), Some(ts("2013-11-03T23:00:00Z")));
    }

    #[test]
    fn day_sessions_default_to_weekdays() {
        let nyse = session(r#"{"time_zone": "America/New_York", "open": "09:30", "close": "16:00"}"#);
        // Friday 2018-03-09 EST, Monday 2018-03-12 EDT.
        assert!(nyse.is_open(ts("2018-03-09T14:30:00Z")));
        assert!(!nyse.is_open(ts("2018-03-10T15:00:00Z")));
        assert_eq!(nyse.next_open(ts("2018-03-09T21:00:00Z")), Some(ts("2018-03-12T13:30:00Z")));
        assert_eq!(nyse.session_end(ts("2018-03-12T13:30:00Z")), Some(ts("2018-03-12T20:00:00Z")));
    }

    #[test]
    fn around_the_clock_never_ends() {
        assert!(Session::Always.is_open(0));
        assert_eq!((Session::Always.session_end(0), Session::Always.next_open(7)), (None, Some(7)));
    }

    #[test]
    fn configuration_is_read_back_and_nonsense_refused() {
        for session in [Session::Always, globex()] {
            assert_eq!(serde_json::from_str::<Session>(&serde_json::to_string(&session).unwrap()).unwrap(), session);
        }
        for bad in [
            r#""always""#,
            r#"{"time_zone": "Mars/Olympus", "open": "09:30", "close": "16:00"}"#,
            r#"{"time_zone": "UTC", "open": "25:00", "close": "16:00"}"#,
            r#"{"time_zone": "UTC", "open": "09:30", "close": "16:00", "days": ["monday?"]}"#,
            r#"{"time_zone": "UTC", "open": "09:30", "close": "16:00", "days": []}"#,
            r#"{"time_zone": "UTC", "open": "09:30", "close": "16:00", "holidays": 1}"#,
        ] {
            assert!(serde_json::from_str::<Session>(bad).is_err(), "{bad}");
        }
    }
}
