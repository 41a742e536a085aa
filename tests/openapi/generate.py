#!/usr/bin/env python3
"""Assembles the OpenAPI document of Trunkline from the tables beside this file and the seeds' examples.

    tests/openapi/generate.py    writes shared/src/edge/openapi/openapi.json

The suite (`tests/src/openapi.rs`) fails when the committed document is not what this makes, or when it lists other operations
than the routers have. Needs nothing but Python.
"""

import json
import re
from pathlib import Path

from operations import OPERATIONS
from schemas import SCHEMAS
from shape import STR, d, ref

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "shared/src/edge/openapi/openapi.json"

DESCRIPTION = """\
One HTTP API for many messengers.

**Credentials.** Send `Authorization: Bearer <JWT or API key>` or `x-api-key: <API key>`; with both, the bearer decides. Scoped keys
reach as far as their scopes; each operation names the one it needs.

**Errors** are `{error, code, field?}`: a sentence for a person, a stable code for programs, and the wrong input. An unknown path is a
404, a wrong method a 405 with `Allow`.

**Times** are ISO 8601 in UTC with milliseconds and `Z`. In queries they are inclusive.

**Repeating a request.** Operations with an `Idempotency-Key` give the first answer again, with `Idempotent-Replay: true`, when the same
key comes with the same body within 24 hours.

**Limits.** A body has at most 1 MiB. No request takes longer than 20 s: longer work answers 202 with a job. Every answer carries an
`X-Request-Id`, the caller's own if it sent one.
"""

TAGS = {
    "auth": "Accounts, tokens, API keys.",
    "instances": "Connected accounts of any platform, their messages, events and webhooks; and the simulated phone network of sandbox instances.",
    "whatsapp": "Sending and asking on WhatsApp.",
    "stats": "Usage.",
    "third-party": "WhatsApp, Telegram, WeChat and Signal by address. Open on a developer's machine; `THIRD_PARTY_AUTH` decides elsewhere.",
    "im": "Channels, messages and members, as seed 002 has them. Answers are `{success, data}`, errors `{success, message}`.",
    "juhe": "WeCom and personal WeChat accounts behind an aggregation service, as seed 003 has them. Answers are `{success, data}`, errors `{success, error, code}`.",
    "chat": "Chat of users, as seed 004 has it. Answers are `{code: 200, msg, data}`, errors `{code, msg, data: null}` with the true status.",
    "admin": "Users, groups, histories, instances and the audit, for administrators.",
    "common": "Jobs, media, health, documentation.",
}

PATH_PARAMETERS = {
    "instanceId": "Id of the instance.",
    "platform": "`whatsapp`, `telegram`, `wechat` or `signal`.",
    "chatId": "Address of the chat.",
    "messageId": "Id of the message: ours or the platform's.",
    "deliveryId": "Id of the delivery.",
    "forwarderId": "Id of the forwarder.",
    "mediaId": "Id of the media.",
    "groupId": "Id of the group, with or without `@g.us`.",
    "jobId": "Id of the job.",
    "ticket": "From the `uploadUrl`.",
    "id": "Id of the key; or a phone number or LID.",
}

REFUSALS = {
    400: "The input is wrong: `field` names what.",
    401: "No credentials, or bad ones.",
    403: "The credentials do not reach this far.",
    404: "There is no such thing.",
    409: "The same `Idempotency-Key` is still running.",
    410: "It has expired.",
    413: "The body is too large.",
    422: "The same `Idempotency-Key` or `clientMessageId` came with another body.",
    429: "Too many requests.",
    500: "A fault of the server.",
    503: "A dependency does not answer; trying again may help.",
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}

WEBHOOK_HEADERS = {
    "X-Webhook-Signature": "Lower-case hex HMAC-SHA256 of the exact body, with the webhook's newest secret.",
    "webhook-id": "Standard Webhooks: the event's id, the same over retries.",
    "webhook-timestamp": "Standard Webhooks: seconds since 1970 of this attempt.",
    "webhook-signature": "Standard Webhooks: `v1,<base64>`, one for each valid secret.",
}


def refusal(status, text, envelope="Error"):
    response = {"description": text, "content": {"application/json": {"schema": ref(envelope)}}}
    return {**response, "headers": RETRY_AFTER} if status in (429, 503) else response


def usual_refusals(op):
    """The statuses that follow from what the operation takes."""
    statuses = {500}
    if op["body"] or op["query"] or "/whatsapp/" in op["path"] or "/sandbox/" in op["path"]:
        statuses.add(400)
    if not op["public"]:
        statuses |= {401, 403, 429, 503}
    if "{" in op["path"]:
        statuses.add(404)
    if op["body"]:
        statuses |= {413, 503}
    if op["idempotent"]:
        statuses |= {400, 409, 422}
    return statuses


