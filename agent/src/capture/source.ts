import type { Frame } from '../engine/engine.ts'

/**
 * Where frames come from: a ring or a file. A cursor over one reused record:
 * `while (source.next()) engine.inspect(source.frame, source.timeUs)`.
 */
export interface CaptureSource {
	/** What `next` found. Record and bytes are borrowed until `next` or `close` is called. */
	readonly frame: Readonly<Frame>
	/** When `frame` was captured: microseconds since 1970-01-01T00:00:00Z. */
	readonly timeUs: number
	/** Moves to the next frame; false when there is none (a ring may have one later). Throws `CaptureFileError` where a file is damaged. */
	next(): boolean
	/** Frames that the kernel or the capturing program had no room for, since the start. */
	losses(): number
	/** Gives back memory and descriptors; may be called again. */
	close(): void
}
