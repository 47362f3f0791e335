import { describe } from 'vitest'

const missing = new Set((process.env['RINGFENCE_TEST_MISSING'] ?? '').split(' ').filter(Boolean))

/** A suite that makes namespaces and captures packets: skipped by name, with the reason, where that cannot be. */
export function describeKernel(name: string, programs: readonly string[], suite: () => void): void {
	const why = whyNot(programs)
	if (why) describe.skip(`${name} [skipped: ${why}]`, suite)
	else describe(name, suite)
}

function whyNot(programs: readonly string[]): string | undefined {
	if (process.platform !== 'linux') return 'needs Linux'
	if (process.getuid?.() !== 0) return 'needs root'
	const absent = programs.filter((program) => missing.has(program))
	return absent.length > 0 ? `needs ${absent.join(', ')}` : undefined
}
