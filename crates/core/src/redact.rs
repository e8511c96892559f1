//! Replaces personal data in text: e-mail addresses, bank account numbers (IBAN),
//! card numbers, IP addresses and telephone numbers, in this order, by
//! `[REDACTED:EMAIL]` and the like.
//!
//! It goes by form alone. A number that could be anything (an amount, a date, a
//! version) stays; a telephone number written as one run of digits is recognised
//! by how such numbers begin. It knows no names.
//!
//! The time is linear in the text's length whatever the text: nothing looks
//! further from a position than its kind of number is long, and what does (words,
//! addresses) never reaches over the previous match of its kind.

use std::net::Ipv6Addr;
use std::ops::Range;

/// The text with personal data replaced. Labels that stand in it already are kept.
pub fn redact(text: &str) -> String {
    let finders = [
        ("EMAIL", find_email as Finder),
        ("IBAN", find_iban),
        ("CARD", find_card),
        ("IP", find_ipv6),
        ("IP", find_ipv4),
        ("PHONE", find_phone),
    ];
    let redacted = finders
        .into_iter()
        .fold(text.chars().collect(), |chars, (label, find)| {
            replace(chars, label, find)
        });
    redacted.into_iter().collect()
}

/// Finds the first match that begins at or behind a position (in characters).
type Finder = fn(&[char], usize) -> Option<Range<usize>>;

fn replace(chars: Vec<char>, label: &str, find: Finder) -> Vec<char> {
    let mut next = find(&chars, 0);
    if next.is_none() {
        return chars;
    }
    let mut out = Vec::with_capacity(chars.len());
    let mut at = 0;
    while let Some(found) = next {
        out.extend(&chars[at..found.start]);
        out.extend("[REDACTED:".chars().chain(label.chars()).chain([']']));
        at = found.end;
        next = find(&chars, at);
    }
    out.extend(&chars[at..]);
    out
}

fn find_email(chars: &[char], from: usize) -> Option<Range<usize>> {
    (from..chars.len())
        .filter(|&at| matches!(chars[at], '@' | '＠'))
        .find_map(|at| {
            let start = local_part_start(&chars[from..at])? + from;
            let end = domain_end(chars, at + 1)?;
            Some(start..end)
        })
}

/// Where the local part of an address begins that ends where `chars` ends: with a
/// letter, a digit or an underscore. Where a script without capitals meets one
/// with them (as in a Chinese sentence around a Latin address), it is cut.
fn local_part_start(chars: &[char]) -> Option<usize> {
    let has_case = |c: char| c.is_lowercase() || c.is_uppercase();
    let mut script = None;
    let n_local = chars
        .iter()
        .rev()
        .take_while(|&&c| {
            let continues = !c.is_alphabetic() || *script.get_or_insert(has_case(c)) == has_case(c);
            continues && (c.is_alphanumeric() || "._%+-".contains(c))
        })
        .count();
    let local = &chars[chars.len() - n_local..];
    let n_marks = local.iter().take_while(|&&c| !is_word(c)).count();
    (n_marks < n_local).then(|| chars.len() - n_local + n_marks)
}

/// The end of a domain name that begins at `start`: behind the last of its labels
/// that can be a top level.
fn domain_end(chars: &[char], start: usize) -> Option<usize> {
    let n_run = chars[start..]
        .iter()
        .take_while(|&&c| c.is_alphanumeric() || c == '.' || c == '-')
        .count();
    let run = &chars[start..start + n_run];
    if run.first() == Some(&'-') {
        return None;
    }
    let mut end = None;
    let mut at = 0;
    for label in run.split(|&c| c == '.') {
        let n_top = top_level_length(label);
        if n_top >= 2 && run[..at].iter().any(|c| c.is_alphanumeric()) {
            end = Some(start + at + n_top);
        }
        at += label.len() + 1;
    }
    end
}

/// How much of a label can be a top level: it begins with a letter; a Latin one
/// ends where another script begins, as a sentence may go on without a blank.
fn top_level_length(label: &[char]) -> usize {
    let is_punycode = label.starts_with(&['x', 'n', '-', '-']);
    match label.first() {
        Some(c) if c.is_ascii_alphabetic() => label
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || (is_punycode && **c == '-'))
            .count(),
        Some(c) if c.is_alphabetic() => label.iter().take_while(|c| c.is_alphanumeric()).count(),
        _ => 0,
    }
}

