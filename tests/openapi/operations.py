"""Every operation: method and path, the handler's name, a summary, then what it takes, answers and refuses.

An `Op` is one call of `op`. What follows from the rest is added by `generate.py`: 400 for a body or a query, 401 and 403 for
credentials, 404 for ids in the path, 409 and 422 for an `Idempotency-Key`, 413 for a body, and what any request can meet.
Examples come from the seed, by method and path; `example` is for bodies that the seed does not know.
"""

from shape import ANY_OBJECT, BOOL, INT, STR, TIME, d, obj, one_of, ref, whole
from schemas import DELIVERY_STATUS, PHONE

OPERATIONS = []
INSTANCE = "/api/instances/{instanceId}"
WHATSAPP = "/api/whatsapp/{instanceId}"


def op(route, name, summary, *, tag, ok=200, answer=None, body=None, query=(), refuses=None, idempotent=False, public=False,
       scope=None, later=False, more=None, headers=None, multipart=False, example=None, description=None, credentials=None,
       envelope="Error", aliases=()):
    """One operation.

    answer: the schema of the answer with status `ok`. refuses: status → text, beside the usual ones. scope: what a scoped key
    needs. later: also answers 202 with a job. more: further answers, status → response object. headers: of the answer.
    credentials: "optional" where it depends on the deployment. envelope: the schema of refusals. aliases: further paths of the same
    operation; there it has no name.
    """
    method, path = route.split(" ", 1)
    OPERATIONS.append(dict(
        method=method.lower(), path=path, name=name, summary=summary, tag=tag, ok=ok, answer=answer, body=body, query=list(query),
        refuses=refuses or {}, idempotent=idempotent, public=public, scope=scope, later=later, more=more or {}, headers=headers or {},
        multipart=multipart, example=example, description=description, credentials=credentials, envelope=envelope, aliases=list(aliases),
    ))


def q(name, schema, description=None, required=False):
    """A query parameter."""
    parameter = {"name": name, "in": "query", "schema": schema}
    if required:
        parameter["required"] = True
    if description:
        parameter["description"] = description
    return parameter


def limit(most, default):
    return q("limit", whole(1, most, default))


SKIP = q("skip", whole(0, 4_294_967_295, 0))
CURSOR = q("cursor", STR, "From the page before.")
DATES = [
    q("startDate", TIME, "Inclusive; also a bare date."),
    q("endDate", TIME, "Inclusive; a bare date means the end of that day."),
]
TYPES = q("types", STR, "Names of events, joined by commas.")
NO_WEBHOOK = "`WEBHOOK_DISABLED`: the webhook is not enabled."
NOT_READY = "`INSTANCE_NOT_READY`: the instance was never paired, or was logged out."
LIMITED = "Too many requests, or `LIMIT_EXCEEDED`: a quota is used up."

# auth

op("POST /api/auth/login", "login", "Log in", tag="auth", public=True, body=ref("Login"), answer=ref("Session"),
   refuses={401: "`INVALID_CREDENTIALS`: whether the account exists is not told.", 403: "Not from this address.", 429: "Five failures within a minute."})
op("POST /api/auth/register", "register", "Register", tag="auth", public=True, idempotent=True, ok=201, body=ref("Register"), answer=ref("Session"),
   example={"email": "user@example.com", "password": "strongpassword", "firstName": "John", "lastName": "Doe"},
   refuses={403: "Registration is closed, or the invitation is not valid.", 409: "`EMAIL_TAKEN` or `USERNAME_TAKEN`; or the same `Idempotency-Key` is still running."})
op("GET /api/auth/me", "get_me", "One's own account", tag="auth", answer=ref("Profile"))
op("POST /api/auth/api-key/rotate", "rotate_api_key", "Get another API key", tag="auth", idempotent=True, answer=obj({"apiKey": STR}),
   description="The one before stops working at once. Not with a scoped key.")
op("PUT /api/auth/password", "put_password", "Change the password", tag="auth", body=obj({"oldPassword": STR, "newPassword": {**STR, "minLength": 8, "maxLength": 200}}),
   answer=obj({"success": {"type": "boolean"}, "token": d(STR, "Every token issued before has ended; this is a new one.")}),
   refuses={401: "Not logged in, or `INVALID_CREDENTIALS`: the old password is wrong."})
