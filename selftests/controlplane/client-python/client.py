# SPDX-License-Identifier: Apache-2.0
"""python3-kubernetes against arktos-control, as its users write it.

client.py ADMIN-KUBECONFIG TENANT-KUBECONFIG...

Prints "ok VERB: NAME" and "not ok VERB: NAME"; asks for a restart of the server
by the line "restart". Simulated nodes are there.
"""
import datetime
import inspect
import json
import os
import sys
import tempfile
import threading
import time
import traceback

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def say(line):
    print(line, flush=True)


def check(verb, name, fn):
    """fn returns what is false, or raises, when it does not hold."""
    try:
        got = fn()
    except Exception as e:  # told, then the next one
        for line in traceback.format_exc(limit=3).splitlines():
            say("  " + line)
        say("  %s" % getattr(e, "body", ""))
        got = False
    say(("ok " if got else "not ok ") + verb + ": " + name)


def fails(status, reason, fn, *args, **kwargs):
    try:
        fn(*args, **kwargs)
    except ApiException as e:
        if e.status == status and reason in (e.body or e.reason or ""):
            return True
        say("  %s %s" % (e.status, e.body))
        return False
    say("  no exception")
    return False


def until(fn, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = fn()
        if got:
            return got
        threading.Event().wait(0.05)
    return None


def patch(api, path, body, kind, **query):
    """The generated calls choose the media type themselves, and what is
    applied has to be text."""
    if kind == APPLY:
        body = json.dumps(body)
    return api.call_api(
        path, "PATCH", query_params=list(query.items()),
        header_params={"Content-Type": kind, "Accept": "application/json"},
        body=body, response_type="object", auth_settings=["BearerToken"],
        _return_http_data_only=True)


def config_map(name, labels=None, **data):
    return client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def deployment(name, replicas=2, image="web:1"):
    labels = {"app": name}
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DeploymentSpec(
            replicas=replicas,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[client.V1Container(
                    name="c", image=image,
                    resources=client.V1ResourceRequirements(
                        requests={"cpu": "10m", "memory": "16Mi"}),
                    env=[client.V1EnvVar(name="A", value="1")],
                    ports=[client.V1ContainerPort(container_port=80)])]))))


