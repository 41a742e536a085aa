"""The forwarders of an instance, and the message that somebody hands over to be forwarded."""

from operations import INSTANCE, op
from schemas import FLAGS, SCHEMAS
from shape import BOOL, INT, STR, TIME, arr, d, null, obj, one_of, ref, text

FORMAT = one_of("wecom", "dingtalk", "feishu", "slack", "template")
FORWARDER = f"{INSTANCE}/forwarders/{{forwarderId}}"
CHANGED = "`CONCURRENT_UPDATE`: changed by somebody else at the same time."

FIELDS = {
    "name?": d(text(100), "Default: the type."),
    "url?": d({"type": "string", "format": "uri", "maxLength": 2048}, "Where the robot is called. With a `key`: another address than the vendor's."),
    "key?": d(text(255), "Of the robot: WeCom's `key`, DingTalk's `access_token`, the end of Feishu's URL."),
    "secret?": d(null(text(255)), "Signs the calls (DingTalk, Feishu; a template as webhooks are signed); `null` takes it away."),
    "events?": d(arr(text(100), maxItems=50), "Globs over event names.", default=["message_received"]),
    "enabled?": d(BOOL, "", default=True),
    "maxRetries?": FLAGS["maxRetries?"],
    "retryInterval?": FLAGS["retryInterval?"],
    "contentType?": d(text(100), "Of a template's body.", default="application/json"),
    "template?": d(text(4096), "Of a template: the body, in which `{{event}}`, `{{id}}`, `{{timestamp}}`, `{{instanceId}}`, `{{instanceName}}`, `{{fromName}}`, "
                               "`{{content}}`, `{{line}}`, `{{data}}` and paths such as `{{data.body}}` are filled in, escaped as the content type asks; "
                               "`{{json data}}` is the value as JSON."),
}
del FIELDS["enabled?"]["description"]

SCHEMAS.update({
    "ForwarderCreate": obj({"type": FORMAT, **FIELDS}, description="`url` or `key` is needed."),
    "ForwarderUpdate": obj(FIELDS, description="What is not given stays."),
    "Forwarder": obj({
        "id": STR,
        "type": FORMAT,
        "name": STR,
        "endpoint": d(STR, "What deliveries call it."),
        "url": d(STR, "Scheme and host; the rest is never shown."),
        "hasSecret": BOOL,
        "events": arr(STR),
        "enabled": BOOL,
        "maxRetries": INT,
        "retryInterval": INT,
        "disabledReason": d(null(STR), "Why the server switched it off."),
        "contentType": null(STR),
        "template": null(STR),
        "createdAt": TIME,
        "updatedAt": TIME,
    }),
})

op(f"GET {INSTANCE}/forwarders", "list_forwarders", "List the forwarders of an instance", tag="instances", scope="instances:manage",
   answer=obj({"forwarders": arr(ref("Forwarder"))}))
op(f"POST {INSTANCE}/forwarders", "create_forwarder", "Make a forwarder", tag="instances", scope="instances:manage", idempotent=True, ok=201,
   body=ref("ForwarderCreate"), answer=ref("Forwarder"), example={"type": "wecom", "name": "The team's group", "key": "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"},
   description="It tells a group robot of WeCom, DingTalk or Feishu, Slack, or any URL of events, with the attempts, records and replays of a webhook.",
   refuses={409: "`TOO_MANY_FORWARDERS`: ten at most; or the same `Idempotency-Key` is still running."})
op(f"PUT {FORWARDER}", "update_forwarder", "Change a forwarder", tag="instances", scope="instances:manage", body=ref("ForwarderUpdate"), answer=ref("Forwarder"),
   refuses={409: CHANGED}, example={"events": ["message_*"], "enabled": True})
op(f"DELETE {FORWARDER}", "delete_forwarder", "Delete a forwarder", tag="instances", scope="instances:manage", answer=ref("Success"),
   description="What waits for it ends.", refuses={409: CHANGED})
op(f"POST {FORWARDER}/test", "test_forwarder", "Try a forwarder", tag="instances", scope="instances:manage", answer=ref("Tested"),
   description="Posts a `webhook_test` in its form at once.")
