import { connect } from 'node:net'

/** An answer as it stood on the wire. */
export interface RawAnswer {
	/** 0 when the connection ended without one. */
	readonly status: number
	readonly type: string
	readonly body: string
	/** Everything that came. */
	readonly text: string
}

/** Nothing more is expected after a silence this long. */
const SILENCE_MS = 250

/** Writes bytes to a server, whatever they are, and reads until it is silent or hangs up. */
export function exchange(
	port: number,
	bytes: Uint8Array | string,
	{ silenceMs = SILENCE_MS, isCut = false }: { silenceMs?: number; isCut?: boolean } = {},
): Promise<RawAnswer> {
	return new Promise((resolve) => {
		const chunks: Buffer[] = []
		const socket = connect({ port, host: '127.0.0.1' })
		let timer = setTimeout(() => socket.destroy(), 10_000)
		socket.on('connect', () => {
			socket.write(bytes, () => isCut && socket.destroy())
			wait()
		})
		const wait = () => {
			clearTimeout(timer)
			timer = setTimeout(() => socket.destroy(), silenceMs)
		}
		socket.on('data', (chunk: Buffer) => {
			chunks.push(chunk)
			wait()
		})
		socket.on('error', () => undefined)
		socket.on('close', () => {
			clearTimeout(timer)
			resolve(parseAnswer(Buffer.concat(chunks).toString('latin1')))
		})
	})
}

/** The first answer of what came. */
export function parseAnswer(text: string): RawAnswer {
	const end = text.indexOf('\r\n\r\n')
	const head = text.slice(0, end < 0 ? undefined : end)
	const body = end < 0 ? '' : text.slice(end + 4)
	const length = Number(/content-length: *(\d+)/i.exec(head)?.[1] ?? body.length)
	return {
		status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0),
		type: /content-type: *([^\r;]+)/i.exec(head)?.[1] ?? '',
		body: body.slice(0, length),
		text,
	}
}