op("GET /api/auth/allowed-ips", "get_allowed_ips", "Networks that the account works from", tag="auth", answer=ref("AllowedIps"))
op("PUT /api/auth/allowed-ips", "put_allowed_ips", "Set the networks that the account works from", tag="auth", body=ref("AllowedIps"), answer=ref("AllowedIps"),
   example={"allowedIps": ["203.0.113.0/24"]})
op("POST /api/auth/invites", "create_invite", "Make an invitation to register", tag="auth", idempotent=True, ok=201, answer=obj({"code": STR, "expiresAt": TIME}),
   description="For one registration within a week, with `REGISTRATION=invite`. Administrators only.")
op("GET /api/auth/keys", "list_keys", "List scoped API keys", tag="auth", answer=obj({"keys": {"type": "array", "items": ref("ScopedKey")}}))
op("POST /api/auth/keys", "create_key", "Make a scoped API key", tag="auth", idempotent=True, ok=201, body=ref("ScopedKeyInput"), answer=ref("NewScopedKey"),
   example={"name": "a reader", "scopes": ["messages:read", "stats:read"]},
   refuses={404: "An instance does not exist.", 409: "`TOO_MANY_KEYS`: 200 at most; or the same `Idempotency-Key` is still running."})
op("DELETE /api/auth/keys/{id}", "delete_key", "Revoke a scoped API key", tag="auth", answer=ref("Success"))

# instances

op("GET /api/instances", "list_instances", "List one's instances", tag="instances", query=[limit(1000, 1000), CURSOR], answer=ref("Instances"))
op("POST /api/instances", "create_instance", "Create an instance", tag="instances", scope="instances:manage", idempotent=True, ok=201,
   body=ref("InstanceCreate"), answer=ref("NewInstance"))
op(f"GET {INSTANCE}", "get_instance", "Read an instance", tag="instances", answer=ref("Instance"))
op(f"PUT {INSTANCE}", "update_instance", "Change an instance", tag="instances", scope="instances:manage", body=ref("InstanceUpdate"), answer=ref("Instance"),
   refuses={409: "`CONCURRENT_UPDATE`: changed by somebody else at the same time."})
op(f"DELETE {INSTANCE}", "delete_instance", "Delete an instance", tag="instances", scope="instances:manage",
   answer=obj({"success": {"type": "boolean"}, "message": STR, "jobId?": STR}),
   description="Logs out and deletes everything of it. Gone at once; the rest is a job.")
op(f"POST {INSTANCE}/reconnect", "reconnect_instance", "Reconnect", tag="instances", scope="instances:manage", answer=ref("Success"),
   description="A logged-out instance starts pairing anew.")
op(f"POST {INSTANCE}/logout", "logout_instance", "Log out of the platform", tag="instances", scope="instances:manage", answer=ref("Success"))
op(f"POST {INSTANCE}/session/export", "export_session", "Export the session into an encrypted file", tag="instances", scope="instances:manage",
   body=obj({"passphrase": d(STR, "Printable ASCII.", minLength=12, maxLength=256)}), example={"passphrase": "correct horse battery staple"}, later=True,
   more={200: {"application/octet-stream": {}}}, refuses={400: "Also `NOT_SUPPORTED`: an account that is connected with credentials.", 409: "`NOT_PAIRED`: there is no session.", 413: "`SESSION_TOO_LARGE`: the file would have more than 16 MiB, behind API Gateway 4.4 MB. The instance stays connected."},
   description="Closes the instance, which then waits for `…/reconnect`: to be asked for only if the file was not used. After a 202 repeat the request.")
op(f"POST {INSTANCE}/session/import", "import_session", "Connect with an exported session", tag="instances", scope="instances:manage",
   body={"type": "string", "contentMediaType": "application/octet-stream"}, answer=ref("Success"), later=True,
   query=[{"name": "X-Session-Passphrase", "in": "header", "required": True, "schema": {**STR, "minLength": 12, "maxLength": 256}}],
   refuses={400: "The file is not whole, or `WRONG_PASSPHRASE`, or `NOT_SUPPORTED`: nothing changes.",
            409: "`ALREADY_PAIRED`: the instance has a session. `OTHER_PLATFORM`: the file is of another platform, transport or mode."},
   description="The body is the file: at most 16 MiB, behind API Gateway 4.4 MB. Needs no QR code; a pairing that is under way is stopped.")
