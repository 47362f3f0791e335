import { createPublicKey, type KeyObject } from 'node:crypto'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeIssues } from '@ringfence/shared/contract/codec'
import { type EnrolResponse, enrolResponseSchema } from '@ringfence/shared/contract/enrol'
import { replaceFile, syncDirectory } from './atomic-file.ts'
import { messageOf, UplinkError } from './uplink-error.ts'

/** Who this agent is, and whom it believes. */
export interface Identity extends Omit<EnrolResponse, 'controllerKey'> {
	/** Ed25519 key whose signature a desired document must bear. */
	readonly controllerKey: KeyObject
}

const FILE = 'identity.json'
const BROKER_PROTOCOLS = ['mqtt:', 'mqtts:', 'ws:', 'wss:']
const ED25519_KEY_BYTES = 32

/** Makes the state directory, for its owner only: it holds the broker's password. */
export async function prepareStateDir(stateDir: string): Promise<void> {
	try {
		await mkdir(stateDir, { recursive: true, mode: 0o700 })
		await chmod(stateDir, 0o700)
	} catch (error) {
		const why = messageOf(error)
		throw new UplinkError(`state directory ${stateDir} cannot be used: ${why}`, {
			code: 'state',
			cause: error,
		})
	}
}

/**
 * Reads the identity of an agent that has enrolled; undefined when there is none. One that is damaged is refused and left
 * as it is, because a fresh one would make the node a stranger to its controller.
 */
export async function loadIdentity(stateDir: string): Promise<Identity | undefined> {
	const path = join(stateDir, FILE)
	const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
		if (error.code === 'ENOENT') return undefined
		throw new UplinkError(`${path} cannot be read: ${messageOf(error)}`, {
			code: 'state',
			cause: error,
		})
	})
	if (text === undefined) return undefined
	try {
		return parseIdentity(JSON.parse(text))
	} catch (error) {
		const advice = 'Restore it from a backup, or remove it and enrol again with a new token.'
		throw new UplinkError(`${path} is damaged: ${messageOf(error)}. ${advice}`, {
			code: 'state',
			cause: error,
		})
	}
}

/** Keeps what the controller answered; on return it survives a loss of power. */
export async function saveIdentity(stateDir: string, response: EnrolResponse): Promise<void> {
	const path = join(stateDir, FILE)
	try {
		const text = `${JSON.stringify(response, null, '\t')}\n`
		await replaceFile(path, text, { mode: 0o600, isSynced: true })
		await syncDirectory(stateDir)
	} catch (error) {
		throw new UplinkError(`${path} cannot be written: ${messageOf(error)}`, {
			code: 'state',
			cause: error,
		})
	}
}

/** Checks an enrolment response, or what was kept of it. Throws when it cannot be used. */
export function parseIdentity(value: unknown): Identity {
	const parsed = enrolResponseSchema.safeParse(value)
	if (!parsed.success) throw new Error(describeIssues(parsed.error))
	const { brokerUrl, controllerKey } = parsed.data
	if (!URL.canParse(brokerUrl)) throw new Error('brokerUrl: not a URL')
	if (!BROKER_PROTOCOLS.includes(new URL(brokerUrl).protocol)) {
		throw new Error('brokerUrl: not mqtt, mqtts, ws or wss')
	}
	return { ...parsed.data, controllerKey: ed25519Key(controllerKey) }
}

function ed25519Key(base64: string): KeyObject {
	const raw = Buffer.from(base64, 'base64')
	if (raw.length !== ED25519_KEY_BYTES) throw new Error('controllerKey: not 32 bytes')
	const jwk = { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }
	return createPublicKey({ key: jwk, format: 'jwk' })
}
