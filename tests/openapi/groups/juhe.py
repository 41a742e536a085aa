"""The operations of seed 003."""

from operations import limit, op, q
from schemas import SCHEMAS
from shape import BOOL, INT, STR, TIME, arr, d, obj, one_of, ref, whole

SCHEMAS.update({
    "JuheError": obj({"success": {"type": "boolean", "const": False}, "error": STR, "code": STR, "field?": d(STR, "The input that is wrong.")}),
    "JuheCallback": obj({
        "guid": d(STR, "GUID of the device.", minLength=1, maxLength=200),
        "notify_type?": d({}, "The service's number for what it tells. Types that nobody knows are kept."),
        "data?": d({}, "What it tells; a list for several of the type. At most 192 KiB each."),
    }, additionalProperties=True),
    "JuheContact": obj({
        "id": STR,
        "name": d(STR, "`\"\"` when unknown; so are remark and avatar."),
        "remark": STR,
        "avatar": STR,
        "type": d(one_of("external", "internal"), "Whether of another company than the account."),
    }),
    "JuheMessage": obj({
        "id": d(STR, "The platform's id."),
        "conversation_id": d(STR, "`S:<user id>` or `R:<room id>`."),
        "from": STR,
        "content": d(STR, "The text, title or file name; `\"\"` once it was taken back."),
        "timestamp": TIME,
        "type": one_of("text", "image", "voice", "video", "file", "location", "link", "other"),
        "from_name?": STR,
        "from_me?": BOOL,
        "revoked?": BOOL,
        "read?": d(BOOL, "The other side has read what the account wrote."),
    }),
    "JuheRoom": obj({"id": d(STR, "`R:<room id>`."), "name": STR, "owner": STR, "member_count": d(INT, "0 when unknown."), "avatar": STR, "dismissed?": BOOL}),
    "JuheSync": obj({
        "guid": STR,
        "status": d(one_of("idle", "syncing", "synced", "error"), "`idle`: nothing came yet."),
        "last_sync_time": d(STR, "When the last callback came; `\"\"`: none yet."),
        "contacts_count": INT,
        "messages_count": INT,
        "rooms_count": INT,
        "instance_id?": d(STR, "The device as an instance."),
        "connection?": d(STR, "Status of that instance."),
    }),
})

GUID = q("guid", d(STR, "GUID of the device.", minLength=1, maxLength=200), required=True)
PAGE = q("page", whole(1, 1_000_000_000, 1))


def page(name, schema):
    return obj({"success": {"type": "boolean", "const": True}, "data": obj({name: arr(ref(schema)), "total": d(INT, "Exact."), "page": INT, "limit": INT})})


def juhe(route, name, summary, **more):
    """A query with its envelope and its credentials."""
    note = "Credentials: `X-App-Key` and `X-App-Secret` as the deployment has them, or one's own; none on a developer's machine."
    more["description"] = f"{more.get('description', '')} {note}".strip()
    op(route, name, summary, tag="juhe", credentials="optional", scope="messages:read", envelope="JuheError",
       refuses={404: "`GUID_NOT_FOUND`: nobody has this GUID, or somebody else has."}, **more)


op("POST /callback", "receive_callback", "Take notifications of a device", tag="juhe", public=True, envelope="JuheError", body=ref("JuheCallback"),
   query=[q("token", STR, "Where `JUHE_CALLBACK_TOKEN` is set.")],
   answer=obj({"success": {"type": "boolean", "const": True}, "message": one_of("Callback processed")}),
   example={"guid": "xxx", "notify_type": 11010, "data": {
       "id": "1067188", "appinfo": "CAUQ", "seq": "7272646", "sender": "user_123", "receiver": "788", "roomid": "0", "sendtime": 1711649467,
       "sender_name": "张三", "content": "你好", "msg_type": 2, "content_type": 2, "referid": "0"}},
   description="Durable before the answer; applied in the background, in order within a conversation. The same message twice is one message.",
   refuses={401: "`?token=` is not the deployment's.", 404: "`GUID_NOT_FOUND`, where unknown devices are not registered.", 413: "The body, or one notification in it, is too large."})
juhe("GET /api/contacts", "juhe_list_contacts", "Contacts of a device", answer=page("contacts", "JuheContact"),
     query=[GUID, PAGE, limit(200, 20), q("keyword", STR, "In name or remark, in any case.")])
juhe("GET /api/messages", "juhe_list_messages", "Messages of a device", answer=page("messages", "JuheMessage"), description="Newest first.",
     query=[GUID, q("conversation_id", STR, "`S:<user id>` or `R:<room id>`."), q("username", STR, "The same, as personal WeChat names it."),
            q("keyword", STR, "In the content, in any case."), q("start_time", TIME, "Inclusive; also a bare date."),
            q("end_time", TIME, "Inclusive; a bare date means the end of that day."), PAGE, limit(200, 20)])
juhe("GET /api/rooms", "juhe_list_rooms", "Rooms of a device", answer=page("rooms", "JuheRoom"), query=[GUID, PAGE, limit(200, 20)])
juhe("GET /api/sync-status", "get_sync_status", "How far synchronisation is", answer=obj({"success": {"type": "boolean", "const": True}, "data": ref("JuheSync")}),
     query=[GUID])