def basics(api):
    v1 = client.CoreV1Api(api)
    check("version", "the server's", lambda: client.VersionApi(
        api).get_code().git_version.startswith("v1.32.0+arktos"))
    check("discovery", "groups", lambda: {"apps", "batch", "policy"} <= {
        g.name for g in client.ApisApi(api).get_api_versions().groups})
    check("discovery", "resources", lambda: "pods/exec" in {
        r.name for r in v1.get_api_resources().resources})
    check("create", "a namespace", lambda: v1.create_namespace(
        client.V1Namespace(metadata=client.V1ObjectMeta(name="py"))
    ).status.phase == "Active")
    check("read", "its service account", lambda: v1.
          read_namespaced_service_account("default", "py").metadata.uid)
    for i in range(12):
        v1.create_namespaced_config_map("py", config_map(
            "cm%02d" % i, {"half": str(i % 2)}, n=str(i)))

    def pages():
        names, token, sizes, versions = [], None, [], set()
        while True:
            l = v1.list_namespaced_config_map("py", limit=5, _continue=token)
            names += [o.metadata.name for o in l.items]
            sizes.append(len(l.items))
            versions.add(l.metadata.resource_version)
            token = l.metadata._continue
            if not token:
                return (len(set(names)) == 13 and sizes == [5, 5, 3] and
                        len(versions) == 1)
    check("list", "pages of one snapshot", pages)
    check("list", "by label", lambda: len(v1.list_namespaced_config_map(
        "py", label_selector="half in (1),!no").items) == 6)
    check("list", "by field", lambda: [
        o.metadata.name for o in v1.list_config_map_for_all_namespaces(
            field_selector="metadata.name=cm03").items] == ["cm03"])
    check("list", "remaining items", lambda: v1.list_namespaced_config_map(
        "py", limit=5).metadata.remaining_item_count == 8)
    check("list", "a wrong token", lambda: fails(
        400, "continue", v1.list_namespaced_config_map, "py", limit=5,
        _continue="none"))
    check("read", "not there", lambda: fails(
        404, '"reason":"NotFound"', v1.read_namespaced_config_map, "x", "py"))
    check("create", "twice", lambda: fails(
        409, "AlreadyExists", v1.create_namespaced_config_map, "py",
        config_map("cm00")))
    check("create", "dry run", lambda: v1.create_namespaced_config_map(
        "py", config_map("dry"), dry_run="All").metadata.uid and fails(
            404, "", v1.read_namespaced_config_map, "dry", "py"))
    check("create", "invalid, with causes", lambda: fails(
        422, '"field":"metadata.name"', v1.create_namespaced_config_map,
        "py", config_map("Not Valid")))

    def conflict():
        a = v1.read_namespaced_config_map("cm00", "py")
        b = v1.read_namespaced_config_map("cm00", "py")
        a.data = {"n": "first"}
        v1.replace_namespaced_config_map("cm00", "py", a)
        b.data = {"n": "second"}
        return fails(409, '"reason":"Conflict"',
                     v1.replace_namespaced_config_map, "cm00", "py", b)
    check("replace", "a conflict", conflict)
    check("delete", "with a precondition", lambda: fails(
        409, "Conflict", v1.delete_namespaced_config_map, "cm01", "py",
        body=client.V1DeleteOptions(preconditions=client.V1Preconditions(
            uid="00000000-0000-0000-0000-000000000000"))))
    check("delete", "a collection", lambda: v1.
          delete_collection_namespaced_config_map(
              "py", label_selector="half=1") and len(
              v1.list_namespaced_config_map("py").items) == 7)
    check("create", "a secret", lambda: v1.create_namespaced_secret(
        "py", client.V1Secret(metadata=client.V1ObjectMeta(
            generate_name="s-"), string_data={"a": "b"})).data == {
                "a": "Yg=="})
    check("create", "fifty at once", lambda: len({
        t.get(30).metadata.uid for t in [
            v1.create_namespaced_config_map("py", config_map("p%d" % i),
                                            async_req=True)
            for i in range(50)]}) == 50)


def patches(api):
    v1, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    path = "/apis/apps/v1/namespaces/py/deployments/web"

    def env(d):
        return [(e["name"], e.get("value")) for e in
                d["spec"]["template"]["spec"]["containers"][0]["env"]]
    apps.create_namespaced_deployment("py", deployment("web"))
    check("patch", "JSON", lambda: apps.patch_namespaced_deployment(
        "web", "py", [{"op": "test", "path": "/spec/replicas", "value": 2},
                      {"op": "replace", "path": "/spec/replicas",
                       "value": 3}]).spec.replicas == 3)
    check("patch", "JSON whose test fails", lambda: fails(
        422, "", apps.patch_namespaced_deployment, "web", "py",
        [{"op": "test", "path": "/spec/replicas", "value": 9}]))
    more = {"spec": {"template": {"spec": {"containers": [
        {"name": "c", "env": [{"name": "B", "value": "2"}]}]}}}}
    check("patch", "strategic: lists are merged", lambda: sorted(env(patch(
        api, path, more, STRATEGIC))) == [("A", "1"), ("B", "2")])
    check("patch", "merge: a label goes", lambda: "x" not in (patch(
        api, path, {"metadata": {"labels": {"x": None, "y": "1"}}}, MERGE)
        ["metadata"]["labels"]))
    check("patch", "merge: lists are replaced", lambda: fails(
        422, "image", patch, api, path, more, MERGE))
    check("patch", "scale", lambda: apps.patch_namespaced_deployment_scale(
        "web", "py", [{"op": "replace", "path": "/spec/replicas",
                       "value": 1}]).spec.replicas == 1)
    check("patch", "status only", lambda: apps.
          patch_namespaced_deployment_status("web", "py", [
              {"op": "add", "path": "/spec/replicas", "value": 7}]
          ).spec.replicas == 1)
    mine = {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "applied"}, "data": {"a": "1", "b": "1"}}
    at = "/api/v1/namespaces/py/configmaps/applied"
    check("apply", "creates", lambda: patch(
        api, at, mine, APPLY, fieldManager="one")
        ["metadata"]["managedFields"][0]["operation"] == "Apply")
    other = dict(mine, data={"a": "2"})
    check("apply", "conflict", lambda: fails(
        409, 'conflict with \\"one\\"', patch, api, at, other, APPLY,
        fieldManager="two"))
    check("apply", "force", lambda: patch(
        api, at, other, APPLY, fieldManager="two", force="true")
        ["data"] == {"a": "2", "b": "1"})
    check("apply", "what is given up goes", lambda: patch(
        api, at, dict(mine, data={}), APPLY, fieldManager="one")
        ["data"] == {"a": "2"})
    check("patch", "an unknown media type", lambda: fails(
        415, "", patch, api, at, "{}", "text/plain"))
    check("rollout", "pods become ready", lambda: until(
        lambda: apps.read_namespaced_deployment_status(
            "web", "py").status.ready_replicas == 1))
    check("delete", "in the foreground", lambda: apps.
          delete_namespaced_deployment(
              "web", "py", propagation_policy="Foreground") and until(
              lambda: not v1.list_namespaced_pod("py").items))


