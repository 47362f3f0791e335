import { expect, it } from 'vitest'
import { IdleList } from './idle-list.ts'

it('gives way from the longest idle', () => {
	const list = new IdleList(4)
	expect(list.longestIdle()).toBe(-1)
	for (const index of [0, 1, 2]) list.add(index)
	expect(list.longestIdle()).toBe(0)
	list.touch(0)
	expect(list.longestIdle()).toBe(1)
	list.remove(1)
	expect(list.longestIdle()).toBe(2)
	list.remove(2)
	list.remove(0)
	expect(list.longestIdle()).toBe(-1)
})

it('gives way from the longest closed before any open one', () => {
	const list = new IdleList(4)
	for (const index of [0, 1, 2, 3]) list.add(index)
	list.close(3)
	list.close(1)
	expect(list.longestIdle()).toBe(3)
	list.remove(3)
	expect(list.longestIdle()).toBe(1)
	list.remove(1)
	expect(list.longestIdle()).toBe(0)
})
