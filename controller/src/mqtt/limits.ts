/**
 * Largest payload of one message as it travels, in either direction. A batch of 500 records or a report of 4096 workloads
 * stays far below it compressed; documents are cut into shards to fit.
 */
export const PAYLOAD_BYTES_MAX = 1024 * 1024

/** Payload with topic, packet id, properties and fixed header. */
export const PACKET_BYTES_MAX = PAYLOAD_BYTES_MAX + 4096
