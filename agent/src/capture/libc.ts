/** The C library calls that Node lacks. Constants are those of Linux on x86-64 and arm64 (`asm-generic`). */
import { constants } from 'node:os'
import koffi from 'koffi'

/** A system call that failed. `code` is the errno's name: `EPERM`, `ENODEV`. */
export class SystemCallError extends Error {
	readonly code: string
	readonly call: string

	constructor(call: string, errno: number) {
		const code = ERRNO_NAMES.get(errno) ?? `errno ${errno}`
		super(`${call}: ${code}`)
		this.name = 'SystemCallError'
		this.code = code
		this.call = call
	}
}

const ERRNO_NAMES = new Map(Object.entries(constants.errno).map(([name, errno]) => [errno, name]))

/** `fcntl.h`, `sys/eventfd.h`: the values are the same for both calls. */
export const CLOEXEC = 0o2000000
export const NONBLOCK = 0o4000
export const POLLIN = 1
export const POLLERR = 8

/** Bytes of `struct pollfd`: `int fd; short events; short revents`. */
export const POLLFD_BYTES = 8

/** Symbols come from the running program, so that glibc and musl both serve. */
const libc = koffi.load(null)

const c = {
	socket: bound<(domain: number, type: number, protocol: number) => number>(
		'int socket(int, int, int)',
	),
	setsockopt: bound<
		(fd: number, level: number, name: number, value: Uint8Array, bytes: number) => number
	>('int setsockopt(int, int, int, void *, uint32_t)'),
	getsockopt: bound<
		(fd: number, level: number, name: number, value: Uint8Array, bytes: Uint32Array) => number
	>('int getsockopt(int, int, int, void *, void *)'),
	bind: bound<(fd: number, address: Uint8Array, bytes: number) => number>(
		'int bind(int, void *, uint32_t)',
	),
	getsockname: bound<(fd: number, address: Uint8Array, bytes: Uint32Array) => number>(
		'int getsockname(int, void *, void *)',
	),
	mmap: bound<
		(at: null, bytes: number, protection: number, flags: number, ...file: number[]) => bigint
	>('void *mmap(void *, size_t, int, int, int, int64_t)'),
	munmap: bound<(at: bigint, bytes: number) => number>('int munmap(void *, size_t)'),
	poll: bound<(fds: Uint8Array, count: number, timeoutMs: number) => number>(
		'int poll(void *, unsigned long, int)',
	),
	open: bound<(path: string, flags: number) => number>('int open(const char *, int)'),
	close: bound<(fd: number) => number>('int close(int)'),
	setns: bound<(fd: number, type: number) => number>('int setns(int, int)'),
	flock: bound<(fd: number, operation: number) => number>('int flock(int, int)'),
	ifNameToIndex: bound<(name: string) => number>('uint32_t if_nametoindex(const char *)'),
	eventfd: bound<(initial: number, flags: number) => number>('int eventfd(uint32_t, int)'),
	read: bound<(fd: number, into: Uint8Array, bytes: number) => number>(
		'long read(int, void *, size_t)',
	),
	write: bound<(fd: number, from: Uint8Array, bytes: number) => number>(
		'long write(int, void *, size_t)',
	),
}

export function socket(domain: number, type: number, protocol: number): number {
	return checked('socket', c.socket(domain, type, protocol))
}

/** A socket option: `level` and `name` as in `setsockopt(2)`. */
export interface SocketOption {
	readonly fd: number
	readonly level: number
	readonly name: number
}

export function setSocketOption({ fd, level, name }: SocketOption, value: Uint8Array): void {
	checked('setsockopt', c.setsockopt(fd, level, name, value, value.byteLength))
}

/** Fills `into`, which has exactly the option's size. */
export function getSocketOption({ fd, level, name }: SocketOption, into: Uint8Array): void {
	checked('getsockopt', c.getsockopt(fd, level, name, into, new Uint32Array([into.byteLength])))
}

export function bind(fd: number, address: Uint8Array): void {
	checked('bind', c.bind(fd, address, address.byteLength))
}

export function getSocketName(fd: number, into: Uint8Array): void {
	checked('getsockname', c.getsockname(fd, into, new Uint32Array([into.byteLength])))
}

/** Memory shared with the kernel. Nothing may touch `buffer` after `unmap`. */
export interface Mapping {
	readonly buffer: ArrayBuffer
	readonly address: bigint
	readonly bytes: number
}

/** Maps a descriptor for reading and writing, shared. */
export function map(fd: number, bytes: number): Mapping {
	const PROT_READ_WRITE = 3
	const MAP_SHARED = 1
	const MAP_FAILED = 0xffff_ffff_ffff_ffffn
	const address = c.mmap(null, bytes, PROT_READ_WRITE, MAP_SHARED, fd, 0)
	if (address === MAP_FAILED) throw new SystemCallError('mmap', koffi.errno())
	return { buffer: koffi.view(address, bytes), address, bytes }
}

export function unmap(mapping: Omit<Mapping, 'buffer'>): void {
	checked('munmap', c.munmap(mapping.address, mapping.bytes))
}

/** Waits for one of `count` descriptors; a signal ends the wait like its time-out does. Returns how many are ready. */
export function poll(fds: Uint8Array, count: number, timeoutMs: number): number {
	const ready = c.poll(fds, count, timeoutMs)
	if (ready < 0 && koffi.errno() === constants.errno.EINTR) return 0
	return checked('poll', ready)
}

/** Opens for reading, close-on-exec. */
export function open(path: string): number {
	return checked(`open ${path}`, c.open(path, CLOEXEC))
}

export function close(fd: number): void {
	checked('close', c.close(fd))
}

/** Moves the calling thread, and no other, to another namespace. */
export function setns(fd: number, type: number): void {
	checked('setns', c.setns(fd, type))
}

/** Locks the open file for this process, until it ends or closes it; false when another one has it. */
export function tryLock(fd: number): boolean {
	const LOCK_EX_NB = 2 | 4
	const result = c.flock(fd, LOCK_EX_NB)
	if (result < 0 && koffi.errno() === constants.errno.EAGAIN) return false
	checked('flock', result)
	return true
}

/** Index of an interface in the calling thread's network namespace. */
export function interfaceIndex(name: string): number {
	const index = c.ifNameToIndex(name)
	if (index === 0) throw new SystemCallError(`if_nametoindex ${name}`, koffi.errno())
	return index
}

export function eventfd(flags: number): number {
	return checked('eventfd', c.eventfd(0, flags))
}

/** Returns the bytes read; 0 where the descriptor is non-blocking and has none. */
export function read(fd: number, into: Uint8Array): number {
	const bytes = c.read(fd, into, into.byteLength)
	if (bytes < 0 && koffi.errno() === constants.errno.EAGAIN) return 0
	return checked('read', bytes)
}

export function write(fd: number, from: Uint8Array): number {
	return checked('write', c.write(fd, from, from.byteLength))
}

function bound<Call>(prototype: string): Call {
	return libc.func(prototype) as unknown as Call
}

function checked(call: string, result: number): number {
	if (result < 0) throw new SystemCallError(call, koffi.errno())
	return result
}
