"""`components/schemas`. What seed 001 shows in an answer is required, unless one of its examples leaves it out; what Trunkline
adds to those answers is optional here, although it is always sent."""

from shape import ANY_OBJECT, BOOL, INT, NUM, STR, TIME, arr, d, null, obj, one_of, ref, text, whole

STATUS = one_of("disconnected", "connecting", "qr_received", "connected", "logged_out", "error", "limit_exceeded", "auth_expired")
SCOPE = one_of("messages:send", "messages:read", "instances:manage", "stats:read", "admin")
MESSAGE_STATUS = one_of("pending", "sent", "delivered", "read", "failed", "received")
DELIVERY_STATUS = one_of("delivered", "retrying", "dead", "skipped")
PLATFORM = one_of("whatsapp", "telegram", "wechat", "signal", "wecom", "im")
TRANSPORT = one_of("web", "cloud", "bot", "official", "ilink", "signal-cli", "juhe", "embedded", "wukongim")
MODE = one_of("live", "sandbox")
CURSOR = d(null(STR), "Leads to the next page; `null` at the end.")
PHONE = d(STR, "Digits with optional `+`, spaces, dashes and brackets, or a full id: `…@s.whatsapp.net`, `…@g.us`, `…@lid`, `…@newsletter`.")
NETWORKS = d(arr(STR, maxItems=100), "IP addresses or networks (CIDR) that it works from; empty: everywhere.")

FLAGS = {
    "notifyReceived?": d(BOOL, "Send `message_received`.", default=True),
    "notifySent?": d(BOOL, "Send `message_sent`.", default=True),
    "notifyDelivery?": d(BOOL, "Send `message_status` for sent, delivered and failed.", default=False),
    "notifyRead?": d(BOOL, "Send `message_status` for read.", default=False),
    "maxRetries?": d(whole(0, 20, 3), "Attempts after the first."),
    "retryInterval?": d(whole(1000, 86_400_000, 60_000), "Milliseconds before the first of them; doubles, at most 6 h."),
}
EVENTS = d(null(arr(text(100), maxItems=50)), "Globs over event names, such as `message_*`. An event is sent if they and the notify flags allow it.")
SECRET = d(text(255, 0), "Signs the webhooks. An empty one keeps the old.")

SETTINGS = {
    "description?": d(null(text(1000, 0)), "Free text."),
    "webhookUrl?": d(null({"type": "string", "format": "uri"}), "http or https, without credentials in it."),
    "webhookEnabled?": d(BOOL, "Default: true if there is a `webhookUrl`."),
    **FLAGS,
    "webhookSecret?": SECRET,
    "webhookEvents?": EVENTS,
    "webhookSettings?": d(ref("WebhookSettingsInput"), "The same settings, nested; they win over the flat ones."),
    "credentials?": d(null(ANY_OBJECT), "What the transport needs to connect, at most 16 KiB; never shown again. `wecom` needs `guid`; `cloud` needs `accessToken`, `phoneNumberId`, `appSecret` and `verifyToken`, and takes `apiVersion`."),
    "proxyUrl?": d(null(STR), "http, https, socks5 or socks5h; never shown again."),
    "limits?": null(ref("Limits")),
}

