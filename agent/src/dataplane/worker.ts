import assert from 'node:assert/strict'
import { parentPort, workerData } from 'node:worker_threads'
import { EngineLoop } from './engine-loop.ts'
import type { WorkerStart } from './messages.ts'

assert(parentPort, 'started as a worker thread')
new EngineLoop(parentPort, workerData as WorkerStart).run()