/// An account number: a country, check digits that agree, and up to 30 letters and
/// digits, in one run or in groups of four. Source: ISO 13616-1.
fn find_iban(chars: &[char], from: usize) -> Option<Range<usize>> {
    const LENGTHS: std::ops::RangeInclusive<usize> = 15..=34;
    let is_account = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    let begins = |at: usize| {
        let Some(head) = chars.get(at..at + 4) else {
            return false;
        };
        head[..2].iter().all(char::is_ascii_uppercase)
            && head[2..].iter().all(char::is_ascii_digit)
            && !touches_word_before(chars, at)
    };
    let iban_at = |start: usize| {
        let mut ends = Vec::new();
        let mut account = Vec::new();
        let mut at = start;
        loop {
            let max = LENGTHS.end() + 1 - account.len();
            let group = chars[at..].iter().take(max).copied();
            let group: Vec<char> = group.take_while(|&c| is_account(c)).collect();
            if group.is_empty() {
                break;
            }
            at += group.len();
            let is_last = group.len() != 4;
            account.extend(group);
            ends.push((at, account.len()));
            let gap = chars.get(at);
            if is_last || account.len() >= *LENGTHS.end() || !matches!(gap, Some(' ' | '\u{a0}')) {
                break;
            }
            at += 1;
        }
        ends.into_iter().rev().find_map(|(end, n_account)| {
            let is_iban = LENGTHS.contains(&n_account)
                && !chars.get(end).is_some_and(|&c| is_word(c))
                && passes_mod_97(&account[..n_account]);
            is_iban.then_some(start..end)
        })
    };
    (from..chars.len())
        .filter(|&at| begins(at))
        .find_map(iban_at)
}

fn passes_mod_97(account: &[char]) -> bool {
    let (head, rest) = account.split_at(4);
    let remainder = rest.iter().chain(head).fold(0, |remainder, c| {
        let value = c.to_digit(36).unwrap_or(0);
        let shift = if value < 10 { 10 } else { 100 };
        (remainder * shift + value) % 97
    });
    remainder == 1
}

/// 13 to 19 digits that pass the Luhn check, in groups set apart by one or two
/// blanks, hyphens or dots.
fn find_card(chars: &[char], from: usize) -> Option<Range<usize>> {
    const GROUPING: Grouping = Grouping {
        max_gap: 2,
        max_groups: 19,
        max_digits: 19,
    };
    let is_separator = |c: char| matches!(c, ' ' | '\u{a0}' | '-' | '.');
    number_starts(chars, from).find_map(|start| {
        let groups = digit_groups(chars, start, &GROUPING, is_separator);
        let mut luhn = Luhn::default();
        let mut card = None;
        // The longest run of groups that is a card number.
        for (idx, group) in groups.iter().enumerate() {
            chars[group.clone()]
                .iter()
                .filter_map(|&c| digit(c))
                .for_each(|digit| luhn.push(digit));
            let found = start..group.end;
            let is_decimal = match idx {
                0 => is_fraction(chars, start),
                1 => chars[groups[0].end] == '.',
                _ => false,
            };
            let is_card = luhn.n_digits >= 13
                && luhn.passes()
                && chars.get(group.end).is_none_or(|&c| digit(c).is_none())
                && !is_decimal
                && !is_in_hexadecimal(chars, &found);
            if is_card {
                card = Some(found);
            }
        }
        card
    })
}

/// The Luhn check of a number that grows at its end. Source: ISO/IEC 7812-1,
/// annex B.
#[derive(Default)]
struct Luhn {
    n_digits: usize,
    /// The check's sums with the digits of even and of odd places doubled; which of
    /// them counts depends on where the number ends.
    sums: [u32; 2],
}

impl Luhn {
    fn push(&mut self, digit: u32) {
        let doubled = if digit < 5 { 2 * digit } else { 2 * digit - 9 };
        let place = self.n_digits % 2;
        self.sums[place] += doubled;
        self.sums[1 - place] += digit;
        self.n_digits += 1;
    }

