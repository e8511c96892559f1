/** Lets compilers and garbage collectors of the warm-up come to an end. */
export const pause = (ms = 750) => new Promise((resolve) => setTimeout(resolve, ms));
