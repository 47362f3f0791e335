import type { Probe, Span } from './parser.ts'

export const TAB = 0x09
export const LF = 0x0a
export const CR = 0x0d
export const SPACE = 0x20

/** Whether the span starts with `text`, may still come to, or does not. */
export function startsWith(span: Readonly<Span>, text: string): Probe {
	const present = span.end - span.at
	const compared = Math.min(present, text.length)
	for (let index = 0; index < compared; index++) {
		if (span.view.getUint8(span.at + index) !== text.charCodeAt(index)) return 'no'
	}
	return compared === text.length ? 'match' : 'more'
}

/** Whether the bytes from `at` to `end` are exactly `upper` (upper case letters), in any case. */
export function equalsIgnoringCase(span: Readonly<Span>, upper: string): boolean {
	if (span.end - span.at !== upper.length) return false
	for (let index = 0; index < upper.length; index++) {
		if (toUpper(span.view.getUint8(span.at + index)) !== upper.charCodeAt(index)) return false
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

/** The bytes as text, one character each; `view` must hold them. */
export function readText(view: DataView, at: number, end: number): string {
	let text = ''
	for (let offset = at; offset < end; offset++) {
		text += String.fromCharCode(view.getUint8(offset))
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
