//! How text is cut into words before byte-pair encoding: one entry for each
//! value of `tokenizer.ggml.pre`.
//!
//! Several patterns are applied one after the other: each cuts the pieces that
//! the one before left, and what lies between two matches is a piece as well.
//! Where the llama.cpp project had to bend a model's published pattern to fit
//! `std::regex`, the published one stands here.
//!
//! # Source
//! `llama-vocab.cpp` of the llama.cpp project for the names and their flags, the
//! models' `tokenizer.json` for the patterns.

use tokenizers::tokenizer::pattern::Pattern;
use tokenizers::utils::SysRegex;

use super::TokenizerError;

/// How a pre-tokenizer treats text; see [`find`].
pub(super) struct PreTokenizer {
    /// Its values in `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    /// A word that is a token as a whole is not built up by merges.
    pub(super) ignore_merges: bool,
    /// Whether the model wants BOS in front when the file does not say.
    pub(super) add_bos: bool,
    /// Whether the model wants it whatever the file says.
    pub(super) insists_on_bos: bool,
    /// Vocabulary in raw UTF-8 with `<0xNN>` for other bytes, instead of GPT-2's
    /// alphabet of bytes.
    pub(super) raw_utf8: bool,
    /// Spaces are written `▁`.
    pub(super) escapes_spaces: bool,
    /// Line breaks in a row that are a token are not built up by merges.
    pub(super) whole_line_breaks: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const HAN_AND_KANA: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const HAN_AND_HANGUL: &str = r"[一-龥ࠀ-一가-\u{D7FF}]+";
const LINES: &str = r"[^\n]+|[\n]+";
const UFAKZEKA: &str =
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
const YOUTU_SCRIPTS: &str = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-\u{303F}\u{FE30}-\u{FE4F}]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const KIMI: &str = r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const ASIAN_SCRIPTS: &str = r"[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{F900}-\u{FAFF}\u{3040}-\u{30FF}\u{FF65}-\u{FF9F}\u{2F00}-\u{2FDF}\u{0E40}-\u{0E7F}\u{0E80}-\u{0EFF}\u{1780}-\u{17FF}\u{1000}-\u{109F}\u{AA60}-\u{AA7F}\u{A9E0}-\u{A9FF}\u{AC00}-\u{D7AF}\u{1100}-\u{11FF}]+";
/// Threes from the right, as far as 128 digits: to look to a number's end from each of
/// its digits takes quadratic time.
const THREES: &str = r"\p{N}{1,3}(?=(?:\p{N}{3}){0,42}(?!\p{N}))";

const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    patterns: &[],
    ignore_merges: false,
    add_bos: false,
    insists_on_bos: false,
    raw_utf8: false,
    escapes_spaces: false,
    whole_line_breaks: false,
};

