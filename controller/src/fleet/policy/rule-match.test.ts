import { expect, test } from 'vitest'
import { coversSession, portName } from './rule-match.ts'

const http = { protocol: 6, port: 80, application: 'http' }
const rule = (ports: string, applications = 'any') => ({
	ports: ports.split(','),
	applications: applications.split(','),
})

test.each([
	['any', true],
	['tcp', true],
	['tcp/80', true],
	['tcp/1-80', true],
	['tcp/81-90', false],
	['udp', false],
	['udp/80', false],
	['icmp', false],
	['udp/80,tcp/80', true],
])('ports %s cover tcp/80: %s', (ports, isCovered) => {
	expect(coversSession(rule(ports), http)).toBe(isCovered)
})

test('ICMP of both families is one, by type where the rule says one', () => {
	expect(coversSession(rule('icmp'), { protocol: 58, port: 128, application: '' })).toBe(true)
	expect(coversSession(rule('icmp/8'), { protocol: 1, port: 8, application: '' })).toBe(true)
	expect(coversSession(rule('icmp/8'), { protocol: 1, port: 0, application: '' })).toBe(false)
})

test('an unknown application is covered by any alone', () => {
	expect(coversSession(rule('any', 'http,ssh'), http)).toBe(true)
	expect(coversSession(rule('any', 'ssh'), http)).toBe(false)
	expect(coversSession(rule('any', 'http'), { ...http, application: '' })).toBe(false)
	expect(coversSession(rule('any'), { ...http, application: '' })).toBe(true)
})

test('a protocol without a name is covered by any, and cannot be named', () => {
	const gre = { protocol: 47, port: 0, application: '' }
	expect(coversSession(rule('any'), gre)).toBe(true)
	expect(coversSession(rule('tcp,udp,icmp'), gre)).toBe(false)
	expect(portName(gre)).toBeUndefined()
	expect(portName(http)).toBe('tcp/80')
	expect(portName({ ...http, protocol: 17 })).toBe('udp/80')
	expect(portName({ ...http, protocol: 58 })).toBe('icmp')
})
