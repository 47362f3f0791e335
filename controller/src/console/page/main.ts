import type { EventResource, Self } from '@ringfence/shared/contract/rest'
import { ApiError, type Page, read, send } from './api.ts'
import { button, h } from './dom.ts'
import { type Desk, VIEWS } from './views.ts'

/** How often the open view is read anew. */
const REFRESH_MS = 5000
const EVENTS_MAX = 200
/** After that long without a key or click, a control that has the focus may be drawn anew. */
const USE_MS = 15_000

const root = document.getElementById('root') ?? document.body

start().catch(showSignIn)

async function start(): Promise<void> {
	const self = await read<Self>('/v1/auth/self')
	const { items } = await read<Page<EventResource>>(`/v1/events?limit=${EVENTS_MAX}`)
	showDesk(self, items)
}

function showSignIn(error: unknown): void {
	const isPlain = error instanceof ApiError && error.status === 401
	const notice = h('p', { class: 'notice', role: 'alert' }, isPlain ? '' : String(error))
	const name = h('input', { name: 'name', autocomplete: 'username', required: true })
	const password = h('input', {
		name: 'password',
		type: 'password',
		autocomplete: 'current-password',
		required: true,
	})
	const form = h(
		'form',
		{ class: 'panel' },
		h('label', {}, 'Name', name),
		h('label', {}, 'Password', password),
		notice,
		h('button', { class: 'main' }, 'Sign in'),
	)
	form.addEventListener('submit', (event) => {
		event.preventDefault()
		notice.textContent = ''
		send('POST', '/v1/auth/sign-in', { name: name.value, password: password.value })
			.then(start)
			.catch((failure: unknown) => {
				notice.textContent = messageOf(failure)
				password.select()
			})
	})
	root.replaceChildren(h('main', { class: 'sign-in' }, h('h1', {}, brand()), form))
	name.focus()
}

function showDesk(self: Self, newest: EventResource[]): void {
	const events = [...newest]
	const notice = h('p', { class: 'notice', role: 'alert' })
	const live = h('span', { title: 'Events arrive as they happen.' }, '○ offline')
	const main = h('main', { tabindex: '-1' })
	const menu = h('nav', { 'aria-label': 'Pages' })
	const leave = new AbortController()

	const desk: Desk = {
		canWrite: self.role !== 'viewer',
		events,
		change: (work) => {
			work().then(
				() => refresh(),
				(error: unknown) => refresh(messageOf(error)),
			)
		},
		refresh: () => refresh(),
	}
	let turns = 0

	function refresh(trouble = ''): void {
		const name = location.hash.slice(2)
		const view = Object.hasOwn(VIEWS, name) ? name : 'overview'
		menu.replaceChildren(...Object.keys(VIEWS).map((page) => menuLink(page, page === view)))
		const turn = ++turns
		VIEWS[view]?.(desk).then((content) => {
			// An answer that a later look has overtaken is old news.
			if (turn !== turns || leave.signal.aborted) return
			notice.textContent = trouble
			replaceKeepingFocus(main, [notice, ...content.map(toNode)])
		}, fail)
	}

	function fail(error: unknown): void {
		if (error instanceof ApiError && error.status === 401) stop(error)
		else notice.textContent = messageOf(error)
		if (!notice.isConnected) main.prepend(notice)
	}

	function stop(why: unknown): void {
		leave.abort()
		showSignIn(why)
	}

	const signOut = () => {
		send('POST', '/v1/auth/sign-out').then(() => stop(new ApiError(401, '')), fail)
	}
	const who = h(
		'div',
		{ class: 'who' },
		live,
		`${self.name} (${self.role})`,
		button('Sign out', signOut),
	)
	root.replaceChildren(h('header', { class: 'top' }, brand(), menu, who), main)
	addEventListener('hashchange', () => refresh(), { signal: leave.signal })
	const inUse = watchUse(main)
	const look = () => inUse() || refresh()
	const timer = setInterval(look, REFRESH_MS)
	leave.signal.addEventListener('abort', () => clearInterval(timer))
	listen({ events, live, signal: leave.signal, onEvent: look })
	refresh()
}

interface Listening {
	readonly events: EventResource[]
	readonly live: HTMLElement
	readonly signal: AbortSignal
	readonly onEvent: () => void
}

/** Keeps `events` growing from the stream; the browser reconnects by itself, going on after the last event. */
function listen({ events, live, signal, onEvent }: Listening): void {
	const source = new EventSource('/v1/events/stream')
	signal.addEventListener('abort', () => source.close())
	source.addEventListener('open', () => {
		live.textContent = '● live'
	})
	source.addEventListener('error', () => {
		live.textContent = '○ offline'
	})
	source.addEventListener('event', ({ data }: MessageEvent<string>) => {
		const event = JSON.parse(data) as EventResource
		if (events.some(({ id }) => id === event.id)) return
		events.unshift(event)
		events.length = Math.min(events.length, EVENTS_MAX)
		onEvent()
	})
}

/** Tells whether the person is at a control, an open list perhaps: replacing it would take it away. */
function watchUse(main: HTMLElement): () => boolean {
	let touchedAt = 0
	for (const kind of ['focusin', 'pointerdown', 'keydown']) {
		main.addEventListener(kind, () => {
			touchedAt = Date.now()
		})
	}
	return () => {
		const isAtControl = main.contains(document.activeElement) && document.activeElement !== main
		return isAtControl && Date.now() - touchedAt < USE_MS
	}
}

/** A person who goes by keyboard stays at the control with the same label. */
function replaceKeepingFocus(main: HTMLElement, content: (Node | string)[]): void {
	const label = main.contains(document.activeElement)
		? document.activeElement?.getAttribute('aria-label')
		: null
	main.replaceChildren(...content)
	if (label) main.querySelector<HTMLElement>(`[aria-label="${CSS.escape(label)}"]`)?.focus()
}

function menuLink(page: string, isCurrent: boolean): HTMLElement {
	const text = page.charAt(0).toUpperCase() + page.slice(1)
	return h('a', { href: `#/${page}`, 'aria-current': isCurrent && 'page' }, text)
}

function brand(): HTMLElement {
	return h('span', { class: 'brand' }, h('img', { src: '/assets/icon.svg', alt: '' }), 'Ringfence')
}

function messageOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error)
}

function toNode(child: unknown): Node | string {
	return child instanceof Node ? child : ''
}
