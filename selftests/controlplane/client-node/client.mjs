// SPDX-License-Identifier: Apache-2.0
// @kubernetes/client-node against arktos-control, as its users write it.
//
//	CLIENT_NODE=FOLDER node client.mjs ADMIN-KUBECONFIG TENANT-KUBECONFIG...
//
// Prints "ok VERB: NAME" and "not ok VERB: NAME"; asks for a restart of the
// server by the line "restart". Simulated nodes are there.
import { createInterface } from 'node:readline';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';

const folder = process.env.CLIENT_NODE;
const k8s = await import(
	`${folder}/node_modules/@kubernetes/client-node/dist/index.js`);

const say = (line) => process.stdout.write(line + '\n');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function check(verb, name, fn) {
	let good = false;
	try {
		good = await fn();
	} catch (e) { // told, then the next one
		for (const line of String(e.stack ?? e).split('\n').slice(0, 12))
			say('  ' + line);
	}
	say(`${good ? '' : 'not '}ok ${verb}: ${name}`);
}

async function fails(code, text, promise) {
	try {
		await promise;
	} catch (e) {
		if ((e.code ?? e.statusCode) === code && String(e.body ?? e).includes(text))
			return true;
		say(`  ${e.code} ${e.body ?? e}`);
		return false;
	}
	say('  no failure');
	return false;
}

async function until(fn, seconds = 30) {
	const end = Date.now() + seconds * 1000;
	for (;;) {
		const got = await fn();
		if (got || Date.now() > end)
			return got;
		await pause(50);
	}
}

const lines = createInterface({ input: process.stdin })[
	Symbol.asyncIterator]();
async function restart() {
	say('restart');
	const { value } = await lines.next();
	if (value !== 'restarted')
		throw new Error(`the server did not come back: ${value}`);
}

const configMap = (name, data = {}, labels = {}) =>
	({ metadata: { name, labels }, data });
const namespace = 'js';
const as = (type) => k8s.setHeaderOptions('Content-Type', type);

const deployment = (name, replicas, image) => ({
	apiVersion: 'apps/v1',
	kind: 'Deployment',
	metadata: { name, namespace },
	spec: {
		replicas,
		selector: { matchLabels: { app: name } },
		template: {
			metadata: { labels: { app: name } },
			spec: {
				containers: [{
					name: 'c', image,
					env: [{ name: 'A', value: '1' }],
				}],
			},
		},
	},
});

async function basics(kc) {
	const v1 = kc.makeApiClient(k8s.CoreV1Api);
	await check('version', "the server's", async () =>
		(await kc.makeApiClient(k8s.VersionApi).getCode()).gitVersion
			.startsWith('v1.32.0+arktos'));
	await check('health', 'readyz and livez', async () => {
		const h = new k8s.Health(kc);
		return await h.readyz({}) && await h.livez({});
	});
	await check('create', 'a namespace', async () =>
		(await v1.createNamespace({ body: { metadata: { name: namespace } } }))
			.status.phase === 'Active');
	for (let i = 0; i < 12; i++)
		await v1.createNamespacedConfigMap({ namespace,
			body: configMap('cm' + i, { n: `${i}` }, { half: `${i % 2}` }) });
	await check('list', 'pages of one snapshot', async () => {
		const names = new Set(), versions = new Set();
		let _continue;
		do {
			const l = await v1.listNamespacedConfigMap(
				{ namespace, limit: 5, _continue });
			l.items.forEach((o) => names.add(o.metadata.name));
			versions.add(l.metadata.resourceVersion);
			_continue = l.metadata._continue;
		} while (_continue);
		return names.size === 13 && versions.size === 1;
	});
	await check('list', 'by label and field', async () =>
		(await v1.listNamespacedConfigMap({ namespace,
			labelSelector: 'half=1', fieldSelector: 'metadata.name!=cm1' }))
			.items.length === 5);
	await check('list', 'times are times', async () =>
		(await v1.listNamespace()).items[0].metadata.creationTimestamp
			instanceof Date);
	await check('read', 'not there', () => fails(404, 'NotFound',
		v1.readNamespacedConfigMap({ namespace, name: 'none' })));
	await check('create', 'twice', () => fails(409, 'AlreadyExists',
		v1.createNamespacedConfigMap({ namespace, body: configMap('cm0') })));
	await check('create', 'invalid', () => fails(422, 'metadata.name',
		v1.createNamespacedConfigMap({ namespace, body: configMap('A b') })));
	await check('replace', 'a conflict', async () => {
		const o = await v1.readNamespacedConfigMap({ namespace, name: 'cm0' });
		o.data = { n: 'new' };
		await v1.replaceNamespacedConfigMap({ namespace, name: 'cm0', body: o });
		return fails(409, 'Conflict', v1.replaceNamespacedConfigMap(
			{ namespace, name: 'cm0', body: o }));
	});
	await check('delete', 'a collection', async () => {
		await v1.deleteCollectionNamespacedConfigMap(
			{ namespace, labelSelector: 'half=1' });
		return (await v1.listNamespacedConfigMap({ namespace }))
			.items.length === 7;
	});
	await check('create', 'fifty at once', async () => new Set(
		(await Promise.all(Array.from({ length: 50 }, (_, i) =>
			v1.createNamespacedConfigMap(
				{ namespace, body: configMap('p' + i) }))))
			.map((o) => o.metadata.uid)).size === 50);
}