    /// Noughts alone pass by arithmetic, but are no number.
    fn passes(&self) -> bool {
        let sum = self.sums[self.n_digits % 2];
        sum > 0 && sum.is_multiple_of(10)
    }
}

/// Whether a number stands behind a decimal point.
fn is_fraction(chars: &[char], start: usize) -> bool {
    start > 1 && matches!(chars[start - 1], '.' | ',') && chars[start - 2].is_ascii_digit()
}

/// Whether the word around a number is a hash or an id in hexadecimal.
fn is_in_hexadecimal(chars: &[char], number: &Range<usize>) -> bool {
    /// A word's neighbourhood; enough for any hash that is written in text.
    const MAX_CHARS: usize = 64;
    let is_part = |c: &&char| c.is_alphanumeric() || **c == '-';
    let before = chars[..number.start].iter().rev();
    let after = chars[number.end..].iter();
    let before: Vec<&char> = before.take(MAX_CHARS).take_while(is_part).collect();
    let after: Vec<&char> = after.take(MAX_CHARS).take_while(is_part).collect();
    let mut letters = before
        .iter()
        .chain(&after)
        .filter(|c| c.is_alphabetic())
        .peekable();
    letters.peek().is_some() && letters.all(|c| c.is_ascii_hexdigit())
}

/// An address of the sixth version with at least one longer group. `::`, `::1`
/// and what code may mean by `1::2` stay; an IPv4 address inside is left to
/// [`find_ipv4`].
fn find_ipv6(chars: &[char], from: usize) -> Option<Range<usize>> {
    const MAX_CHARS: usize = 39;
    let is_part = |c: char| c.is_ascii_hexdigit() || c == ':';
    let mut at = from;
    while at < chars.len() {
        let n_run = chars[at..].iter().take_while(|&&c| is_part(c)).count();
        if n_run == 0 {
            at += 1;
            continue;
        }
        let run = trim_colons(chars, at..at + n_run);
        at += n_run;
        if run.len() > MAX_CHARS || !stands_alone(chars, &run) {
            continue;
        }
        let address: String = chars[run.clone()].iter().collect();
        let n_groups = address.split(':').filter(|group| !group.is_empty()).count();
        let is_plain = n_groups >= 4 || address.split(':').any(|group| group.len() >= 3);
        let has_digit = address.bytes().any(|byte| byte.is_ascii_digit());
        if is_plain && has_digit && address.parse::<Ipv6Addr>().is_ok() {
            return Some(run);
        }
    }
    None
}

/// A single colon at either end belongs to the sentence.
fn trim_colons(chars: &[char], mut run: Range<usize>) -> Range<usize> {
    let is_colon = |at: usize| chars[at] == ':';
    if run.len() > 1 && is_colon(run.start) && !is_colon(run.start + 1) {
        run.start += 1;
    }
    if run.len() > 1 && is_colon(run.end - 1) && !is_colon(run.end - 2) {
        run.end -= 1;
    }
    run
}

/// Neither part of a longer word, nor the front of a mapped IPv4 address (which may
/// be a label already).
fn stands_alone(chars: &[char], run: &Range<usize>) -> bool {
    let next = |n: usize| chars.get(run.end + n);
    let goes_on = match next(0) {
        Some('[') => true,
        Some('.') => next(1).is_some_and(char::is_ascii_digit),
        Some(&c) => is_word(c),
        None => false,
    };
    !goes_on && !touches_word_before(chars, run.start)
}

fn find_ipv4(chars: &[char], from: usize) -> Option<Range<usize>> {
    // One group more than an address has, to see that there is none.
    const GROUPING: Grouping = Grouping {
        max_gap: 1,
        max_groups: 5,
        max_digits: 15,
    };
    number_starts(chars, from).find_map(|start| {
        let groups = digit_groups(chars, start, &GROUPING, |c| c == '.');
        let end = groups.last()?.end;
        let is_byte = |group: &Range<usize>| {
            let text: String = chars[group.clone()].iter().collect();
            group.len() <= 3 && text.parse::<u8>().is_ok()
        };
        let continues_before =
            start > 1 && chars[start - 1] == '.' && chars[start - 2].is_alphanumeric();
        let continues_behind = match (chars.get(end), chars.get(end + 1)) {
            (Some(&c), _) if digit(c).is_some() => true,
            (Some('.'), Some(&c)) => digit(c).is_some(),
            _ => false,
        };
        let is_address = groups.len() == 4
            && groups.iter().all(is_byte)
            && !continues_before
            && !continues_behind
            && !is_version(chars, &(start..end));
        is_address.then_some(start..end)
    })
}

