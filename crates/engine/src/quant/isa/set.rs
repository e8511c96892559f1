//! Which implementations of [`super::Isa`] this build has, which of them the processor
//! can run, and which one is used.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Isa;

/// An implementation of the kernels' vector operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstructionSet {
    /// Plain Rust.
    Portable,
    /// AVX2 and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// NEON: products of 8-bit integers, summed in 16 bits.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// NEON with dot products.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    /// simd128: products of 8-bit integers, widened to 16 bits.
    #[cfg(all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(target_feature = "relaxed-simd")
    ))]
    Extended,
    /// simd128: products of 16-bit integers.
    #[cfg(all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(target_feature = "relaxed-simd")
    ))]
    Wide,
    /// Relaxed SIMD: dot products summed in 32 bits.
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    Relaxed32,
    /// Relaxed SIMD: dot products summed in 16 bits.
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    Relaxed16,
}

/// `$body` with `$S` standing for the type behind an instruction set. The body itself is
/// not compiled for its instructions; [`super::Isa::enter`] leads to where they are.
macro_rules! for_isa {
    ($set:expr, $S:ident => $body:expr) => {{
        use $crate::quant::isa;
        match $set {
            isa::InstructionSet::Portable => {
                type $S = isa::Portable;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            isa::InstructionSet::Avx2 => {
                type $S = isa::Avx2;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            isa::InstructionSet::Avx512 => {
                type $S = isa::Avx512;
                $body
            }
            #[cfg(target_arch = "aarch64")]
            isa::InstructionSet::Neon => {
                type $S = isa::Neon<isa::Smlal>;
                $body
            }
            #[cfg(target_arch = "aarch64")]
            isa::InstructionSet::NeonDot => {
                type $S = isa::Neon<isa::Sdot>;
                $body
            }
            #[cfg(all(
                target_arch = "wasm32",
                target_feature = "simd128",
                not(target_feature = "relaxed-simd")
            ))]
            isa::InstructionSet::Extended => {
                type $S = isa::Wasm<isa::Extended>;
                $body
            }
            #[cfg(all(
                target_arch = "wasm32",
                target_feature = "simd128",
                not(target_feature = "relaxed-simd")
            ))]
            isa::InstructionSet::Wide => {
                type $S = isa::Wasm<isa::Wide>;
                $body
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            isa::InstructionSet::Relaxed32 => {
                type $S = isa::Wasm<isa::Relaxed32>;
                $body
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            isa::InstructionSet::Relaxed16 => {
                type $S = isa::Wasm<isa::Relaxed16>;
                $body
            }
        }
    }};
}
pub(crate) use for_isa;

/// What this build has; on x86, what is faster comes later.
const ALL: &[InstructionSet] = &[
    InstructionSet::Portable,
    #[cfg(target_arch = "x86_64")]
    InstructionSet::Avx2,
    #[cfg(target_arch = "x86_64")]
    InstructionSet::Avx512,
    #[cfg(target_arch = "aarch64")]
    InstructionSet::Neon,
    #[cfg(target_arch = "aarch64")]
    InstructionSet::NeonDot,
    #[cfg(all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(target_feature = "relaxed-simd")
    ))]
    InstructionSet::Extended,
    #[cfg(all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(target_feature = "relaxed-simd")
    ))]
    InstructionSet::Wide,
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    InstructionSet::Relaxed32,
    #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
    InstructionSet::Relaxed16,
];

/// The index in [`ALL`] of what new matrices are laid out for, plus one; 0 before the
/// first question.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

impl InstructionSet {
    /// Those that this processor can run; on x86, what is faster comes later.
    pub fn available() -> impl Iterator<Item = Self> {
        ALL.iter().copied().filter(|set| set.is_there())
    }

    /// What new matrices are laid out for.
    pub fn chosen() -> Self {
        match CHOSEN.load(Ordering::Relaxed) {
            0 => {
                let best = Self::guess();
                best.choose();
                best
            }
            idx => ALL[idx - 1],
        }
    }

    /// What is probably the fastest here. A guess needs no clock, and comes out the same
    /// at every start.
    fn guess() -> Self {
        #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
        if super::wasm::has_dot_product() {
            return Self::Relaxed32;
        }
        #[cfg(all(
            target_arch = "wasm32",
            target_feature = "simd128",
            not(target_feature = "relaxed-simd")
        ))]
        if !super::wasm::is_x86() {
            return Self::Extended;
        }
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// Lays out new matrices for this one.
    ///
    /// # Panics
    /// The processor cannot run it.
    pub fn choose(self) {
        assert!(self.is_there(), "{} is not there", self.name());
        let idx = ALL.iter().position(|&set| set == self);
        CHOSEN.store(idx.map_or(0, |idx| idx + 1), Ordering::Relaxed);
    }

    /// Whether this processor has what the kernels need.
    pub(crate) fn is_there(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => super::avx2::has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => super::avx512::has_avx512(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => super::neon::has_dotprod(),
            _ => true,
        }
    }

    /// The name for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512-vnni",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => "neon-dot",
            #[cfg(all(
                target_arch = "wasm32",
                target_feature = "simd128",
                not(target_feature = "relaxed-simd")
            ))]
            Self::Extended => "simd128-extended",
            #[cfg(all(
                target_arch = "wasm32",
                target_feature = "simd128",
                not(target_feature = "relaxed-simd")
            ))]
            Self::Wide => "simd128-wide",
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            Self::Relaxed32 => "relaxed-32",
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            Self::Relaxed16 => "relaxed-16",
        }
    }

    /// Rows in a vector.
    pub(crate) const fn n_lanes(self) -> usize {
        for_isa!(self, S => <S as Isa>::LANES)
    }
}
