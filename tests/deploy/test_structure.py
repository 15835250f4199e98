"""What is in deploy/ fits the program, and its parts each other: flags, variables, ports, times, images, secrets."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import click
import httpx2
import yaml

from batches_mcp import __version__
from batches_mcp.cli import cli
from batches_mcp.cluster.local import MOST_BYTES
from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.core.variables import API_KEY
from tests.support import deployed
from tests.support.servers import ROOT, http_server

# What libraries read that the service is made of: obstore, uvicorn, OpenSSL, the C library, and Python itself.
LIBRARIES = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP",
    "FORWARDED_ALLOW_IPS", "SSL_CERT_FILE", "PATH", "HOME", "PYTHONUNBUFFERED",
}  # fmt: skip
SECRETS = {f"{API_KEY}_FILE", f"{DATABASE_URL}_FILE"}
REPLICAS = ("replica-1", "replica-2")
PORT, METRICS_PORT = "9090", "9464"


def twins(name: str) -> set[str]:
    """The variables that a command of ours reads."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, f"there is no command {name}"
    return {str(option.envvar) for option in found.params if isinstance(option, click.Option) and option.envvar}


def flags(name: str) -> set[str]:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, f"there is no command {name}"
    return {text for option in found.params for text in option.opts}


def variables(template: str) -> set[str]:
    """The variables that a template of the chart sets."""
    return set(re.findall(r"name: ([A-Z][A-Z_]+)", (deployed.CHART / "templates" / template).read_text()))


def dockerfile(instruction: str) -> list[str]:
    return [arguments for name, arguments in deployed.instructions() if name == instruction]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for arguments in dockerfile("ENV") for pair in arguments.split())


def test_every_variable_is_read_by_the_command_that_is_given_it() -> None:
    services = deployed.compose()["services"]
    for name in REPLICAS:
        given = {**image_environment(), **services[name]["environment"]}
        assert set(given) <= twins("serve") | SECRETS | LIBRARIES
    assert set(services["worker"]["environment"]) <= twins("worker") | SECRETS | LIBRARIES
    assert set(services["migrate"]["environment"]) <= twins("worker") | SECRETS | LIBRARIES
    common = variables("_helpers.tpl")
    assert len(common) > 10
    assert variables("deployment.yaml") | common <= twins("serve") | SECRETS | LIBRARIES
    assert variables("worker.yaml") | common <= twins("worker") | SECRETS | LIBRARIES
    assert variables("worker.yaml")
    assert variables("migrate.yaml") == {f"{DATABASE_URL}_FILE"}
    for path in [*deployed.files(), ROOT / "docs" / "deploy.md"]:
        ours = set(re.findall(r"\bBATCHES_MCP_[A-Z_]+[A-Z]", path.read_text()))
        assert ours <= twins("serve") | twins("worker") | SECRETS | {"BATCHES_MCP_TOKEN"}, path


def test_every_command_and_flag_exists() -> None:
    services = deployed.compose()["services"]
    for name in (*REPLICAS, "worker", "migrate"):
        command, *more = services[name]["command"]
        assert {word for word in more if word.startswith("--")} <= flags(command)
    [entrypoint], [command] = dockerfile("ENTRYPOINT"), dockerfile("CMD")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads(entrypoint)[0] in project["scripts"]
    assert json.loads(command)[0] in cli.list_commands(click.Context(cli))
    for template in ("deployment", "migrate", "worker"):
        arguments = re.findall(r"args: \[(.*)\]", (deployed.CHART / "templates" / f"{template}.yaml").read_text())
        command, *more = arguments[0].split(", ")
        assert set(more) <= flags(command)


