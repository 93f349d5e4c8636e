"""Every protobuf body in the recordings of real Mesos daemons, with the name of its type.

The files are described by the README beside them. Nothing is skipped silently: a record whose type
this module cannot name raises `KeyError`.
"""

import base64
import json
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Recorded:
    """One body: `place` says where it was recorded, `decoded` is the recorder's own decoding.

    `decoded` is None where the recorder stored bytes only. With `is_source` it is not a decoding
    but what the recording script made the body from: equal as a message, maybe not as text (0
    instead of "0", an empty list instead of nothing).
    """

    place: str
    type_name: str
    body: bytes
    decoded: Any
    is_source: bool = False


@dataclass(frozen=True, slots=True)
class RecordedJson:
    """One body of the v1 API in JSON."""

    place: str
    type_name: str
    value: Any


# --- wire/: libprocess messages and v1 HTTP captured on the network -------------------------------


def libprocess_messages(fixtures: Path) -> Iterator[Recorded]:
    """Every message between drivers, masters, agents and log replicas."""
    for place, record in _wire_records(fixtures):
        if record["kind"] == "message":
            body = bytes.fromhex(record["body_hex"])
            yield Recorded(place, record["name"], body, record["decoded"])


def captured_http(fixtures: Path) -> Iterator[Recorded]:
    """Protobuf requests, answers and streamed events of the v1 API in the captures."""
    targets: dict[tuple[str, int], list[str]] = {}  # requests of a connection, in order
    for place, record in _wire_records(fixtures):
        connection = (record["scenario"], record.get("conn", -1))
        if record["kind"] == "request":
            targets.setdefault(connection, []).append(record["target"])
        if "body_base64" not in record:
            continue
        body = base64.b64decode(record["body_base64"])
        if record["kind"] == "request":
            name = f"{_api_package(record['target'])}.Call"
            yield Recorded(place, name, body, record.get("decoded"))
            continue
        package = _api_package(targets[connection][record["answer_to_request_nr"]])
        if record["kind"] == "response":
            yield Recorded(place, f"{package}.Response", body, record.get("decoded"))
        else:
            for event, decoded in zip(_recordio(body), record["decoded"], strict=True):
                yield Recorded(place, f"{package}.Event", event, decoded)


def _wire_records(fixtures: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((fixtures / "wire").glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield f"wire/{path.name}:{number}", json.loads(line)


def _api_package(target: str) -> str:
    """The package of a v1 API by the path it is served at."""
    if target.endswith("/api/v1/scheduler"):
        return "mesos.v1.scheduler"
    if target.endswith("/api/v1/executor"):
        return "mesos.v1.executor"
    return {"/api/v1": "mesos.v1.master", "/slave(1)/api/v1": "mesos.v1.agent"}[target]


def _recordio(stream: bytes) -> Iterator[bytes]:
    """The records of a complete RecordIO stream: decimal length, newline, that many bytes."""
    while stream:
        length, _, rest = stream.partition(b"\n")
        yield rest[: int(length)]
        stream = rest[int(length) :]


# --- api/: conversations of the v1 API, in protobuf and JSON --------------------------------------


def api_conversations(fixtures: Path) -> Iterator[Recorded]:
    """Calls, answers and events of the conversations recorded in protobuf."""
    for place, package, exchange in _api_exchanges(fixtures):
        request, response = exchange["request"], exchange["response"]
        if "body_base64" in request:
            body = base64.b64decode(request["body_base64"])
            yield Recorded(place, f"{package}.Call", body, request.get("decoded"), is_source=True)
            for event, record in zip(_events(response), response.get("records", []), strict=True):
                yield Recorded(place, f"{package}.Event", event, record["json"])
        if "body_base64" in response:
            body = base64.b64decode(response["body_base64"])
            yield Recorded(place, f"{package}.Response", body, response["decoded"])


def api_json(fixtures: Path) -> Iterator[RecordedJson]:
    """Calls, answers and events of the conversations recorded in JSON."""
    for place, package, exchange in _api_exchanges(fixtures):
        request, response = exchange["request"], exchange["response"]
        if "body" not in request or not request["body"].startswith("{"):
            continue
        yield RecordedJson(place, f"{package}.Call", json.loads(request["body"]))
        if "json" in response:
            yield RecordedJson(place, f"{package}.Response", response["json"])
        # The only stream of the agent's operator API is the input and output of a container.
        event = "ProcessIO" if package == "mesos.v1.agent" else "Event"
        for record in response.get("records", []):
            yield RecordedJson(place, f"{package}.{event}", record["json"])


def _events(response: dict[str, Any]) -> Iterator[bytes]:
    return _recordio(base64.b64decode(response.get("stream_base64", "")))


def _api_exchanges(fixtures: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, package, exchange) of every request with its answer, wherever the file keeps it."""
    for path in sorted((fixtures / "api").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for number, exchange in enumerate(_exchanges_in(content)):
            package = _api_package(exchange["request"]["target"])
            if exchange.get("daemon") == "agent":  # its operator API has the path of the master's
                package = "mesos.v1.agent"
            yield f"api/{path.name}#{number}", package, exchange


def _exchanges_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and {"request", "response"} <= value.keys():
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _exchanges_in(part)


# --- zk/ and the agent's checkpoints --------------------------------------------------------------


def registry_writes(fixtures: Path) -> Iterator[Recorded]:
    """The entries of the replicated log, and the registry inside each."""
    path = fixtures / "zk" / "registry-log-writes.json"
    for record in json.loads(path.read_text(encoding="utf-8")):
        if record["type"] == "APPEND":
            place = f"zk/{path.name}@{record['position']}"
            entry = base64.b64decode(record["log_entry_base64"])
            yield Recorded(place, "mesos.internal.state.Operation", entry, record["operation"])
            registry = base64.b64decode(record["registry_base64"])
            yield Recorded(place, "mesos.internal.Registry", registry, record["registry"])


_CHECKPOINT_TYPES = {
    "executor.info": "mesos.ExecutorInfo",
    "framework.info": "mesos.FrameworkInfo",
    "resources.info": "mesos.Resource",
    "resources_and_operations.state": "mesos.internal.slave.ResourceState",
    "slave.info": "mesos.SlaveInfo",
    "task.info": "mesos.Task",
    "task.updates": "mesos.internal.StatusUpdateRecord",
}


def agent_checkpoints(fixtures: Path) -> Iterator[Recorded]:
    """The records of the agent's checkpoint files: each is a 32-bit length and that many bytes."""
    decoded = json.loads((fixtures / "agent-work-dir-decoded.json").read_text(encoding="utf-8"))
    with tarfile.open(fixtures / "agent-work-dir.tar.gz") as archive:
        for member in archive.getmembers():
            type_name = _CHECKPOINT_TYPES.get(Path(member.name).name)
            content = archive.extractfile(member) if member.isfile() else None
            if type_name is None or content is None:
                continue
            name = "/var/lib/mesos/" + member.name.removeprefix("./")
            records = zip(_length_prefixed(content.read()), decoded[name], strict=True)
            for body, expected in records:
                yield Recorded(name, type_name, body, expected)


def _length_prefixed(content: bytes) -> Iterator[bytes]:
    while content:
        (length,) = struct.unpack_from("<I", content)
        yield content[4 : 4 + length]
        content = content[4 + length :]
