import type { Host, Program, Sandbox } from './sandbox.ts'
import { waitFor } from './wait.ts'

/** Real servers of the five protocols in one namespace, over IPv4 and IPv6, on their usual ports. */
export interface Servers {
	readonly host: Host
	readonly programs: readonly Program[]
	/** Private key that lets root in by SSH. */
	readonly sshKey: string
}

export const PORTS = { http: 80, tls: 443, redis: 6379, dns: 53, ssh: 22 } as const

export async function startServers(sandbox: Sandbox, host: Host): Promise<Servers> {
	const at = { namespace: host.namespace }
	const folder = `servers-${host.namespace}`
	const programs = [
		sandbox.run(['nginx', '-c', nginxConfiguration(sandbox, folder)], at),
		sandbox.run(
			['redis-server', '--bind', '0.0.0.0', '::', '--protected-mode', 'no', '--save', ''],
			at,
		),
		sandbox.run(['dnsmasq', '-C', dnsmasqConfiguration(sandbox, folder)], at),
		sandbox.run(['/usr/sbin/sshd', '-D', '-e', '-f', sshdConfiguration(sandbox, folder)], at),
	]
	await waitFor('the servers to listen', () => {
		const listening = sandbox.call(['ss', '-Hltn'], at)
		return Object.values(PORTS).every((port) => listening.includes(`:${port} `))
	})
	return { host, programs, sshKey: `${sandbox.directory}/${folder}/ssh_user_key` }
}

/** One exchange of each protocol from `client` to `address`, with new connections each. */
export function exchangeOnce(sandbox: Sandbox, client: Host, address: string): void {
	const at = { namespace: client.namespace }
	const bracketed = address.includes(':') ? `[${address}]` : address
	sandbox.call(['curl', '-sS', '-o', '/dev/null', `http://${bracketed}/page`], at)
	sandbox.call(
		[
			...['curl', '-sS', '-k', '-o', '/dev/null', '--connect-to', `::${bracketed}:`],
			'https://shop.example/page',
		],
		at,
	)
	sandbox.call(['redis-cli', '-h', address, 'set', 'colour', 'blue'], at)
	sandbox.call(['dig', '+short', '+tries=1', `@${address}`, 'www.shop.example', 'AAAA'], at)
	sandbox.call(['ssh-keyscan', '-t', 'ed25519', '-T', '5', address], at)
}

function nginxConfiguration(sandbox: Sandbox, folder: string): string {
	const key = sandbox.file(`${folder}/key.pem`, '')
	const certificate = sandbox.file(`${folder}/certificate.pem`, '')
	sandbox.call([
		...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
		...['-nodes', '-days', '2', '-subj', '/CN=shop.example', '-keyout', key, '-out', certificate],
	])
	const directory = `${sandbox.directory}/${folder}`
	const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
		.map((kind) => `${kind}_temp_path ${directory}/${kind};`)
		.join('\n\t')
	return sandbox.file(
		`${folder}/nginx.conf`,
		`daemon off; user root; pid ${directory}/nginx.pid; error_log ${directory}/error.log;
worker_processes 1;
events { worker_connections 1024; }
http {
	access_log off;
	${temporary}
	keepalive_requests 100000;
	server {
		listen 80 reuseport; listen [::]:80 reuseport;
		listen 443 ssl; listen [::]:443 ssl;
		ssl_certificate ${certificate}; ssl_certificate_key ${key};
		location / { return 200 "a page of some length, so that there is something to carry\\n"; }
	}
}
`,
	)
}

function dnsmasqConfiguration(sandbox: Sandbox, folder: string): string {
	return sandbox.file(
		`${folder}/dnsmasq.conf`,
		`keep-in-foreground
no-resolv
no-hosts
user=root
pid-file
bind-interfaces
interface=eth0
address=/shop.example/192.0.2.7
address=/shop.example/2001:db8::7
`,
	)
}

function sshdConfiguration(sandbox: Sandbox, folder: string): string {
	const key = `${sandbox.directory}/${folder}/ssh_host_ed25519_key`
	sandbox.call(['mkdir', '-p', `${sandbox.directory}/${folder}`, '/run/sshd'])
	const userKey = `${sandbox.directory}/${folder}/ssh_user_key`
	for (const file of [key, userKey]) {
		sandbox.call(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', file])
	}
	return sandbox.file(
		`${folder}/sshd_config`,
		`HostKey ${key}
PidFile none
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
StrictModes no
AuthorizedKeysFile ${userKey}.pub
`,
	)
}
