/** Notes how far a measurement has come: a failure is reported with the last notes. */
export const phase = (name) => console.log(name);

/** Lets compilers and garbage collectors of the warm-up come to an end. */
export const pause = (ms = 750) => new Promise((resolve) => setTimeout(resolve, ms));
