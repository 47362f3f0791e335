import { problemSchema } from '@ringfence/shared/contract/rest'
import { z } from 'zod'
import { accessOf } from './access-table.ts'
import type { Api } from './api.ts'

const METHODS_WITH_REVISION: ReadonlySet<string> = new Set(['patch', 'put', 'delete'])

const INFO = {
	openapi: '3.1.0',
	info: {
		title: 'Ringfence',
		version: '1',
		description:
			'Lists come in pages: `next` is the `cursor` of the next one. A change needs `If-Match` with the revision it is meant for. Errors are RFC 9457 problems.',
		license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
	},
}

type Document = ReturnType<Api['getOpenAPI31Document']>
type SchemaObject = NonNullable<NonNullable<Document['components']>['schemas']>[string]
type Operation = NonNullable<NonNullable<Document['paths']>[string]['get']>

/** The OpenAPI 3.1 document of all routes; what holds for every route is added here once. */
export function describeApi(api: Api): Document {
	const document = api.getOpenAPI31Document(INFO)
	for (const [path, methods] of Object.entries(document.paths ?? {})) {
		for (const [method, operation] of Object.entries(methods)) {
			complete(operation as Operation, method, path)
		}
	}
	return document
}

/** Names the components that no single route brings in. */
export function registerComponents(api: Api): void {
	const { $schema: _, id: __, ...problem } = z.toJSONSchema(problemSchema, { io: 'input' })
	api.openAPIRegistry.registerComponent('schemas', 'Problem', problem as SchemaObject)
	api.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
		type: 'http',
		scheme: 'bearer',
		description: 'An API key `rfk_…` or a session token `rfs_…`.',
	})
	api.openAPIRegistry.registerComponent('securitySchemes', 'session', {
		type: 'apiKey',
		in: 'cookie',
		name: 'ringfence',
	})
}

function complete(operation: Operation, method: string, path: string): void {
	const access = accessOf(`${method.toUpperCase()} ${path.replaceAll(/\{(.+?)\}/g, ':$1')}`)
	operation.security = access === 'public' ? [] : [{ bearer: [] }, { session: [] }]
	operation.description = access === 'public' ? 'For everybody.' : `For role ${access} and above.`
	operation.responses = {
		...operation.responses,
		default: {
			description: 'What went wrong (RFC 9457).',
			content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
		},
	}
	if (!METHODS_WITH_REVISION.has(method) && !path.endsWith('/move')) return
	operation.parameters = [
		...(operation.parameters ?? []),
		{
			name: 'If-Match',
			in: 'header',
			required: true,
			description: 'The ETag of the revision that this change is meant for.',
			schema: { type: 'string' },
		},
	]
}