/// Whether four numbers are a version: behind a `v`, or in front of the mark of a
/// pre-release.
fn is_version(chars: &[char], numbers: &Range<usize>) -> bool {
    const PREFIXES: [&str; 5] = ["v", "ver", "version", "rev", "r"];
    const SUFFIXES: [&str; 10] = [
        "alpha", "beta", "build", "dev", "final", "pre", "preview", "rc", "release", "snapshot",
    ];
    const MAX_CHARS: usize = 9;
    let letters = |word: &mut dyn Iterator<Item = &char>| -> Vec<char> {
        let word = word.take(MAX_CHARS).take_while(|c| c.is_alphabetic());
        word.map(char::to_ascii_lowercase).collect()
    };
    let mut before = letters(&mut chars[..numbers.start].iter().rev());
    before.reverse();
    let joint = chars.get(numbers.end).is_some_and(|&c| "-+".contains(c));
    let after = letters(&mut chars[numbers.end + usize::from(joint)..].iter());
    let is_one_of = |word: &[char], words: &[&str]| {
        let word: String = word.iter().collect();
        words.contains(&word.as_str())
    };
    is_one_of(&before, &PREFIXES) || is_one_of(&after, &SUFFIXES)
}

fn find_phone(chars: &[char], from: usize) -> Option<Range<usize>> {
    let begins = |at: usize| match chars[at] {
        '+' | '(' => !touches_word_before(chars, at),
        c => c.is_ascii_digit() && !(at > 0 && digit(chars[at - 1]).is_some()),
    };
    (from..chars.len())
        .filter(|&at| begins(at))
        .find_map(|start| phone_at(chars, start))
}

fn phone_at(chars: &[char], start: usize) -> Option<Range<usize>> {
    /// A bracket or a dash may stand between blanks. The digits are what E.164
    /// allows, and an international prefix before them.
    const GROUPING: Grouping = Grouping {
        max_gap: 3,
        max_groups: 8,
        max_digits: 17,
    };
    const MIN_DIGITS: usize = 7;
    let is_separator = |c: char| {
        matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '-' | '.' | '(' | ')')
            || ('\u{2010}'..='\u{2014}').contains(&c)
    };
    let is_international = chars[start] == '+';
    let is_bracketed = chars[start] == '(';
    let first_digit = start + usize::from(is_international || is_bracketed);
    if !chars.get(first_digit)?.is_ascii_digit() {
        return None;
    }
    let context = Context::in_front_of(chars, start);
    if context == Context::Number && !is_international && !is_bracketed {
        return None;
    }
    let mut groups = digit_groups(chars, first_digit, &GROUPING, is_separator);
    while let Some(last) = groups.last() {
        let end = last.end;
        if groups.iter().map(Range::len).sum::<usize>() < MIN_DIGITS {
            break;
        }
        let number = Number::new(chars, &groups);
        let form = if is_international {
            number.is_international().then_some(Form::Marked)
        } else if is_bracketed {
            (number.is_bracketed() && closes_bracket(&chars[start..end])).then_some(Form::Marked)
        } else {
            number.local_form()
        };
        let is_phone = form.is_some_and(|form| {
            let begins_well = is_international || is_bracketed || context.allows(form);
            begins_well && ends_well(chars, end, form)
        });
        if is_phone {
            return Some(start..end);
        }
        // A number behind a blank may be another one.
        groups.pop();
    }
    None
}

fn closes_bracket(chars: &[char]) -> bool {
    chars.iter().filter(|&&c| c == ')').count() == 1
}

/// How plainly a number is one of a telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By a plus sign, a bracketed area code or the grouping of North America: it
    /// is one even beside a letter.
    Marked,
    /// By its groups.
    Grouped,
    /// A run of digits that begins as telephone numbers do.
    Run,
}

/// What stands in front of a number without a mark of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// Nothing that bears on it.
    Free,
    /// A sign of money.
    Money,
    /// Digits and a joint: it is the rest of another number.
    Number,
    /// A word and a joint, as in an id or a path.
    Joint,
    /// A word.
    Word,
}