async function patches(kc) {
	const apps = kc.makeApiClient(k8s.AppsV1Api);
	const at = { namespace, name: 'web' };
	const env = (d) => d.spec.template.spec.containers[0].env
		.map((e) => e.name).sort().join();
	const more = { spec: { template: { spec: { containers: [
		{ name: 'c', env: [{ name: 'B', value: '2' }] }] } } } };

	await apps.createNamespacedDeployment(
		{ namespace, body: deployment('web', 2, 'web:1') });
	await check('patch', 'JSON', async () =>
		(await apps.patchNamespacedDeployment({ ...at, body: [
			{ op: 'replace', path: '/spec/replicas', value: 3 }] },
			as(k8s.PatchStrategy.JsonPatch))).spec.replicas === 3);
	await check('patch', 'strategic', async () =>
		env(await apps.patchNamespacedDeployment({ ...at, body: more },
			as(k8s.PatchStrategy.StrategicMergePatch))) === 'A,B');
	await check('patch', 'merge', async () =>
		(await apps.patchNamespacedDeployment({ ...at, body:
			{ metadata: { annotations: { note: 'x' } } } },
			as(k8s.PatchStrategy.MergePatch)))
			.metadata.annotations.note === 'x');
	await check('patch', 'scale', async () =>
		(await apps.patchNamespacedDeploymentScale({ ...at, body: [
			{ op: 'replace', path: '/spec/replicas', value: 1 }] },
			as(k8s.PatchStrategy.JsonPatch))).spec.replicas === 1);
	await check('apply', 'conflict', () => fails(409, 'FieldManagerConflict',
		apps.patchNamespacedDeployment({ ...at, fieldManager: 'js',
			body: deployment('web', 5, 'web:2') },
			as(k8s.PatchStrategy.ServerSideApply))));
	await check('apply', 'force', async () => {
		const d = await apps.patchNamespacedDeployment({ ...at,
			fieldManager: 'js', force: true,
			body: deployment('web', 2, 'web:2') },
			as(k8s.PatchStrategy.ServerSideApply));
		return d.spec.replicas === 2 && env(d) === 'A,B';
	});
	await check('rollout', 'pods become ready', () => until(async () =>
		(await apps.readNamespacedDeploymentStatus(at))
			.status.readyReplicas === 2));
}

