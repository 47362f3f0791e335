import { expect, test } from 'vitest'
import { fromBase64 } from '../secrets.ts'
import { hashPassword, isPassword, PASSWORD_ITERATIONS, pretendPassword } from './passwords.ts'

test('PBKDF2-HMAC-SHA256 gives what others computed', async () => {
	// RFC 7914 §11: P="passwd", S="salt", c=1, dkLen=64, of which the first 32 bytes are those of dkLen=32.
	const hex = '55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc'
	const hash = btoa(
		String.fromCharCode(...(hex.match(/../g) ?? []).map((two) => Number.parseInt(two, 16))),
	)
	expect(await isPassword('passwd', `pbkdf2-sha256$1$${btoa('salt')}$${hash}`)).toBe(true)
	expect(await isPassword('passwd', `pbkdf2-sha256$2$${btoa('salt')}$${hash}`)).toBe(false)
})

test('a hash tells its own cost, and is salted', async () => {
	const [a, b] = [await hashPassword('secret', 10), await hashPassword('secret', 10)]
	expect(a).not.toBe(b)
	const [scheme, iterations, salt, hash] = a.split('$')
	expect([scheme, iterations]).toEqual(['pbkdf2-sha256', '10'])
	expect(fromBase64(salt ?? '')).toHaveLength(16)
	expect(fromBase64(hash ?? '')).toHaveLength(32)
	expect(await isPassword('secret', a)).toBe(true)
	expect(await isPassword('Secret', a)).toBe(false)
})

test('the same letters typed on another machine are the same password', async () => {
	const stored = await hashPassword('caf\u00e9', 10)
	expect(await isPassword('cafe\u0301', stored)).toBe(true)
})

test('the default cost is what OWASP asks for, and an unknown name pays it too', async () => {
	expect(PASSWORD_ITERATIONS).toBeGreaterThanOrEqual(600_000)
	expect((await hashPassword('secret')).split('$')[1]).toBe(String(PASSWORD_ITERATIONS))
	await expect(pretendPassword('secret', 10)).resolves.toBeUndefined()
})

test.each(['', 'pbkdf2-sha256$', 'md5$1$a$b', 'pbkdf2-sha256$10$c2FsdA==$'])(
	'%j is no hash of anything',
	async (stored) => {
		expect(await isPassword('', stored)).toBe(false)
	},
)
