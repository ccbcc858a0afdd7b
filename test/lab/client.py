"""docker-py against a cluster, SOCKET IMAGE: a service with all that it may refer to, from its creation to its end."""

import sys
import threading
import time

import docker
from docker.types import (
    ConfigReference,
    EndpointSpec,
    Healthcheck,
    Resources,
    RestartPolicy,
    SecretReference,
    ServiceMode,
    UpdateConfig,
)

socket, image = sys.argv[1:3]
client = docker.DockerClient(base_url=f"unix://{socket}")
SECOND = 10**9


def eventually(what, ask):
    """Asks until the answer is true; fails after thirty seconds."""
    deadline = time.monotonic() + 30
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise SystemExit(f"not within thirty seconds: {what}")
        time.sleep(0.1)


seen = set()
began = int(time.time())


def listen():
    for event in docker.DockerClient(base_url=f"unix://{socket}").events(since=began, decode=True):
        seen.add((event["Type"], event["Action"], event["Actor"]["Attributes"].get("name")))


threading.Thread(target=listen, daemon=True).start()
network = client.networks.create("py-net", driver="overlay", attachable=True, labels={"of": "py"})
secret = client.secrets.create(name="py-key", data=b"xyzzy", labels={"of": "py"})
config = client.configs.create(name="py-conf", data=b"plover")
assert [n.name for n in client.networks.list(filters={"label": "of=py"})] == ["py-net"]
assert [s.name for s in client.secrets.list(filters={"name": "py-key"})] == ["py-key"]

service = client.services.create(
    image,
    name="py",
    args=["lines=2"],
    env=["A=1"],
    labels={"of": "py"},
    container_labels={"tier": "front"},
    mode=ServiceMode("replicated", 2),
    networks=[network.id],
    endpoint_spec=EndpointSpec(ports={8090: 80}),
    secrets=[SecretReference(secret.id, "py-key", filename="key", mode=0o400)],
    configs=[ConfigReference(config.id, "py-conf", filename="/conf")],
    healthcheck=Healthcheck(test=["CMD", "true"], interval=SECOND // 5, timeout=30 * SECOND, retries=2),
    resources=Resources(mem_limit=64 * 2**20),
    restart_policy=RestartPolicy(condition="any", delay=SECOND // 10),
    update_config=UpdateConfig(parallelism=2, order="start-first", monitor=SECOND // 2),
    stop_grace_period=SECOND,
)


def running():
    tasks = service.tasks(filters={"desired-state": "running"})
    return [t for t in tasks if t["Status"]["State"] == "running"]


eventually("two tasks", lambda: len(running()) == 2)
assert len({t["NodeID"] for t in running()}) == 2
assert [s.name for s in client.services.list(filters={"label": "of=py"})] == ["py"]

[container] = client.containers.list(filters={"label": "com.docker.swarm.service.name=py"})
assert container.labels["tier"] == "front"
assert container.exec_run(["cat", "/run/secrets/key", "/conf"]).output == b"xyzzyplover"
assert container.exec_run(["sh", "-c", "echo $A; exit 3"]) == (3, b"1\n")
assert container.attrs["State"]["Health"]["Status"] == "healthy"
assert "py-net" in container.attrs["NetworkSettings"]["Networks"]
assert container.stats(stream=False)["memory_stats"]["limit"] == 64 * 2**20
eventually("the second line", lambda: b"line 2\n" in container.logs(tail=10))


def logged(line):
    return b"".join(service.logs(stdout=True, stderr=True)).splitlines().count(line)


for line in (b"line 1", b"error 2"):
    eventually(f"{line} of both", lambda line=line: logged(line) == 2)
assert b"".join(service.logs(stdout=True, tail=0)) == b""

service.reload()
assert service.scale(3)
eventually("three tasks", lambda: len(running()) == 3)
before = {t["ID"] for t in running()}
service.reload()
assert service.force_update()
eventually("other tasks", lambda: len(running()) == 3 and not before & {t["ID"] for t in running()})


def update_state():
    service.reload()
    return service.attrs.get("UpdateStatus", {}).get("State")


eventually("the end of the update", lambda: update_state() == "completed")
service.update(image=image, env=["A=2"], fetch_current_spec=True)
eventually("the end of the next update", lambda: update_state() == "completed")
spec = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
assert spec["Env"] == ["A=2"] and len(spec["Secrets"]) == 1, spec

for used in (secret, config):
    try:
        used.remove()
        raise SystemExit("what is in use should not be removed")
    except docker.errors.APIError as error:
        assert error.status_code == 400 and "is in use by the following service: py" in error.explanation
try:
    client.services.create(image, name="py")
    raise SystemExit("a name should be taken once")
except docker.errors.APIError as error:
    assert error.status_code == 409 and "service py already exists" in error.explanation

worker = next(n for n in client.nodes.list() if n.attrs["Spec"]["Role"] == "worker")
worker.reload()
worker.update({"Availability": "drain", "Role": "worker", "Labels": {"of": "py"}})
eventually("one node alone", lambda: len(running()) == 3 and worker.id not in {t["NodeID"] for t in running()})
worker.reload()
assert worker.attrs["Spec"]["Labels"] == {"of": "py"}
worker.update({"Availability": "active", "Role": "worker", "Labels": {}})

service.remove()
assert client.services.list(filters={"name": "py"}) == []
# docker-py lists, then inspects each: one may go in between.
of_py = {"label": "com.docker.swarm.service.name=py"}
eventually("no container", lambda: not client.containers.list(filters=of_py, ignore_removed=True))
secret.remove()
config.remove()


def network_removed():
    try:
        network.remove()
        return True
    except docker.errors.APIError:
        return False


eventually("the network to be free", network_removed)
wanted = {("service", action, "py") for action in ("create", "update", "remove")}
wanted |= {(kind, "remove", f"py-{name}") for kind, name in (("secret", "key"), ("config", "conf"), ("network", "net"))}
eventually(f"events {wanted}, seen {seen}", lambda: wanted <= seen)
print("docker-py is content")
