"""What the other side runs to pair: with our command line, or with what is there anyway.

Each recipe is one text for a shell. It makes a key, spends the token in the plain calls of
docs/guide/pairing-by-hand.md, and leaves `client.key`, `client.crt` and `plane_ca.pem` behind. Programs get the token
on standard input or in a file, so that no process list shows it.
"""

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, assert_never
from urllib.parse import urlsplit

from compass.client.yaml_blocks import block_dumper


class Show(StrEnum):
    """What the other side runs."""

    COMPASS = "compass"
    AGENT = "agent"
    """For runtimes: pairs, and stays as the agent."""
    CURL = "curl"
    PYTHON = "python"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class Offer:
    """What is handed out."""

    name: str
    """Of the application or runtime."""
    connector_url: str
    token: str = field(repr=False)
    pin: str
    anchor: str
    """PEM of the authority with that pin."""


def recipe(offer: Offer, how: Show) -> str:
    """The text for a shell of the other side."""
    match how:
        case Show.COMPASS | Show.AGENT:
            server = offer.connector_url.removesuffix("/connector/graphql")
            where = f"--server {server}" if server != offer.connector_url else f"--connector-url {server}"
            command = "compass pair" if how is Show.COMPASS else "compass agent install --user"
            return f"{command} {where} --ca-pin {offer.pin} --token - <<< '{offer.token}'"
        case Show.CURL:
            return (
                _CURL.replace("@ANCHOR@", offer.anchor.strip())
                .replace("@CONNECTOR@", offer.connector_url)
                .replace("@TOKEN@", offer.token)
            )
        case Show.PYTHON:
            return f"python3 - <<'END'\n{_python(offer, json.dumps(offer.token))}\nEND"
        case Show.DOCKER:
            # A plane on this machine is there for a container only in the machine's own network.
            network = "--network host " if _is_here(offer.connector_url) else ""
            return (
                f'docker run --rm -i {network}--user "$(id -u):$(id -g)" -v "$PWD:/here" -w /here {_IMAGE} python - '
                f"<<'END'\n{_python(offer, json.dumps(offer.token))}\nEND"
            )
        case Show.KUBERNETES:
            return f"kubectl apply -f - <<'END'\n{_manifest(offer)}END"
        case _:
            assert_never(how)


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}


_CURL: Final = r"""
umask 077
cat > plane_ca.pem <<'END'
@ANCHOR@
END
ask() {
  curl -sS --fail-with-body --cacert plane_ca.pem -H 'Content-Type: application/json' -H @token.txt -d @question.json \
    @CONNECTOR@
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
echo 'Connector-Token: @TOKEN@' > token.txt
echo '{"query":"{ configuration { token { token } certificateSigningRequestInfo { subject } } }"}' > question.json
ask > answer.json
echo "Connector-Token: $(field token < answer.json)" > token.txt
openssl ecparam -name prime256v1 -genkey -noout -out client.key
openssl req -new -key client.key -subj "/$(field subject < answer.json | tr , /)" -out client.csr
CSR=$(base64 < client.csr | tr -d '\n')
cat > question.json <<END
{"query":"mutation { signCertificateSigningRequest(csr: \"$CSR\") { certificateChain } }"}
END
ask | field certificateChain | base64 -d > client.crt
rm -f token.txt question.json answer.json client.csr
""".strip()
"""`echo` is a builtin, so no process list shows the token."""

_IMAGE: Final = "python:3-slim"
"""Has Python and openssl, which is all that the recipe needs."""


def _python(offer: Offer, token: str) -> str:
    """The calls in Python's own library. `token` is the expression that gives the token."""
    return (
        _PYTHON.replace("@CONNECTOR@", json.dumps(offer.connector_url))
        .replace("@TOKEN@", token)
        .replace("@ANCHOR@", offer.anchor.strip())
    )


