import { z } from 'zod'
import { parseCidr } from '../net/cidr.ts'
import { APPLICATIONS } from './application.ts'
import { nodeFactsSchema } from './messages.ts'
import { groupNameSchema, modeSchema, portRangeSchema, ruleActionSchema } from './policy.ts'
import { SESSION_ACTIONS, severitySchema } from './telemetry.ts'
import {
	boundedRecordSchema,
	countSchema,
	idSchema,
	nameSchema,
	proseSchema,
	timestampSchema,
} from './text.ts'
import { DOCUMENTS } from './topics.ts'
import { interfaceSchema } from './workload.ts'

/**
 * The REST interface of the controller: bodies and queries. Checked at the door, and the source of the OpenAPI document.
 * `id` in a schema's metadata is its name among the document's components.
 */

/** Largest request body. */
export const REST_BODY_BYTES_MAX = 1024 * 1024

/** Largest page of a list, and the size of one when the request names none. */
export const PAGE_ITEMS_MAX = 500
export const PAGE_ITEMS_DEFAULT = 100

/** RFC 9457. `errors` points into the request (RFC 6901 pointer; `/query/…`, `/path/…` outside the body). */
export const problemSchema = z
	.object({
		type: z.string(),
		title: z.string(),
		status: z.int(),
		detail: z.string().optional(),
		instance: z.string().optional(),
		errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
	})
	.meta({ id: 'Problem' })
export type Problem = z.infer<typeof problemSchema>

const revisionSchema = z.int().min(1).meta({ description: 'Rises with every write; the ETag.' })
const cursorSchema = z.string().min(1).max(1024)
const integerText = z
	.string()
	.regex(/^\d{1,15}$/, 'not a number')
	.transform(Number)
const flagText = z.enum(['true', 'false']).transform((text) => text === 'true')

/** Query of every list: `cursor` is the `next` of the page before. */
export const pageQuerySchema = z.strictObject({
	limit: integerText.pipe(z.int().min(1).max(PAGE_ITEMS_MAX)).optional(),
	cursor: cursorSchema.optional(),
})
export type PageQuery = z.infer<typeof pageQuerySchema>

function pageOf<Item extends z.ZodType>(name: string, item: Item) {
	return z
		.object({
			items: z.array(item),
			next: z
				.string()
				.nullable()
				.meta({ description: 'Cursor of the next page; null at the end.' }),
		})
		.meta({ id: name })
}

/* Access */

export const ROLES = ['viewer', 'operator', 'admin'] as const
export const roleSchema = z.enum(ROLES)

export const PASSWORD_CHARS_MIN = 12
const newPasswordSchema = z.string().min(PASSWORD_CHARS_MIN).max(256)
const userNameSchema = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,63}$/)

export const signInSchema = z
	.strictObject({
		name: z.string().min(1).max(64),
		password: z.string().min(1).max(256),
		/** A browser takes a cookie; a program may ask for a bearer token. */
		session: z.enum(['cookie', 'token']).default('cookie'),
	})
	.meta({ id: 'SignIn' })
export type SignIn = z.infer<typeof signInSchema>

export const signedInSchema = z
	.object({
		name: nameSchema,
		role: roleSchema,
		expiresAt: timestampSchema,
		/** `rfs_…`, only when a token was asked for. */
		token: z.string().optional(),
	})
	.meta({ id: 'SignedIn' })

export const selfSchema = z
	.object({
		kind: z.enum(['user', 'key']),
		id: z.string(),
		name: nameSchema,
		role: roleSchema,
		expiresAt: timestampSchema.nullable(),
	})
	.meta({ id: 'Self' })
export type Self = z.infer<typeof selfSchema>

export const passwordChangeSchema = z
	.strictObject({ current: z.string().min(1).max(256), next: newPasswordSchema })
	.meta({ id: 'PasswordChange' })

export const userResourceSchema = z
	.object({
		id: idSchema,
		name: nameSchema,
		role: roleSchema,
		lockedUntil: timestampSchema.nullable(),
		createdAt: timestampSchema,
		revision: revisionSchema,
	})
	.meta({ id: 'User' })
