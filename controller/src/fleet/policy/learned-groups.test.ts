import { groupNameSchema } from '@ringfence/shared/contract/policy'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { learnedGroupName } from './learned-groups.ts'

test('plain names stay as they are', () => {
	expect(learnedGroupName('web', 'shop')).toBe('rf.web.shop')
	expect(learnedGroupName('naïve-服务', 'default')).toBe('rf.naïve-服务.default')
})

test('names that had to be changed stay apart from each other and from plain ones', () => {
	const names = ['a b', 'a/b', 'a_b', 'a\tb', 'a\u202eb'].map((name) => learnedGroupName(name, 'd'))
	expect(new Set(names).size).toBe(names.length)
	expect(names[2]).toBe('rf.a_b.d')
})

test('any words make a name that the contract takes, the same each time', () => {
	const word = fc.string({ unit: 'binary', minLength: 1, maxLength: 256 })
	fc.assert(
		fc.property(word, word, (service, domain) => {
			const name = learnedGroupName(service, domain)
			expect(groupNameSchema.safeParse(name).success).toBe(true)
			expect(new TextDecoder().decode(new TextEncoder().encode(name))).toBe(name)
			expect(learnedGroupName(service, domain)).toBe(name)
		}),
		{ numRuns: 30 },
	)
})
