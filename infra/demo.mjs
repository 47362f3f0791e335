/**
 * Three real workloads in network namespaces on a bridge, with steady traffic: this machine -> web (nginx) -> app (a small
 * HTTP service) -> cache (Redis). Runs as a child of `npm start -- --demo`; when its standard input closes, for whatever
 * reason, it takes everything down again. A run finds and removes what a killed one left.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'

const BRIDGE = 'rf-demo'
const DIRECTORY = '/run/ringfence/demo'
const REQUEST_INTERVAL_MS = 250

/** Host part of the addresses 10.77.0.x and fd77::x. */
const WORKLOADS = [
	{ name: 'demo-web', service: 'web', image: 'nginx', host: 2, start: startNginx },
	{ name: 'demo-app', service: 'app', image: 'hello', host: 3, start: startApp },
	{ name: 'demo-cache', service: 'cache', image: 'redis', host: 4, start: startRedis },
]

const children = []
let isStopping = false

const labelsDirectory = process.argv[2] ?? '/run/ringfence/workloads'

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => stop(0))
process.on('uncaughtException', (error) => {
	process.stderr.write(`demo: ${error.stack}\n`)
	stop(1)
})
process.stdin
	.on('end', () => stop(0))
	.on('error', () => stop(0))
	.resume()

removeAll()
makeNetwork()
for (const workload of WORKLOADS) makeWorkload(workload)
for (const workload of WORKLOADS) workload.start(workload)
process.stdout.write('demo: up\n')
setInterval(request, REQUEST_INTERVAL_MS)

function makeNetwork() {
	mkdirSync(DIRECTORY, { recursive: true, mode: 0o755 })
	mkdirSync(labelsDirectory, { recursive: true })
	ip('link', 'add', BRIDGE, 'type', 'bridge')
	ip('addr', 'add', '10.77.0.1/24', 'dev', BRIDGE)
	ip('addr', 'add', 'fd77::1/64', 'dev', BRIDGE, 'nodad')
	ip('link', 'set', BRIDGE, 'up')
}

function makeWorkload({ name, service, image, host }) {
	const port = `rfd-${service}`
	const labels = { service, domain: 'demo', image, labels: { app: service } }
	writeFileSync(join(labelsDirectory, `${name}.json`), JSON.stringify(labels))
	ip('netns', 'add', name)
	ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
	ip('link', 'set', port, 'master', BRIDGE, 'up')
	ip('-n', name, 'addr', 'add', `10.77.0.${host}/24`, 'dev', 'eth0')
	ip('-n', name, 'addr', 'add', `fd77::${host}/64`, 'dev', 'eth0', 'nodad')
	ip('-n', name, 'link', 'set', 'lo', 'up')
	ip('-n', name, 'link', 'set', 'eth0', 'up')
	ip('-n', name, 'route', 'add', 'default', 'via', '10.77.0.1')
}

function startNginx({ name }) {
	const directory = join(DIRECTORY, name)
	mkdirSync(directory, { recursive: true })
	const configuration = `
daemon off; pid ${directory}/pid; error_log ${directory}/error.log; worker_processes 1; user root;
events { worker_connections 256; }
http {
	access_log off;
	${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${directory}/${kind};`).join(' ')}
	server { listen 80; listen [::]:80; location / { proxy_pass http://10.77.0.3:8000; proxy_set_header Host $host; } }
}`
	writeFileSync(join(directory, 'nginx.conf'), configuration)
	start(name, 'nginx', ['-c', join(directory, 'nginx.conf'), '-p', directory])
}

function startApp({ name }) {
	start(name, process.execPath, [new URL('demo-app.mjs', import.meta.url).pathname])
}

function startRedis({ name }) {
	const bind = ['--bind', '0.0.0.0', '::', '--protected-mode', 'no']
	start(name, 'redis-server', [...bind, '--port', '6379', '--save', '', '--dir', DIRECTORY])
}

/** One request through the whole chain; the time-out keeps a stuck one from piling up. */
function request() {
	get('http://10.77.0.2/hello', { timeout: 2000, agent: false }, (response) => response.resume())
		.on('timeout', function () {
			this.destroy()
		})
		.on('error', () => {})
}

/** `nsenter` keeps the mounts as they are, which `ip netns exec` does not. */
function start(namespace, command, args) {
	const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, command, ...args], {
		stdio: ['ignore', 'ignore', 'inherit'],
	})
	child.on('exit', (code) => {
		if (isStopping) return
		process.stderr.write(`demo: ${command} in ${namespace} ended with ${code}\n`)
		stop(1)
	})
	children.push(child)
}

function stop(code) {
	if (isStopping) return
	isStopping = true
	for (const child of children) child.kill('SIGKILL')
	removeAll()
	process.exit(code)
}

/** Removes everything that a demo makes, of this run or of one that was killed; what is not there is no error. */
function removeAll() {
	for (const { name, service } of WORKLOADS) {
		killAllIn(name)
		rmSync(join(labelsDirectory, `${name}.json`), { force: true })
		quietly(() => ip('netns', 'del', name))
		// Whoever still watches the namespace, as an agent does, keeps it and its link alive.
		quietly(() => ip('link', 'del', `rfd-${service}`))
	}
	quietly(() => ip('link', 'del', BRIDGE))
	rmSync(DIRECTORY, { recursive: true, force: true })
}

function killAllIn(namespace) {
	const pids = quietly(() => ip('netns', 'pids', namespace)) ?? ''
	for (const pid of pids.split('\n').filter(Boolean))
		quietly(() => process.kill(Number(pid), 'SIGKILL'))
}

function ip(...args) {
	return execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })
}

function quietly(work) {
	try {
		return work()
	} catch {
		return undefined
	}
}
