//! GPT-2's alphabet: a printable character for every byte, so that byte-pair
//! encoding can work on text and the vocabulary can be written as text.
//!
//! # Source
//! `bytes_to_unicode` in the `encoder.py` of OpenAI's `gpt-2`.

/// Printable Latin-1 characters stand for themselves; the other bytes take the
/// characters from U+0100 on, in order.
const CHARS: [char; 256] = build_chars();
const N_SHIFTED: usize = 68;
const SHIFTED: [u8; N_SHIFTED] = build_shifted();

const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

const fn build_chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let mut byte = 0;
    let mut n_shifted = 0;
    while byte < 256 {
        chars[byte] = if is_printable(byte as u8) {
            byte as u8 as char
        } else {
            n_shifted += 1;
            match char::from_u32(0x100 + n_shifted - 1) {
                Some(c) => c,
                None => unreachable!(),
            }
        };
        byte += 1;
    }
    chars
}

const fn build_shifted() -> [u8; N_SHIFTED] {
    let mut bytes = [0; N_SHIFTED];
    let mut byte = 0;
    let mut n_shifted = 0;
    while byte < 256 {
        if !is_printable(byte as u8) {
            bytes[n_shifted] = byte as u8;
            n_shifted += 1;
        }
        byte += 1;
    }
    bytes
}

/// Spells `bytes` in the alphabet, appending to `out`.
pub(super) fn spell(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|&byte| CHARS[usize::from(byte)]));
}

/// The byte that a character of the alphabet stands for.
pub(super) fn byte_of_char(c: char) -> Option<u8> {
    let code = u32::from(c);
    match u8::try_from(code) {
        Ok(byte) => is_printable(byte).then_some(byte),
        Err(_) => SHIFTED.get(code as usize - 0x100).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_and_comes_back() {
        for byte in 0..=255 {
            let mut text = String::new();
            spell(&[byte], &mut text);
            let c = text.chars().next().unwrap();
            assert!(!c.is_whitespace() && !c.is_control(), "{byte}");
            assert_eq!(byte_of_char(c), Some(byte));
        }
        assert_eq!(byte_of_char('Ġ'), Some(b' '));
        assert_eq!(byte_of_char('Ċ'), Some(b'\n'));
        for outside in [' ', '\u{AD}', '\u{144}', '▁', '😀'] {
            assert_eq!(byte_of_char(outside), None, "{outside:?}");
        }
    }
}