# What every send accepts beside its content.
OPTIONS = {
    "clientMessageId?": d(text(128), "A name of yours: a repeat with the same one is the same message."),
    "quotedMessageId?": d(text(512), "The message that this one answers."),
    "mentions?": arr(PHONE, maxItems=256),
    "sendAt?": d(TIME, "Send later, at most 30 days ahead."),
    "delayMs?": d(whole(0, 60_000, 0), "Milliseconds before sending; typing is shown meanwhile."),
    "linkPreview?": BOOL,
    "viewOnce?": d(BOOL, "Media that can be looked at once.", default=False),
}
# Exactly one of the first three.
MEDIA = {
    "url?": d({"type": "string", "format": "uri"}, "Fetched at once, at most 64 MiB within 15 s."),
    "base64?": d(STR, "The content itself, also as a data URL."),
    "mediaId?": d(STR, "From `POST /api/media/uploads`."),
    "mimeType?": text(255),
    "filename?": text(255),
    "caption?": text(65_536),
}
PLACE = {"latitude": {**NUM, "minimum": -90, "maximum": 90}, "longitude": {**NUM, "minimum": -180, "maximum": 180}, "name?": text(255), "address?": text(1024)}
CARD = obj({"name": text(255), "phone": text(64)})
POLL = {"question": text(255), "options": arr(text(100), minItems=2, maxItems=12, uniqueItems=True), "multiple?": d(BOOL, "Several answers at once.", default=False)}
TEMPLATE = {
    "name": text(512),
    "language": d(text(16), "Code of the translation, such as `en_US`."),
    "components?": d(arr(ANY_OBJECT), "What fills the gaps, as the Cloud API has it; at most 32 KiB."),
}
REACTION = {"messageId": text(512), "emoji": d(text(32, 0), "Empty: takes the reaction back.")}

USAGE = {
    "messagesSent": d(INT, "Media included."),
    "messagesReceived": d(INT, "Media included."),
    "mediaSent": INT,
    "mediaReceived": INT,
    "totalMediaSize": d(INT, "Bytes."),
    "apiCalls": d(INT, "Authenticated requests to `/api/whatsapp/*`."),
    "webhookSent": d(INT, "Successful deliveries."),
}
PROFILE = {
    "id": STR,
    "email": d(STR, "`\"\"` when unset."),
    "firstName": d(STR, "`\"\"` when unset."),
    "lastName": d(STR, "`\"\"` when unset."),
    "username?": d(STR, "`\"\"` when unset."),
    "role?": one_of("user", "admin"),
}
PAGINATION = {"total": d(INT, "Exact."), "limit": INT, "skip": INT, "hasMore": BOOL}
INSTANCE = {
    "id": STR,
    "name": STR,
    "description": null(STR),
    "userId?": STR,
    "status?": STATUS,
    "platform?": PLATFORM,
    "transport?": TRANSPORT,
    "mode?": MODE,
    "address?": d(null(STR), "The account's own address on its platform."),
    "webhookUrl": null(STR),
    "webhookEnabled": BOOL,
    "webhookSettings?": ref("WebhookSettings"),
    "limits?": null(ref("Limits")),
    "hasCredentials?": BOOL,
    "hasProxy?": BOOL,
    "createdAt?": TIME,
    "updatedAt": TIME,
    "connectionStatus?": ref("ConnectionStatus"),
    "historySync?": d(obj({
        "status": one_of("running", "done"),
        "progress": {"type": ["integer", "null"], "minimum": 0, "maximum": 100},
        "messages": INT,
        "updatedAt": TIME,
    }), "How far messages from before the account was linked are stored."),
}
SCOPED_KEY = {
    "id": STR,
    "name": STR,
    "instanceIds": d(null(arr(STR)), "`null`: all instances."),
    "scopes": d(null(arr(SCOPE)), "`null`: all scopes."),
    "expiresAt": null(TIME),
    "allowedIps": NETWORKS,
    "createdAt": TIME,
}
# What messages and events show beside the seed's fields.
EXTRA = {
    "media?": obj({"id": STR, "mimetype": STR, "size": INT, "filename": null(STR), "url": d(STR, "Path of `GET /api/media/{instanceId}/{mediaId}`.")}),
    "location?": obj({"latitude": NUM, "longitude": NUM, "name": null(STR), "address": null(STR)}),
    "contact?": obj({"name": STR, "phone": STR}),
    "poll?": obj({"question": STR, "options": arr(STR), "multiple": BOOL}),
    "template?": obj({"name": STR, "language": STR, "components": {}}),
    "quotedMessageId?": STR,
}
PARTICIPANTS = arr(PHONE, minItems=1, maxItems=1024)