export type UserResource = z.infer<typeof userResourceSchema>
export const userPageSchema = pageOf('UserPage', userResourceSchema)

export const userCreateSchema = z
	.strictObject({ name: userNameSchema, role: roleSchema, password: newPasswordSchema })
	.meta({ id: 'UserCreate' })

export const userPatchSchema = z
	.strictObject({ role: roleSchema.optional(), password: newPasswordSchema.optional() })
	.meta({ id: 'UserPatch' })

export const apiKeyResourceSchema = z
	.object({
		id: idSchema,
		name: nameSchema,
		role: roleSchema,
		createdAt: timestampSchema,
		expiresAt: timestampSchema.nullable(),
		lastUsedAt: timestampSchema.nullable(),
		revision: revisionSchema,
	})
	.meta({ id: 'ApiKey' })
export type ApiKeyResource = z.infer<typeof apiKeyResourceSchema>
export const apiKeyPageSchema = pageOf('ApiKeyPage', apiKeyResourceSchema)

export const apiKeyCreateSchema = z
	.strictObject({ name: nameSchema, role: roleSchema, expiresAt: timestampSchema.optional() })
	.meta({ id: 'ApiKeyCreate' })

export const apiKeyCreatedSchema = apiKeyResourceSchema
	.extend({ key: z.string().meta({ description: 'Shown this once: `rfk_<id>_<secret>`.' }) })
	.meta({ id: 'ApiKeyCreated' })

export const enrolTokenCreateSchema = z
	.strictObject({
		ttlSeconds: z
			.int()
			.min(60)
			.max(30 * 86_400)
			.default(3600),
		uses: z.int().min(1).max(10_000).default(1),
	})
	.meta({ id: 'EnrolTokenCreate' })

export const enrolTokenCreatedSchema = z
	.object({
		token: z.string().meta({ description: 'Shown this once: `rft_<id>_<secret>`.' }),
		expiresAt: timestampSchema,
		uses: z.int(),
	})
	.meta({ id: 'EnrolTokenCreated' })

/* Nodes and workloads */

export const nodeDocumentSchema = z
	.object({
		document: z.enum(DOCUMENTS),
		/** What the fleet should run. */
		currentGeneration: countSchema,
		/** What the node last told; null before its first word. */
		epoch: countSchema.nullable(),
		generation: countSchema.nullable(),
		state: z.enum(['applied', 'rejected', 'unknown']),
		isCurrent: z.boolean(),
		why: z.string().nullable(),
		at: timestampSchema.nullable(),
	})
	.meta({ id: 'NodeDocument' })

export const nodeResourceSchema = z
	.object({
		id: idSchema,
		name: nameSchema,
		isUp: z.boolean(),
		enrolledAt: timestampSchema,
		lastSeenAt: timestampSchema,
		facts: nodeFactsSchema.nullable(),
		/** Messages of it that could not be read. */
		rejected: countSchema,
		/** Records of it whose ends stayed unknown. */
		givenUp: countSchema,
		/** Totals of the agent since its start. */
		counters: z.record(z.string(), countSchema).nullable(),
		documents: z.array(nodeDocumentSchema),
		revision: revisionSchema,
	})
	.meta({ id: 'Node' })
export type NodeResource = z.infer<typeof nodeResourceSchema>
export const nodePageSchema = pageOf('NodePage', nodeResourceSchema)

export const nodeQuerySchema = pageQuerySchema.extend({ isUp: flagText.optional() })

/** How far the newest generation of each document has come. */
export const policyStatusSchema = z
	.object({
		nodes: countSchema,
		nodesUp: countSchema,
		documents: z.array(
			z.object({
				document: z.enum(DOCUMENTS),
				currentGeneration: countSchema,
				/** Nodes that run it. */
				applied: countSchema,
				/** Nodes that refused it. */
				rejected: countSchema,
				/** All others. */
				behind: countSchema,
				generations: z.array(
					z.object({
						generation: countSchema,
						state: z.enum(['applied', 'rejected']),
						nodes: countSchema,
					}),
				),
			}),
		),
	})
	.meta({ id: 'PolicyStatus' })
