import { defineConfig } from 'vitest/config'

/** `unit` needs nothing but Node; `kernel` makes namespaces and needs root; both are run by `npm test`. */
export default defineConfig({
	test: {
		projects: [
			{
				test: {
					name: 'unit',
					include: ['{shared,agent,controller}/**/*.test.ts', 'test/*.test.ts'],
					exclude: ['**/node_modules/**', '**/dist/**'],
				},
			},
			{
				test: {
					name: 'system',
					include: ['test/{conformance,kernel,e2e,fuzz,golden}/**/*.test.ts'],
					testTimeout: 120_000,
					hookTimeout: 120_000,
					fileParallelism: false,
				},
			},
		],
	},
})
