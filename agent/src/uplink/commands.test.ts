import type { Command, CommandResult } from '@ringfence/shared/contract/messages'
import { beforeEach, expect, it } from 'vitest'
import { Commands } from './commands.ts'
import { Counters } from './counters.ts'

let counters: Counters
let results: CommandResult[]
let ran: number
let run: () => Promise<{ ok: boolean; why?: string }>
let commands: Commands

beforeEach(() => {
	counters = new Counters()
	results = []
	ran = 0
	run = () => Promise.resolve({ ok: true })
	commands = new Commands({
		counters,
		run: () => {
			ran += 1
			return run()
		},
		publishResult: (result) => results.push(result),
	})
})

it('carries out a command once and repeats the answer when it comes again', async () => {
	await commands.take(command('a'))
	await commands.take(command('a'))
	expect(ran).toBe(1)
	expect(results).toHaveLength(2)
	expect(results[1]).toEqual(results[0])
	expect(counters.get('commandsDuplicate')).toBe(1)
})

it('remembers the last 256 commands', async () => {
	for (let number = 0; number < 257; number++) await commands.take(command(`c${number}`))
	await commands.take(command('c1'))
	expect(ran).toBe(257)
	await commands.take(command('c0'))
	expect(ran).toBe(258)
})

it('does not carry out a command that has expired', async () => {
	await commands.take({ ...command('a'), expiresAt: Date.now() - 1 })
	expect(ran).toBe(0)
	expect(results).toMatchObject([{ id: 'a', ok: false }])
	expect(results[0]?.why).toContain('expired')
})

it('answers for a command that fails', async () => {
	run = () => Promise.reject(new Error('no such thing'))
	await commands.take(command('a'))
	expect(results).toMatchObject([{ id: 'a', ok: false, why: 'no such thing' }])
})

it('runs eight at a time and refuses more', async () => {
	const ends: (() => void)[] = []
	run = () => new Promise((resolve) => ends.push(() => resolve({ ok: true })))
	const taken = Array.from({ length: 9 }, (_, index) => commands.take(command(`c${index}`)))
	await taken[8]
	expect(results).toMatchObject([{ id: 'c8', ok: false, why: '8 commands run already' }])
	for (const end of ends) end()
	await Promise.all(taken)
	expect(results).toHaveLength(9)
})

function command(id: string): Command {
	return { v: 1, id, expiresAt: Date.now() + 60_000, command: { kind: 'resync' } }
}
