//! What the sampler promises, seen from outside.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use nox_engine::sampler::{Pcg32, Sampler, SamplerError, SamplingParams, argmax};

const LOGITS: [f32; 6] = [1.0, 3.0, 2.0, 3.0, -1.0, 0.5];

/// Nothing cut off, nothing penalised.
fn open(temperature: f32) -> SamplingParams {
    SamplingParams {
        temperature,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        ..SamplingParams::default()
    }
}

/// How often each token comes up in many draws.
fn counts(params: SamplingParams, history: &[u32], n_draws: usize) -> Vec<usize> {
    let mut sampler = Sampler::new(params).unwrap();
    let mut counts = vec![0; LOGITS.len()];
    for _ in 0..n_draws {
        counts[sampler.sample(&LOGITS, history).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn greedy_takes_the_smallest_id_among_the_likeliest() {
    let mut sampler = Sampler::new(SamplingParams::greedy()).unwrap();
    assert_eq!(sampler.sample(&LOGITS, &[]), Ok(1));
    assert_eq!(argmax(&LOGITS), Ok(1));
}

#[test]
fn frequencies_follow_the_softmax() {
    let n_draws = 40_000;
    for temperature in [0.7f32, 1.0, 2.0] {
        let weights = LOGITS.map(|logit| (f64::from(logit) / f64::from(temperature)).exp());
        let total: f64 = weights.iter().sum();
        for (count, weight) in counts(open(temperature), &[], n_draws).iter().zip(weights) {
            let expected = weight / total;
            let found = *count as f64 / n_draws as f64;
            // Four standard deviations of the count.
            let margin = 4.0 * (expected * (1.0 - expected) / n_draws as f64).sqrt();
            assert!((found - expected).abs() < margin, "{found} {expected}");
        }
    }
}

#[test]
fn top_k_keeps_the_likeliest_alone() {
    let params = SamplingParams {
        top_k: 3,
        ..open(5.0)
    };
    let counts = counts(params, &[], 2_000);
    assert!(counts[1] > 0 && counts[2] > 0 && counts[3] > 0);
    assert_eq!((counts[0], counts[4], counts[5]), (0, 0, 0));
}

#[test]
fn top_p_keeps_the_fewest_that_reach_it() {
    // 3.0 twice makes 0.76 of the probability; the third, 2.0, is needed for 0.8.
    for (top_p, third_stays) in [(0.7, false), (0.8, true)] {
        let params = SamplingParams { top_p, ..open(1.0) };
        let counts = counts(params, &[], 2_000);
        assert_eq!(counts[2] > 0, third_stays);
        assert_eq!((counts[0], counts[4], counts[5]), (0, 0, 0));
    }
    let params = SamplingParams {
        top_p: 1e-6,
        ..open(1.0)
    };
    assert_eq!(counts(params, &[], 100)[1], 100);
}

#[test]
fn min_p_drops_what_is_unlikely_beside_the_best() {
    // e^-1 = 0.37 of the best's probability for 2.0, e^-2 = 0.14 for 1.0.
    let params = SamplingParams {
        min_p: 0.3,
        ..open(3.0)
    };
    let counts = counts(params, &[], 2_000);
    assert!(counts[2] > 0);
    assert_eq!((counts[0], counts[4], counts[5]), (0, 0, 0));
}

#[test]
fn a_penalty_moves_greedy_away_from_recent_tokens() {
    let pick = |history: &[u32], repeat_last_n| {
        let params = SamplingParams {
            repeat_penalty: 2.0,
            repeat_last_n,
            ..SamplingParams::greedy()
        };
        Sampler::new(params)
            .unwrap()
            .sample(&LOGITS, history)
            .unwrap()
    };
    assert_eq!(pick(&[], 64), 1);
    assert_eq!(pick(&[1], 64), 3);
    assert_eq!(pick(&[1, 3, 1], 64), 2);
    assert_eq!(pick(&[1, 0], 1), 1, "only the last token counts");
    assert_eq!(pick(&[1], 0), 1);
    assert_eq!(pick(&[1, 4_000_000_000], 64), 3, "unknown ids are ignored");
}

#[test]
fn a_seed_repeats_itself_and_another_differs() {
    let draw = |seed| {
        let mut sampler = Sampler::new(SamplingParams { seed, ..open(1.5) }).unwrap();
        (0..64)
            .map(|_| sampler.sample(&LOGITS, &[]).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn random_numbers_are_those_of_the_reference_algorithm() {
    // What the reference implementation's `pcg32_oneseq` gives for the seed 42.
    let mut rng = Pcg32::new(42);
    let first: Vec<u32> = (0..4).map(|_| rng.next_u32()).collect();
    assert_eq!(first, [0xc2f5_7bd6, 0x6b07_c4a9, 0x72b7_b29b, 0x4421_5383]);
    let mean = (0..10_000).map(|_| rng.next_f32()).sum::<f32>() / 10_000.0;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for params in [SamplingParams::greedy(), SamplingParams::default()] {
            let error = Sampler::new(params)
                .unwrap()
                .sample(&[1.0, bad], &[])
                .unwrap_err();
            assert!(matches!(error, SamplerError::NotFinite { token: 1, .. }));
        }
        assert!(argmax(&[bad]).is_err());
    }
    assert_eq!(argmax(&[]), Err(SamplerError::Empty));
}

#[test]
fn parameters_out_of_range_are_named() {
    let base = SamplingParams::default;
    let cases = [
        (
            "temperature",
            SamplingParams {
                temperature: -0.1,
                ..base()
            },
        ),
        (
            "temperature",
            SamplingParams {
                temperature: f32::NAN,
                ..base()
            },
        ),
        (
            "top_p",
            SamplingParams {
                top_p: 0.0,
                ..base()
            },
        ),
        (
            "top_p",
            SamplingParams {
                top_p: 1.1,
                ..base()
            },
        ),
        (
            "min_p",
            SamplingParams {
                min_p: -1.0,
                ..base()
            },
        ),
        (
            "min_p",
            SamplingParams {
                min_p: f32::NAN,
                ..base()
            },
        ),
        (
            "repeat_penalty",
            SamplingParams {
                repeat_penalty: 0.0,
                ..base()
            },
        ),
        (
            "repeat_penalty",
            SamplingParams {
                repeat_penalty: f32::INFINITY,
                ..base()
            },
        ),
    ];
    for (name, params) in cases {
        let error = params.validate().unwrap_err();
        assert!(
            matches!(error, SamplerError::OutOfRange { field, .. } if field == name),
            "{error}"
        );
    }
    assert_eq!(base().validate(), Ok(()));
    assert_eq!(SamplingParams::greedy().validate(), Ok(()));
}

#[test]
fn a_tiny_penalty_or_temperature_takes_the_likeliest_and_makes_no_nonsense() {
    let logits = [1.0, 30.0, 2.0, -5.0];
    let extreme = [
        SamplingParams {
            temperature: 1.0,
            repeat_penalty: f32::MIN_POSITIVE,
            ..open(1.0)
        },
        SamplingParams {
            temperature: f32::from_bits(1),
            ..open(1.0)
        },
    ];
    for params in extreme {
        let mut sampler = Sampler::new(params.clone()).unwrap();
        for _ in 0..50 {
            assert_eq!(sampler.sample(&logits, &[1]).unwrap(), 1, "{params:?}");
        }
    }
}

/// The chain by its definition: everything is sorted, then cut.
fn by_definition(params: &SamplingParams, logits: &[f32], rng: &mut Pcg32) -> u32 {
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if params.temperature == 0.0 {
        return all[0].0;
    }
    if params.top_k > 0 {
        all.truncate(params.top_k);
    }
    let max = f64::from(all[0].1);
    let weight =
        |logit: f32, temperature: f32| ((f64::from(logit) - max) / f64::from(temperature)).exp();
    if params.top_p < 1.0 {
        let total: f64 = all.iter().map(|(_, logit)| weight(*logit, 1.0)).sum();
        let mut reached = 0.0;
        let last = all.iter().position(|(_, logit)| {
            reached += weight(*logit, 1.0);
            reached >= f64::from(params.top_p) * total
        });
        all.truncate(last.map_or(all.len(), |last| last + 1));
    }
    all.retain(|(_, logit)| weight(*logit, 1.0) >= f64::from(params.min_p));
    let total: f64 = all
        .iter()
        .map(|(_, logit)| weight(*logit, params.temperature))
        .sum();
    let target = f64::from(rng.next_f32()) * total;
    let mut reached = 0.0;
    let drawn = all.iter().find(|(_, logit)| {
        reached += weight(*logit, params.temperature);
        target < reached
    });
    drawn.or(all.last()).unwrap().0
}

/// The share of all likelihood that tokens between these two have, in order of likelihood.
fn likelihood_between(params: &SamplingParams, logits: &[f32], a: u32, b: u32) -> f64 {
    if params.temperature == 0.0 {
        return 1.0;
    }
    let place = |id: u32| (-f64::from(logits[id as usize]), id);
    let (first, last) = if place(a) < place(b) { (a, b) } else { (b, a) };
    let weight = |logit: f32| (f64::from(logit) / f64::from(params.temperature)).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let between = (0..)
        .zip(logits)
        .filter(|&(id, _)| place(first) < place(id) && place(id) < place(last));
    between.map(|(_, &logit)| weight(logit)).sum::<f64>() / total
}

#[test]
fn a_large_vocabulary_is_sampled_as_a_sorted_one_would_be() {
    // Steps of 1/64, so that many logits are equal; flat, and with a few that stand out.
    for (seed, height) in [(1, 0.0), (2, 9.0)] {
        let mut noise = Pcg32::new(seed);
        let mut logits: Vec<f32> = (0..20_011)
            .map(|_| (noise.next_f32() * 512.0).floor() / 64.0 - 4.0)
            .collect();
        for id in [3, 1_000, 1_001, 20_010] {
            logits[id] += height;
        }
        let base = || open(0.9);
        let cases = [
            SamplingParams::greedy(),
            SamplingParams::default(),
            SamplingParams { top_k: 1, ..base() },
            SamplingParams {
                top_k: 700,
                ..base()
            },
            SamplingParams {
                top_k: 30_000,
                ..base()
            },
            SamplingParams {
                top_k: 20_010,
                top_p: 0.5,
                ..base()
            },
            SamplingParams {
                top_p: 0.3,
                ..base()
            },
            SamplingParams {
                top_p: 0.999,
                ..base()
            },
            SamplingParams {
                min_p: 0.02,
                ..base()
            },
            SamplingParams {
                min_p: 0.02,
                top_p: 0.9,
                ..base()
            },
            base(),
        ];
        for params in cases {
            let mut sampler = Sampler::new(params.clone()).unwrap();
            let mut rng = Pcg32::new(params.seed);
            for draw in 0..40 {
                let found = sampler.sample(&logits, &[]).unwrap();
                let expected = by_definition(&params, &logits, &mut rng);
                // 20,011 additions in f32 are each off by 2⁻²⁴ of the sum at most, and the
                // draw falls between tokens that are so far apart at most.
                let between = likelihood_between(&params, &logits, found, expected);
                assert!(
                    found == expected || between < 20_011.0 / 16_777_216.0,
                    "{params:?}, draw {draw}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn biases_move_the_choice_and_are_checked() {
    let logits = [1.0, 3.0, 2.0];
    let greedy = |biases: &[(u32, f32)]| {
        Sampler::new(SamplingParams::greedy())?
            .with_biases(biases.to_vec())?
            .sample(&logits, &[])
    };
    assert_eq!(greedy(&[]), Ok(1));
    assert_eq!(greedy(&[(1, -1.5)]), Ok(2));
    assert_eq!(greedy(&[(0, 100.0), (7, 100.0)]), Ok(0));
    assert_eq!(greedy(&[(0, 1.0), (0, 1.5)]), Ok(0), "they add up");
    for bad in [f32::NAN, 100.5, f32::NEG_INFINITY] {
        assert!(matches!(
            greedy(&[(0, bad)]),
            Err(SamplerError::OutOfRange {
                field: "logit_bias",
                ..
            })
        ));
    }
}

/// As where all tokens are allowed, so among a few.
#[test]
fn suppressed_tokens_are_never_chosen() {
    let logits: Vec<f32> = (0..40).map(|id| (id % 7) as f32).collect();
    let history = [3, 6, 6];
    for seed in 0..200 {
        let params = SamplingParams {
            seed,
            repeat_penalty: if seed % 2 == 0 { 1.0 } else { 1.3 },
            ..open(100.0)
        };
        let mut sampler = Sampler::new(params)
            .unwrap()
            .without(&[39, 6, 13, 0, 1_000_000]);
        let id = sampler.sample(&logits, &history).unwrap();
        assert!(![0, 6, 13, 39].contains(&id) && id < 40, "{id}");
        // 0, 5, 6 and 33 are allowed, and what lies beyond the logits.
        let mask = [0b110_0001, (u32::MAX << 8) | 2];
        let id = sampler.sample_among(&logits, &history, &mask).unwrap();
        assert!([5, 33].contains(&id), "{id}");
        let error = sampler.sample_among(&logits, &history, &[0b100_0000, 0]);
        assert_eq!(error, Err(SamplerError::Empty));
    }
}

#[test]
fn a_mask_of_all_tokens_changes_nothing() {
    let logits: Vec<f32> = (0..50).map(|id| (id * 37 % 11) as f32 / 3.0).collect();
    for seed in 0..50 {
        let params = SamplingParams {
            seed,
            repeat_penalty: 1.2,
            ..open(0.9)
        };
        let sampler = || {
            let sampler = Sampler::new(params.clone()).unwrap();
            sampler.with_biases(vec![(4, 2.0), (9, -3.0)]).unwrap()
        };
        let history = [4, 11, 22];
        assert_eq!(
            sampler().sample(&logits, &history),
            sampler().sample_among(&logits, &history, &[u32::MAX; 2])
        );
    }
}
