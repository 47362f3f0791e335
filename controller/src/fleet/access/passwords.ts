import { fromBase64, isEqualText, toBase64 } from '../secrets.ts'

/** Work of one guess: OWASP Password Storage Cheat Sheet, PBKDF2-HMAC-SHA256. About a quarter of a second on one core. */
export const PASSWORD_ITERATIONS = 600_000

const SALT_BYTES = 16
const HASH_BITS = 256

/** Hashes a password as `pbkdf2-sha256$<iterations>$<salt>$<hash>` (RFC 8018 §5.2; salt and hash in base64). */
export async function hashPassword(
	password: string,
	iterations: number = PASSWORD_ITERATIONS,
): Promise<string> {
	const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES))
	const hash = await derive(password, salt, iterations)
	return ['pbkdf2-sha256', iterations, toBase64(salt), hash].join('$')
}

/** Whether `stored` was made from the password. Takes the time of the stored iteration count, right or wrong. */
export async function isPassword(password: string, stored: string): Promise<boolean> {
	const [scheme, iterations, salt, hash] = stored.split('$')
	if (scheme !== 'pbkdf2-sha256' || !salt || !hash) return false
	return isEqualText(await derive(password, fromBase64(salt), Number(iterations)), hash)
}

/** Costs what `isPassword` costs: so that an unknown name takes no less time than a wrong password. */
export async function pretendPassword(password: string, iterations: number): Promise<void> {
	await derive(password, new Uint8Array(SALT_BYTES), iterations)
}

async function derive(
	password: string,
	salt: Uint8Array<ArrayBuffer>,
	iterations: number,
): Promise<string> {
	const bytes = new TextEncoder().encode(password.normalize('NFC'))
	const key = await crypto.subtle.importKey('raw', bytes, 'PBKDF2', false, ['deriveBits'])
	const params = { name: 'PBKDF2', hash: 'SHA-256', salt, iterations }
	return toBase64(new Uint8Array(await crypto.subtle.deriveBits(params, key, HASH_BITS)))
}
