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
    /// Vocabulary in raw UTF-8 with `▁` for spaces and `<0xNN>` for other bytes,
    /// instead of GPT-2's alphabet of bytes.
    pub(super) raw_utf8: bool,
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

const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    patterns: &[],
    ignore_merges: false,
    add_bos: false,
    raw_utf8: false,
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
        names: &["gemma4"],
        patterns: &[LINES],
        add_bos: true,
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