op(f"GET {INSTANCE}/qr", "get_qr", "The QR code to scan", tag="instances", scope="instances:manage", answer=ref("QrCode"),
   query=[q("format", one_of("json", "png", "svg"), "Default: by the `Accept` header, else json.")],
   more={200: {"image/png": {}, "image/svg+xml": {}}, 202: ("There is none yet.", ref("Generating"))}, refuses={409: "`ALREADY_CONNECTED`; `NOT_PAIRING`: none comes until somebody reconnects it."})
op(f"POST {INSTANCE}/pairing-code", "create_pairing_code", "Pair by a code instead of a QR code", tag="instances", scope="instances:manage",
   body=obj({"phone": PHONE}), example={"phone": "79001234567"}, answer=obj({"code": STR}), later=True, refuses={409: "`ALREADY_CONNECTED`."})
op(f"GET {INSTANCE}/capabilities", "get_capabilities", "What the instance's platform can do", tag="instances", answer=ref("Capabilities"))
op(f"GET {INSTANCE}/activity", "list_activity", "What happened to the instance", tag="instances", answer=ref("Activity"),
   query=[limit(1000, 100), SKIP, q("actions", STR, "Names, joined by commas."), *DATES], description="Newest first; kept 180 days.")
op(f"GET {INSTANCE}/chats", "list_chats", "Chats that were seen", tag="instances", scope="messages:read", query=[limit(500, 100), CURSOR], answer=ref("Chats"))
op(f"GET {INSTANCE}/chats/{{chatId}}/messages", "list_messages", "A chat's history", tag="instances", scope="messages:read",
   query=[limit(200, 50), SKIP, *DATES, CURSOR], answer=ref("History"), description="Newest first. A `chatId` without `@` gets `@s.whatsapp.net` on WhatsApp.")
op(f"POST {INSTANCE}/messages", "send_message", "Send, the same way on every platform", tag="instances", scope="messages:send", idempotent=True, ok=201,
   body=ref("MessageInput"), answer=ref("NeutralMessage"), example={"to": "79001234567", "type": "text", "content": "hello", "metadata": {"conversationId": "conv-001"}},
   refuses={409: f"{NOT_READY} Or the same `Idempotency-Key` is still running.", 429: LIMITED})
op(f"GET {INSTANCE}/messages/{{messageId}}", "get_message", "Read a message", tag="instances", scope="messages:read", answer=ref("NeutralMessage"),
   description="By our id or by the platform's.")
op(f"GET {INSTANCE}/events", "list_events", "Read the event log", tag="instances", scope="messages:read", answer=ref("Events"),
   query=[q("after", STR, "A `nextCursor`. Default: the oldest."), limit(500, 100), TYPES, q("wait", whole(0, 20, 0), "Seconds to wait for the first event.")],
   refuses={410: "`CURSOR_EXPIRED`: events are kept for 30 days."})
op(f"GET {INSTANCE}/events/stream", "stream_events", "Follow the event log", tag="instances", scope="messages:read", more={200: {"text/event-stream": {"schema": STR}}},
   query=[q("after", STR, "Default: what comes next."), TYPES, {"name": "Last-Event-ID", "in": "header", "schema": STR, "description": "Resumes; set by browsers."}],
   refuses={410: "`CURSOR_EXPIRED`: events are kept for 30 days."}, description="Server-Sent Events; `data` is an `Event`.")
op(f"GET {INSTANCE}/webhook-deliveries", "list_deliveries", "List webhook deliveries", tag="instances", scope="messages:read", answer=ref("Deliveries"),
   query=[q("status", DELIVERY_STATUS), CURSOR, limit(200, 50)], description="Newest first. A page may be short and still have a cursor.")
