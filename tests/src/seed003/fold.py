"""What a corpus of callbacks means, worked out from the service's own documentation and from nothing of the server's.

Reads `{"callbacks": [...], "own": {guid: {...}}}`, prints, for each GUID, messages, contacts, rooms and what nobody understands.
"""

import json
import re
import sys

MESSAGE_KINDS = {11010, 11013}
ROOM_KINDS = {1001, 1002, 1003, 1004, 1005, 1006, 1023, 2118}
PERSON_KINDS = {2131, 1029}
CONNECTION_KINDS = set(range(11001, 11010)) | {11011, 11012}
WECOM_TYPES = {2: "text", 3: "location", 4: "link", 5: "image", 6: "voice", 7: "video", 8: "file"}
WECOM_RAW = {2: "text", 101: "image", 6: "location", 48: "location", 43: "video"}
PERSONAL_TYPES = {1: "text", 3: "image", 34: "voice", 43: "video", 48: "location"}


def text(value):
    return "" if value is None else str(value)


def ident(value):
    """An id: a text or a number; 0 is none."""
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        return ""
    return "" if str(value).strip() in ("", "0") else str(value).strip()


def number(value):
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


class Newest:
    """The newest value; of two at one moment the greater."""

    def __init__(self):
        self.best = None

    def tell(self, value, at):
        if value != "" and value is not None and (self.best is None or (at, value) > self.best):
            self.best = (at, value)

    def get(self, default=""):
        return default if self.best is None else self.best[1]


