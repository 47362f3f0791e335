import type { Probe } from './parser.ts'

export const TAB = 0x09
export const LF = 0x0a
export const CR = 0x0d
export const SPACE = 0x20

/** Whether the bytes start with `text`, may still come to, or do not. */
export function startsWith(view: DataView, at: number, end: number, text: string): Probe {
	const comparedBytes = Math.min(end - at, text.length)
	for (let index = 0; index < comparedBytes; index++) {
		if (view.getUint8(at + index) !== text.charCodeAt(index)) return 'no'
	}
	return comparedBytes === text.length ? 'match' : 'more'
}

/** Whether the bytes are exactly `upper`, a text in upper case, in any case. */
export function equalsIgnoringCase(
	view: DataView,
	at: number,
	end: number,
	upper: string,
): boolean {
	if (end - at !== upper.length) return false
	for (let index = 0; index < upper.length; index++) {
		if (toUpper(view.getUint8(at + index)) !== upper.charCodeAt(index)) return false
	}
	return true
}

/** Offset of the first `byte`, or -1. */
export function findByte(view: DataView, at: number, end: number, byte: number): number {
	for (let offset = at; offset < end; offset++) {
		if (view.getUint8(offset) === byte) return offset
	}
	return -1
}

/** Whether every byte is printable ASCII, space included. */
export function isPrintableText(view: DataView, at: number, end: number): boolean {
	for (let offset = at; offset < end; offset++) {
		if (!isPrintable(view.getUint8(offset))) return false
	}
	return true
}

/** The bytes as text, one character each; `view` must hold them. Eight at a time: 250 ns against 500 for a name of 36 bytes. */
export function readText(view: DataView, at: number, end: number): string {
	let text = ''
	let offset = at
	for (; offset + 8 <= end; offset += 8) {
		text += String.fromCharCode(
			view.getUint8(offset),
			view.getUint8(offset + 1),
			view.getUint8(offset + 2),
			view.getUint8(offset + 3),
			view.getUint8(offset + 4),
			view.getUint8(offset + 5),
			view.getUint8(offset + 6),
			view.getUint8(offset + 7),
		)
	}
	for (; offset < end; offset++) text += String.fromCharCode(view.getUint8(offset))
	return text
}

/** The bytes as text for events and logs: what is not printable ASCII is written as `%XX` (RFC 3986 §2.1). */
export function readPrintable(view: DataView, at: number, end: number): string {
	if (isPrintableText(view, at, end)) return readText(view, at, end)
	let text = ''
	for (let offset = at; offset < end; offset++) {
		const byte = view.getUint8(offset)
		const code = byte.toString(16).toUpperCase().padStart(2, '0')
		text += isPrintable(byte) ? String.fromCharCode(byte) : `%${code}`
	}
	return text
}

export function isDigit(byte: number): boolean {
	return byte >= 0x30 && byte <= 0x39
}

export function isPrintable(byte: number): boolean {
	return byte >= SPACE && byte < 0x7f
}

export function isLetter(byte: number): boolean {
	const lower = byte | 0x20
	return lower >= 0x61 && lower <= 0x7a
}

export function toUpper(byte: number): number {
	return byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte
}
