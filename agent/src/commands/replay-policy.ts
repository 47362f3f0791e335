import { readFileSync } from 'node:fs'
import { describeIssues } from '@ringfence/shared/contract/codec'
import {
	type AddressEntry,
	addressesShardSchema,
	type Document,
	type PolicyEntry,
	policyShardSchema,
} from '@ringfence/shared/contract/policy'
import { ConfigError } from '../config.ts'
import { compilePolicy, type PolicyDocuments } from '../policy/compile.ts'
import type { CompiledPolicy } from '../policy/policy.ts'

export interface PolicyFile {
	readonly documents: PolicyDocuments
	readonly compiled: CompiledPolicy
}

/** Reads `{"policy": {entries by key}, "addresses": {entries by key}}`, entries as the controller publishes them. */
export function readPolicyFile(path: string): PolicyFile {
	try {
		const json: unknown = JSON.parse(readFileSync(path, 'utf8'))
		const documents = partsOf(json)
		return { documents, compiled: compilePolicy(documents) }
	} catch (error) {
		const why = error instanceof Error ? error.message : String(error)
		throw new ConfigError(`policy file ${path}: ${why}`, { cause: error })
	}
}

function partsOf(json: unknown): {
	policy: Document<PolicyEntry>
	addresses: Document<AddressEntry>
} {
	if (typeof json !== 'object' || json === null) throw new TypeError('not an object')
	const { policy = {}, addresses = {}, ...others } = json as Record<string, unknown>
	const [unknown] = Object.keys(others)
	if (unknown !== undefined) throw new TypeError(`unknown key ${unknown}`)
	const policyParsed = policyShardSchema.safeParse(policy)
	if (!policyParsed.success) throw new TypeError(`policy.${describeIssues(policyParsed.error)}`)
	const addressesParsed = addressesShardSchema.safeParse(addresses)
	if (!addressesParsed.success) {
		throw new TypeError(`addresses.${describeIssues(addressesParsed.error)}`)
	}
	return { policy: documentOf(policyParsed.data), addresses: documentOf(addressesParsed.data) }
}

function documentOf<Entry>(entries: Record<string, Entry>): Document<Entry> {
	return { epoch: 1, generation: 1, entries: new Map(Object.entries(entries)) }
}