op(f"POST {INSTANCE}/webhook-deliveries/{{deliveryId}}/replay", "replay_delivery", "Deliver an event once more", tag="instances", scope="instances:manage",
   idempotent=True, ok=202, answer=ref("Delivery"), refuses={409: f"{NO_WEBHOOK} Or `NOT_REPLAYABLE`: a test call.", 410: "`EVENT_EXPIRED`: no longer in the log."})
op(f"POST {INSTANCE}/webhook-deliveries/replay", "replay_deliveries", "Deliver the events of a time once more", tag="instances", scope="instances:manage",
   idempotent=True, ok=202, body=ref("ReplayInput"), answer=ref("Accepted"), example={"since": "2023-01-01T00:00:00.000Z", "status": "dead"}, refuses={409: NO_WEBHOOK})
op(f"POST {INSTANCE}/webhook/test", "test_webhook", "Post a test event to the webhook", tag="instances", scope="instances:manage", answer=ref("Tested"),
   refuses={409: "`WEBHOOK_NOT_CONFIGURED`: there is no URL."})

# the simulated phone network of sandbox instances

SANDBOX = "For instances with `mode: sandbox`; 400 `SANDBOX_ONLY` for others."
op(f"POST {INSTANCE}/sandbox/scan", "scan_qr", "Play the phone that scans the QR code", tag="instances", scope="instances:manage", later=True,
   body=ref("ScanInput"), example={"phone": "79001112233"}, answer=obj({"phone": STR, "address": STR}), description=SANDBOX, refuses={409: "Nothing to scan."})
op(f"POST {INSTANCE}/sandbox/receive", "receive_message", "Make somebody write to the instance", tag="instances", scope="instances:manage", idempotent=True,
   later=True, body=ref("ReceiveInput"), example={"from": "79007654321", "name": "Ivan", "text": "hello"}, answer=obj({"id": STR}), description=SANDBOX,
   refuses={409: "Not connected; or the same `Idempotency-Key` is still running."})
op(f"GET {INSTANCE}/sandbox/outbox", "list_outbox", "What arrived on the other side", tag="instances", scope="messages:read", answer=ref("Outbox"),
   query=[q("after", whole(0, 4_294_967_295, 0)), limit(1000, 1000)], description=f"Oldest first. {SANDBOX}")
op(f"POST {INSTANCE}/sandbox/disconnect", "disconnect_line", "Break the line", tag="instances", scope="instances:manage", later=True,
   body=obj({"seconds?": d(whole(0, 86_400, 1), "Until it can be opened again.")}), example={"seconds": 1},
   answer=obj({"success": {"type": "boolean"}, "until": TIME}), description=SANDBOX, refuses={409: "There is no line to break."})
op(f"POST {INSTANCE}/sandbox/logout", "logout_phone", "Remove the linked device on the phone", tag="instances", scope="instances:manage", later=True,
   answer=ref("Success"), description=SANDBOX, refuses={409: "No device is linked."})

# whatsapp

SENDS = dict(tag="whatsapp", scope="messages:send", idempotent=True, answer=ref("Sent"),
             refuses={409: f"{NOT_READY} Or the same `Idempotency-Key` is still running.", 429: LIMITED})
ASKS = dict(tag="whatsapp", later=True, refuses={409: NOT_READY})
op(f"GET {WHATSAPP}/status", "get_status", "State of the connection", tag="whatsapp", answer=ref("ConnectionStatus"))
op(f"GET {WHATSAPP}/qr", "whatsapp_get_qr", "The QR code to scan", tag="whatsapp", scope="instances:manage", answer=ref("QrCode"),
   refuses={404: "No such instance, or `QR_NOT_AVAILABLE`: there is nothing to scan."})
op(f"POST {WHATSAPP}/send", "send_text", "Send a text", body=ref("SendText"), **SENDS)
op(f"POST {WHATSAPP}/send-media", "send_media", "Send media from a URL", body=ref("SendMedia"), **SENDS)
op(f"POST {WHATSAPP}/send-file", "send_file", "Send a file", body=ref("SendFile"), multipart=True,
   description="At most 100 MiB; behind API Gateway 4.5 MB, see `POST /api/media/uploads`.", **SENDS)
