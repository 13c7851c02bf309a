// SPDX-License-Identifier: Apache-2.0
// @kubernetes/client-node: what goes through to a node.
//
//	CLIENT_NODE=FOLDER node streams.mjs KUBECONFIG POD WEB-POD PORT
//
// Prints "NAME: ok" for each that works, and what came for each that does not.
import { PassThrough } from 'node:stream';
import net from 'node:net';

const k8s = await import(`${process.env.CLIENT_NODE}` +
	'/node_modules/@kubernetes/client-node/dist/index.js');
const [file, pod, web, port] = process.argv.slice(2);
const kc = new k8s.KubeConfig();
kc.loadFromFile(file);

const check = (name, got, want) => process.stdout.write(
	`${name}: ${got === want ? 'ok' : JSON.stringify(got)}\n`);

function collect() {
	const s = new PassThrough();
	s.text = '';
	s.on('data', (d) => { s.text += d; });
	return s;
}

// Its output, error output and exit code.
function run(command, input) {
	const out = collect(), err = collect();

	return new Promise((done, wrong) => {
		new k8s.Exec(kc).exec('default', pod, 'c', command, out, err,
			input ?? null, false, (status) => setImmediate(() => done({
				out: out.text, err: err.text,
				code: status.status === 'Success' ? 0
					: Number(status.details?.causes?.find((c) =>
						c.reason === 'ExitCode')?.message),
			}))).catch(wrong);
	});
}

const told = collect();
await new k8s.Log(kc).log('default', pod, 'c', told, { tailLines: 1 });
await new Promise((done) => { told.once('end', done); told.resume(); });
check('log', told.text, 'three\n');
check('exec', (await run(['echo', 'hello'])).out, 'hello\n');
const r = await run(['sh', '-c', 'echo out; echo err >&2; exit 5']);
check('exit code', r.code, 5);
check('output', r.out, 'out\n');
check('error output', r.err, 'err\n');
const input = new PassThrough();
input.write('this\n');
check('input', (await run(['sh', '-c', 'read a; echo got $a'], input)).out,
	'got this\n');

const server = net.createServer((socket) => {
	new k8s.PortForward(kc).portForward('default', web, [Number(port)],
		socket, null, socket);
});
await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
const answer = await new Promise((done, wrong) => {
	const c = net.connect(server.address().port, '127.0.0.1');
	c.write('GET / HTTP/1.0\r\n\r\n');
	c.once('data', (d) => done(String(d).slice(0, 5)));
	c.once('error', wrong);
});
check('port-forward', answer, 'HTTP/');
process.exit(0);