impl Context {
    fn in_front_of(chars: &[char], start: usize) -> Self {
        let Some(&before) = start.checked_sub(1).and_then(|at| chars.get(at)) else {
            return Self::Free;
        };
        let further = start.checked_sub(2).and_then(|at| chars.get(at));
        match before {
            '$' | '€' | '£' | '¥' | '₹' => Self::Money,
            c if is_word(c) => Self::Word,
            '.' | '-' | '/' | ',' | ':' if further.is_some_and(|&c| digit(c).is_some()) => {
                Self::Number
            }
            '.' | '-' | '/' if further.is_some_and(|&c| is_word(c)) => Self::Joint,
            _ => Self::Free,
        }
    }

    fn allows(self, form: Form) -> bool {
        match self {
            Self::Free => true,
            Self::Joint => form != Form::Run,
            Self::Word => form == Form::Marked,
            Self::Money | Self::Number => false,
        }
    }
}

/// Not in the middle of a word (other than the mark of an extension), nor in front
/// of more digits of the same number, nor an amount of money.
fn ends_well(chars: &[char], end: usize, form: Form) -> bool {
    match (chars.get(end), chars.get(end + 1)) {
        (Some(&c), _) if digit(c).is_some() => false,
        (Some(&c), _) if is_word(c) => form == Form::Marked,
        (Some('.' | '-' | ',' | ':' | '/'), Some(next)) => !next.is_ascii_alphanumeric(),
        (Some('%' | '€' | '£' | '¥' | '₹'), _) => false,
        _ => true,
    }
}

/// The digits of a number in their groups.
struct Number {
    sizes: Vec<usize>,
    digits: Vec<char>,
    /// For each gap the character that tells its kind.
    gaps: Vec<char>,
}

impl Number {
    fn new(chars: &[char], groups: &[Range<usize>]) -> Self {
        let is_blank = |c: char| matches!(c, ' ' | '\u{a0}' | '\u{202f}');
        let gap_kind = |pair: &[Range<usize>]| {
            let gap = &chars[pair[0].end..pair[1].start];
            gap.iter().copied().find(|&c| !is_blank(c)).unwrap_or(' ')
        };
        let digits = groups.iter().flat_map(|group| &chars[group.clone()]);
        Self {
            sizes: groups.iter().map(Range::len).collect(),
            digits: digits.copied().collect(),
            gaps: groups.windows(2).map(gap_kind).collect(),
        }
    }

    fn n_digits(&self) -> usize {
        self.digits.len()
    }

    fn is_high(&self, idx: usize) -> bool {
        matches!(self.digits.get(idx), Some('2'..='9'))
    }

    fn starts_with(&self, prefix: &str) -> bool {
        prefix
            .chars()
            .enumerate()
            .all(|(idx, c)| self.digits.get(idx) == Some(&c))
    }

    /// `0`, then the rest of an area code.
    fn has_trunk_prefix(&self) -> bool {
        self.starts_with("0") && matches!(self.digits.get(1), Some('1'..='9'))
    }

    /// Behind a plus sign: what E.164 allows; in North America eleven digits.
    fn is_international(&self) -> bool {
        match self.digits.first() {
            Some('1') => self.n_digits() == 11,
            _ => (8..=15).contains(&self.n_digits()),
        }
    }

    fn is_bracketed(&self) -> bool {
        (7..=13).contains(&self.n_digits())
            && self.sizes.first().is_some_and(|n| (2..=5).contains(n))
    }

    /// The form of a number without a country's sign.
    fn local_form(&self) -> Option<Form> {
        let is_north_american = |area: usize| self.is_high(area) && self.is_high(area + 3);
        let form = match *self.sizes {
            [3, 3, 4] if is_north_american(0) => Form::Marked,
            [1, 3, 3, 4] if self.starts_with("1") && is_north_american(1) => Form::Marked,
            [7] if self.is_high(0) && !self.is_round() => Form::Run,
            [10] if is_north_american(0) => Form::Run,
            [11] if self.starts_with("1") && is_north_american(1) => Form::Run,
            [10 | 11] if self.has_trunk_prefix() => Form::Run,
            [n] if (11..=17).contains(&n) && self.has_exit_code() => Form::Run,
            [3, 4] if self.gaps[0] == '.' && self.is_high(0) => Form::Grouped,
            [3, 4] if is_dash(self.gaps[0]) => Form::Grouped,
            [1..=4, 3..=4, 3..=4] | [1..=3, 2..=4, 3..=4, 3..=4] if !self.is_amount() => {
                Form::Grouped
            }
            _ if self.is_grouped_with_prefix() => Form::Grouped,
            _ => return None,
        };
        Some(form)
    }

