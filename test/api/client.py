"""docker-py against the API: prints one line per thing that must hold, fails on the first that does not."""

import sys

import docker

client = docker.DockerClient(base_url=f"unix://{sys.argv[1]}")
assert client.ping()
assert client.version()["ApiVersion"] == "1.47"
client.swarm.init(advertise_addr="192.0.2.1")
assert [n.attrs["Description"]["Hostname"] for n in client.nodes.list()] == ["host1", "host2"]

service = client.services.create(
    "nginx:latest",
    name="web",
    mode=docker.types.ServiceMode("replicated", 2),
    endpoint_spec=docker.types.EndpointSpec(ports={80: 80}),
)
assert len(service.tasks()) == 2
service.scale(3)
service.reload()
assert len(service.tasks()) == 3
service.force_update()
service.reload()
assert service.attrs["Spec"]["TaskTemplate"]["ForceUpdate"] == 1
assert b"hello" in b"".join(service.logs(stdout=True))

assert client.images.pull("demo", tag="1").tags == ["demo:1"]
container = client.containers.list()[0]
assert container.status == "running" and container.logs() == b""
assert "ingress" in [n.name for n in client.networks.list()]
try:
    container.commit("demo", "2")
    raise SystemExit("commit should have been refused")
except docker.errors.APIError as error:
    assert error.status_code == 501 and "skein does not serve" in error.explanation
try:
    client.services.get("nosuch")
    raise SystemExit("services.get should have failed")
except docker.errors.NotFound:
    pass
service.remove()
assert client.services.list() == []
print("docker-py is content")