# A key that has been named in a request is kept until its certificate is there: the same token with the same key gets
# the same answer again, so an interrupted run may be repeated.
_PYTHON: Final = '''
import base64, hashlib, json, os, ssl, subprocess, urllib.request

CONNECTOR = @CONNECTOR@
TOKEN = @TOKEN@
PLANE = """@ANCHOR@
"""
os.umask(0o077)
plane = ssl.create_default_context(cadata=PLANE)

def openssl(*arguments):
    return subprocess.run(("openssl", *arguments), check=True, stdout=subprocess.PIPE).stdout

def ask(url, query, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({"query": query}).encode(), named)
    with urllib.request.urlopen(request, context=plane) as answer:
        told = json.load(answer)
    if told.get("errors"):
        raise SystemExit("error: " + told["errors"][0]["message"])
    return told["data"]

if not os.path.exists("pairing.key"):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "pairing.key")
key = hashlib.sha256(openssl("pkey", "-in", "pairing.key", "-pubout", "-outform", "DER")).hexdigest()
told = ask(CONNECTOR, """{ configuration { token { token } certificateSigningRequestInfo { subject }
    managementPlaneInfo { directorURL } } }""", Connector_Token=TOKEN, Connector_Key_Digest=key)["configuration"]
subject = "/" + told["certificateSigningRequestInfo"]["subject"].replace(",", "/")
csr = base64.b64encode(openssl("req", "-new", "-key", "pairing.key", "-subj", subject)).decode()
signed = ask(CONNECTOR, 'mutation { signCertificateSigningRequest(csr: "' + csr + '") { certificateChain } }',
             Connector_Token=told["token"]["token"], Connector_Key_Digest=key)["signCertificateSigningRequest"]
for name, content in (("plane_ca.pem", PLANE.encode()), ("client.crt", base64.b64decode(signed["certificateChain"]))):
    with open(name, "wb") as file:
        file.write(content)
os.replace("pairing.key", "client.key")
plane.load_cert_chain("client.crt", "client.key")
viewer = ask(told["managementPlaneInfo"]["directorURL"], "{ viewer { id type } }")["viewer"]
print("paired: you are", viewer["type"].lower(), viewer["id"])
'''.strip()

_INTO_SECRET: Final = """
service = "/var/run/secrets/kubernetes.io/serviceaccount/"
bearer, namespace = (open(service + name).read() for name in ("token", "namespace"))
url = "https://kubernetes.default.svc/api/v1/namespaces/" + namespace + "/secrets/@SECRET@"
kept = {name: open(name).read() for name in ("client.key", "client.crt", "plane_ca.pem")}
request = urllib.request.Request(url, json.dumps({"stringData": kept}).encode(), method="PATCH", headers={
    "Authorization": "Bearer " + bearer, "Content-Type": "application/merge-patch+json"})
with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=service + "ca.crt")):
    print("kept in the secret @SECRET@")
"""


def _manifest(offer: Offer) -> str:
    """A Job that pairs, and keeps what comes of it in a Secret: the only object that it may touch, and only write."""
    import yaml  # noqa: PLC0415  # one recipe of six needs it

    kept = f"compass-{_slug(offer.name)}"
    # A job never changes: another token is another one.
    pairs = f"{kept}-{sha256(offer.token.encode()).hexdigest()[:8]}"
    script = _python(offer, 'open("/given/token").read()') + "\n" + _INTO_SECRET.replace("@SECRET@", kept)
    documents = [
        _object("v1", "Secret", kept, type="Opaque"),
        _object("v1", "Secret", pairs, stringData={"token": offer.token, "pair.py": script}),
        _object("v1", "ServiceAccount", kept),
        _object(
            "rbac.authorization.k8s.io/v1",
            "Role",
            kept,
            rules=[{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [kept], "verbs": ["patch"]}],
        ),
        _object(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            kept,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": kept},
            subjects=[{"kind": "ServiceAccount", "name": kept}],
        ),
        _object("batch/v1", "Job", pairs, spec=_job(kept, pairs)),
    ]
    return str(yaml.dump_all(documents, Dumper=block_dumper(), sort_keys=False, width=120, explicit_start=True))


def _object(version: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def _job(account: str, given: str) -> dict[str, Any]:
    container = {
        "name": "pair",
        "image": _IMAGE,
        "command": ["python", "/given/pair.py"],
        "workingDir": "/here",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "given", "mountPath": "/given"}, {"name": "here", "mountPath": "/here"}],
    }
    pod = {
        "serviceAccountName": account,
        "restartPolicy": "OnFailure",  # in the same pod, with the same key: what was interrupted goes on
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "fsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "given", "secret": {"secretName": given, "defaultMode": 0o440}},
            {"name": "here", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
    }
    return {"backoffLimit": 3, "ttlSecondsAfterFinished": 600, "template": {"spec": pod}}


def _slug(name: str) -> str:
    """The name as a part of a name of Kubernetes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "application"