def machines(api):
    """A VM pod has no containers; typed clients want the list all the same."""
    v1 = client.CoreV1Api(api)
    api.call_api(
        "/api/v1/namespaces/py/pods", "POST", body={
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vm"},
            "spec": {"virtualMachine": {"name": "vm", "image": "x"}}},
        header_params={"Content-Type": "application/json"},
        auth_settings=["BearerToken"], response_type="object")
    check("list", "a VM pod", lambda: [
        p.spec.containers for p in v1.list_namespaced_pod("py").items] == [[]])
    check("read", "a VM pod", lambda: v1.read_namespaced_pod(
        "vm", "py").spec.containers == [])
    check("delete", "a VM pod", lambda: v1.delete_namespaced_pod(
        "vm", "py", grace_period_seconds=0))


def dynamics(api):
    d = dynamic.DynamicClient(api)
    crds = d.resources.get(api_version="apiextensions.k8s.io/v1",
                           kind="CustomResourceDefinition")
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "snakes.py.example"},
        "spec": {
            "group": "py.example", "scope": "Namespaced",
            "names": {"plural": "snakes", "kind": "Snake",
                      "singular": "snake"},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {
                        "spec": {"type": "object", "properties": {
                            "length": {"type": "integer", "default": 3}}},
                        "status": {"type": "object", "properties": {
                            "fed": {"type": "boolean"}}}}}}}]}}
    check("dynamic", "a definition", lambda: crds.create(
        body).metadata.name == "snakes.py.example")
    snakes = until(lambda: find(d, "py.example/v1", "Snake"))
    snake = {"apiVersion": "py.example/v1", "kind": "Snake",
             "metadata": {"name": "kaa"}, "spec": {}}
    check("dynamic", "is discovered; defaults", lambda: snakes.create(
        body=snake, namespace="py").spec.length == 3)
    check("dynamic", "status", lambda: snakes.status.patch(
        body={"status": {"fed": True}}, name="kaa", namespace="py",
        content_type=MERGE).status.fed)
    check("dynamic", "server-side apply", lambda: snakes.server_side_apply(
        body=json.dumps(dict(snake, spec={"length": 9})), name="kaa",
        namespace="py", field_manager="py", force_conflicts=True).spec.length == 9)
    check("dynamic", "list", lambda: [
        s.spec.length for s in snakes.get(namespace="py").items] == [9])
    check("dynamic", "watch", lambda: [
        e["type"] for e in snakes.watch(namespace="py", timeout=2)
        ][:1] == ["ADDED"])
    custom = client.CustomObjectsApi(api)
    check("custom", "replace", lambda: custom.
          replace_namespaced_custom_object(
              "py.example", "v1", "py", "snakes", "kaa", dict(
                  custom.get_namespaced_custom_object(
                      "py.example", "v1", "py", "snakes", "kaa"),
                  spec={"length": 4}))["spec"]["length"] == 4)
    check("custom", "patch", lambda: custom.patch_namespaced_custom_object(
        "py.example", "v1", "py", "snakes", "kaa",
        {"spec": {"length": 5}})["spec"]["length"] == 5)
    check("custom", "wrong type", lambda: fails(
        422, "spec.length", custom.patch_namespaced_custom_object,
        "py.example", "v1", "py", "snakes", "kaa",
        {"spec": {"length": "long"}}))
    text = """
apiVersion: v1
kind: Service
metadata: {name: from-yaml}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: from-yaml}
spec:
  template:
    metadata: {annotations: {arktos.futurewei.com/hollow-exit: "0"}}
    spec: {restartPolicy: Never, containers: [{name: c, image: i}]}
"""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(text)
        f.flush()
        check("create", "from YAML", lambda: len(utils.create_from_yaml(
            api, f.name, namespace="py")) == 2)
    batch = client.BatchV1Api(api)
    check("read", "a job completes", lambda: until(
        lambda: batch.read_namespaced_job_status(
            "from-yaml", "py").status.succeeded == 1))