op(f"POST {WHATSAPP}/send-location", "send_location", "Send a location", body=ref("SendLocation"), example={"phone": "79001234567", "latitude": 59.9, "longitude": 30.3}, **SENDS)
op(f"POST {WHATSAPP}/send-contact", "send_contact", "Send a contact card", body=ref("SendContact"), example={"phone": "79001234567", "contact": {"name": "Ivan", "phone": "79007654321"}}, **SENDS)
op(f"POST {WHATSAPP}/send-poll", "send_poll", "Send a poll", body=ref("SendPoll"), example={"phone": "79001234567", "question": "Tea?", "options": ["yes", "no"]}, **SENDS)
op(f"POST {WHATSAPP}/send-reaction", "send_reaction", "React to a message", body=ref("SendReaction"), example={"messageId": "whatsapp_message_id", "emoji": "👍"}, **SENDS)
CHANGES = dict(SENDS, idempotent=False, refuses={409: "`NOT_OWN_MESSAGE`, `MESSAGE_REVOKED`, `NOT_TEXT` or `INSTANCE_NOT_READY`.", 429: LIMITED})
op(f"PUT {WHATSAPP}/messages/{{messageId}}", "edit_message", "Edit a text that was sent", body=obj({"message": {**STR, "minLength": 1, "maxLength": 65_536}}), example={"message": "better"}, **CHANGES)
op(f"DELETE {WHATSAPP}/messages/{{messageId}}", "revoke_message", "Take a message back, for everybody", **CHANGES)
op(f"GET {WHATSAPP}/contacts", "list_contacts", "Contacts and groups of the account", tag="whatsapp", scope="messages:read", query=[limit(5000, 5000), CURSOR],
   answer=ref("Contacts"), headers={"X-Next-Cursor": "Leads to the next page; missing at the end."})
op(f"POST {WHATSAPP}/logout", "logout", "Log out of WhatsApp", tag="whatsapp", scope="instances:manage", answer=ref("Success"))
op(f"POST {WHATSAPP}/read", "mark_read", "Tell that messages were read", scope="messages:send",
   body=obj({"phone": PHONE, "messageIds?": {"type": "array", "items": STR, "maxItems": 500}, "typing?": {"type": "boolean", "default": False, "description": "Also show that an answer is being written."}}), example={"phone": "79001234567"}, answer=ref("Success"), **ASKS)
op(f"POST {WHATSAPP}/typing", "set_typing", "Show that one is typing", scope="messages:send",
   body=obj({"phone": PHONE, "on?": {"type": "boolean", "default": True}}), example={"phone": "79001234567"}, answer=ref("Success"), **ASKS)
op(f"POST {WHATSAPP}/presence/subscribe", "watch_presence", "Be told for a while when somebody comes, goes or writes", scope="messages:send",
   body=obj({"phone": PHONE}), example={"phone": "79001234567"}, answer=obj({"success": BOOL, "seconds": d(INT, "For how long `presence_updated` is told. The account is shown as online meanwhile.")}), **ASKS)
op(f"POST {WHATSAPP}/check", "check_phones", "Who is on WhatsApp", scope="messages:read",
   body=obj({"phones": {"type": "array", "items": PHONE, "minItems": 1, "maxItems": 100}}), example={"phones": ["79001234567"]},
   answer=obj({"results": {"type": "array", "items": obj({"phone": STR, "exists": {"type": "boolean"}, "address?": {"type": ["string", "null"]}, "lid?": {"type": ["string", "null"]}})}}), **ASKS)
op(f"GET {WHATSAPP}/profile-picture", "get_profile_picture", "A profile picture", scope="messages:read", query=[q("phone", PHONE, required=True)],
   answer=obj({"url": {"type": ["string", "null"]}}), **ASKS)
op(f"GET {WHATSAPP}/lid/{{id}}", "get_lid", "The phone behind a LID, or the LID of a phone", scope="messages:read", answer=obj({"lid": STR, "phone": STR}), **ASKS)
op(f"GET {WHATSAPP}/groups", "list_groups", "List groups", scope="messages:read", answer=obj({"groups": {"type": "array", "items": ref("Group")}}), **ASKS)
op(f"POST {WHATSAPP}/groups", "create_group", "Create a group", scope="messages:send", idempotent=True, ok=201, body=ref("GroupCreate"), answer=ref("Group"),
   example={"subject": "A group", "participants": ["79001234567"]}, **ASKS)
