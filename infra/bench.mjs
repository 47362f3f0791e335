/** `npm run bench [-- --json FILE] [--only replay,tap,rollout]`: makes the machine ready, then measures. */
import { build, ensurePackages, ensurePrograms, ROOT, requireNode, run } from './setup.mjs'

const BENCH_PROGRAMS = {
	ip: 'iproute2',
	nsenter: 'util-linux',
	tcpdump: 'tcpdump',
	nginx: 'nginx-light',
	'redis-server': 'redis-server',
	'redis-benchmark': 'redis-tools',
	dnsmasq: 'dnsmasq-base',
	dnsperf: 'dnsperf',
	sshd: 'openssh-server',
	'ssh-keyscan': 'openssh-client',
	openssl: 'openssl',
	ab: 'apache2-utils',
	iperf3: 'iperf3',
	ndpiReader: 'libndpi-bin',
}

requireNode()
ensurePackages()
ensurePrograms(BENCH_PROGRAMS, 'the bench')
build()
run(process.execPath, ['--expose-gc', `${ROOT}/test/dist/bench.js`, ...process.argv.slice(2)])