def find(d, version, kind):
    try:
        d.resources.invalidate_cache()
        return d.resources.get(api_version=version, kind=kind)
    except dynamic.exceptions.ResourceNotFoundError:
        return None


def everything(api):
    """Each list of each API must fit the client's models, which are strict
    about what may be missing."""
    say("  every list of every API")
    wrong, nr, known = [], 0, 0
    for name, cls in inspect.getmembers(client, inspect.isclass):
        if not name.endswith("Api"):
            continue
        it = cls(api)
        for method in dir(it):
            if not method.startswith("list_") or method.endswith("_info"):
                continue
            fn = getattr(it, method)
            kwargs = {}
            for p in inspect.signature(fn).parameters.values():
                if p.default is p.empty and p.kind != p.VAR_KEYWORD:
                    kwargs[p.name] = {"namespace": "py"}.get(p.name)
            if None in kwargs.values():
                continue
            # The model wants an eventTime, which Kubernetes' own events
            # lack as well.
            if name == "EventsV1Api":
                continue
            nr += 1
            try:
                fn(**kwargs)
                known += 1
            except ApiException as e:
                if e.status != 404:
                    wrong.append("%s.%s: %s" % (name, method, e))
            except Exception as e:
                wrong.append("%s.%s: %r" % (name, method, e))
    for w in wrong:
        say("  " + w)
    say("  %d lists, %d served" % (nr, known))
    check("list", "everything fits the client's models",
          lambda: not wrong and known > 60)


def identities(api, tenants):
    v1, rbac = client.CoreV1Api(api), client.RbacAuthorizationV1Api(api)
    auth = client.AuthorizationV1Api(api)
    v1.create_namespaced_service_account("py", client.V1ServiceAccount(
        metadata=client.V1ObjectMeta(name="bot")))
    rbac.create_namespaced_role("py", client.V1Role(
        metadata=client.V1ObjectMeta(name="reader"), rules=[
            client.V1PolicyRule(api_groups=[""], resources=["configmaps"],
                                verbs=["get", "list", "watch"])]))
    rbac.create_namespaced_role_binding("py", client.V1RoleBinding(
        metadata=client.V1ObjectMeta(name="reader"),
        role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io",
                                  kind="Role", name="reader"),
        subjects=[client.V1Subject(kind="ServiceAccount", name="bot",
                                   namespace="py")]))
    token = api.call_api(
        "/api/v1/namespaces/py/serviceaccounts/bot/token", "POST",
        body={"spec": {"expirationSeconds": 600}}, response_type="object",
        header_params={"Accept": "application/json"},
        _return_http_data_only=True)["status"]["token"]
    c = client.Configuration()
    c.host = api.configuration.host
    c.ssl_ca_cert = api.configuration.ssl_ca_cert
    c.api_key = {"authorization": "Bearer " + token}
    bot = client.CoreV1Api(client.ApiClient(c))
    check("token", "may what its role says", lambda: len(
        bot.list_namespaced_config_map("py").items) > 1)
    check("token", "and no more", lambda: fails(
        403, "system:serviceaccount:py:bot", bot.list_namespaced_secret,
        "py"))
    check("token", "can-i", lambda: not client.AuthorizationV1Api(
        bot.api_client).create_self_subject_access_review(
            client.V1SelfSubjectAccessReview(
                spec=client.V1SelfSubjectAccessReviewSpec(
                    resource_attributes=client.V1ResourceAttributes(
                        namespace="py", verb="get", resource="secrets")))
            ).status.allowed)
    check("token", "review", lambda: client.AuthenticationV1Api(
        api).create_token_review(client.V1TokenReview(
            spec=client.V1TokenReviewSpec(token=token))
            ).status.user.username == "system:serviceaccount:py:bot")
    bad = client.Configuration()
    bad.host, bad.ssl_ca_cert = c.host, c.ssl_ca_cert
    bad.api_key = {"authorization": "Bearer " + token[:-4] + "AAAA"}
    check("token", "forged", lambda: fails(
        401, "Unauthorized", client.CoreV1Api(
            client.ApiClient(bad)).list_namespace))
    check("in-cluster", "configuration of a pod", lambda: in_cluster(
        api, token, c.ssl_ca_cert))
    for i, t in enumerate(tenants):
        own = client.CoreV1Api(t)
        own.create_namespaced_config_map(
            "default", config_map("same", tenant=str(i)))
    for i, t in enumerate(tenants):
        check("tenant", "its own %d" % i, lambda: client.CoreV1Api(
            t).read_namespaced_config_map("same", "default").data == {
                "tenant": str(i)})
        check("tenant", "nothing of the system's %d" % i, lambda: fails(
            404, "", client.CoreV1Api(t).read_namespace, "py"))