export type PolicyStatus = z.infer<typeof policyStatusSchema>

export const workloadResourceSchema = z
	.object({
		id: idSchema,
		nodeId: idSchema,
		name: nameSchema,
		runtime: z.string(),
		service: nameSchema,
		domain: nameSchema,
		image: nameSchema.nullable(),
		labels: z.record(z.string(), z.string()),
		interfaces: z.array(interfaceSchema),
		group: groupNameSchema,
		startedAt: timestampSchema,
		firstSeenAt: timestampSchema,
		/** When its node stopped reporting it; null while it runs. */
		goneAt: timestampSchema.nullable(),
		revision: revisionSchema,
	})
	.meta({ id: 'Workload' })
export type WorkloadResource = z.infer<typeof workloadResourceSchema>
export const workloadPageSchema = pageOf('WorkloadPage', workloadResourceSchema)

export const workloadQuerySchema = pageQuerySchema.extend({
	node: idSchema.optional(),
	group: groupNameSchema.optional(),
	service: nameSchema.optional(),
	/** Running ones unless asked otherwise. */
	state: z.enum(['running', 'gone', 'all']).optional(),
})

/* Groups */

export const CRITERION_OPS = ['=', '!=', 'contains', 'prefix'] as const

/** What a member of a custom group is like. `address` takes a network, and `=` or `!=`; `label:<key>` reads that label. */
export const criterionSchema = z
	.strictObject({
		key: z
			.string()
			.max(134)
			.regex(/^(name|service|domain|image|node|address|label:[\s\S]{1,128})$/, 'not a key'),
		op: z.enum(CRITERION_OPS),
		value: z.string().min(1).max(256),
	})
	.refine(({ key, op }) => key !== 'address' || op === '=' || op === '!=', {
		path: ['op'],
		message: 'an address is compared by = or !=',
	})
	.refine(({ key, value }) => key !== 'address' || parseCidr(value) !== undefined, {
		path: ['value'],
		message: 'not a network',
	})
	.meta({ id: 'Criterion' })
export type Criterion = z.infer<typeof criterionSchema>

/** All must hold for different keys, any for equal keys. */
export const criteriaSchema = z.array(criterionSchema).min(1).max(64)

export const groupResourceSchema = z
	.object({
		name: groupNameSchema,
		kind: z.enum(['learned', 'reserved', 'custom']),
		/** Learned groups and `nodes` have one. */
		mode: modeSchema.nullable(),
		/** Custom groups have them. */
		criteria: z.array(criterionSchema).nullable(),
		comment: proseSchema,
		/** Running workloads in it; nodes for `nodes`; null for `external`. */
		members: countSchema.nullable(),
		createdAt: timestampSchema,
		emptySince: timestampSchema.nullable(),
		revision: revisionSchema,
	})
	.meta({ id: 'Group' })
export type GroupResource = z.infer<typeof groupResourceSchema>
export const groupPageSchema = pageOf('GroupPage', groupResourceSchema)

export const groupQuerySchema = pageQuerySchema.extend({
	kind: z.enum(['learned', 'reserved', 'custom']).optional(),
})

const customGroupNameSchema = groupNameSchema
	.max(128)
	.refine((name) => !name.startsWith('rf.'), 'rf. is kept for learned groups')
	.refine((name) => !['any', 'nodes', 'containers', 'external'].includes(name), 'a reserved name')

export const groupCreateSchema = z
	.strictObject({
		name: customGroupNameSchema,
		criteria: criteriaSchema,
		comment: proseSchema.default(''),
	})
	.meta({ id: 'GroupCreate' })
export type GroupCreate = z.infer<typeof groupCreateSchema>

export const groupPatchSchema = z
	.strictObject({
		mode: modeSchema.optional(),
		criteria: criteriaSchema.optional(),
		comment: proseSchema.optional(),
	})
	.meta({ id: 'GroupPatch' })
