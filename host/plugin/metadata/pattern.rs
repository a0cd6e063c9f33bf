//! How much a pattern does with each byte that it looks at.

/// In how many places of a pattern a match can be at once, at the most: the engine may follow each of them over every
/// byte. What is repeated up to so many times counts as often.
pub(super) fn places(pattern: &str) -> usize {
    // For each group that is open: its places so far, and those of its last part, which a repetition multiplies.
    let mut open = vec![Group::default()];
    let mut chars = pattern.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '(' => open.push(Group::default()),
            ')' if open.len() > 1 => {
                let inner = open.pop().map_or(0, |group| group.all);
                top(&mut open).add(inner);
            }
            '{' => match repetition(chars.clone()) {
                Some((times, rest)) => {
                    top(&mut open).repeat(times);
                    chars = rest;
                }
                None => top(&mut open).add(1),
            },
            '[' => {
                skip_class(&mut chars);
                top(&mut open).add(1);
            }
            '\\' => {
                chars.next();
                top(&mut open).add(1);
            }
            '*' | '+' | '?' | '|' | '^' | '$' => {}
            _ => top(&mut open).add(1),
        }
    }
    open.iter().fold(0_usize, |all, group| all.saturating_add(group.all)).max(1)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

#[derive(Clone, Copy, Default)]
struct Group {
    all: usize,
    last: usize,
}

impl Group {
    fn add(&mut self, places: usize) {
        (self.all, self.last) = (self.all.saturating_add(places), places);
    }

    fn repeat(&mut self, times: usize) {
        let more = self.last.saturating_mul(times.max(1) - 1);
        (self.all, self.last) = (self.all.saturating_add(more), self.last.saturating_add(more));
    }
}

fn top(open: &mut [Group]) -> &mut Group {
    open.last_mut().expect("the outermost group is never closed")
}

/// The most times of a repetition, and what follows it; none where the brace begins none.
fn repetition(chars: Chars<'_>) -> Option<(usize, Chars<'_>)> {
    let mut rest = chars;
    let (mut bounds, mut is_second) = ([None::<usize>; 2], false);
    loop {
        match rest.next()? {
            ',' if !is_second => is_second = true,
            '}' => break,
            ' ' => {}
            digit => {
                let digit = usize::try_from(digit.to_digit(10)?).ok()?;
                let bound = &mut bounds[usize::from(is_second)];
                *bound = Some(bound.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
        }
    }
    let [least, most] = bounds;
    Some((most.max(least)?, rest))
}

/// A class is one place. What it holds up to its first bracket is passed over; what may follow counts too much, not too
/// little.
fn skip_class(chars: &mut Chars<'_>) {
    while let Some(next) = chars.next() {
        match next {
            '\\' => _ = chars.next(),
            ']' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_counts_as_often_as_it_may_be_repeated() {
        for (pattern, most) in [
            ("", 1),
            ("^https:", 6),
            ("a*b+c?", 3),
            ("[a-z0-9]{1,63}", 63),
            ("[ab]*a[ab]{500}c", 503),
            ("(ab{2}|c){3,}", 12),
            ("(?:x{0,50}){0,50}", 2_550),
            ("((a{1,1000}){1,1000}){1,1000}", 1_000_000_000),
            ("a{2}{3}", 6),
            ("a{0}", 1),
            ("a{,7}", 7),
            ("{x}{", 4),
            (r"\[a\]{9}\\{2}", 13),
            ("a{99999999999999999999}{99999999999999999999}", usize::MAX),
        ] {
            assert_eq!(places(pattern), most, "{pattern}");
        }
    }
}
