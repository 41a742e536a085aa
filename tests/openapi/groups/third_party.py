"""The operations of seed 000. Each is there under three prefixes."""

from operations import CURSOR, LIMITED, NOT_READY, limit, op, q
from schemas import EXTRA, MEDIA, MESSAGE_STATUS, OPTIONS, PLACE, SCHEMAS
from shape import ANY_OBJECT, STR, TIME, arr, d, null, obj, one_of, ref, text, whole

PLATFORM = one_of("whatsapp", "telegram", "wechat", "signal")
USER_ID = d(STR, "One's own id; an administrator, and anybody in open mode, may name others.")

SCHEMAS.update({
    "ThirdPartyError": obj({
        "success": {"type": "boolean", "const": False},
        "error": obj({"code": STR, "message": STR, "details": obj({"field?": d(STR, "The input that is wrong.")})}),
    }),
    "ThirdPartyMessageInput": obj({
        "to": d(STR, "Address on the platform."),
        "from": d(STR, "The sending account: its phone number, its bot's username or id, its account id, or its instance's id. Spaces and `+` do not matter."),
        "content": d(STR, "The text; for media the caption, or the URL."),
        "type?": one_of("text", "image", "video", "audio", "file", "document", "sticker", "location", "contact", "poll", "reaction", "template", default="text"),
        "metadata?": d(ref("ThirdPartyMetadata"), "Comes back unchanged. For other types than text it carries the rest."),
        **OPTIONS,
    }),
    "ThirdPartyMetadata": obj({**{name: schema for name, schema in MEDIA.items()}, **{f"{name.rstrip('?')}?": schema for name, schema in PLACE.items()},
                               "phone?": d(text(64), "Of a contact, whose name is `name`.")}, additionalProperties=True),
    "ThirdPartyMessage": obj({
        "id": STR,
        "platform": PLATFORM,
        "to": d(STR, "As it was sent; so is `from`."),
        "from": STR,
        "content": STR,
        "type": STR,
        "status": MESSAGE_STATUS,
        "metadata": ANY_OBJECT,
        "createdAt": TIME,
        "updatedAt": TIME,
        "instanceId?": STR,
        "messageId?": d(STR, "The platform's id."),
        "chatId?": STR,
        "reason?": d(STR, "Why it failed."),
        "sendAt?": TIME,
        **EXTRA,
    }),
    "ThirdPartyContact": obj({
        "id": d(STR, "The same in every answer."),
        "platform": PLATFORM,
        "platformUserId": d(STR, "On WhatsApp and Signal in E.164."),
        "name": d(STR, "`\"\"` when unknown."),
        "avatar": d(STR, "`\"\"` when unknown."),
        "userId": STR,
        "syncedAt": TIME,
    }),
})


def third_party(route, name, summary, **more):
    """One operation with its aliases and its envelope."""
    path = route.split(" ", 1)[1]
    op(route, name, summary, tag="third-party", credentials="optional", envelope="ThirdPartyError", aliases=[f"/api{path}", f"/api/v1{path}"], **more)


THIRD_PARTY = "/third-party/{platform}"
NEXT = {"X-Next-Cursor": "Leads to the next page; missing at the end."}
NO_USER = "The platform is not supported, or `USER_NOT_FOUND`."

third_party(f"POST {THIRD_PARTY}/messages", "send_third_party_message", "Send a message", scope="messages:send", idempotent=True, ok=201,
            body=ref("ThirdPartyMessageInput"), answer=ref("ThirdPartyMessage"),
            description="Waits up to 2 s for the platform: the status is `sent` if it has the message by then, else `pending`.",
            refuses={404: "The platform is not supported, or `SENDER_NOT_FOUND`.",
                     409: f"`SENDER_AMBIGUOUS`: several accounts have this address. {NOT_READY} Or the same `Idempotency-Key` is still running.", 429: LIMITED})
third_party(f"GET {THIRD_PARTY}/messages/{{messageId}}/status", "get_third_party_status", "What became of a message", scope="messages:read", answer=MESSAGE_STATUS,
            description="Telegram and WeChat do not tell of delivery: there it ends with `sent`.")
third_party(f"POST {THIRD_PARTY}/contacts/sync", "sync_third_party_contacts", "Refresh the contacts of a user", scope="messages:read", idempotent=True,
            query=[q("wait", whole(0, 20, 20), "Seconds to wait for the end of the sync.")], body=obj({"userId": USER_ID}), answer=arr(ref("ThirdPartyContact")),
            headers={"X-Sync-Job": "The job, for `GET /api/jobs/{jobId}`.", "X-Sync-Status": "`complete`, or `running`: these are the contacts that are known by now.", **NEXT},
            description="Every instance of the user on the platform is asked. A sync that is running is joined. Where the platform has no contact list: everybody seen in messages.",
            refuses={404: NO_USER})
third_party(f"GET {THIRD_PARTY}/contacts", "get_third_party_contact", "Look a contact up", scope="messages:read", answer=null(ref("ThirdPartyContact")),
            query=[q("userId", USER_ID, required=True), q("platformUserId", STR, "Spaces and `+` do not matter.", required=True)],
            description="`null` when there is none.", refuses={404: NO_USER})
third_party(f"GET {THIRD_PARTY}/contacts/list", "list_third_party_contacts", "List the contacts of a user", scope="messages:read", answer=arr(ref("ThirdPartyContact")),
            query=[q("userId", USER_ID, required=True), limit(5000, 5000), CURSOR], headers=NEXT, refuses={404: NO_USER})