export type GroupPatch = z.infer<typeof groupPatchSchema>

export const groupPreviewSchema = z
	.strictObject({ criteria: criteriaSchema })
	.meta({ id: 'GroupPreview' })

/** Who would be in it. `networks` are those that the criteria name. */
export const groupMembersSchema = z
	.object({
		workloads: z.array(
			z.object({ id: idSchema, name: nameSchema, nodeId: idSchema, group: groupNameSchema }),
		),
		networks: z.array(z.string()),
		/** Members beyond those listed. */
		more: countSchema,
	})
	.meta({ id: 'GroupMembers' })
export type GroupMembers = z.infer<typeof groupMembersSchema>

/* Rules */

const ruleFields = {
	from: groupNameSchema,
	to: groupNameSchema,
	/** Any of them; `any` for all. */
	ports: z.array(portRangeSchema).min(1).max(64),
	/** Any of them; `any` for all, named or not. */
	applications: z
		.array(z.enum(['any', ...APPLICATIONS]))
		.min(1)
		.max(64),
	action: ruleActionSchema,
	comment: proseSchema,
	isEnabled: z.boolean(),
}

const placeFields = {
	/** Right before or after that rule of users; neither: after the last one. */
	before: z.int().min(1).optional(),
	after: z.int().min(1).optional(),
}

export const ruleResourceSchema = z
	.object({
		id: z.int(),
		...ruleFields,
		ports: z.array(z.string()),
		applications: z.array(z.string()),
		/** Its place: the lowest that matches decides. Rules of users come before learned ones. */
		position: z.int(),
		isLearned: z.boolean(),
		createdAt: timestampSchema,
		updatedAt: timestampSchema,
		revision: revisionSchema,
	})
	.meta({ id: 'Rule' })
export type RuleResource = z.infer<typeof ruleResourceSchema>
export const rulePageSchema = pageOf('RulePage', ruleResourceSchema)

export const ruleQuerySchema = pageQuerySchema.extend({
	/** At either end. */
	group: groupNameSchema.optional(),
	isLearned: flagText.optional(),
})

export const ruleCreateSchema = z
	.strictObject({
		...ruleFields,
		ports: ruleFields.ports.default(['any']),
		applications: ruleFields.applications.default(['any']),
		comment: ruleFields.comment.default(''),
		isEnabled: ruleFields.isEnabled.default(true),
		...placeFields,
	})
	.refine(hasOnePlace, { path: ['after'], message: 'before or after, not both' })
	.meta({ id: 'RuleCreate' })
export type RuleCreate = z.infer<typeof ruleCreateSchema>

export const rulePatchSchema = z.strictObject(ruleFields).partial().meta({ id: 'RulePatch' })
export type RulePatch = z.infer<typeof rulePatchSchema>

export const ruleMoveSchema = z
	.strictObject(placeFields)
	.refine(hasOnePlace, { path: ['after'], message: 'before or after, not both' })
	.meta({ id: 'RuleMove' })
export type RulePlace = z.infer<typeof ruleMoveSchema>

function hasOnePlace(place: { before?: number | undefined; after?: number | undefined }): boolean {
	return place.before === undefined || place.after === undefined
}

/* Conversations */

/** One end: a workload or node of the fleet, or an address outside. */
export const endpointSchema = z
	.object({
		/** `workload:<id>`, `node:<id>` or `external:<address>` */
		id: z.string(),
		kind: z.enum(['workload', 'node', 'external']),
		name: z.string(),
		group: z.string(),
	})
	.meta({ id: 'Endpoint' })

export const conversationResourceSchema = z
	.object({
		id: z.int(),
		client: endpointSchema,
		server: endpointSchema,
		/** IP protocol number (IANA). */
		protocol: z.int(),
		serverPort: z.int(),
		/** Null: unknown. */
		application: z.string().nullable(),
		isFinal: z.boolean(),
		action: z.string(),
		rule: z.string().nullable(),
		why: z.string(),
		host: z.string().nullable(),
		sessions: countSchema,
		clientPackets: countSchema,
		clientBytes: countSchema,
		serverPackets: countSchema,
		serverBytes: countSchema,
		firstAt: timestampSchema,
		lastAt: timestampSchema,
	})
	.meta({ id: 'Conversation' })
