/**
 * Version of everything agent and controller exchange. A peer refuses another major version with a reason;
 * a change that an older peer can ignore does not raise it.
 *
 * - 1: 2026-11-20: enrolment, presence, hello, workloads, telemetry windows, signed desired documents, commands.
 */
export const CONTRACT_VERSION = 1