async function objects(kc) {
	const api = k8s.KubernetesObjectApi.makeApiClient(kc);
	const crd = {
		apiVersion: 'apiextensions.k8s.io/v1',
		kind: 'CustomResourceDefinition',
		metadata: { name: 'beans.js.example' },
		spec: {
			group: 'js.example', scope: 'Namespaced',
			names: { plural: 'beans', kind: 'Bean' },
			versions: [{
				name: 'v1', served: true, storage: true,
				schema: { openAPIV3Schema: { type: 'object', properties: {
					spec: { type: 'object', properties: {
						roast: { type: 'string', _default: 'dark' },
					} } } } },
			}],
		},
	};
	const bean = {
		apiVersion: 'js.example/v1', kind: 'Bean',
		metadata: { name: 'java', namespace }, spec: {},
	};
	await check('objects', 'a definition', async () =>
		(await api.create(crd)).metadata.uid);
	await check('objects', 'create; defaults', async () =>
		(await api.create(bean)).spec.roast === 'dark');
	await check('objects', 'read', async () =>
		(await api.read(bean)).spec.roast === 'dark');
	await check('objects', 'patch', async () =>
		(await api.patch({ ...bean, spec: { roast: 'light' } }, undefined,
			undefined, undefined, undefined, k8s.PatchStrategy.MergePatch))
			.spec.roast === 'light');
	await check('objects', 'server-side apply', async () =>
		(await api.patch({ ...bean, spec: { roast: 'blond' } }, undefined,
			undefined, 'js', true, k8s.PatchStrategy.ServerSideApply))
			.spec.roast === 'blond');
	await check('objects', 'replace', async () => {
		const o = await api.read(bean);
		o.spec.roast = 'none';
		return (await api.replace(o)).spec.roast === 'none';
	});
	await check('objects', 'list', async () =>
		(await api.list('js.example/v1', 'Bean', namespace)).items.length === 1);
	await check('objects', 'wrong type', () => fails(422, 'spec.roast',
		api.patch({ ...bean, spec: { roast: 5 } }, undefined, undefined,
			undefined, undefined, k8s.PatchStrategy.MergePatch)));
	await check('objects', 'from YAML', async () => {
		const all = k8s.loadAllYaml(`
apiVersion: v1
kind: Service
metadata: {name: from-yaml, namespace: ${namespace}}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: from-yaml, namespace: ${namespace}}
stringData: {a: b}
`);
		const made = await Promise.all(all.map((o) => api.create(o)));
		return made[0].spec.clusterIP.startsWith('10.96.') &&
			made[1].data.a === 'Yg==';
	});
	await check('objects', 'delete', async () => {
		await api.delete(bean);
		return fails(404, 'NotFound', api.read(bean));
	});
	const custom = kc.makeApiClient(k8s.CustomObjectsApi);
	await check('custom', 'cluster-wide list', async () =>
		(await custom.listClusterCustomObject({ group: 'js.example',
			version: 'v1', plural: 'beans' })).items.length === 0);
}

async function identities(kc, files) {
	const v1 = kc.makeApiClient(k8s.CoreV1Api);
	const token = (await v1.createNamespacedServiceAccountToken({ namespace,
		name: 'default', body: { spec: {
			audiences: [], expirationSeconds: 600 } } })).status.token;
	const server = new URL(kc.getCurrentCluster().server);
	const pod = new k8s.KubeConfig();
	const dir = mkdtempSync(`${tmpdir()}/arktos-js.`);

	writeFileSync(`${dir}/token`, token);
	writeFileSync(`${dir}/ca.crt`, Buffer.from(
		kc.getCurrentCluster().caData, 'base64'));
	writeFileSync(`${dir}/namespace`, namespace);
	process.env.KUBERNETES_SERVICE_HOST = server.hostname;
	process.env.KUBERNETES_SERVICE_PORT = server.port;
	// Where loadFromCluster() looks, under a root of our own.
	pod.loadFromCluster(dir + '/root');
	pod.users[0].authProvider.config.tokenFile = `${dir}/token`;
	pod.clusters[0].caFile = `${dir}/ca.crt`;
	await check('in-cluster', 'a token of a service account', async () =>
		(await pod.makeApiClient(k8s.AuthenticationV1Api)
			.createSelfSubjectReview({ body: {} })).status.userInfo.username ===
			`system:serviceaccount:${namespace}:default`);
	await check('in-cluster', 'without a role', () => fails(403,
		'system:serviceaccount:js:default', pod.makeApiClient(k8s.CoreV1Api)
			.listNamespacedSecret({ namespace })));
	rmSync(dir, { recursive: true });
	for (const file of files) {
		const own = new k8s.KubeConfig();
		own.loadFromFile(file);
		const core = own.makeApiClient(k8s.CoreV1Api);
		await core.createNamespacedConfigMap(
			{ namespace: 'default', body: configMap('same', { file }) });
		await check('tenant', 'its own names', async () =>
			(await core.readNamespacedConfigMap({ namespace: 'default',
				name: 'same' })).data.file === file);
		await check('tenant', "nothing of the system's", () => fails(404,
			'NotFound', core.readNamespace({ name: namespace })));
	}
}

