"""The operations of seed 002. Each is there under two prefixes."""

from operations import limit, op, q
from schemas import SCHEMAS
from shape import BOOL, INT, STR, TIME, arr, d, obj, one_of, ref, text, whole

CHANNEL_TYPE = d({"type": "integer", "enum": [1, 2]}, "1: a person, 2: a group.")
CHANNEL_ID = d(STR, "The peer's user id or username, or the group's id.")
CHANNEL = {"channelId": CHANNEL_ID, "channelType": CHANNEL_TYPE}
NO_TARGET = "`channelId` (or a user) does not exist."
NOT_OWNER = "Only the owner of the group or an administrator may do that; or the credentials do not reach this far."

SCHEMAS.update({
    "ImError": obj({"success": {"type": "boolean", "const": False}, "message": STR, "field?": d(STR, "The input that is wrong.")}),
    "ImMessageInput": obj({
        **CHANNEL,
        "payload": d(STR, "Base64 of at most 64 KiB; WuKongIM's content JSON by convention."),
        "clientMsgNo?": d({**STR, "maxLength": 128}, "A number of yours: the same one again, from the same sender in the same channel, is the same message."),
        "fromUid?": d(STR, "Yourself (the default) or a bot of yours, `bot_…`."),
    }),
    "ImPosted": obj({"messageId": d(STR, "Decimal digits of an int64."), "messageSeq": d(INT, "1 for the channel's first message, and no gaps.")}),
    "ImMessage": obj({
        "messageId": STR,
        "messageSeq": INT,
        "channelId": d(STR, "The other side, as the caller knows it."),
        "channelType": CHANNEL_TYPE,
        "fromUid": STR,
        "payload": d(STR, "Base64."),
        "timestamp": d(INT, "Milliseconds since 1970."),
        "clientMsgNo?": d(STR, "`\"\"` when it has none."),
    }),
    "ImChannelInput": obj({**CHANNEL, "name?": text(100, 0), "avatar?": d(STR, "An http or https URL, or `\"\"`.")}),
    "ImSubscribers": obj({**CHANNEL, "subscribers": d(arr(STR, minItems=1, maxItems=1000), "User ids or usernames.")}),
})


def data(schema):
    return obj({"success": {"type": "boolean", "const": True}, "data": schema})


def im(route, name, summary, answer, **more):
    """One operation with its alias and its envelope."""
    method, path = route.split(" ", 1)
    op(f"{method} /api/v1/im{path}", name, summary, tag="im", envelope="ImError", aliases=[f"/api/im{path}"], answer=data(answer), **more)


SEND = dict(scope="messages:send")
im("GET /config", "get_config", "Addresses that IM clients connect to", obj({"uid?": STR, "wsUrl": d(STR, "`\"\"` where there is none."), "tcpAddr": STR, "apiUrl": STR, "managerUrl": STR}))
im("POST /token", "create_token", "Get a token for one's own IM clients", obj({"token": STR, "uid?": STR}), description="Valid for a week, or until the password changes. Not with a scoped key.")
im("POST /message/send", "send_im_message", "Send a message", ref("ImPosted"), body=ref("ImMessageInput"), idempotent=True,
   refuses={403: "`fromUid` is not yours; or not a member of the group.", 404: NO_TARGET}, **SEND)
im("POST /message/sendbatch", "send_im_messages", "Send up to 100 messages", arr(ref("ImPosted")), body=arr(ref("ImMessageInput"), minItems=1, maxItems=100), idempotent=True,
   description="All are checked before any is sent. The answer is in the order of the request.",
   refuses={403: "A `fromUid` is not yours; or not a member of a group.", 404: NO_TARGET}, **SEND)
im("GET /message/sync", "sync_messages", "Read a channel's messages", arr(ref("ImMessage")), scope="messages:read",
   query=[q("channelId", CHANNEL_ID, required=True), q("channelType", whole(1, 2), "1: a person, 2: a group.", required=True),
          q("lastMessageSeq", whole(0), "What was read last. Default: the newest messages."), limit(1000, 50)],
   description="Ascending by `messageSeq`. A page of large messages is shorter than `limit`.", refuses={403: "Not a member of the group.", 404: NO_TARGET})
im("POST /channel/create", "create_channel", "Make a group, or name a peer", obj({**CHANNEL, "name": STR, "avatar": STR}), body=ref("ImChannelInput"), idempotent=True,
   description="The caller owns the group and is a member. One's own group again: changes what is given. Of type 1: what the caller calls the peer.",
   refuses={404: NO_TARGET, 409: "The group belongs to somebody else; or the same `Idempotency-Key` is still running."}, **SEND)
im("POST /channel/delete", "delete_channel", "Delete a group, or hide a conversation", obj({"channelId": STR}), body=obj(CHANNEL), refuses={403: NOT_OWNER, 404: NO_TARGET}, **SEND)
im("POST /channel/subscriber/add", "add_subscribers", "Add members", obj({"added": d(INT, "Who was none before.")}), body=ref("ImSubscribers"), idempotent=True,
   refuses={403: NOT_OWNER, 404: NO_TARGET}, **SEND)
im("POST /channel/subscriber/remove", "remove_subscribers", "Remove members", obj({"removed": d(INT, "Who was one.")}), body=ref("ImSubscribers"),
   description="Anybody may remove himself.", refuses={403: NOT_OWNER, 404: NO_TARGET}, **SEND)
HEALTH = {"timestamp": TIME}
im("GET /health", "get_im_health", "Whether the IM works", obj({"status": one_of("healthy"), **HEALTH}), public=True,
   more={503: ("It does not.", obj({"success": BOOL, "message": STR, "data": obj({"status": one_of("unhealthy"), **HEALTH})}))})
im("GET /system/info", "get_system_info", "Version, uptime and open connections", obj({"version": STR, "uptime": d(INT, "Seconds."), "connections": INT}))