export type ConversationResource = z.infer<typeof conversationResourceSchema>
export const conversationPageSchema = pageOf('ConversationPage', conversationResourceSchema)

export const conversationQuerySchema = pageQuerySchema.extend({
	/** At either end. */
	group: groupNameSchema.optional(),
	workload: idSchema.optional(),
	application: z.enum([...APPLICATIONS, 'unknown']).optional(),
	action: z.enum(SESSION_ACTIONS).optional(),
	/** Active at that time or later. */
	since: integerText.optional(),
	/** `id` (newest first, stable while traffic goes on) or `recent` (last seen first). */
	sort: z.enum(['id', 'recent']).optional(),
})

/** Who talks to whom, by groups. */
export const graphSchema = z
	.object({
		nodes: z.array(
			z.object({
				group: z.string(),
				kind: z.enum(['learned', 'reserved', 'custom', 'gone']),
				mode: modeSchema.nullable(),
			}),
		),
		edges: z.array(
			z.object({
				from: z.string(),
				to: z.string(),
				applications: z.array(z.string()),
				/** `tcp/8080`, where the application is unknown. */
				ports: z.array(z.string()),
				/** The gravest of its conversations. */
				action: z.string(),
				sessions: countSchema,
				bytes: countSchema,
				firstAt: timestampSchema,
				lastAt: timestampSchema,
			}),
		),
		/** Whether there are more edges than one answer holds; the busiest are here. */
		isTruncated: z.boolean(),
	})
	.meta({ id: 'Graph' })
export type Graph = z.infer<typeof graphSchema>

export const graphQuerySchema = z.strictObject({ since: integerText.optional() })

/* Events */

export const eventResourceSchema = z
	.object({
		id: z.string(),
		kind: z.string(),
		name: z.string(),
		severity: severitySchema,
		at: timestampSchema,
		lastAt: timestampSchema,
		count: countSchema,
		nodeId: z.string().nullable(),
		client: z.string().nullable(),
		server: z.string().nullable(),
		clientGroup: z.string().nullable(),
		serverGroup: z.string().nullable(),
		protocol: z.int().nullable(),
		serverPort: z.int().nullable(),
		application: z.string().nullable(),
		why: z.string(),
		/** Shaped by kind: names of both ends, rule and more. */
		detail: z.unknown(),
	})
	.meta({ id: 'Event' })
export type EventResource = z.infer<typeof eventResourceSchema>
export const eventPageSchema = pageOf('EventPage', eventResourceSchema)

export const eventQuerySchema = pageQuerySchema.extend({
	kind: z.string().min(1).max(64).optional(),
	/** That severe or worse. */
	severity: severitySchema.optional(),
	/** At either end. */
	group: groupNameSchema.optional(),
	node: idSchema.optional(),
	since: integerText.optional(),
})

/* Webhooks */

/** Only http and https, without credentials: they would be stored and logged in the clear. */
export const webhookUrlSchema = z
	.string()
	.max(2048)
	.refine(isWebhookUrl, 'not an http or https URL, or one with credentials')

const webhookFields = {
	name: nameSchema,
	url: webhookUrlSchema,
	/** Kinds of events it wants; empty for all. */
	kinds: z.array(z.string().min(1).max(64)).max(32),
	severityMin: severitySchema,
	isEnabled: z.boolean(),
}

export const webhookResourceSchema = z
	.object({
		id: idSchema,
		...webhookFields,
		url: z.string(),
		/** Why the controller switched it off. */
		disabledWhy: z.string().nullable(),
		/** Since when every attempt failed. */
		failingSince: timestampSchema.nullable(),
		/** Events that were not queued because too many were waiting. */
		dropped: countSchema,
		createdAt: timestampSchema,
		revision: revisionSchema,
	})
	.meta({ id: 'Webhook' })
