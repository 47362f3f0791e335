/**
 * Makes a directory from which Mosquitto runs as the broker of a fleet: configuration, accounts (dynamic security plugin),
 * and the controller's account. Existing accounts are never overwritten. Plain Node, no packages. Options:
 *
 * --dir DIR              what is made
 * --listen HOST:PORT     of the broker (127.0.0.1:1883)
 * --user NAME            account of the controller (controller)
 * --password-file FILE   its password; made, with a random one, if there is no such file (DIR/controller-password)
 * --run-as USER          system account the broker drops to when root starts it; must own DIR (who runs this)
 * --plugin FILE          mosquitto_dynamic_security.so, where it isn't where Debian puts it
 */
import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** Debian's places for the plugin. */
const PLUGINS = [
	'/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so',
	'/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so',
]
const ROLE = 'controller'
/** What the plugin uses for its own; a random password gains nothing from more, and they would slow the broker. */
const ITERATIONS = 101

const options = readOptions()
const { directory, host, port } = options
const accountsFile = join(directory, 'dynamic-security.json')
if (existsSync(accountsFile)) fail(`${accountsFile} exists; it is left as it is.`)
mkdirSync(directory, { recursive: true, mode: 0o700 })
const passwordFile = options['password-file'] ?? join(directory, 'controller-password')
const password = readPassword(passwordFile)
writeSecret(accountsFile, `${JSON.stringify(accounts(options.user, password), null, '\t')}\n`)
writeFileSync(join(directory, 'mosquitto.conf'), configuration())
process.stdout.write(`Broker:     mosquitto -c ${join(directory, 'mosquitto.conf')}
Controller: --broker mqtt://${options.listen} --broker-accounts dynsec --broker-user ${options.user} --broker-password-file ${passwordFile}
`)

function readOptions() {
	try {
		const { values } = parseArgs({
			options: {
				dir: { type: 'string' },
				listen: { type: 'string', default: '127.0.0.1:1883' },
				user: { type: 'string', default: 'controller' },
				'password-file': { type: 'string' },
				'run-as': { type: 'string', default: userInfo().username },
				plugin: { type: 'string', default: PLUGINS.find((file) => existsSync(file)) ?? '' },
			},
		})
		if (!values.dir) throw new Error('--dir is needed')
		const at = values.listen.lastIndexOf(':')
		const host = values.listen.slice(0, at).replace(/^\[(.*)\]$/, '$1')
		const port = Number(values.listen.slice(at + 1))
		if (!host || !Number.isInteger(port)) throw new Error('--listen is HOST:PORT')
		if (!existsSync(values.plugin)) {
			throw new Error('mosquitto_dynamic_security.so is not found; name it with --plugin')
		}
		return { ...values, directory: resolve(values.dir), host, port }
	} catch (error) {
		return fail(
			`${error.message}\nusage: node infra/mosquitto/init.mjs --dir DIR [--listen HOST:PORT] [--user NAME] [--password-file FILE] [--run-as USER] [--plugin FILE]`,
		)
	}
}

function readPassword(file) {
	if (!existsSync(file)) writeSecret(file, `${randomBytes(24).toString('base64url')}\n`)
	return readFileSync(file, 'utf8').trim() || fail(`${file} is empty.`)
}

function configuration() {
	const template = fileURLToPath(new URL('mosquitto.conf', import.meta.url))
	const values = {
		HOST: host,
		PORT: port,
		DIR: directory,
		USER: options['run-as'],
		PLUGIN: options.plugin,
	}
	return readFileSync(template, 'utf8').replace(
		/@([A-Z]+)@/g,
		(whole, name) => values[name] ?? whole,
	)
}

/** The plugin's file (mosquitto 2.0, plugins/dynamic-security/config.c): nobody may do anything but the controller. */
function accounts(username, password) {
	const salt = randomBytes(12)
	const hash = pbkdf2Sync(password, salt, ITERATIONS, 64, 'sha512')
	const acls = ['rf/v1/#', '$CONTROL/dynamic-security/#'].flatMap((topic) =>
		['publishClientSend', 'publishClientReceive', 'subscribePattern'].map((acltype) => ({
			acltype,
			topic,
			priority: 0,
			allow: true,
		})),
	)
	return {
		defaultACLAccess: {
			publishClientSend: false,
			publishClientReceive: false,
			subscribe: false,
			unsubscribe: true,
		},
		clients: [
			{
				username,
				textName: 'Ringfence controllers',
				password: hash.toString('base64'),
				salt: salt.toString('base64'),
				iterations: ITERATIONS,
				roles: [{ rolename: ROLE }],
			},
		],
		groups: [],
		roles: [{ rolename: ROLE, acls }],
	}
}

function writeSecret(file, text) {
	writeFileSync(file, text, { mode: 0o600 })
}

function fail(message) {
	process.stderr.write(`${message}\n`)
	process.exit(1)
}
