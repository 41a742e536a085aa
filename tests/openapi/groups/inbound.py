"""What other systems post to us."""

from operations import op, q
from schemas import SCHEMAS
from shape import ANY_OBJECT, INT, STR, d, null, obj, one_of, ref, text

SCHEMAS["WechatForward"] = obj({
    "event": d(STR, "`new_message` is forwarded; nothing is sent for others."),
    "data?": d(obj({"fromName?": text(200), "content?": text(10_000)}, additionalProperties=True), "`fromName` and `content` are needed in a `new_message`."),
})

op("POST /api/webhook/wechat", "forward_to_wecom", "Forward a message to a WeCom group", tag="chat", scope="messages:send", idempotent=True, envelope="ChatError",
   body=ref("WechatForward"),
   answer=obj({"code": {"type": "integer", "const": 200}, "msg": one_of("ok"), "data": null(obj({"deliveryId": d(STR, "Of the delivery that was made of it.")}))}),
   example={"event": "new_message", "data": {"fromName": "Alice", "content": "你好"}},
   description="Posts `[IM消息] <fromName>: <content>` to the caller's forwarder to WeCom (one of the `im` instance first), else to the deployment's robot "
               "(`WECOM_ROBOT_KEY`). It is a delivery as webhooks have them: durable before the answer, tried again, recorded, replayable.",
   refuses={409: "There is neither a forwarder nor a robot of the deployment; or the same `Idempotency-Key` is still running."})

# Callbacks of platforms.

op("GET /inbound/whatsapp/{instanceId}", "verify_whatsapp", "The Cloud API asks whether this URL is an instance's", tag="instances", public=True,
   query=[q("hub.mode", one_of("subscribe"), required=True), q("hub.verify_token", STR, "The `verifyToken` of the credentials.", required=True),
          q("hub.challenge", text(256), "Comes back as the answer.", required=True)],
   more={200: {"text/plain": {"schema": STR}}}, refuses={403: "`VERIFY_TOKEN_MISMATCH`: the token is another."},
   description="Enter this URL, and the verify token, as the callback URL of the app or of the number.")
op("POST /inbound/whatsapp/{instanceId}", "receive_whatsapp", "The Cloud API tells what happened", tag="instances", public=True,
   body=d(ANY_OBJECT, "At most 4 MiB."), example={"object": "whatsapp_business_account", "entry": []},
   answer=obj({"success": {"type": "boolean"}, "taken": d(INT, "Messages and statuses that were for this instance.")}),
   refuses={401: "`INVALID_SIGNATURE`: `X-Hub-Signature-256` does not fit the body.", 409: "`INSTANCE_NOT_READY`: the instance is logged out."},
   description="Signed with the app's secret. Durable when it is answered; told as events soon after, in order within a conversation. A repeat changes nothing.")