static TABLE: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
        ],
        patterns: &[GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"],
        patterns: &[LLAMA3],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "megrez",
            "hunyuan",
            "solar-open",
            "grok-2",
            "kormo",
            "f2llmv2",
        ],
        patterns: &[QWEN2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen35"],
        patterns: &[QWEN35],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        patterns: &[r"\p{N}", GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        // The published second pattern spells out the letters that have a case.
        patterns: &[
            r"[\r\n]",
            r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            HAN_AND_HANGUL,
            r"\p{N}+",
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        patterns: &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            HAN_AND_HANGUL,
            r"\p{N}",
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        patterns: &[r"\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK3],
        ..PLAIN
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        patterns: &[GPT4O],
        ..PLAIN
    },
    PreTokenizer {
        names: &["granite-embed-multi-97m"],
        patterns: &[GPT4O],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["tiny_aya", "cohere2moe"],
        // The published pattern looks ahead to the end of the number from each of its
        // digits; numbers longer than 128 digits are worth no quadratic time.
        patterns: &[r"\d{1,3}(?=(?:\d{3}){0,42}\b)", GPT4O],
        ..PLAIN
    },
    PreTokenizer {
        names: &["tekken"],
        patterns: &[TEKKEN],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["bloom", "poro-chat", "gpt3-finnish"],
        patterns: &[BLOOM],
        ..PLAIN
    },
    PreTokenizer {
        names: &["viking"],
        patterns: &[BLOOM, r"\p{N}"],
        ..PLAIN
    },
    PreTokenizer {
        names: &["chameleon"],
        patterns: &[
            r"<sentinel:[0-9]+>",
            r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ],
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["jais-2"],
        patterns: &[JAIS2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        patterns: &[
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["seed-coder"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["exaone-moe"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["minicpm5"],
        patterns: &[
            r"\p{N}{1,3}",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["laguna"],
        patterns: &[LINES, QWEN2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["ufakzeka"],
        // Without English contractions: Turkish suffixes follow an apostrophe, too.
        patterns: &[UFAKZEKA],
        ..PLAIN
    },
    PreTokenizer {
        names: &["spark2_5"],
        patterns: &[r"\p{N}{1,3}", HAN_AND_KANA, SPARK, r"\p{N}"],
        ..PLAIN
    },
    PreTokenizer {
        names: &["youtu"],
        patterns: &[YOUTU_SCRIPTS, YOUTU],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["superbpe"],
        patterns: &[r"\p{N}+", r"(?=(?:\d{3}){1,42}(?!\d))"],
        ..PLAIN
    },
    PreTokenizer {
        names: &["kimi-k2"],
        patterns: &[KIMI],
        ..PLAIN
    },
    PreTokenizer {
        names: &["afmoe"],
        patterns: &[THREES, ASIAN_SCRIPTS, DEEPSEEK3],
        ..PLAIN
    },
    PreTokenizer {
        names: &["gemma4", "granite-embed-multi-311m"],
        patterns: &[LINES],
        add_bos: true,
        insists_on_bos: true,
        raw_utf8: true,
        escapes_spaces: true,
        whole_line_breaks: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["sarvam-moe"],
        patterns: &[LINES],
        raw_utf8: true,
        escapes_spaces: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["whitespace"],
        patterns: &[r"\S+"],
        raw_utf8: true,
        ..PLAIN
    },
];

/// The entry for a value of `tokenizer.ggml.pre`.
pub(super) fn find(pre: &str) -> Result<&'static PreTokenizer, TokenizerError> {
    TABLE
        .iter()
        .find(|entry| entry.names.contains(&pre))
        .ok_or_else(|| TokenizerError::UnknownPreTokenizer {
            pre: pre.to_owned(),
            known: known_names().join(", "),
        })
}

fn known_names() -> Vec<&'static str> {
    let mut names: Vec<_> = TABLE
        .iter()
        .flat_map(|entry| entry.names)
        .copied()
        .collect();
    names.sort_unstable();
    names
}

/// The compiled patterns of a pre-tokenizer.
pub(super) struct Splitter {
    patterns: Vec<SysRegex>,
}

impl Splitter {
    pub(super) fn new(pre: &PreTokenizer) -> Result<Self, TokenizerError> {
        let patterns = pre.patterns.iter().map(|pattern| SysRegex::new(pattern));
        Ok(Self {
            patterns: patterns
                .collect::<Result<_, _>>()
                .map_err(TokenizerError::Bpe)?,
        })
    }

    /// Cuts `text` into words; together they are the text.
    pub(super) fn split<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, TokenizerError> {
        let mut pieces = vec![text];
        for pattern in &self.patterns {
            let mut cut = Vec::with_capacity(pieces.len());
            for piece in pieces {
                let matches = pattern.find_matches(piece).map_err(TokenizerError::Bpe)?;
                let ranges = matches.into_iter().map(|((start, end), _)| start..end);
                cut.extend(ranges.map(|range| &piece[range]).filter(|p| !p.is_empty()));
            }
            pieces = cut;
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pre: &str, text: &str) -> Vec<String> {
        let splitter = Splitter::new(find(pre).unwrap()).unwrap();
        let pieces = splitter.split(text).unwrap();
        pieces.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn every_entry_compiles_and_keeps_the_text_whole() {
        let text = "I'LL pay 1234567 €, naïve  café\n\n\tक्षि 漢字カナ 😀!? \r\n end  ";
        for name in known_names() {
            assert_eq!(split(name, text).concat(), text, "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let names = known_names();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn digits_are_cut_as_each_model_wants() {
        assert_eq!(split("llama-bpe", "12345"), ["123", "45"]);
        assert_eq!(split("qwen2", "12345"), ["1", "2", "3", "4", "5"]);
        assert_eq!(split("smollm", "12345"), ["1", "2", "3", "4", "5"]);
        assert_eq!(split("gpt-2", "12345"), ["12345"]);
        assert_eq!(split("tiny_aya", "12345"), ["12", "345"]);
        assert_eq!(split("afmoe", "a1234567"), ["a", "1", "234", "567"]);
        assert_eq!(
            split("superbpe", "1234567 89"),
            ["1", "234", "567", " ", "89"]
        );
        assert_eq!(split("superbpe", "two words"), ["two words"]);
        assert_eq!(
            split("spark2_5", "12345\n\n"),
            ["1", "2", "3", "4", "5", "\n", "\n"]
        );
        assert_eq!(split("kimi-k2", "12345"), ["123", "45"]);
    }

    #[test]
    fn scripts_are_cut_as_each_model_wants() {
        assert_eq!(split("kimi-k2", "abc漢字def"), ["abc", "漢字", "def"]);
        assert_eq!(split("qwen2", "abc漢字def"), ["abc漢字def"]);
        assert_eq!(split("youtu", "한국어，ok"), ["한국어", "，", "ok"]);
        assert_eq!(split("afmoe", "กเก ok"), ["ก", "เ", "ก", " ok"]);
        assert_eq!(split("ufakzeka", "Ali'ye"), ["Ali", "'ye"]);
        assert_eq!(split("gpt-2", "we're"), ["we", "'re"]);
    }

    /// llama.cpp's, each with its flags: merges ignored, BOS added.
    #[test]
    fn flags_are_those_of_llama_cpp() {
        let flagged = |flag: fn(&PreTokenizer) -> bool| {
            let entries = TABLE.iter().filter(|entry| flag(entry));
            let mut names: Vec<_> = entries.flat_map(|entry| entry.names).copied().collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(
            flagged(|entry| entry.ignore_merges),
            "falcon-h1 falcon3 granite-embed-multi-97m jina-v5-nano lfm2 llama-bpe llama-v3 \
             llama3 midm-2.0 minicpm5 pixtral tekken youtu"
        );
        assert_eq!(
            flagged(|entry| entry.add_bos),
            "chameleon falcon-h1 falcon3 gemma4 granite-embed-multi-311m jina-v5-nano lfm2 \
             llama-bpe llama-v3 llama3 midm-2.0 pixtral tekken"
        );
        assert_eq!(
            flagged(|entry| entry.raw_utf8),
            "gemma4 granite-embed-multi-311m sarvam-moe whitespace"
        );
    }

    #[test]
    fn spaces_and_contractions_go_where_each_model_wants() {
        assert_eq!(split("gpt-2", "I'd  say"), ["I", "'d", " ", " say"]);
        assert_eq!(split("qwen2", "I'LL say\n\n"), ["I", "'LL", " say", "\n\n"]);
        assert_eq!(split("tekken", "HelloWorld"), ["Hello", "World"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = find("qwen99").map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("qwen99") && error.contains("qwen2"),
            "{error}"
        );
    }
}
