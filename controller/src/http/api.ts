import type { OpenAPIHono } from '@hono/zod-openapi'
import { z } from 'zod'
import type { Principal } from '../fleet/access/access.ts'
import type { Act } from '../fleet/audits.ts'
import type { Fleet } from '../fleet/fleet.ts'

export interface ApiEnv {
	Variables: {
		/** Who asks; set by the guard on every route that is not public. */
		principal: Principal
		/** With what: key, session token. */
		credential: string
	}
}

export type Api = OpenAPIHono<ApiEnv>

/** What resources need besides the fleet. */
export interface ApiOptions {
	/** The address people use, when the controller stands behind a proxy: `https://firewall.example`. */
	readonly publicUrl?: string | undefined
	/** Who sends a request, as far as the host can tell; for rate limits. */
	readonly clientAddress?: ((request: Request, env: unknown) => string | undefined) | undefined
	/** Why the host is not ready, if it is not: asked by `/readyz`. */
	readonly notReadyWhy?: (() => Promise<string | undefined>) | undefined
	/** Work of a password guess; less only in tests. */
	readonly passwordIterations?: number | undefined
	/** How often an idle event stream shows a sign of life. */
	readonly streamTickMs?: number | undefined
}

/** Who writes, and when. */
export function actOf(principal: Principal, fleet: Fleet): Act {
	return { actor: principal.actor, now: fleet.clock.now() }
}

/** A JSON body that must be there. */
export function body<Schema extends z.ZodType>(schema: Schema) {
	return { content: { 'application/json': { schema } }, required: true as const }
}

/** A JSON answer. */
export function answer<Schema extends z.ZodType>(schema: Schema, description: string) {
	return { content: { 'application/json': { schema } }, description }
}

export const noContent = { description: 'Done.' }

/** `{id}` of a path; what no resource has is not found. */
export const idParams = z.object({ id: z.string().max(64) })