export type WebhookResource = z.infer<typeof webhookResourceSchema>
export const webhookPageSchema = pageOf('WebhookPage', webhookResourceSchema)

export const webhookCreateSchema = z
	.strictObject({
		...webhookFields,
		kinds: webhookFields.kinds.default([]),
		severityMin: webhookFields.severityMin.default('info'),
		isEnabled: webhookFields.isEnabled.default(true),
	})
	.meta({ id: 'WebhookCreate' })
export type WebhookCreate = z.infer<typeof webhookCreateSchema>

export const webhookCreatedSchema = webhookResourceSchema
	.extend({ secret: z.string().meta({ description: 'Shown this once: `whsec_…`.' }) })
	.meta({ id: 'WebhookCreated' })

export const webhookPatchSchema = z
	.strictObject(webhookFields)
	.partial()
	.meta({ id: 'WebhookPatch' })
export type WebhookPatch = z.infer<typeof webhookPatchSchema>

export const deliveryResourceSchema = z
	.object({
		/** The `webhook-id` header. */
		id: idSchema,
		eventId: z.string(),
		state: z.enum(['due', 'delivered', 'dead']),
		attempts: countSchema,
		nextAt: timestampSchema,
		lastStatus: z.int().nullable(),
		lastError: z.string().nullable(),
		createdAt: timestampSchema,
		deliveredAt: timestampSchema.nullable(),
	})
	.meta({ id: 'Delivery' })
export type DeliveryResource = z.infer<typeof deliveryResourceSchema>
export const deliveryPageSchema = pageOf('DeliveryPage', deliveryResourceSchema)

export const deliveryQuerySchema = pageQuerySchema.extend({
	state: z.enum(['due', 'delivered', 'dead']).optional(),
})

function isWebhookUrl(text: string): boolean {
	const url = URL.canParse(text) ? new URL(text) : undefined
	if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) return false
	return url.username === '' && url.password === ''
}

/* Settings */

const settingsFields = {
	/** Mode of learned groups at their birth. */
	newServiceMode: modeSchema,
	/** How long a learned group may be empty. */
	unusedGroupAgingHours: z.int().min(1).max(8760),
	eventRetentionDays: z.int().min(1).max(3650),
	conversationRetentionDays: z.int().min(1).max(3650),
	/** How long workloads that are gone are remembered. */
	workloadRetentionDays: z.int().min(1).max(3650),
	deliveryRetentionDays: z.int().min(1).max(3650),
	auditRetentionDays: z.int().min(1).max(3650),
}

export const settingsResourceSchema = z
	.object({ ...settingsFields, revision: revisionSchema })
	.meta({ id: 'Settings' })
export type SettingsResource = z.infer<typeof settingsResourceSchema>

export const settingsPatchSchema = z
	.strictObject(settingsFields)
	.partial()
	.meta({ id: 'SettingsPatch' })
export type SettingsPatch = z.infer<typeof settingsPatchSchema>

/* Audits */

export const auditResourceSchema = z
	.object({
		id: z.string(),
		at: timestampSchema,
		/** `user:<name>`, `key:<id>`, `system` */
		actor: z.string(),
		/** `rule.update` */
		action: z.string(),
		target: z.string(),
		before: z.unknown(),
		after: z.unknown(),
	})
	.meta({ id: 'Audit' })
export type AuditResource = z.infer<typeof auditResourceSchema>
export const auditPageSchema = pageOf('AuditPage', auditResourceSchema)

export const auditQuerySchema = pageQuerySchema.extend({
	actor: z.string().min(1).max(128).optional(),
	target: z.string().min(1).max(300).optional(),
	since: integerText.optional(),
})

/* What-if */

/** Conversations that one question looks at, last seen first; older ones are left out. */
export const WHAT_IF_CONVERSATIONS_MAX = 100_000

