"""The operations of seed 004 for users."""

from operations import CURSOR, limit, op, q
from schemas import CURSOR as NEXT, SCHEMAS
from shape import ANY_OBJECT, INT, STR, arr, d, null, obj, one_of, ref, text, whole

CHAT_TYPE = one_of("single", "group")
NO_CHAT = "`toId`, `chatId` or another user does not exist."

SCHEMAS.update({
    "ChatError": obj({"code": d(INT, "The HTTP status."), "msg": STR, "data": {"type": "null"}, "field?": d(STR, "The input that is wrong.")}),
    "ChatSession": obj({
        "token": STR,
        "user": obj({"id": STR, "username": STR, "nickname": STR, "email": d(STR, "`\"\"` when unset."), "avatar": STR, "role": one_of("user", "admin")}),
        "realtimeUrl?": d(STR, "Where the WebSocket is."),
    }),
    "ChatMessageInput": obj({
        "id": d(text(128), "Made by the client, meant to be a UUID: the same one again, from the same sender to the same chat, is the same message."),
        "fromId?": d(null(STR), "Yourself (the default) or a bot of yours, `bot_…`, made at first use."),
        "toId": d(STR, "User id, username, or group id."),
        "chatType": CHAT_TYPE,
        "content?": d(null({**STR, "maxLength": 10_000}), "At most 30 KiB."),
        "contentType?": null(one_of("text", "image")),
        "replyTo?": d(null(STR), "Id of the quoted message."),
        "imageUrl?": d(null(STR), "Of an image: http or https."),
    }),
    "ChatSent": obj({"id": STR, "messageId": STR, "messageSeq": INT, "timestamp": d(INT, "Milliseconds since 1970.")}),
    "ChatMessage": obj({
        "id": d(STR, "The client's, if it gave one."),
        "messageId": STR,
        "messageSeq": INT,
        "fromId": STR,
        "toId": STR,
        "chatType": CHAT_TYPE,
        "content": d(STR, "`\"\"` for `custom`."),
        "timestamp": d(INT, "Milliseconds since 1970."),
        "contentType": one_of("text", "image", "custom"),
        "replyTo": d(STR, "`\"\"` when absent."),
        "imageUrl": d(STR, "`\"\"` when absent."),
        "from_name?": d(STR, "In groups."),
        "from_avatar?": d(STR, "In groups."),
        "payload?": d(STR, "Of `custom`: base64."),
    }),
    "Conversation": obj({
        "chatId": STR,
        "chatType": CHAT_TYPE,
        "name": STR,
        "avatar": STR,
        "unread": INT,
        "readSeq": INT,
        "lastSeq": INT,
        "lastMessage": null(ref("ChatMessage")),
    }),
})


def data(schema):
    return obj({"code": {"type": "integer", "const": 200}, "msg": STR, "data": schema})


def chat(route, name, summary, answer, tag="chat", **more):
    """One operation with its envelope."""
    op(route, name, summary, tag=tag, envelope="ChatError", answer=data(answer), **more)


chat("POST /api/login", "login_user", "Log in by username", ref("ChatSession"), public=True, body=obj({"username": d(STR, "Or an e-mail address."), "password": STR}),
     example={"username": "alice", "password": "password123"}, refuses={401: "Whether the account exists is not told.", 403: "Not from this address.", 429: "Five failures within a minute."})
chat("POST /api/register", "register_user", "Register", ref("ChatSession"), public=True, idempotent=True,
     body=obj({"username": text(64, 2), "password": text(200, 8), "nickname?": text(100, 0), "email?": STR, "invitation?": STR}),
     example={"username": "alice", "password": "password123"},
     refuses={403: "Registration is closed, or the invitation is not valid.", 409: "Username or e-mail address is taken; or the same `Idempotency-Key` is still running."})
chat("POST /api/message/send", "send_chat_message", "Send a message", ref("ChatSent"), scope="messages:send", idempotent=True, body=ref("ChatMessageInput"),
     description="A repeat of sender, chat and `id` answers what the first did.", refuses={403: "`fromId` is not yours; or not a member of the group.", 404: NO_CHAT})
chat("GET /api/message/history", "list_chat_messages", "Read one of one's chats", obj({"messages": arr(ref("ChatMessage")), "nextCursor": NEXT}), scope="messages:read",
     query=[q("chatType", CHAT_TYPE, required=True), q("chatId", STR, "The other user, or the group.", required=True), limit(200, 50), CURSOR],
     description="Newest first. A page of large messages is shorter than `limit`.", refuses={403: "Not a member of the group.", 404: NO_CHAT})
chat("GET /api/conversations", "list_conversations", "List one's conversations", obj({"conversations": arr(ref("Conversation")), "nextCursor": NEXT}), scope="messages:read",
     query=[limit(50, 50), CURSOR], description="Within a page the latest first; pages come in no particular order.")
chat("POST /api/conversations/read", "read_conversation", "Tell that one has read", obj({"chatId": STR, "chatType": CHAT_TYPE, "messageSeq": INT}), scope="messages:read",
     body=obj({"chatId": STR, "chatType?": null(CHAT_TYPE), "messageSeq?": d(null(whole(0)), "Default: everything.")}), example={"chatId": "group_001", "chatType": "group"},
     refuses={403: "Not a member of the group.", 404: NO_CHAT})