def test_the_image_has_what_it_is_built_from_and_no_rights() -> None:
    assert dockerfile("ARG")[0].startswith("BASE=")
    assert dockerfile("USER") == ["10001:10001"]
    assert len(dockerfile("HEALTHCHECK")) == 1
    copied = [word for line in dockerfile("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) <= kept
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    needed = {source.split("/")[0] for source in carried} | {project["project"]["readme"]}
    assert needed <= set(copied)
    [extras] = [each.split(",") for each in re.findall(r"/src\[([\w,]+)\]", deployed.DOCKERFILE.read_text())]
    assert extras == ["otel", "cluster"]
    assert set(extras) <= set(project["project"]["optional-dependencies"])


def test_ports_agree() -> None:
    services, image = deployed.compose()["services"], image_environment()
    assert dockerfile("EXPOSE") == [PORT]
    assert image["BATCHES_MCP_PORT"] == PORT
    assert f"127.0.0.1:{PORT}/healthz" in dockerfile("HEALTHCHECK")[0]
    directives = deployed.directives()
    upstream = [each[1] for each in directives if each[0] == "server" and len(each) > 1]
    assert upstream == [f"{name}:{PORT}" for name in REPLICAS]
    for name in REPLICAS:
        assert services[name]["expose"] == [PORT, METRICS_PORT]
        assert services[name]["environment"]["BATCHES_MCP_METRICS_ADDRESS"] == f"0.0.0.0:{METRICS_PORT}"
        assert services[name]["environment"]["BATCHES_MCP_REST_PORT"] == PORT
    listened = {each[1] for each in directives if each[0] == "listen"}
    assert {port.split(":")[1] for port in services["nginx"]["ports"]} == listened == {"8443"}
    passed = {each[1] for each in directives if each[0] == "proxy_pass"}
    assert passed == {"http://replicas", f"http://idp:{services['idp']['environment']['PORT']}"}
    chart = (deployed.CHART / "templates" / "deployment.yaml").read_text()
    assert re.findall(r"containerPort: (\d+)", chart) == [PORT]
    assert str(yaml.safe_load((deployed.CHART / "values.yaml").read_text())["metrics"]["port"]) == METRICS_PORT
    # Who reaches the service reaches no metrics.
    assert "metrics" not in (deployed.CHART / "templates" / "service.yaml").read_text()
    assert METRICS_PORT not in deployed.NGINX.read_text()
    assert f'BATCHES_MCP_REST_PORT, value: "{PORT}"' in chart


def test_names_agree() -> None:
    services = deployed.compose()["services"]
    one = services["replica-1"]["environment"]
    assert one == services["replica-2"]["environment"]
    assert one["BATCHES_MCP_OIDC_ISSUER"] == services["idp"]["environment"]["IDP_ISSUER"]
    assert one["BATCHES_MCP_RESOURCE_URL"] == services["idp"]["environment"]["IDP_AUDIENCE"]
    aliases = services["nginx"]["networks"]["default"]["aliases"]
    assert set(aliases) == {"idp.localhost", one["BATCHES_MCP_ALLOW_HOST"]}
    bucket = one["BATCHES_MCP_OBJECT_STORE"].removeprefix("s3://").split("/")[0]
    assert f"s3.bucket.create -name {bucket}" in services["bucket"]["command"][0]
    asked = {name for service in services.values() for name in service.get("depends_on", {})}
    assert asked <= set(services)


def test_images_have_tags_and_ours_is_this_version() -> None:
    images = [service["image"] for service in deployed.compose()["services"].values() if "image" in service]
    bases = [line.split("=", 1)[1] for line in dockerfile("ARG") if line.startswith("BASE=")]
    assert len(images) > 5
    for image in [*images, *bases]:
        tag = image.rpartition(":")[2]
        assert re.match(r"\d", tag), image
        assert "." not in image.split("/")[0].split(":")[0], f"{image} names a host"
    assert f"batches-mcp:{__version__}" in images
    chart = yaml.safe_load((deployed.CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__
    server = json.loads((ROOT / "server.json").read_text())
    assert f'io.modelcontextprotocol.server.name="{server["name"]}"' in deployed.DOCKERFILE.read_text()


def test_creates_have_the_time_that_they_need() -> None:
    services = deployed.compose()["services"]
    for name in (*REPLICAS, "worker"):
        drain_s = int(services[name]["environment"]["BATCHES_MCP_DRAIN"])
        assert drain_s >= 600
        assert seconds(services[name]["stop_grace_period"]) >= drain_s + 10
    directives = {each[0]: each[1:] for each in deployed.directives()}
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        assert seconds(directives[name][0]) >= 610
    values = yaml.safe_load((deployed.CHART / "values.yaml").read_text())
    chart = (deployed.CHART / "templates" / "deployment.yaml").read_text()
    [beyond], [pause] = (
        re.findall(r"add .Values.drainSeconds (\d+)", chart),
        re.findall(r"sleep: {seconds: (\d+)}", chart),
    )
    worker = (deployed.CHART / "templates" / "worker.yaml").read_text()
    [beyond_for_workers] = re.findall(r"add .Values.drainSeconds (\d+)", worker)
    assert values["drainSeconds"] >= 600
    assert int(beyond_for_workers) >= 10
    assert int(beyond) >= 10 + int(pause)
    annotations = {name.rpartition("/")[2]: value for name, value in values["ingress"]["annotations"].items()}
    assert int(annotations["proxy-read-timeout"]) >= 610
    assert annotations["proxy-buffering"] == annotations["proxy-request-buffering"] == "off"


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def test_nginx_streams_and_sends_nothing_twice() -> None:
    directives = deployed.directives()
    named = {each[0]: each[1:] for each in directives}
    assert named["proxy_buffering"] == named["proxy_request_buffering"] == ("off",)
    assert named["client_max_body_size"] == ("0",)
    assert named["proxy_next_upstream"] == ("error", "timeout", "http_503")
    assert "keepalive" not in named
    assert [each for each in directives if each[0] == "proxy_next_upstream"] == [
        ("proxy_next_upstream", "error", "timeout", "http_503")
    ]


def test_services_have_no_more_rights_than_they_need() -> None:
    services = deployed.compose()["services"]
    for name in (*REPLICAS, "worker", "migrate", "nginx", "idp"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    assert [port.split(":")[0] for service in services.values() for port in service.get("ports", [])] == ["127.0.0.1"]


def test_any_number_of_workers_have_the_state_of_the_replicas_and_a_folder_of_their_own() -> None:
    services = deployed.compose()["services"]
    worker, replica = services["worker"], services["replica-1"]
    assert worker["environment"].items() <= replica["environment"].items()
    for shared in ("image", "secrets", "env_file"):
        assert worker[shared] == replica[shared]
    # A published port, a name or a named volume would be the same for all of them.
    assert not {"ports", "container_name", "hostname"} & set(worker)
    assert worker["volumes"] == ["/state"]
    # The image's asks for a port that only servers listen at.
    assert worker["healthcheck"] == {"disable": True}
    values = yaml.safe_load((deployed.CHART / "values.yaml").read_text())
    room = values["worker"]["tables"]["sizeLimit"]
    assert int(room.removesuffix("Gi")) << 30 >= 2 * MOST_BYTES


def test_secrets_are_named_and_never_held() -> None:
    document = deployed.compose()
    made = (deployed.COMPOSE / "secrets.sh").read_text()
    for name, secret in document["secrets"].items():
        assert secret == {"file": f"secrets/{name}"}
        assert re.search(rf"(keep {re.escape(name)}\b|-(out|keyout) {re.escape(name)}|>{re.escape(name)}\b)", made), (
            name
        )
    for name, service in document["services"].items():
        assert set(service.get("secrets", [])) <= set(document["secrets"])
        for variable, value in service.get("environment", {}).items():
            if value.startswith("/run/secrets/"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, variable)
            assert not re.search(r"(?i)(password|secret|key)$", variable), (name, variable)
    assert "deploy/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_chart_uses_each_of_its_values_and_no_other() -> None:
    values = yaml.safe_load((deployed.CHART / "values.yaml").read_text())
    schema = json.loads((deployed.CHART / "values.schema.json").read_text())
    templates = "".join(path.read_text() for path in (deployed.CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", templates))
    assert {each.split(".")[0] for each in used} == set(values)
    for each in used:
        found: Any = values
        for name in each.split("."):
            found = found[name]
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, value in values.items():
        properties = schema["properties"][name].get("properties")
        if isinstance(value, dict) and properties:
            assert set(properties) == set(value), name


def probes() -> Iterator[tuple[str, str]]:
    """What Kubernetes asks: paths, each with the Host that is said."""
    chart = (deployed.CHART / "templates" / "deployment.yaml").read_text()
    asked = re.findall(r"{path: (\S+), port: http, httpHeaders: \[{name: Host, value: (\S+)}\]}", chart)
    assert len(asked) == 2
    assert chart.count("httpGet") == 3  # one of them stands for two
    yield from asked


def test_what_probes_ask_for_is_answered() -> None:
    with http_server("--sandbox", key=None) as url:
        for path, host in probes():
            answer = httpx2.get(url.replace("/mcp", path), headers={"host": host})
            assert answer.status_code == 200, path
        # Without the name they would be refused: Kubernetes asks by the pod's address.
        assert httpx2.get(url.replace("/mcp", "/healthz"), headers={"host": "10.1.2.3:9090"}).status_code == 421
