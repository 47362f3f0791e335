import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { lockState } from './state-lock.ts'

describe.skipIf(process.platform !== 'linux')('a state directory (locks need Linux)', () => {
	const directory = mkdtempSync(join(tmpdir(), 'rf-lock-'))
	afterAll(() => rmSync(directory, { recursive: true }))

	it('belongs to one agent, and the second one is told whose it is', async () => {
		await lockState(directory, 0)
		await expect(lockState(directory, 150)).rejects.toThrow(
			`state directory ${directory} is in use by another agent (process ${process.pid}): stop that one`,
		)
	})
})
