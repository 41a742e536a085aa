"""The operations of seed 004 for administrators."""

from operations import CURSOR, DATES, limit, q
from groups.chat import CHAT_TYPE, chat
from schemas import CURSOR as NEXT, SCHEMAS
from shape import ANY_OBJECT, BOOL, INT, STR, TIME, arr, d, null, obj, one_of, ref, text

USER = d(STR, "User id, username or e-mail address.")
ROLE = one_of("user", "admin")
ACTION = one_of("user.create", "user.update", "user.disable", "user.enable", "group.create", "group.delete", "group.members.add", "group.members.remove", "invite.create")
FIELDS = {
    "nickname?": null(text(100, 0)),
    "email?": d(null(STR), "`\"\"` takes it away."),
    "avatar?": d(null(STR), "An http or https URL, or `\"\"`."),
    "role?": null(ROLE),
    "password?": d(null(text(200, 8)), "Ends every token and socket of the account."),
    "limits?": d(null(ref("Limits")), "Quotas over all instances of the user; `null`: none."),
}
GROUP_ID = {"id?": d(null(STR), "Or `groupId`."), "groupId?": null(STR)}
NO_USER = "There is no such user."
NO_GROUP = "There is no such group or user."
DENIED = "`Access denied`."

SCHEMAS.update({
    "AdminUser": obj({
        "id": STR, "username": STR, "email": d(STR, "`\"\"` when unset."), "nickname": STR, "name": STR, "avatar": STR, "role": ROLE, "disabled": BOOL,
        "limits": null(ref("Limits")), "createdAt": TIME, "updatedAt": TIME,
    }),
    "AdminGroup": obj({"id": STR, "name": STR, "avatar": STR, "creatorId": STR, "memberCount": INT, "lastSeq": d(INT, "Newest message, some moments behind."), "createdAt": TIME}),
    "AdminMember": obj({"id": STR, "username": STR, "nickname": STR, "avatar": STR, "owner": BOOL}),
    "AuditEntry": obj({
        "id": STR, "at": TIME, "actor": d(STR, "The administrator's user id."), "credential": d(STR, "Names it, does not reveal it."), "action": ACTION,
        "target": d(STR, "Id of the user or group."), "details": ANY_OBJECT, "requestId": STR,
        "outcome": d(one_of("done", "unknown"), "`unknown`: under way, or it broke off."),
    }),
})


def admin(route, name, summary, answer, **more):
    refuses = {403: DENIED, **more.pop("refuses", {})}
    chat(route, name, summary, answer, tag="admin", refuses=refuses, **more)


admin("GET /api/admin/users", "list_users", "List all users", obj({"users": arr(ref("AdminUser")), "nextCursor": NEXT}), query=[limit(500, 100), CURSOR], description="Oldest first.")
admin("POST /api/admin/user/create", "create_user", "Create a user", ref("AdminUser"), idempotent=True,
      body=obj({"username?": null(text(64, 2)), **FIELDS}), example={"username": "alice", "password": "password123", "nickname": "Alice"},
      refuses={409: "Username or e-mail address is taken; or the same `Idempotency-Key` is still running."})
admin("POST /api/admin/user/update", "update_user", "Change a user", ref("AdminUser"), idempotent=True, body=obj({"id": USER, **FIELDS}),
      example={"id": "alice", "limits": {"maxMessagesSent": 1000, "timeWindowHours": 24}},
      refuses={404: NO_USER, 409: "The e-mail address is taken; changed by somebody else at the same time; one's own role; or the same `Idempotency-Key` is still running."})
admin("POST /api/admin/user/disable", "disable_user", "Lock a user out, or let him in again", ref("AdminUser"), idempotent=True,
      body=obj({"id": USER, "disabled?": d(null(BOOL), "Default: true.")}), example={"id": "alice"}, description="Ends tokens and open sockets at once.",
      refuses={404: NO_USER, 409: "One's own account; or changed by somebody else at the same time."})
admin("GET /api/admin/history", "list_history", "Read anybody's messages", obj({"messages": arr(ref("ChatMessage")), "nextCursor": NEXT}),
      query=[q("type", CHAT_TYPE, required=True), q("toId", STR, "A user; of a group: its id.", required=True), q("fromId", STR, "The other user; for `single`."), limit(200, 50), CURSOR],
      description="Newest first; both directions between two users.", refuses={404: NO_GROUP})
admin("POST /api/admin/group/create", "create_admin_group", "Create a group", ref("AdminGroup"), idempotent=True,
      body=obj({"id": text(64), "name?": null(text(100, 0)), "avatar?": null(STR), "creatorId": USER}), example={"id": "group_001", "name": "客服群", "creatorId": "admin_user"},
      description="The creator owns it and is a member. The creator's group again: changes what is given.",
      refuses={404: NO_USER, 409: "The group belongs to somebody else; or the same `Idempotency-Key` is still running."})
MEMBERS = {**GROUP_ID, "members": arr(USER, minItems=1, maxItems=1000)}
admin("POST /api/admin/group/members/add", "add_members", "Add members", obj({"added": INT}), idempotent=True, body=obj(MEMBERS),
      example={"id": "group_001", "members": ["alice"]}, refuses={404: NO_GROUP})
admin("POST /api/admin/group/members/remove", "remove_members", "Remove members", obj({"removed": INT}), idempotent=True, body=obj(MEMBERS),
      example={"id": "group_001", "members": ["alice"]}, refuses={404: NO_GROUP})
admin("POST /api/admin/group/delete", "delete_group", "Delete a group", obj({"id": STR}), idempotent=True, body=obj(GROUP_ID), example={"id": "group_001"}, refuses={404: NO_GROUP})
admin("GET /api/admin/groups", "list_admin_groups", "List all groups", obj({"groups": arr(ref("AdminGroup")), "nextCursor": NEXT}), query=[limit(200, 50), CURSOR], description="Oldest first.")
admin("GET /api/admin/group/members", "list_members", "List a group's members", obj({"members": arr(ref("AdminMember")), "nextCursor": NEXT}),
      query=[q("id", STR, "The group; or `groupId`."), q("groupId", STR), limit(500, 100), CURSOR], refuses={404: NO_GROUP})
admin("GET /api/admin/instances", "list_all_instances", "List everybody's instances", obj({"instances": arr(ref("Instance")), "nextCursor": NEXT}),
      query=[q("userId", USER), limit(500, 100), CURSOR], description="A page may be short and still have a cursor.", refuses={404: NO_USER})
admin("GET /api/admin/audit", "list_audit", "What administrators have changed", obj({"entries": arr(ref("AuditEntry")), "nextCursor": NEXT}),
      query=[q("actor", USER), q("action", ACTION), q("target", STR, "Id of a user or group."), *DATES, limit(500, 100), CURSOR],
      description="Newest first; kept 400 days. With filters a page may be short and still have a cursor.", refuses={404: NO_USER})
