//! Tests of the reading of `Retry-After`.

use super::*;

const NOVEMBER_6_1994_08_49_37: u64 = 784_111_777;

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOVEMBER_6_1994_08_49_37)
}

fn delay(headers: &[(&str, &str)]) -> Option<u32> {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| Header { name: (*name).to_owned(), value: (*value).to_owned() }).collect();
    delay_ms(&headers, clock())
}

#[test]
fn seconds() {
    for (value, ms) in [
        ("120", Some(120_000)),
        (" 7 ", Some(7_000)),
        ("0", Some(0)),
        ("000", Some(0)),
        ("4294967", Some(4_294_967_000)),
        ("4294968", Some(u32::MAX)),
        ("1000000000000000000000000000000", Some(u32::MAX)),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("", None),
        ("soon", None),
        ("٣", None),
        ("\u{fffd}\u{fffd}", None),
    ] {
        assert_eq!(delay(&[("retry-after", value)]), ms, "{value:?}");
    }
}

#[test]
fn dates_in_all_three_formats() {
    for value in ["Sun, 06 Nov 1994 08:49:47 GMT", "Sunday, 06-Nov-94 08:49:47 GMT", "Sun Nov  6 08:49:47 1994"] {
        assert_eq!(delay(&[("Retry-After", value)]), Some(10_000), "{value}");
    }
}

#[test]
fn dates_that_are_past_far_or_wrong() {
    for (value, ms) in [
        ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(u32::MAX)),
        ("Mon, 32 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 CET", None),
        ("Sun, 06 Nov 0000 08:49:37 GMT", None),
        ("1994-11-06T08:49:37Z", None),
    ] {
        assert_eq!(delay(&[("retry-after", value)]), ms, "{value:?}");
    }
}

#[test]
fn a_date_is_taken_by_the_clock_of_the_downstream() {
    let answer = [("date", "Tue, 15 Nov 2044 08:00:00 GMT"), ("retry-after", "Tue, 15 Nov 2044 08:00:03 GMT")];
    assert_eq!(delay(&answer), Some(3_000));
    let answer = [("date", "yesterday"), ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")];
    assert_eq!(delay(&answer), Some(10_000));
}

#[test]
fn the_longest_of_several_counts() {
    assert_eq!(delay(&[("retry-after", "5"), ("retry-after", "60"), ("retry-after", "never")]), Some(60_000));
    assert_eq!(delay(&[]), None);
}
