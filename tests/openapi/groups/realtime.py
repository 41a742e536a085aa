"""The WebSocket of seed 004."""

from operations import op, q
from shape import STR

FRAMES = """\
Frames are JSON text `{type, data}` of at most 64 KiB.

From clients: `auth {token, after?}`, `message {id, fromId?, toId, chatType, content, contentType?, replyTo?, imageUrl?}` as in
`POST /api/message/send`, `read {chatId, chatType?, messageSeq?}`, `presence {userIds?}` (those of one's peers who are there, if nobody is
named), `sync {after}`, `ping` (also as bare text).

To clients: `auth_success {userId}`, `auth_error {message}`, `message {id, messageId, messageSeq, fromId, toId, chatType, content, timestamp,
contentType, replyTo, imageUrl}` and in groups `from_name`, `from_avatar`, `ack {id, messageId, messageSeq, timestamp}` once the message is
durable, `read {chatId, chatType, userId, messageSeq, at}`, `presence {userId, online, at}`, `event` (the body of a webhook, with `seq`),
`synced {}` when everything of an `after` was sent, `pong {at}`, `error {message, code, field?, id?, retryAfter?}`.

`after` says what was seen: `messageSeq` by chat (peer user id or group id, behind `single:` or `group:` where that is not clear), `seq` by
instance id (also behind `instance:`), and under `*` for all others. What is newer is sent in order, then what comes.

A credential is shown in the query, in the headers, or within 10 s in an `auth` frame. The connection pings every 30 s and is given up after
75 s of silence. Closes with 1001 (the server stops), 1008 (too many errors), 1009 (frame too large), 1013 (did not read, or try again),
4401 (no valid credential), 4403 (no scope for messages), 4408 (silence), 4429 (more than 20 connections of a user)."""

op("GET /ws", "open_socket", "Open a WebSocket", tag="chat", public=True, ok=101,
   query=[q("token", STR, "A JWT, an API key, or a token of `POST /api/v1/im/token`."), q("after", STR, "As in an `auth` frame, JSON.")],
   description=FRAMES,
   refuses={400: "`UPGRADE_REQUIRED`: not a WebSocket's request.", 401: "The `Authorization` header cannot be read.",
            503: "`TOO_MANY_CONNECTIONS`: `WS_MAX_CONNECTIONS` is reached."})
