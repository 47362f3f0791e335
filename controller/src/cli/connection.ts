import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { z } from 'zod'

/** Where the controller is, and what lets us in: an API key or a session token. */
export interface Connection {
	readonly url: string
	readonly credential: string | undefined
}

const DEFAULT_URL = 'http://127.0.0.1:8080'

const configSchema = z.strictObject({ url: z.string(), token: z.string() })

/** What the command line and the environment say; each comes before what `sign-in` kept. */
export interface Wanted {
	readonly url?: string | undefined
	readonly key?: string | undefined
}

/** Takes options first, then RINGFENCE_URL and RINGFENCE_KEY, then the file; a kept token is sent only to its own URL. */
export async function findConnection(wanted: Wanted, env: NodeJS.ProcessEnv): Promise<Connection> {
	const kept = await readConfig(env)
	const url = (wanted.url ?? env['RINGFENCE_URL'] ?? kept?.url ?? DEFAULT_URL).replace(/\/+$/, '')
	const token = kept?.url === url ? kept.token : undefined
	return { url, credential: wanted.key ?? env['RINGFENCE_KEY'] ?? token }
}

/** Keeps a session for later commands, readable only by its owner. */
export async function keepSession(
	session: { readonly url: string; readonly token: string },
	env: NodeJS.ProcessEnv,
): Promise<string> {
	const file = configFile(env)
	await mkdir(dirname(file), { recursive: true, mode: 0o700 })
	await writeFile(file, `${JSON.stringify(session, null, '\t')}\n`, { mode: 0o600 })
	// The mode above holds only for a new file.
	await chmod(file, 0o600)
	return file
}

export async function forgetSession(env: NodeJS.ProcessEnv): Promise<void> {
	await rm(configFile(env), { force: true })
}

async function readConfig(env: NodeJS.ProcessEnv) {
	try {
		return configSchema.parse(JSON.parse(await readFile(configFile(env), 'utf8')))
	} catch {
		return undefined
	}
}

/** XDG Base Directory Specification. */
function configFile(env: NodeJS.ProcessEnv): string {
	const base = env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config')
	return join(base, 'ringfence', 'config.json')
}
