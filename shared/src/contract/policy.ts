import { z } from 'zod'
import { parseCidr } from '../net/cidr.ts'
import { APPLICATIONS } from './application.ts'
import { countSchema, idSchema, nameSchema } from './text.ts'

export const MODES = ['discover', 'monitor', 'protect'] as const
export const modeSchema = z.enum(MODES)
/** Discover: learn and allow. Monitor: allow, and alert on what no rule allows. Protect: block it. */
export type Mode = z.infer<typeof modeSchema>

const PORT_MAX = 65_535

/** RFC 792, RFC 4443 §2.1: the type is one octet. */
const ICMP_TYPE_MAX = 255

/** `rf.<service>.<domain>` for learned groups, `nodes`, `containers`, `external`, or a user's own. */
export const groupNameSchema = nameSchema.regex(/^[^\s/]+$/, 'no spaces or slashes')

/** `any`, `tcp/80`, `udp/1000-2000`, `icmp`, `icmp/8`: protocol, then port or range (RFC 6335), or ICMP type of either family. */
export const portRangeSchema = z
	.string()
	.regex(/^(any|(tcp|udp)(\/\d{1,5}(-\d{1,5})?)?|icmp(\/\d{1,3})?)$/)
	.refine(isOrderedRange, 'the range is empty or beyond the last number')

export const cidrSchema = z
	.string()
	.max(49)
	.refine((text) => parseCidr(text) !== undefined, 'not a network')

export const ruleActionSchema = z.enum(['allow', 'deny'])

/** A rule as the agent reads it; the lowest `order` that matches decides. */
export const ruleEntrySchema = z.strictObject({
	kind: z.literal('rule'),
	id: idSchema,
	order: z.int(),
	from: groupNameSchema,
	to: groupNameSchema,
	/** Any of them; `['any']` for all. */
	ports: z.array(portRangeSchema).min(1).max(64),
	/** Any of them; `['any']` for all, named or not. */
	applications: z
		.array(z.enum(['any', ...APPLICATIONS]))
		.min(1)
		.max(64),
	action: ruleActionSchema,
})
export type RuleEntry = z.infer<typeof ruleEntrySchema>

/** What holds for the members of a group that has modes of its own (learned groups and `nodes`). */
export const groupEntrySchema = z.strictObject({
	kind: z.literal('group'),
	name: groupNameSchema,
	mode: modeSchema,
})
export type GroupEntry = z.infer<typeof groupEntrySchema>

export const policySettingsSchema = z.strictObject({
	kind: z.literal('settings'),
	/** Mode of a workload whose group this node was not told yet. */
	newServiceMode: modeSchema,
	/** Networks whose addresses are inside the fleet; all else is `external`. */
	fleetNetworks: z.array(cidrSchema).max(4096),
})
export type PolicySettings = z.infer<typeof policySettingsSchema>

/** Entry of document `policy`, by key: `settings`, `group:<name>`, `rule:<id>`. */
export const policyEntrySchema = z.discriminatedUnion('kind', [
	policySettingsSchema,
	groupEntrySchema,
	ruleEntrySchema,
])
export type PolicyEntry = z.infer<typeof policyEntrySchema>

/** Entry of document `addresses`, by key: the network. Who is behind an address, and all groups it is a member of. */
export const addressEntrySchema = z.strictObject({
	network: cidrSchema,
	kind: z.enum(['workload', 'node', 'custom']),
	/** Workload or node id; group name for `custom`. */
	id: z.string().min(1).max(256),
	/** Without `external`, which is everybody that no entry covers. */
	groups: z.array(groupNameSchema).max(256),
})
export type AddressEntry = z.infer<typeof addressEntrySchema>

export const SHARD_ENTRIES_MAX = 65_536
export const policyShardSchema = shardSchema(policyEntrySchema)
export const addressesShardSchema = shardSchema(addressEntrySchema)

/** Which shard an entry is in: FNV-1a of the key's UTF-16 units, modulo the number of shards. */
export function shardOf(key: string, shards: number): number {
	let hash = 0x811c9dc5
	for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193)
	return (hash >>> 0) % shards
}

/** A document put together from its shards. */
export interface Document<Entry> {
	readonly epoch: number
	readonly generation: number
	readonly entries: ReadonlyMap<string, Entry>
}

export const documentVersionSchema = z.strictObject({ epoch: countSchema, generation: countSchema })

function shardSchema<Entry extends z.ZodType>(entry: Entry) {
	return z
		.record(z.string().min(1).max(300), entry)
		.refine((shard) => Object.keys(shard).length <= SHARD_ENTRIES_MAX, 'too many entries')
}

function isOrderedRange(text: string): boolean {
	const [first, last = first] = text.match(/\d+/g)?.map(Number) ?? []
	if (first === undefined || last === undefined) return true
	const numberMax = text.startsWith('icmp') ? ICMP_TYPE_MAX : PORT_MAX
	return first <= last && last <= numberMax
}