def in_cluster(api, token, ca):
    """What a pod gets: a token, the CA, two variables."""
    from kubernetes.config import incluster_config
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/token", "w") as f:
            f.write(token)
        host, port = api.configuration.host[len("https://"):].split(":")
        conf = client.Configuration()
        incluster_config.InClusterConfigLoader(
            token_filename=d + "/token", cert_filename=ca,
            environ={"KUBERNETES_SERVICE_HOST": host,
                     "KUBERNETES_SERVICE_PORT": port},
        ).load_and_set(conf)
        return len(client.CoreV1Api(client.ApiClient(conf)).
                   list_namespaced_config_map("py").items) > 1


class Informer(threading.Thread):
    """What controllers in Python do: list, watch from there, come back after
    errors from where one was, list anew when that is gone."""

    def __init__(self, api, ns):
        super().__init__(daemon=True)
        self.v1, self.ns = client.CoreV1Api(api), ns
        self.cache, self.lists, self.gone, self.errors = {}, 0, 0, 0
        self.version, self.over = None, False

    def relist(self):
        l = self.v1.list_namespaced_config_map(self.ns)
        self.cache = {o.metadata.name: o.data for o in l.items}
        self.version = l.metadata.resource_version
        self.lists += 1

    def follow(self):
        for e in watch.Watch().stream(
                self.v1.list_namespaced_config_map, self.ns,
                resource_version=self.version, timeout_seconds=600,
                allow_watch_bookmarks=True):
            o = e["raw_object"]
            self.version = o["metadata"]["resourceVersion"]
            if e["type"] == "DELETED":
                self.cache.pop(o["metadata"]["name"], None)
            elif e["type"] != "BOOKMARK":
                self.cache[o["metadata"]["name"]] = o.get("data")
            if self.over:
                return

    def run(self):
        while not self.over:
            try:
                if not self.version:
                    self.relist()
                self.follow()
            except ApiException as e:
                if e.status == 410:
                    self.gone += 1
                    self.version = None
            except Exception:  # the server is away
                self.errors += 1
                threading.Event().wait(0.1)


