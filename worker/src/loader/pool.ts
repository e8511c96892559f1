/**
 * The script of the nested worker that is a pool thread; see `pool-thread.ts`.
 */

import { runThread } from "./pool-thread.js";
import type { PoolStart } from "./pool-thread.js";

declare const self: DedicatedWorkerGlobalScope;

self.onmessage = ({ data }: MessageEvent<PoolStart>) => void runThread(data, self);