ATTEMPT = {
    "at": TIME,
    "outcome": one_of(
        "delivered", "redirect", "client_error", "gone", "server_error", "timeout", "dns", "connect", "tls", "cut", "protocol",
        "rejected", "throttled",
        "forbidden", "invalid_url", "expired", "disabled", "unwanted",
    ),
    "statusCode": null(INT),
    "durationMs": INT,
    "answer": d(STR, "The first 4 KiB of the answer's body."),
}

DELIVERY = {
    "id": STR,
    "instanceId": STR,
    "endpoint": STR,
    "eventId": STR,
    "seq": d(null(INT), "`null` for a test call."),
    "event": STR,
    "status": DELIVERY_STATUS,
    "attempts": d(arr(obj(ATTEMPT)), "The last ten, oldest first."),
    "url": d(STR, "Scheme and host."),
    "nextAttemptAt": null(TIME),
    "createdAt": TIME,
    "updatedAt": TIME,
}

SCHEMAS = {
    "Error": obj({
        "error": d(STR, "One sentence for a person."),
        "code": d(STR, "`UPPER_SNAKE`, stable, for programs."),
        "field?": d(STR, "The input that is wrong."),
    }),
    "Success": obj({"success": BOOL, "message?": STR}),
    "Accepted": obj({"jobId": d(STR, "Ask `GET /api/jobs/{jobId}` for the result.")}, description="It takes longer than an answer may."),
    "Profile": obj(PROFILE),
    "Session": obj({
        "token": d(STR, "A JWT, good for 24 hours."),
        "user": obj({**PROFILE, "apiKey": d(STR, "The same until it is rotated.")}),
        "realtimeUrl?": d(STR, "Where the WebSocket is."),
    }),
    "Login": obj({"email": d(STR, "A username works, too."), "password": STR}),
    "Register": obj({
        "email": {**STR, "maxLength": 254},
        "password": text(200, 8),
        "username?": d(text(64, 2), "None of `@ # &`; not shaped like an id; not `bot_…`."),
        "firstName?": text(100, 0),
        "lastName?": text(100, 0),
        "invitation?": d(STR, "With `REGISTRATION=invite`: the code of `POST /api/auth/invites`."),
    }),
    "ScopedKeyInput": obj({
        "name": text(100),
        "instanceIds?": d(arr(STR), "Default: all instances."),
        "scopes?": d(arr(SCOPE), "Default: all scopes."),
        "expiresAt?": TIME,
        "allowedIps?": NETWORKS,
    }),
    "ScopedKey": obj(SCOPED_KEY),
    "NewScopedKey": obj({**SCOPED_KEY, "key": d(STR, "Shown this once.")}),
    "AllowedIps": obj({"allowedIps": NETWORKS}),
    "Limits": obj({
        **{f"{name}?": whole(0) for name in ["maxMessagesSent", "maxMessagesReceived", "maxMediaSent", "maxMediaReceived"]},
        "maxMediaSize?": d(whole(0), "Bytes, over the window."),
        "maxApiCalls?": whole(0),
        "timeWindowHours?": whole(1, 720, 24),
    }, description="Quotas over a moving window. A send over one of them is a 429 `LIMIT_EXCEEDED`."),
    "WebhookSettingsInput": obj({**FLAGS, "secret?": SECRET, "events?": arr(text(100), maxItems=50)}),
    "WebhookSettings": obj({
        **{name.rstrip("?"): schema for name, schema in FLAGS.items()},
        "hasSecret?": d(BOOL, "The secret itself is never shown."),
        "events?": EVENTS,
        "disabledReason?": d(null(STR), "Why the server switched the webhook off."),
    }),
    "InstanceCreate": obj({
        "name": text(100),
        "platform?": {**PLATFORM, "default": "whatsapp"},
        "transport?": d(TRANSPORT, "Default: the platform's usual one (web, bot, ilink, signal-cli, juhe, embedded)."),
        "mode?": d({**MODE, "default": "live"}, "`sandbox`: on a simulated phone network."),
        **SETTINGS,
    }),
    "InstanceUpdate": obj({"name?": text(100), **SETTINGS}, description="What is not given stays."),
    "ConnectionStatus": obj({
        "ready": d(BOOL, "Connected."),
        "status": STATUS,
        "hasQr": d(BOOL, "A QR code waits to be scanned."),
        "lastSeenAt?": null(TIME),
        "lagMs?": d(null(INT), "Milliseconds since the last sign of life."),
        "reason?": null(STR),
        "restriction?": d(obj({"reason": one_of("banned", "reachout_timelock"), "since": TIME, "until": TIME}),
                          "What the platform does not let the account do for a while."),
    }),
    "Instance": obj(INSTANCE),
    "NewInstance": obj({**INSTANCE, "webhookSecret?": d(STR, "Shown this once, if none was given: one was generated.")}),
    "Instances": obj({"instances": arr(ref("Instance")), "nextCursor?": CURSOR}),
    "QrCode": obj({"qrCode": d(STR, "The text to make a QR code of.")}),
    "Generating": obj({"message": STR, "status": one_of("generating")}),
    "Capabilities": obj({
        "platform": PLATFORM,
        "transport": TRANSPORT,
        "messageIds": d(one_of("client", "platform"), "Who names a message."),
        "messageIdScope": d(one_of("account", "chat"), "Within what an id of the platform is unique."),
        "receipts": arr(one_of("delivered", "read")),
        "contactList": BOOL,
        "sends": arr(STR),
        "qrPairing": BOOL,
        "pairingCode": BOOL,
        "typing": BOOL,
        "groups": BOOL,
        "markRead": BOOL,
        "viewOnce": d(BOOL, "Media that can be looked at once."),
        "maxText": d(INT, "Characters."),
    }),
    "Activity": obj({
        "logs": arr(obj({"id": STR, "instanceId": STR, "action": ref("Action"), "details": ANY_OBJECT, "createdAt": TIME})),
        "pagination": obj(PAGINATION),
    }),
    "Action": one_of(
        "instance_created", "instance_updated", "instance_deleted", "instance_reconnected", "connection_opened", "connection_closed",
        "qr_received", "logout", "message_failed", "webhook_disabled", "limit_exceeded",
        "session_exported", "session_imported",
        "forwarder_created", "forwarder_updated", "forwarder_deleted", "forwarder_disabled",
    ),
    "Chats": obj({
        "chats": arr(obj({"id": null(STR), "aliases": arr(STR), "name": STR, "isGroup": BOOL, "lastMessageAt": TIME})),
        "nextCursor": CURSOR,
    }),
    "HistoryMessage": obj({
        "id": d(STR, "Ours."),
        "instanceId": STR,
        "platform?": PLATFORM,
        "remoteJid": d(STR, "Address of the chat."),
        "fromMe": BOOL,
        "messageType": d(STR, "In the platform's words."),
        "contentType?": d(STR, "In ours, the same on every platform."),
        "content": d(STR, "The text, or the caption."),
        "messageId": d(STR, "The platform's id."),
        "hasMedia": BOOL,
        "caption?": null(STR),
        "mimeType?": null(STR),
        "fileName?": null(STR),
        "status": MESSAGE_STATUS,
        "statusUpdatedAt?": TIME,
        "reason?": d(null(STR), "Why it failed."),
        "pushName?": null(STR),
        "sender?": d(null(STR), "Address; `null` for one's own."),
        "edited?": BOOL,
        "revoked?": BOOL,
        "reactions?": d({"type": "object", "additionalProperties": STR}, "Sender → emoji."),
        "metadata?": null(ANY_OBJECT),
        **EXTRA,
        "createdAt": TIME,
        "updatedAt?": TIME,
    }),
    "History": obj({
        "messages": arr(ref("HistoryMessage")),
        "pagination": obj({**PAGINATION, "nextCursor?": d(null(STR), "Costs the same at any depth; `skip` does not.")}),
    }),
    "MessageInput": obj({
        "to": d(STR, "Address on the platform."),
        "type?": one_of("text", "image", "video", "audio", "document", "file", "sticker", "location", "contact", "poll", "reaction", "template", default="text"),
        "content?": d(STR, "The text; for media the caption."),
        **MEDIA,
        "location?": obj(PLACE),
        "latitude?": PLACE["latitude"],
        "longitude?": PLACE["longitude"],
        "name?": PLACE["name?"],
        "address?": PLACE["address?"],
        "contact?": CARD,
        "phone?": d(text(64), "Of a contact, whose name is `name`."),
        "poll?": obj(POLL),
        "reaction?": obj(REACTION),
        "template?": d(obj(TEMPLATE), "WhatsApp, transport `cloud`: a text that the platform has approved."),
        "metadata?": d(ANY_OBJECT, "Comes back unchanged."),
        **OPTIONS,
    }),
    "NeutralMessage": obj({
        "id": STR,
        "platform": PLATFORM,
        "to": STR,
        "from": STR,
        "content": STR,
        "type": STR,
        "status": MESSAGE_STATUS,
        "metadata": ANY_OBJECT,
        "createdAt": TIME,
        "updatedAt": TIME,
        "instanceId": STR,
        "messageId": d(STR, "The platform's id."),
        "chatId": STR,
        "reason?": STR,
        "sendAt?": TIME,
        **EXTRA,
    }),
    "Event": obj({
        "id": d(STR, "Stable over retries and restarts."),
        "seq": d(INT, "No gaps within an instance."),
        "type": ref("EventType"),
        "timestamp": TIME,
        "data": ANY_OBJECT,
    }),
    "EventType": one_of(
        "message_received", "message_sent", "message_status", "connection_opened", "connection_closed", "qr_received", "limit_exceeded",
        "message_queued", "message_edited", "message_revoked", "message_reaction", "contacts_updated", "call_received", "call_ended", "group_updated", "presence_updated", "history_synced", "account_restricted", "owner_changed", "job_finished",
        "forwarded_message",
    ),
    "Events": obj({"events": arr(ref("Event")), "nextCursor": d(STR, "The next `after`; also when nothing came."), "hasMore": BOOL}),
    "Delivery": obj(DELIVERY),
    "Tested": obj({**DELIVERY, **ATTEMPT}),
    "Deliveries": obj({"deliveries": arr(ref("Delivery")), "nextCursor": CURSOR}),
    "ReplayInput": obj({"since": TIME, "until?": d(TIME, "Default: now."), "status?": d(DELIVERY_STATUS, "Only those in this status."),
                        "endpoint?": d(STR, "That of a forwarder: to deliver to it, and not to the webhook.", default="webhook")}),
    "ScanInput": obj({"phone?": d(STR, "Default: made up."), "name?": text(100)}),
    "ReceiveInput": obj({
        "from": d(STR, "A person on the other side."),
        "name?": text(100),
        "chatId?": d(STR, "A group; default: the chat with the person."),
        "text?": text(65_536),
        "media?": obj(MEDIA),
        "location?": obj(PLACE),
        "contact?": CARD,
        "reaction?": obj(REACTION),
    }, description="Exactly one of text, media, location, contact and reaction."),
    "Outbox": obj({
        "messages": arr(obj({"seq": INT, "id": STR, "messageId": STR, "to": STR, "type": STR, "text": STR, "timestamp": TIME, **EXTRA}, additionalProperties=True)),
        "nextCursor": d(null({"type": "integer"}), "The next `after`; `null` at the end."),
    }),
    "Job": obj({
        "id": STR,
        "kind": STR,
        "status": one_of("queued", "running", "done", "failed"),
        "progress": whole(0, 100),
        "instanceId": null(STR),
        "createdAt": TIME,
        "updatedAt": TIME,
        "result?": d({}, "When done: what the request would have answered."),
        "error?": obj({"code": STR, "message": STR}),
    }),
    "UploadInput": obj({"filename?": text(255), "mimeType?": text(255), "size": d(whole(1, 104_857_600), "Bytes.")}),
    "Upload": obj({"mediaId": STR, "uploadUrl": d(STR, "PUT the bytes there; needs no other credential."), "expiresAt": TIME}),
    "Uploaded": obj({"mediaId": STR, "mimeType": STR, "size": INT}),
    "SendText": obj({"phone": PHONE, "message": text(65_536), **OPTIONS}),
    "SendMedia": obj({"phone": PHONE, **MEDIA, **OPTIONS}, description="Exactly one of url, base64 and mediaId."),
    "SendFile": obj({
        "phone": PHONE,
        "caption?": text(65_536),
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        **{name: schema for name, schema in OPTIONS.items() if name != "linkPreview?"},
        "mentions?": d(STR, "Joined by commas."),
    }),
    "SendLocation": obj({"phone": PHONE, **PLACE, **OPTIONS}),
    "SendContact": obj({"phone": PHONE, "contact": CARD, **OPTIONS}),
    "SendPoll": obj({"phone": PHONE, **POLL, **OPTIONS}),
    "SendReaction": obj({**REACTION, **OPTIONS}),
    "Sent": obj({
        "id": d(STR, "WhatsApp's id of the message, fixed before the first attempt."),
        "status?": MESSAGE_STATUS,
        "messageId?": d(STR, "Our id."),
    }),
    "Contacts": obj({"contacts": arr(obj({"id": STR, "name": STR, "number": STR, "isGroup": BOOL}))}),
    "Group": obj({
        "id": STR,
        "subject": STR,
        "owner?": STR,
        "participants": arr(obj({"id": STR, "admin?": BOOL}, additionalProperties=True)),
        "size?": INT,
        "createdAt?": TIME,
        "refused?": d(arr(obj({"id": null(STR), "code": STR, "reason": one_of("not_allowed", "not_there", "left_lately", "already_there", "refused")})),
                      "After a change of participants: whom the platform did not do it to."),
    }, additionalProperties=True),
    "GroupCreate": obj({"subject": text(100), "participants": PARTICIPANTS}),
    "GroupParticipants": obj({"action": one_of("add", "remove", "promote", "demote"), "participants": PARTICIPANTS}),
    "UserStats": obj({
        "total": obj({**USAGE, "instanceCount": INT}),
        "instances": arr(obj({"instanceId": STR, "name": STR, **USAGE})),
    }),
    "InstanceStats": obj({"usage": obj({
        **USAGE,
        "dailyStats": arr(obj({"date": TIME, **{(name if name in ("messagesSent", "messagesReceived", "mediaSent", "mediaReceived") else f"{name}?"): schema for name, schema in USAGE.items()}})),
    })}),
    "SystemStats": obj({
        "instances": obj({"total": INT, "active": d(INT, "Connected.")}),
        "users": obj({"total": INT, "active": d(INT, "With a connected instance.")}),
        "usage": obj(USAGE),
    }),
    "Ready": obj({"status": one_of("ready"), "parts": {"type": "object", "additionalProperties": one_of("ok", "failing")}}),
    "NotReady": obj({"error": STR, "code": one_of("NOT_READY"), "status": one_of("unavailable"), "parts": {"type": "object", "additionalProperties": one_of("ok", "failing")}}),
    "Webhook": obj({
        "id?": d(STR, "Stable over retries."),
        "event": STR,
        "instanceId?": STR,
        "data": ANY_OBJECT,
        "timestamp": TIME,
    }),
}
