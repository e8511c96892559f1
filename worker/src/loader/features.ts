/**
 * What this host's WebAssembly can do, found by validating modules of one
 * function each. Source: <https://webassembly.github.io/spec/core/binary/>.
 */

/** What decides between the builds. */
export interface HostFeatures {
  /** 128-bit SIMD. */
  readonly simd: boolean;
  /** Relaxed SIMD with its integer dot products. */
  readonly relaxedSimd: boolean;
  /** Atomic instructions on shared memory. */
  readonly atomics: boolean;
  /** Whether the page may share memory between threads. */
  readonly crossOriginIsolated: boolean;
  /** Logical cores; 1 where the host does not tell. */
  readonly cores: number;
}

// (func (result v128) (i8x16.popcnt (i8x16.splat (i32.const 0))))
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];

// (func (result v128) (i16x8.relaxed_dot_i8x16_i7x16_s (i8x16.splat (i32.const 1)) (i8x16.splat (i32.const 2))))
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 146, 2, 11,
];

// (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0))))
const ATOMICS = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 11, 1, 9, 0, 65, 0, 254, 16, 2, 0,
  26, 11,
];

/** Asks this host. */
export function detectFeatures(): HostFeatures {
  const validates = (bytes: number[]): boolean => WebAssembly.validate(new Uint8Array(bytes));
  return {
    simd: validates(SIMD),
    relaxedSimd: validates(RELAXED_SIMD),
    atomics: typeof SharedArrayBuffer === "function" && validates(ATOMICS),
    crossOriginIsolated: globalThis.crossOriginIsolated === true,
    cores: globalThis.navigator?.hardwareConcurrency || 1,
  };
}