    /// A thousand of anything is no telephone number.
    fn is_round(&self) -> bool {
        self.digits.ends_with(&['0'; 4])
    }

    /// The sign for a foreign number in most countries, and a country.
    fn has_exit_code(&self) -> bool {
        self.starts_with("00") && matches!(self.digits.get(2), Some('1'..='9'))
    }

    /// Thousands: one or two digits, then threes, all gaps alike.
    fn is_amount(&self) -> bool {
        let is_alike = matches!(self.gaps[0], ' ' | '.') && self.has_one_kind_of_gap();
        self.sizes[0] <= 2 && self.sizes[1..].iter().all(|&n| n == 3) && is_alike
    }

    fn has_one_kind_of_gap(&self) -> bool {
        self.gaps.iter().all(|gap| *gap == self.gaps[0])
    }

    /// Groups as they are written where numbers begin with 0 or 00, such as
    /// `030 901820` and `01 23 45 67 89`.
    fn is_grouped_with_prefix(&self) -> bool {
        let n_groups = self.sizes.len();
        let has_groups = (2..=7).contains(&n_groups) && self.has_one_kind_of_gap();
        let area = self.sizes[0];
        let is_national = self.has_trunk_prefix()
            && (9..=11).contains(&self.n_digits())
            && n_groups <= 5
            && (2..=5).contains(&area)
            && self.sizes[1..].iter().all(|&n| n >= 2);
        let is_foreign = self.has_exit_code() && (11..=17).contains(&self.n_digits());
        has_groups && (is_national || is_foreign)
    }
}

fn is_dash(c: char) -> bool {
    c == '-' || ('\u{2010}'..='\u{2014}').contains(&c)
}

/// Positions from `from` on at which a run of digits begins.
fn number_starts(chars: &[char], from: usize) -> impl Iterator<Item = usize> {
    let is_digit = |at: usize| digit(chars[at]).is_some();
    (from..chars.len()).filter(move |&at| is_digit(at) && !(at > 0 && is_digit(at - 1)))
}

/// How far groups of digits are followed.
struct Grouping {
    /// Separators between two groups, at most.
    max_gap: usize,
    /// Groups, at most.
    max_groups: usize,
    /// Digits in all groups together, at most.
    max_digits: usize,
}

/// Runs of digits from `start` on, set apart by separators.
fn digit_groups(
    chars: &[char],
    start: usize,
    grouping: &Grouping,
    is_separator: impl Fn(char) -> bool,
) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut n_left = grouping.max_digits;
    let mut at = start;
    while groups.len() < grouping.max_groups {
        let run = chars[at..].iter().take(n_left + 1);
        let n_digits = run.take_while(|&&c| digit(c).is_some()).count();
        if n_digits == 0 || n_digits > n_left {
            break;
        }
        groups.push(at..at + n_digits);
        n_left -= n_digits;
        at += n_digits;
        let gap = chars[at..].iter().take(grouping.max_gap + 1);
        let n_gap = gap.take_while(|&&c| is_separator(c)).count();
        if n_gap == 0 || n_gap > grouping.max_gap {
            break;
        }
        at += n_gap;
    }
    groups
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a letter, a digit or an underscore stands directly in front.
fn touches_word_before(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1])
}

/// The value of a decimal digit of the scripts in which numbers are commonly typed.
fn digit(c: char) -> Option<u32> {
    const ZEROS: [char; 4] = ['\u{660}', '\u{6f0}', '\u{966}', '\u{ff10}'];
    if c.is_ascii() {
        return c.to_digit(10);
    }
    ZEROS
        .into_iter()
        .filter_map(|zero| u32::from(c).checked_sub(u32::from(zero)))
        .find(|&value| value < 10)
}