class Device:
    def __init__(self, own):
        self.own = own
        self.messages, self.revoked, self.read = {}, set(), set()
        self.people, self.rooms, self.unknown = {}, {}, set()

    def person(self, id):
        return self.people.setdefault(id, {key: Newest() for key in ("name", "remark", "avatar", "corp")})

    def room(self, id):
        facts = {key: Newest() for key in ("name", "owner", "avatar", "gone")}
        return self.rooms.setdefault(id, {**facts, "count": Newest(), "moves": set()})

    def keep(self, kind, data):
        self.unknown.add(json.dumps([kind, data], sort_keys=True, ensure_ascii=False))

    def message(self, *, ids, key, seq, sender, receiver, room, at, name, kind, content, revoked=False):
        if key in self.messages:
            return
        peer = receiver if sender == self.own["id"] else sender
        self.messages[key] = dict(ids=ids, seq=seq, sender=sender, conversation=f"R:{room}" if room else f"S:{peer}", at=at, kind=kind,
                                  content=content, name=name)
        if revoked:
            self.revoked |= ids
        if sender and sender != self.own["id"]:
            self.person(sender)["name"].tell(name, at)
        if room:
            self.room(room)
        elif peer != self.own["id"]:
            self.person(peer)

    def wecom(self, kind, data):
        id, appinfo = ident(data.get("id")), ident(data.get("appinfo"))
        sender, receiver, room = ident(data.get("sender")), ident(data.get("receiver")), ident(data.get("roomid"))
        if not (id or appinfo) or not (room or (sender and receiver)):
            return self.keep(kind, data)
        msg_type = number(data.get("msg_type"))
        refer = ident(data.get("referid"))
        if msg_type in (1, 1012):
            if not refer:
                return self.keep(kind, data)
            (self.revoked if msg_type == 1 else self.read).add(refer)
            return None
        at = number(data["sendtime"]) * 1000
        if msg_type is not None and (1 <= msg_type <= 16 or msg_type == 1011):
            shown = WECOM_TYPES.get(msg_type, "other")
        else:
            raw = number(data.get("content_type"))
            shown = "text" if raw is None and msg_type is None else WECOM_RAW.get(raw, "other")
        content = data.get("content", "")
        if isinstance(content, str) and content.startswith("{"):
            try:
                content = str(json.loads(content)["msg"])
            except (ValueError, KeyError):
                pass
        if shown == "location":
            content = data.get("title") or data.get("address") or content
        elif shown != "text" and not content:
            content = data.get("title") or data.get("file_name") or ""
        return self.message(ids={id}, key=appinfo or id, seq=text(data.get("seq")), sender=sender, receiver=receiver, room=room, at=at,
                            name=text(data.get("sender_name")), kind=shown, content=content, revoked=bool((number(data.get("flag")) or 0) & 32))

    def personal(self, kind, data):
        id, source, target = ident(data.get("msg_id")), ident(data.get("from_username")), ident(data.get("to_username"))
        room = ident(data.get("chatroom")) or next((name for name in (source, target) if name.endswith("@chatroom")), "")
        content, sender = text(data.get("content")), ident(data.get("chatroom_sender"))
        if not room:
            sender = source
        else:
            found = re.match(r"([^\s<]{1,64}):\n(.*)", content, re.S)
            if found and sender in ("", found[1]):
                sender, content = found[1], found[2]
        if not sender and source != room:
            sender = source
        if not id or not (room or (sender and target)):
            return self.keep(kind, data)
        msg_type = number(data.get("msg_type"))
        if msg_type == 10002 and "revokemsg" in content:
            self.revoked |= set(re.findall(r"<(?:new)?msgid>(\d+)</(?:new)?msgid>", content))
            return None
        shown = PERSONAL_TYPES.get(msg_type, "other")
        if msg_type == 49:
            card = int(re.search(r"<type>(\d+)</type>", content)[1])
            shown = {5: "link", 6: "file", 57: "text"}.get(card, "other")
            content = re.search(r"<title>(.*?)</title>", content, re.S)[1]
        elif msg_type in (3, 34, 43, 47):
            content = ""
        elif msg_type == 48:
            content = re.search(r'poiname="(.*?)"', content)[1]
        return self.message(ids={id}, key=id, seq="", sender=sender, receiver=target, room=room, at=number(data["create_time"]) * 1000, name="",
                            kind=shown, content=content)

    def told_person(self, data, at):
        id = ident(data.get("user_id"))
        person = self.person(id)
        for key, name in (("name", "name"), ("remark", "remark"), ("avatar", "avatar"), ("corp", "corp_id")):
            person[key].tell(text(data.get(name)), at)

    def told_room(self, kind, data):
        id = ident(data.get("roomid"))
        if not id:
            return self.keep(kind, data)
        room, at = self.room(id), number(data["sendtime"]) * 1000
        room["name"].tell(text(data.get("room_name")), at)
        room["owner"].tell(ident(data.get("owner_vid")) or (ident(data.get("sender")) if kind == 1006 else ""), at)
        room["avatar"].tell(text(data.get("roomurl")), at)
        room["gone"].tell(kind == 1023, at)
        members = data.get("user_list", [])
        for member in members:
            if isinstance(member, dict):
                self.told_person(member, at)
        names = [ident(member["user_id"] if isinstance(member, dict) else member) for member in members]
        if kind == 1005 and not names:
            names = [ident(data.get("sender"))]
        if kind in (1002, 1003, 1004, 1005):
            room["moves"] |= {(at, name, kind == 1002) for name in names}
        count = number(data.get("member_count"))
        if kind == 1023:
            count = 0
        elif count is None and kind in (1006, 2118) and "user_list" in data:
            count = len(names)
        room["count"].tell(count, at)
        return None

    def tell(self, kind, data):
        if isinstance(data, list):
            for one in data:
                self.tell(kind, one)
            return None
        if isinstance(data, str):
            try:
                inner = json.loads(data)
            except ValueError:
                inner = None
            return self.tell(kind, inner) if isinstance(inner, (dict, list)) else self.keep(kind, data)
        if kind in CONNECTION_KINDS:
            return None
        if not isinstance(data, dict):
            return self.keep(kind, data)
        if "msg_id" in data:
            return self.personal(kind, data)
        if kind in MESSAGE_KINDS:
            return self.wecom(kind, data)
        if kind in ROOM_KINDS:
            return self.told_room(kind, data)
        if kind in PERSON_KINDS and ident(data.get("user_id")):
            return self.told_person(data, number(data["update_time"]) * 1000)
        return self.keep(kind, data)

    def result(self):
        messages = []
        for one in self.messages.values():
            gone, own = bool(one["ids"] & self.revoked), one["sender"] == self.own["id"]
            messages.append((one["at"], one["seq"].zfill(20), sorted(one["ids"]), {
                "id": sorted(one["ids"])[0], "conversation_id": one["conversation"], "from": one["sender"],
                "content": "" if gone else one["content"], "at": one["at"], "type": one["kind"], "from_me": own,
                "revoked": gone, "read": own and bool(one["ids"] & self.read),
            }))
        messages.sort(key=lambda one: one[:3], reverse=True)
        contacts = {id: {"id": id, "name": facts["name"].get(), "remark": facts["remark"].get(), "avatar": facts["avatar"].get(),
                         "type": "internal" if facts["corp"].get() == self.own["corp"] else "external"}
                    for id, facts in self.people.items() if id != self.own["id"]}
        rooms = {}
        for id, facts in self.rooms.items():
            count, since = facts["count"].get(0), facts["count"].best[0] if facts["count"].best else -1
            for name in {name for at, name, _ in facts["moves"] if at > since}:
                moves = sorted((at, came) for at, other, came in facts["moves"] if other == name and at > since)
                count += int(moves[-1][1]) - int(not moves[0][1])
            rooms[f"R:{id}"] = {"id": f"R:{id}", "name": facts["name"].get(), "owner": facts["owner"].get(), "member_count": max(count, 0),
                                "avatar": facts["avatar"].get(), "dismissed": facts["gone"].get(False)}
        return {"messages": [one[3] for one in messages], "contacts": contacts, "rooms": rooms, "unknown": sorted(self.unknown)}


corpus = json.load(sys.stdin)
devices = {guid: Device(own) for guid, own in corpus["own"].items()}
for callback in corpus["callbacks"]:
    kind = number(callback.get("notify_type"))
    if "data" in callback:
        data = callback["data"]
    else:
        data = {key: value for key, value in callback.items() if key not in ("guid", "notify_type")} or None
    devices[callback["guid"]].tell(kind, data if data != [] else None)
json.dump({guid: device.result() for guid, device in devices.items()}, sys.stdout)
