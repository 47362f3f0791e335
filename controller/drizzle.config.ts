import { defineConfig } from 'drizzle-kit'

/** `npx drizzle-kit generate` writes the next migration; a released one is never edited. */
// biome-ignore lint/style/noDefaultExport: drizzle-kit reads it
export default defineConfig({
	dialect: 'turso',
	schema: './src/db/schema.ts',
	out: './migrations',
})