op(f"GET {WHATSAPP}/groups/{{groupId}}", "get_group", "Read a group", scope="messages:read", answer=ref("Group"), **ASKS)
op(f"POST {WHATSAPP}/groups/{{groupId}}/participants", "change_participants", "Add, remove, promote, demote", scope="messages:send", body=ref("GroupParticipants"),
   example={"action": "add", "participants": ["79001234567"]}, answer=ref("Group"), **ASKS)
op(f"PUT {WHATSAPP}/groups/{{groupId}}/subject", "set_subject", "Rename a group", scope="messages:send", body=obj({"subject": {**STR, "minLength": 1, "maxLength": 100}}),
   example={"subject": "A name"}, answer=ref("Group"), **ASKS)
op(f"GET {WHATSAPP}/groups/{{groupId}}/invite", "get_invite", "The invitation link of a group", scope="messages:read", answer=obj({"code": STR, "link?": STR}), **ASKS)
op(f"POST {WHATSAPP}/groups/{{groupId}}/leave", "leave_group", "Leave a group", scope="messages:send", answer=ref("Success"), **ASKS)

# stats

op("GET /api/stats/user", "get_user_stats", "Usage of all one's instances", tag="stats", scope="stats:read", answer=ref("UserStats"),
   query=[q("period", one_of("week", "month", "year", "all", default="month"), "The last 7, 30, 365 days, today included; or all time.")])
op("GET /api/stats/instances/{instanceId}", "get_instance_stats", "Usage of an instance, day by day", tag="stats", scope="stats:read", answer=ref("InstanceStats"),
   query=[q("period", one_of("today", "week", "month", "year", "all", default="today"), "Days are UTC.")])
op("GET /api/stats/system", "get_system_stats", "Usage of the whole system", tag="stats", answer=ref("SystemStats"), description="Administrators only.",
   refuses={403: "`Access denied`."})

# common

op("GET /api/jobs/{jobId}", "get_job", "How a background job is doing", tag="common", answer=ref("Job"))
op("POST /api/media/uploads", "create_upload", "Get a place to upload a large file to", tag="common", scope="messages:send", ok=201, body=ref("UploadInput"),
   answer=ref("Upload"), example={"filename": "a.txt", "mimeType": "text/plain", "size": 5}, description="Then every send accepts the `mediaId`.")
op("PUT /api/media/uploads/{ticket}", "put_upload", "Upload a file", tag="common", public=True, body={"type": "string", "contentMediaType": "application/octet-stream"},
   answer=ref("Uploaded"), description="The `uploadUrl`: its ticket is the credential.", refuses={404: "The ticket is not valid.", 410: "`UPLOAD_EXPIRED`: an upload must begin within an hour."})
op("GET /api/media/{instanceId}/{mediaId}", "get_media", "Download media", tag="common", scope="messages:read", more={200: {"application/octet-stream": {}}})
op("GET /health", "get_health", "The process is up", tag="common", public=True, answer=obj({"status": one_of("ok"), "timestamp": TIME}))
op("GET /ready", "get_ready", "The stores answer", tag="common", public=True, answer=ref("Ready"), more={503: ("A part does not answer.", ref("NotReady"))})
op("GET /openapi.json", "get_openapi", "This document", tag="common", public=True, answer=ANY_OBJECT)
op("GET /docs", "get_docs", "This document as a page", tag="common", public=True, more={200: {"text/html": {"schema": STR}}})
op("GET /metrics", "get_metrics", "Counters for Prometheus", tag="common", more={200: {"text/plain": {"schema": STR}}}, refuses={404: "On AWS, where metrics go to CloudWatch."},
   description="The local server and the worker only. Needs no credentials on a developer's machine, an administrator's elsewhere.")

# The other groups, each in a file of its own.

from groups import third_party  # noqa: E402, F401
from groups import forwarders, inbound  # noqa: E402, F401
from groups import im, chat, admin  # noqa: E402, F401
from groups import juhe  # noqa: E402, F401
from groups import realtime  # noqa: E402, F401