async function watches(kc) {
	const v1 = kc.makeApiClient(k8s.CoreV1Api);
	const path = '/api/v1/namespaces/seen/configmaps';
	const seen = 'seen';
	const list = () => v1.listNamespacedConfigMap({ namespace: seen });
	const make = (name) => v1.createNamespacedConfigMap(
		{ namespace: seen, body: configMap(name, {}, { l: '1' }) });
	const drop = (name) => v1.deleteNamespacedConfigMap(
		{ namespace: seen, name });

	await v1.createNamespace({ body: { metadata: { name: seen } } });
	const from = (await list()).metadata.resourceVersion;
	await make('a');
	await drop('a');
	// What is told of a watch until it ends.
	const watch = (query, enough) => new Promise((done, wrong) => {
		const got = [];
		let request;
		new k8s.Watch(kc).watch(path, query, (type, o) => {
			got.push(type === 'ERROR' ? `${type} ${o.code}`
				: `${type} ${o.metadata.name}`);
			if (got.length === enough) {
				request?.abort();
				done(got.join());
			}
		}, (e) => {
			if (e && e.name !== 'AbortError')
				wrong(e);
			done(got.join());
		}).then((r) => { request = r; }, wrong);
	});
	await check('watch', 'from a revision', async () => await watch(
		{ resourceVersion: from, labelSelector: 'l=1' }, 2) ===
		'ADDED a,DELETED a');
	await check('watch', 'ends by its timeout', async () => await watch(
		{ resourceVersion: (await list()).metadata.resourceVersion,
			timeoutSeconds: 1 }) === '');
	await check('watch', 'the present, then a bookmark', async () =>
		(await watch({ sendInitialEvents: true, allowWatchBookmarks: true,
			resourceVersionMatch: 'NotOlderThan' }, 2)) ===
			'ADDED kube-root-ca.crt,BOOKMARK undefined');
	await check('watch', 'without a right', async () => {
		const other = new k8s.KubeConfig();
		other.loadFromString(kc.exportConfig());
		other.users[0] = { name: other.users[0].name, token: 'none' };
		const w = new k8s.Watch(other);
		return fails(401, 'Unauthorized', new Promise((done, wrong) =>
			w.watch(path, {}, done, wrong)
				.catch(wrong)));
	});

	const told = { add: [], update: [], delete: [], error: 0, connect: 0 };
	const informer = k8s.makeInformer(kc, path, list);
	for (const verb of ['add', 'update', 'delete'])
		informer.on(verb, (o) => told[verb].push(o.metadata.name));
	informer.on('connect', () => { told.connect++; });
	// As its documentation says: after an error it is started again.
	informer.on('error', () => {
		told.error++;
		setTimeout(() => informer.start(), 100);
	});
	await informer.start();
	await check('informer', 'has the present', () =>
		told.add.includes('kube-root-ca.crt'));
	await make('b');
	await check('informer', 'follows', () => until(
		() => told.add.includes('b') && informer.get('b', seen)));
	await v1.patchNamespacedConfigMap({ namespace: seen, name: 'b',
		body: { data: { x: '1' } } }, as(k8s.PatchStrategy.MergePatch));
	await check('informer', 'updates', () => until(
		() => informer.get('b', seen)?.data?.x === '1' &&
			told.update.includes('b')));
	const connects = told.connect;
	await restart();
	await until(() => make('c').then(() => true, () => false));
	await drop('b');
	await check('informer', 'comes back to a server that was killed', () =>
		until(() => told.add.includes('c') && told.delete.includes('b') &&
			told.connect > connects));
	await check('informer', 'saw each change once', () =>
		told.add.filter((n) => n === 'c').length === 1 &&
		told.delete.filter((n) => n === 'b').length === 1);
	// More than the history keeps (16 MiB), while nobody listens.
	await informer.stop();
	const old = informer.latestResourceVersion();
	const large = { namespace, name: 'large' };
	await v1.createNamespacedConfigMap({ namespace, body: configMap('large') });
	for (let i = 0; i < 40; i++)
		await v1.patchNamespacedConfigMap({ ...large, body:
			{ data: { x: `${i % 10}`.repeat(1000000) } } },
			as(k8s.PatchStrategy.MergePatch));
	await check('watch', 'a revision that is forgotten: 410', async () =>
		await watch({ resourceVersion: old }, 1) === 'ERROR 410');
	await drop('c');
	await make('d');
	await informer.start();
	await check('informer', 'lists anew after 410', () => until(
		() => told.add.includes('d') && told.delete.includes('c') &&
			!informer.get('c', seen)));
	await make('e');
	await check('informer', 'and follows', () => until(
		() => told.add.includes('e')));
	await informer.stop();
}

async function theEnd(kc) {
	const v1 = kc.makeApiClient(k8s.CoreV1Api);
	await v1.deleteNamespace({ name: namespace });
	await check('delete', 'a namespace with all in it', () => until(async () =>
		!(await v1.listNamespace()).items.some(
			(n) => n.metadata.name === namespace)));
}

const [admin, ...tenants] = process.argv.slice(2);
const kc = new k8s.KubeConfig();
kc.loadFromFile(admin);
await basics(kc);
await patches(kc);
await objects(kc);
await identities(kc, tenants);
await watches(kc);
await theEnd(kc);
process.exit(0);
