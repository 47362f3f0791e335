/** Names of the applications that the agent can recognise. A name is part of the contract: rules and conversations carry it. */
export const APPLICATIONS = ['http', 'tls', 'dns', 'ssh', 'redis'] as const

export type ApplicationName = (typeof APPLICATIONS)[number]
