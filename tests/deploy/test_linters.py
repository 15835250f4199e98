"""What is in deploy/, looked at by the tools that know it best: hadolint, dclint, Helm, the schemas of Kubernetes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from batches_mcp import __version__
from tests.support import deployed
from tests.support.deployed import ALL_VALUES, FEWEST_VALUES
from tests.support.proxied import DCLINT

pytestmark = pytest.mark.deploy

KINDS = ["Deployment", "Job", "PodDisruptionBudget", "Service", "ServiceAccount"]
# The oldest that the chart says it is for, and the newest that there are schemas of.
KUBERNETES = ["1.30", "1.37"]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("file", ["Dockerfile", "compose/idp/Dockerfile"])
def test_hadolint_finds_nothing(file: str) -> None:
    done = run(Path(sys.executable).with_name("hadolint"), deployed.DEPLOY / file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_dclint_finds_nothing() -> None:
    done = run(
        DCLINT, "--max-warnings", "0", "-c", deployed.COMPOSE / ".dclintrc.yaml", deployed.COMPOSE / "compose.yaml"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_dclint_finds_what_is_wrong(tmp_path: Path) -> None:
    document = deployed.compose()
    document["services"]["nginx"]["imag"] = document["services"]["nginx"].pop("image")
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(document))
    assert run(DCLINT, "-c", deployed.COMPOSE / ".dclintrc.yaml", tmp_path / "compose.yaml").returncode != 0


def rendered(values: dict[str, Any], name: str = "batches-mcp") -> list[dict[str, Any]]:
    """What Helm makes of the chart."""
    import helm_python

    texts = helm_python.Chart.load(deployed.CHART).render(values, name=name, namespace="ai").values()
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


@pytest.mark.parametrize("values", [FEWEST_VALUES, ALL_VALUES])
def test_helm_lint_finds_nothing_but_a_missing_icon(values: dict[str, Any]) -> None:
    import helm_python

    report = helm_python.lint(deployed.CHART, values, strict=True)
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("wrong", [
    {},
    {"objectStore": {"url": "https://bucket"}},
    FEWEST_VALUES | {"replica": 3},
    FEWEST_VALUES | {"oidc": {"issuer": "http://idp.example.com"}},
    FEWEST_VALUES | {"maxCostUsd": 0},
    FEWEST_VALUES | {"worker": {"concurrency": 65}},
    FEWEST_VALUES | {"worker": {"replica": 1}},
])  # fmt: skip
def test_helm_refuses_values_that_the_program_would(wrong: dict[str, Any]) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError):
        rendered(wrong)


def test_an_issuer_needs_the_url_of_the_service() -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=r"oidc.resourceUrl: https://HOST/mcp"):
        rendered(FEWEST_VALUES | {"oidc": {"issuer": "https://idp.example.com"}})


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [FEWEST_VALUES, ALL_VALUES])
def test_manifests_fit_the_schemas_of_kubernetes(values: dict[str, Any], version: str) -> None:
    import kubernetes_validate

    documents = rendered(values)
    more = [*(["Ingress"] if "ingress" in values else []), *(["Deployment"] if "worker" in values else [])]
    assert sorted(document["kind"] for document in documents) == sorted([*KINDS, *more])
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("values", [FEWEST_VALUES, ALL_VALUES])
def test_pods_have_no_rights_and_the_time_that_they_need(values: dict[str, Any]) -> None:
    documents = {
        "Worker" if document["metadata"]["name"].endswith("-worker") else document["kind"]: document
        for document in rendered(values)
    }
    of_pods = [kind for kind in ("Deployment", "Job", "Worker") if kind in documents]
    pods = [documents[kind]["spec"]["template"]["spec"] for kind in of_pods]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        # A Service named batches-mcp would set BATCHES_MCP_PORT to something like tcp://10.0.0.1:80.
        assert pod["enableServiceLinks"] is False
        [container] = pod["containers"]
        assert container["image"] == f"batches-mcp:{__version__}"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        folders = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert folders == {"/state", "/tmp"}  # noqa: S108 - in a container
    service, [container] = pods[0], pods[0]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert len(given) == len(container["env"]), "a variable is set twice"
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = service["terminationGracePeriodSeconds"]
    assert grace_s >= 610
    assert grace_s >= pause_s + int(given["BATCHES_MCP_DRAIN"]) + 10
    annotations = documents["Job"]["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    # Pods of the job and of workers are none of the service's, nor counted for it.
    chosen = documents["Service"]["spec"]["selector"]
    for kind in of_pods:
        labels = documents[kind]["spec"]["template"]["metadata"]["labels"]
        assert (chosen.items() <= labels.items()) is (kind == "Deployment")
    assert documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == chosen


def test_workers_are_there_when_they_are_wanted() -> None:
    def deployments(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
        found = rendered(values)
        return {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "Deployment"}

    assert set(deployments(FEWEST_VALUES)) == {"batches-mcp"}
    found = deployments(ALL_VALUES)
    service, worker = found["batches-mcp"], found["batches-mcp-worker"]
    assert worker["replicas"] == 5
    assert worker["selector"]["matchLabels"].items() <= worker["template"]["metadata"]["labels"].items()
    [container] = worker["template"]["spec"]["containers"]
    [serving] = service["template"]["spec"]["containers"]
    assert container["args"] == ["worker"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert len(given) == len(container["env"]), "a variable is set twice"
    assert given.pop("BATCHES_MCP_CONCURRENCY") == "8"
    assert given.items() <= {each["name"]: each["value"] for each in serving["env"]}.items()
    assert container["envFrom"] == serving["envFrom"]
    assert container["resources"]["limits"] == {"memory": "4Gi"}
    [tables] = [each for each in worker["template"]["spec"]["volumes"] if each["name"] == "tables"]
    assert tables["emptyDir"] == {"sizeLimit": "80Gi"}
    grace_s = worker["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s >= int(given["BATCHES_MCP_DRAIN"]) + 10
    assert "livenessProbe" not in container


def test_amounts_reach_the_program_as_it_reads_them() -> None:
    from batches_mcp.cli.flags import cap_usd

    for amount in (0.5, 25, 1_500_000):
        values = FEWEST_VALUES | {"maxCostUsd": amount, "worker": {"enabled": True}}
        found = [each["spec"]["template"]["spec"] for each in rendered(values) if each["kind"] == "Deployment"]
        assert len(found) == 2
        for pod in found:
            given = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
            assert cap_usd(None, None, given["BATCHES_MCP_MAX_COST_USD"]) == amount  # type: ignore[arg-type]