/** A change that is only imagined. Rules are patched, then added, then removed. */
export const whatIfQuestionSchema = z
	.strictObject({
		/** Conversations active at that time or later; the last 24 hours if left out. */
		since: timestampSchema.optional(),
		/** Mode by group. */
		modes: boundedRecordSchema(groupNameSchema, modeSchema, 1000).optional(),
		rules: z
			.strictObject({
				add: z.array(ruleCreateSchema).max(100).optional(),
				remove: z.array(z.int().min(1)).max(1000).optional(),
				patch: z
					.array(z.strictObject({ id: z.int().min(1), ...rulePatchSchema.shape }))
					.max(100)
					.optional(),
			})
			.optional(),
	})
	.meta({ id: 'WhatIfQuestion' })
export type WhatIfQuestion = z.infer<typeof whatIfQuestionSchema>

const verdictSchema = z
	.object({
		action: z.enum(SESSION_ACTIONS),
		/** Number of the rule that decides; `new:0` is the first added one; null: the mode's default. */
		rule: z.string().nullable(),
		why: z.string(),
	})
	.meta({ id: 'Verdict' })

/** Null where no agent decides. */
const changedVerdictSchema = z
	.object({ before: verdictSchema, after: verdictSchema })
	.nullable()
	.meta({ id: 'ChangedVerdict' })

const whatIfConversationSchema = z
	.object({
		id: z.int(),
		/** `workload:<id>`, `node:<id>` or `external:<address>` */
		client: z.string(),
		server: z.string(),
		clientGroup: z.string(),
		serverGroup: z.string(),
		/** IP protocol number (IANA). */
		protocol: z.int(),
		serverPort: z.int(),
		/** Null: unknown. */
		application: z.string().nullable(),
		sessions: countSchema,
		bytes: countSchema,
		lastAt: timestampSchema,
		/** At the client's port, and at the server's. */
		atClient: changedVerdictSchema,
		atServer: changedVerdictSchema,
	})
	.meta({ id: 'WhatIfConversation' })
export type WhatIfConversation = z.infer<typeof whatIfConversationSchema>

const trafficSumSchema = z
	.object({ conversations: countSchema, sessions: countSchema, bytes: countSchema })
	.meta({ id: 'TrafficSum' })
export type TrafficSum = z.infer<typeof trafficSumSchema>

/** Conversations whose outcome changes; the last seen ones are listed, all are counted. */
const whatIfListSchema = trafficSumSchema
	.extend({ items: z.array(whatIfConversationSchema), isTruncated: z.boolean() })
	.meta({ id: 'WhatIfList' })
export type WhatIfList = z.infer<typeof whatIfListSchema>

const whatIfPairSchema = z
	.object({
		from: z.string(),
		to: z.string(),
		all: trafficSumSchema,
		/** Some verdict differs. */
		changed: trafficSumSchema,
		newlyDenied: trafficSumSchema,
		newlyAllowed: trafficSumSchema,
		newlyViolating: trafficSumSchema,
		/** The gravest verdict at either end. */
		before: z.enum(SESSION_ACTIONS),
		after: z.enum(SESSION_ACTIONS),
	})
	.meta({ id: 'WhatIfPair' })
export type WhatIfPair = z.infer<typeof whatIfPairSchema>

/** What a change would have done to recorded conversations. */
export const whatIfAnswerSchema = z
	.object({
		since: timestampSchema,
		all: trafficSumSchema,
		changed: trafficSumSchema,
		/** Conversations with an end that the fleet no longer knows, judged as a member of the learned group it had. */
		gone: countSchema,
		/** Why not every conversation since then was looked at; null if every one was. */
		truncated: z.enum(['conversations', 'work']).nullable(),
		/** By groups, those with most changed sessions first. */
		pairs: z.array(whatIfPairSchema),
		isPairsTruncated: z.boolean(),
		/** Blocked at some end after, and at none before. */
		newlyDenied: whatIfListSchema,
		/** Blocked or a violation before, and neither after. */
		newlyAllowed: whatIfListSchema,
		/** Let through as a violation after, but blocked or no violation before. */
		newlyViolating: whatIfListSchema,
	})
	.meta({ id: 'WhatIfAnswer' })
export type WhatIfAnswer = z.infer<typeof whatIfAnswerSchema>
