import type { Role } from '../db/schema.ts'

/**
 * Who may do what: every route with the least role it needs. The guard refuses a route that is not here.
 * `public` routes check what they need themselves.
 */
export const ACCESS = {
	'GET /': 'public',
	'GET /assets/:name': 'public',
	'GET /healthz': 'public',
	'GET /readyz': 'public',
	'GET /openapi.json': 'public',

	'POST /v1/auth/sign-in': 'public',
	'POST /v1/auth/sign-out': 'viewer',
	'GET /v1/auth/self': 'viewer',
	'POST /v1/auth/password': 'viewer',

	'POST /v1/enroll': 'public',
	'POST /v1/enroll-tokens': 'admin',

	'GET /v1/nodes': 'viewer',
	'GET /v1/nodes/:id': 'viewer',
	'DELETE /v1/nodes/:id': 'admin',
	'GET /v1/policy/status': 'viewer',
	'GET /v1/workloads': 'viewer',
	'GET /v1/workloads/:id': 'viewer',

	'GET /v1/groups': 'viewer',
	'POST /v1/groups': 'operator',
	'POST /v1/groups/preview': 'viewer',
	'GET /v1/groups/:name': 'viewer',
	'PATCH /v1/groups/:name': 'operator',
	'DELETE /v1/groups/:name': 'operator',

	'GET /v1/rules': 'viewer',
	'POST /v1/rules': 'operator',
	'GET /v1/rules/:id': 'viewer',
	'PATCH /v1/rules/:id': 'operator',
	'POST /v1/rules/:id/move': 'operator',
	'DELETE /v1/rules/:id': 'operator',
	'POST /v1/what-if': 'viewer',

	'GET /v1/conversations': 'viewer',
	'GET /v1/graph': 'viewer',
	'GET /v1/events': 'viewer',
	'GET /v1/events/stream': 'viewer',
	'GET /v1/events/:id': 'viewer',

	'GET /v1/webhooks': 'admin',
	'POST /v1/webhooks': 'admin',
	'GET /v1/webhooks/:id': 'admin',
	'PATCH /v1/webhooks/:id': 'admin',
	'DELETE /v1/webhooks/:id': 'admin',
	'POST /v1/webhooks/:id/ping': 'admin',
	'GET /v1/webhooks/:id/deliveries': 'admin',
	'POST /v1/webhooks/:id/deliveries/:delivery/replay': 'admin',

	'GET /v1/settings': 'viewer',
	'PATCH /v1/settings': 'admin',
	'GET /v1/audits': 'admin',

	'GET /v1/users': 'admin',
	'POST /v1/users': 'admin',
	'GET /v1/users/:id': 'admin',
	'PATCH /v1/users/:id': 'admin',
	'DELETE /v1/users/:id': 'admin',
	'GET /v1/api-keys': 'admin',
	'POST /v1/api-keys': 'admin',
	'GET /v1/api-keys/:id': 'admin',
	'DELETE /v1/api-keys/:id': 'admin',
} as const satisfies Readonly<Record<string, Role | 'public'>>

/** What a route needs, by method and path as registered; undefined when the table forgot it. */
export function accessOf(route: string): Role | 'public' | undefined {
	return Object.hasOwn(ACCESS, route) ? ACCESS[route as keyof typeof ACCESS] : undefined
}