def responses(op, example):
    ok = {"description": op["summary"] + "."}
    if op["answer"]:
        content = {"schema": op["answer"]}
        if example is not None:
            content["example"] = example
        ok["content"] = {"application/json": content}
    headers = {name: {"description": text, "schema": STR} for name, text in op["headers"].items()}
    if op["idempotent"]:
        headers["Idempotent-Replay"] = {"description": "`true`: this answer was given before.", "schema": STR}
    if headers:
        ok["headers"] = headers
    out = {op["ok"]: ok}
    if op["later"]:
        out[202] = {"description": "It takes longer: ask for the job.", "content": {"application/json": {"schema": ref("Accepted")}}}
    for status in usual_refusals(op):
        shared = op["envelope"] == "Error"
        out[status] = {"$ref": f"#/components/responses/{status}"} if shared else refusal(status, REFUSALS[status], op["envelope"])
    for status, text in op["refuses"].items():
        out[status] = refusal(status, text, op["envelope"])
    for status, extra in op["more"].items():
        if isinstance(extra, tuple):
            out[status] = {"description": extra[0], "content": {"application/json": {"schema": extra[1]}}}
        else:
            out[status].setdefault("content", {}).update(extra)
    return {str(status): out[status] for status in sorted(out)}


def operation(op, seed):
    out = {"operationId": op["name"], "tags": [op["tag"]], "summary": op["summary"]}
    notes = [op["description"]] if op["description"] else []
    if op["scope"]:
        notes.append(f"Scoped keys need `{op['scope']}`.")
    if notes:
        out["description"] = " ".join(notes)
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in re.findall(r"\{(\w+)\}", op["path"])]
    parameters += op["query"]
    if op["idempotent"]:
        parameters.append({"$ref": "#/components/parameters/Idempotency-Key"})
    if parameters:
        out["parameters"] = parameters
    if op["body"]:
        media = {"schema": op["body"]}
        example = seed.get("request", op["example"])
        if example is not None:
            media["example"] = example
        kind = "application/json"
        if op["multipart"]:
            kind = "multipart/form-data"
        elif op["body"].get("contentMediaType"):
            kind = op["body"]["contentMediaType"]
        out["requestBody"] = {"required": True, "content": {kind: media}}
    out["responses"] = responses(op, seed.get("answer"))
    if op["public"]:
        out["security"] = []
    elif op["credentials"] == "optional":
        out["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    return out


def webhook(event, example):
    headers = [{"name": name, "in": "header", "schema": STR, "description": text} for name, text in WEBHOOK_HEADERS.items()]
    return {"post": {
        "operationId": f"on_{event}",
        "tags": ["instances"],
        "summary": f"Your server is told of `{event}`",
        "security": [],
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("Webhook"), "example": example}}},
        "responses": {
            "2XX": {"description": "Within 10 s: delivered. Anything else is tried again."},
            "410": {"description": "Switches the webhook off."},
        },
    }}


def document():
    seeds = {}
    for file in sorted((ROOT / "tests/seeds").glob("*/examples.json")):
        seeds.update(json.loads(file.read_text(encoding="utf-8")))
    paths, names = {}, set()
    for op in OPERATIONS:
        assert op["name"] not in names, f"two operations are called {op['name']}"
        names.add(op["name"])
        route = f"{op['method'].upper()} {op['path']}"
        made = operation(op, seeds.pop(route, {}))
        paths.setdefault(op["path"], {})[op["method"]] = made
        for alias in op["aliases"]:
            # Names are unique: those of aliases are left out.
            paths.setdefault(alias, {})[op["method"]] = {name: value for name, value in made.items() if name != "operationId"}
    webhooks = {name.split(" ", 1)[1]: webhook(name.split(" ", 1)[1], seeds.pop(name)) for name in list(seeds) if name.startswith("webhook ")}
    assert not seeds, f"the document lacks what a seed has: {', '.join(seeds)}"
    version = re.search(r'(?m)^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(encoding="utf-8")).group(1)
    key = {"name": "Idempotency-Key", "in": "header", "schema": d(STR, "A text of yours, unique for what it does.", minLength=1, maxLength=255)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trunkline", "version": version, "description": DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A JWT of `POST /api/auth/login`, or an API key."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "parameters": {
                **{name: {"name": name, "in": "path", "required": True, "schema": STR, "description": text} for name, text in PATH_PARAMETERS.items()},
                "Idempotency-Key": key,
            },
            "responses": {str(status): refusal(status, text) for status, text in REFUSALS.items()},
            "schemas": SCHEMAS,
        },
    }


def text():
    """The document as it is committed."""
    return json.dumps(document(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text(), encoding="utf-8")
