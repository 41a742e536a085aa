"""What other systems post to us."""

from operations import op
from schemas import SCHEMAS
from shape import STR, d, null, obj, one_of, ref, text

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
