//! A slow reader of `Retry-After`: by splitting at what stands between, and counting days one by one.

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];

/// The delay that one value asks for.
pub(super) fn delay_ms(value: &[u8], now_ms: u64) -> Option<u32> {
    let text = text(value)?;
    if !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit()) {
        let secs = text.bytes().fold(0_u64, |secs, digit| (secs * 10 + u64::from(digit - b'0')).min(1 << 40));
        return Some(u32::try_from(secs * 1_000).unwrap_or(u32::MAX));
    }
    let at_ms = unix_secs(value)? * 1_000;
    Some(u32::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX))
}

/// The seconds since 1970 of a date of HTTP, in any of the three forms of RFC 9110.
pub(super) fn unix_secs(value: &[u8]) -> Option<u64> {
    let text = rfc_850(text(value)?);
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        [day, date, month, year, time, "GMT"] if day.ends_with(',') && date.len() == 2 && year.len() == 4 => {
            moment(&day[..day.len() - 1], true, date, month, number(year)?, time)
        }
        [day, date, time, "GMT"] if day.ends_with(',') => {
            let [date, month, year] = date.split('-').collect::<Vec<_>>()[..] else { return None };
            // As the reader of this host does it; RFC 9110 would have the year that is less than 50 years ahead.
            let century = if number(year)? < 70 { 2000 } else { 1900 };
            let is_sized = year.len() == 2 && date.len() == 2;
            let day = &day[..day.len() - 1];
            is_sized.then(|| moment(day, false, date, month, century + number(year)?, time)).flatten()
        }
        [day, month, "", date, time, year] if date.len() == 1 && year.len() == 4 => {
            moment(day, true, date, month, number(year)?, time)
        }
        [day, month, date, time, year] if date.len() == 2 && year.len() == 4 => {
            moment(day, true, date, month, number(year)?, time)
        }
        _ => None,
    }
}

/// In the second form, the reader of this host looks only at what stands around the space before the time.
fn rfc_850(text: &str) -> String {
    match text.split_once(", ") {
        Some((day, rest)) if rest.len() == 22 && rest.is_ascii() && day.len() > 3 => {
            format!("{day}, {} {}", &rest[..9], &rest[10..])
        }
        _ => text.to_owned(),
    }
}

/// The text of a header's value, where it is ASCII, without the spaces around it.
fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|byte| *byte == b'\t' || (b' '..0x7f).contains(byte));
    is_text.then(|| std::str::from_utf8(value).ok()).flatten().map(|text| text.trim_matches([' ', '\t']))
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn moment(day: &str, is_short: bool, date: &str, month: &str, year: u64, time: &str) -> Option<u64> {
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>()[..] else { return None };
    let is_sized = [hour, minute, second].iter().all(|part| part.len() == 2);
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    let (month, date) = (MONTHS.iter().position(|(name, _)| *name == month)?, number(date)?);
    if !is_sized || hour > 23 || minute > 59 || second > 59 || !(1970..=9999).contains(&year) {
        return None;
    }
    if date == 0 || date > days(year, month) {
        return None;
    }
    let before: u64 = (1970..year).map(|year| (0..12).map(|month| days(year, month)).sum::<u64>()).sum();
    let day_number = before + (0..month).map(|month| days(year, month)).sum::<u64>() + date - 1;
    // 1970 began on a Thursday.
    let name = DAYS[usize::try_from(day_number % 7).ok()?];
    let is_right = if is_short { name[..3] == *day } else { name == day };
    is_right.then_some(((day_number * 24 + hour) * 60 + minute) * 60 + second)
}

fn days(year: u64, month: usize) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    MONTHS[month].1 + u64::from(month == 1 && is_leap)
}
