// SPDX-License-Identifier: Apache-2.0
// What the node client (@kubernetes/client-node) is asked to do; run by test_node_client.py with
// NODE_CLIENT (where it is installed), KUBECONFIG and a namespace. Any surprise ends it with 1.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(process.env.NODE_CLIENT + '/');
const k8s = require(process.env.NODE_CLIENT);
const namespace = process.argv[2];
const config = new k8s.KubeConfig();
config.loadFromFile(process.env.KUBECONFIG);
const core = config.makeApiClient(k8s.CoreV1Api);
const custom = config.makeApiClient(k8s.CustomObjectsApi);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const G = { group: 'drover.dev', version: 'v1', namespace, plural: 'runs' };
const run = (name, spec = {}) => ({
  apiVersion: 'drover.dev/v1', kind: 'Run', metadata: { name, namespace },
  spec: { type: 'task', commands: ['true'], ...spec },
});
const as = (type) => k8s.setHeaderOptions('Content-Type', type);
const refused = (code, promise) => assert.rejects(promise, (e) => {
  assert.equal(e.code, code, e);
  return true;
});

const parts = {
  async typed() {
    const made = await core.createNamespacedConfigMap({
      namespace, body: { metadata: { name: 'a' }, data: { k: 'v' } } });
    assert.ok(made.metadata.uid);
    made.data.k = 'w';
    await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made });
    await refused(409, core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made }));
    await refused(404, core.readNamespacedConfigMap({ name: 'none', namespace }));
    const secret = await core.createNamespacedSecret({
      namespace, body: { metadata: { name: 's' }, stringData: { p: 'q' } } });
    assert.equal(secret.data.p, 'cQ==');
    await core.deleteNamespacedConfigMap({ name: 'a', namespace });
  },

  async patches() {
    const path = { name: 'p', namespace };
    await core.createNamespacedConfigMap({
      namespace, body: { metadata: { name: 'p' }, data: { a: '1' } } });
    const patch = (type, body, more = {}) =>
      core.patchNamespacedConfigMap({ ...path, body, ...more }, as(type));
    let c = await patch(k8s.PatchStrategy.JsonPatch, [{ op: 'add', path: '/data/b', value: '2' }]);
    assert.deepEqual(c.data, { a: '1', b: '2' });
    c = await patch(k8s.PatchStrategy.MergePatch, { data: { a: null } });
    assert.deepEqual(c.data, { b: '2' });
    c = await patch(k8s.PatchStrategy.StrategicMergePatch, { data: { c: '3' } });
    assert.deepEqual(c.data, { b: '2', c: '3' });
    const apply = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'p' }, data: { c: '4' } };
    const type = k8s.PatchStrategy.ServerSideApply;
    await refused(409, patch(type, apply, { fieldManager: 'node' }));
    c = await patch(type, apply, { fieldManager: 'node', force: true });
    assert.deepEqual(c.data, { b: '2', c: '4' });
    await refused(415, custom.patchNamespacedCustomObject(
      { ...G, name: 'none', body: {} }, as(k8s.PatchStrategy.StrategicMergePatch)));
  },

  async customObjects() {
    await custom.createNamespacedCustomObject({ ...G, body: run('one') });
    const one = await custom.getNamespacedCustomObject({ ...G, name: 'one' });
    one.spec.priority = 4;
    await custom.replaceNamespacedCustomObject({ ...G, name: 'one', body: one });
    const status = await custom.patchNamespacedCustomObjectStatus(
      { ...G, name: 'one', body: { status: { phase: 'Running' } } },
      as(k8s.PatchStrategy.MergePatch));
    assert.equal(status.status.phase, 'Running');
    assert.equal(status.spec.priority, 4);
    await refused(422, custom.createNamespacedCustomObject(
      { ...G, body: run('two', { priority: 100000 }) }));
    await custom.deleteNamespacedCustomObject({ ...G, name: 'one' });
    // the object client finds the path of a kind by discovery
    await objects.create(run('three'));
    const got = await objects.read({ apiVersion: 'drover.dev/v1', kind: 'Run',
      metadata: { name: 'three', namespace } });
    assert.equal(got.spec.desiredState, 'Running');
    await objects.delete(got);
  },

  async pages() {
    for (let i = 0; i < 5; i++) {
      await core.createNamespacedConfigMap({
        namespace, body: { metadata: { name: `page${i}`, labels: { of: 'pages' } } } });
    }
    const names = [];
    let _continue;
    do {
      const list = await core.listNamespacedConfigMap({
        namespace, limit: 2, _continue, labelSelector: 'of=pages' });
      assert.ok(list.items.length <= 2);
      names.push(...list.items.map((c) => c.metadata.name));
      _continue = list.metadata._continue;
    } while (_continue);
    assert.deepEqual(names, ['page0', 'page1', 'page2', 'page3', 'page4']);
  },

  async informer() {
    await custom.createNamespacedCustomObject({ ...G, body: run('early') });
    const seen = [];
    let wake = () => {};
    const until = async (what) => {
      while (!seen.includes(what)) await new Promise((resolve) => { wake = resolve; });
    };
    const informer = k8s.makeInformer(config, `/apis/drover.dev/v1/namespaces/${namespace}/runs`,
      () => custom.listNamespacedCustomObject(G));
    for (const verb of ['add', 'update', 'delete']) {
      informer.on(verb, (o) => { seen.push(`${verb} ${o.metadata.name}`); wake(); });
    }
    await informer.start();
    await until('add early');
    await custom.createNamespacedCustomObject({ ...G, body: run('late') });
    await until('add late');
    await custom.patchNamespacedCustomObject(
      { ...G, name: 'late', body: { spec: { priority: 9 } } }, as(k8s.PatchStrategy.MergePatch));
    await until('update late');
    assert.equal(informer.get('late', namespace).spec.priority, 9);
    await custom.deleteNamespacedCustomObject({ ...G, name: 'late' });
    await until('delete late');
    await informer.stop();
  },
};

await parts[process.argv[3]]();
process.exit(0);