def watches(api):
    v1 = client.CoreV1Api(api)
    v1.create_namespace(client.V1Namespace(
        metadata=client.V1ObjectMeta(name="seen")))
    version = v1.list_namespaced_config_map("seen").metadata.resource_version
    v1.create_namespaced_config_map("seen", config_map("a", {"l": "1"}))
    v1.patch_namespaced_config_map("a", "seen", {"data": {"x": "1"}})
    v1.create_namespaced_config_map("seen", config_map("b"))
    v1.delete_namespaced_config_map("a", "seen")

    def events(n, **kwargs):
        w, got = watch.Watch(), []
        for e in w.stream(v1.list_namespaced_config_map, "seen",
                          timeout_seconds=20, **kwargs):
            got.append((e["type"], e["object"].metadata.name))
            if len(got) == n:
                w.stop()
        return got
    check("watch", "from a revision", lambda: events(
        4, resource_version=version) == [
            ("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"),
            ("DELETED", "a")])
    check("watch", "what is selected", lambda: events(
        3, resource_version=version, label_selector="l=1") == [
            ("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")])
    check("watch", "the present first", lambda: ("ADDED", "b") in events(2))
    check("watch", "ends by its timeout", lambda: list(
        watch.Watch().stream(v1.list_namespaced_config_map, "seen",
                             resource_version=v1.list_namespaced_config_map(
                                 "seen").metadata.resource_version,
                             timeout_seconds=1)) == [])
    inf = Informer(api, "seen")
    inf.start()
    check("informer", "has the present", lambda: until(
        lambda: "b" in inf.cache))
    v1.create_namespaced_config_map("seen", config_map("c", n="1"))
    check("informer", "follows", lambda: until(lambda: "c" in inf.cache))
    say("restart")
    assert sys.stdin.readline() == "restarted\n"
    v1.delete_namespaced_config_map("b", "seen")
    v1.create_namespaced_config_map("seen", config_map("d", n="1"))
    check("informer", "comes back to a server that was killed", lambda: until(
        lambda: "d" in inf.cache and "b" not in inf.cache))
    check("informer", "saw it away", lambda: inf.errors > 0)
    # More than the history keeps (16 MiB).
    for i in range(40):
        v1.patch_namespaced_config_map("large", "py", {
            "data": {"x": str(i % 10) * 1000000}}) if i else (
                v1.create_namespaced_config_map("py", config_map("large")))
    check("watch", "a revision that is forgotten: 410", lambda: fails(
        410, "Expired", lambda: list(watch.Watch().stream(
            v1.list_namespaced_config_map, "seen", resource_version="1",
            timeout_seconds=10))))
    inf.version = "1"
    say("restart")
    assert sys.stdin.readline() == "restarted\n"
    v1.create_namespaced_config_map("seen", config_map("e", n="1"))
    check("informer", "lists anew after 410", lambda: until(
        lambda: "e" in inf.cache) and inf.gone == 1 and inf.lists == 2)
    inf.over = True
    v1.delete_namespaced_config_map("e", "seen")
    inf.join(30)
    check("informer", "ends", lambda: not inf.is_alive())


def election(api):
    v1 = client.CoreV1Api(api)
    coord = client.CoordinationV1Api(api)
    now = datetime.datetime.now(datetime.timezone.utc)
    lease = coord.create_namespaced_lease("py", client.V1Lease(
        metadata=client.V1ObjectMeta(name="l"),
        spec=client.V1LeaseSpec(holder_identity="a", renew_time=now,
                                lease_duration_seconds=15)))
    check("lease", "times to the microsecond",
          lambda: lease.spec.renew_time == now)

    def renew():
        lease.spec.holder_identity = "b"
        return coord.replace_namespaced_lease(
            "l", "py", lease).spec.holder_identity == "b"
    check("lease", "renew", renew)
    done = threading.Event()

    def lead():
        done.set()
    client.Configuration.set_default(api.configuration)
    e = leaderelection.LeaderElection(electionconfig.Config(
        ConfigMapLock("lock", "py", "me"), lease_duration=17,
        renew_deadline=15, retry_period=5, onstarted_leading=lead,
        onstopped_leading=None))
    threading.Thread(target=e.run, daemon=True).start()
    check("lease", "leader election by a config map", lambda: done.wait(20)
          and "me" in v1.read_namespaced_config_map("lock", "py").metadata.
          annotations["control-plane.alpha.kubernetes.io/leader"])


def the_end(api):
    v1 = client.CoreV1Api(api)
    v1.delete_namespace("py")
    check("delete", "a namespace with all in it", lambda: until(
        lambda: "py" not in [n.metadata.name
                             for n in v1.list_namespace().items]))


def main():
    api, *tenants = [config.new_client_from_config(f) for f in sys.argv[1:]]
    basics(api)
    patches(api)
    machines(api)
    dynamics(api)
    identities(api, tenants)
    everything(api)
    election(api)
    watches(api)
    the_end(api)
    sys.stdout.flush()
    os._exit(0)  # whatever threads of the client there are


main()
