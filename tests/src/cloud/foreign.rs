//! Clients of other people use the fake: what they can do with it, it does as the platform does. `@kapso/whatsapp-cloud-api` (Node)
//! and `pywa` (Python) send, upload, download, and read the callbacks that the suite sends to the server.

use super::png;
use crate::harness::graph::{Graph, Number, Sender, Sent};
use crate::harness::tools::{node, python, stdout};
use serde_json::{Value, json};
use std::process::Output;

/// Callbacks of every kind that the suite uses, with their signatures.
fn callbacks(graph: &Graph, number: &Number) -> Vec<Value> {
    let sender = Sender::new("Ada");
    let media = graph.media("image/png", &png(5));
    let sent = Sent {
        id: "wamid.s".into(),
        to: sender.phone.clone(),
        body: json!({"biz_opaque_callback_data": "~01"}),
        at: sender.at,
    };
    let pricing = json!({"conversation": {"id": "c1", "origin": {"type": "service"}},
                         "pricing": {"billable": true, "pricing_model": "PMP", "category": "service", "type": "regular"}});
    let failed = json!({"errors": [{"code": 131_047, "title": "Re-engagement message", "message": "Re-engagement message",
                                    "error_data": {"details": "More than 24 hours have passed"}}]});
    let all = [
        number.message(&sender, "wamid.f1", "text", &json!({"body": "hello"})),
        number.message(&sender, "wamid.f2", "image", &media),
        number.message(&sender, "wamid.f3", "location", &json!({"latitude": 59.9, "longitude": 30.3})),
        number.message(&sender, "wamid.f4", "reaction", &json!({"message_id": "wamid.f1", "emoji": "👍"})),
        number.status(&sent, "delivered", &pricing),
        number.status(&sent, "failed", &failed),
    ];
    let signed = |callback: Value| {
        let body = callback.to_string();
        json!({"body": body, "signature": number.signature(body.as_bytes())})
    };
    all.into_iter().map(signed).collect()
}

/// What a program of a client prints, given where the fake is and what to read.
fn said(run: fn(&str, &str) -> Output, program: &str, graph: &Graph, number: &Number) -> Value {
    let input = json!({"url": graph.url(), "id": number.id, "token": number.token, "secret": number.app_secret,
                       "callbacks": callbacks(graph, number)});
    serde_json::from_str(&stdout(&run(program, &input.to_string()))).expect("JSON")
}

/// What both clients send, as the fake took it, in their order.
fn sent(graph: &Graph, number: &Number, said: &Value) -> Vec<Sent> {
    let sent = graph.sent(number);
    let kinds: Vec<_> = sent.iter().map(|sent| sent.body["type"].clone()).collect();
    assert_eq!(kinds, ["text", "image", "location", "contacts", "reaction", "template"]);
    assert_eq!(said["ids"], json!(sent.iter().map(|sent| &sent.id).collect::<Vec<_>>()));
    sent
}

#[test]
fn a_client_for_node_sends_uploads_and_reads_callbacks() {
    let graph = Graph::start();
    let number = graph.number();
    let said = said(
        node,
        r#"
        const { WhatsAppClient } = require("@kapso/whatsapp-cloud-api");
        const { verifySignature, normalizeWebhook } = require("@kapso/whatsapp-cloud-api/server");
        (async () => {
          const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
          const client = new WhatsAppClient({ accessToken: given.token, baseUrl: given.url });
          const to = "+15557654321", phoneNumberId = given.id, m = client.messages;
          const ids = [];
          const note = async (sending) => ids.push((await sending).messages[0].id);
          await note(m.sendText({ phoneNumberId, to, body: "hello" }));
          const file = new Blob([Buffer.from("89504e470d0a1a0a", "hex")], { type: "image/png" });
          const media = await client.media.upload({ phoneNumberId, type: "image/png", file, fileName: "a.png" });
          await note(m.sendImage({ phoneNumberId, to, image: { id: media.id, caption: "c" } }));
          await note(m.sendLocation({ phoneNumberId, to, location: { latitude: 1.5, longitude: 2.5, name: "N", address: "A" } }));
          await note(m.sendContacts({ phoneNumberId, to, contacts: [{ name: { formattedName: "J D", firstName: "J" }, phones: [{ phone: "+1555" }] }] }));
          await note(m.sendReaction({ phoneNumberId, to, reaction: { messageId: ids[0], emoji: "👍" } }));
          await note(m.sendTemplate({ phoneNumberId, to, template: { name: "hello_world", language: { code: "en_US" } } }));
          await m.markRead({ phoneNumberId, messageId: ids[0], typingIndicator: { type: "text" } });
          const described = await client.media.get({ mediaId: media.id, phoneNumberId });
          const bytes = await client.media.download({ mediaId: media.id, phoneNumberId, auth: "always" });
          const size = bytes.byteLength ?? (await bytes.arrayBuffer?.())?.byteLength;
          let refused;
          try { await m.sendText({ phoneNumberId: "1", to, body: "x" }); } catch (error) { refused = error.code ?? error.message; }
          const read = given.callbacks.map(({ body, signature }) => {
            const ok = verifySignature({ appSecret: given.secret, rawBody: body, signatureHeader: signature });
            const { messages, statuses, contacts, phoneNumberId } = normalizeWebhook(JSON.parse(body));
            return [ok, phoneNumberId, messages[0]?.type ?? statuses[0]?.status, contacts[0]?.profile?.name ?? null];
          });
          console.log(JSON.stringify({ ids, described, size, refused, read }));
        })().catch((error) => { console.error(error); process.exit(1); });
        "#,
        &graph,
        &number,
    );
    sent(&graph, &number, &said);
    assert_eq!((&said["size"], &said["refused"]), (&json!(8), &json!(100)), "{said}");
    assert_eq!(graph.read(&number).len(), 1);
    let kinds = ["text", "image", "location", "reaction", "delivered", "failed"];
    for (read, kind) in said["read"].as_array().expect("callbacks").iter().zip(kinds) {
        let name = if matches!(kind, "delivered" | "failed") { Value::Null } else { json!("Ada") };
        assert_eq!(*read, json!([true, number.id, kind, name]));
    }
}

#[test]
fn a_client_for_python_sends_uploads_and_reads_callbacks() {
    let graph = Graph::start();
    let number = graph.number();
    let said = said(
        python,
        r#"
import json, sys
import httpx
from pywa import WhatsApp, errors, types
from pywa.types.templates import TemplateLanguage

given = json.load(sys.stdin)
session = httpx.Client()
wa = WhatsApp(phone_id=given["id"], token=given["token"], session=session, app_secret=given["secret"], verify_token="v", api_version=24.0)
session.base_url = given["url"] + "/v24.0"
to, ids = "15557654321", []
ids.append(wa.send_message(to=to, text="hello", tracker="t1").id)
media = wa.upload_media(media=bytes.fromhex("89504e470d0a1a0a"), mime_type="image/png", filename="a.png")
ids.append(wa.send_image(to=to, image=media, caption="c").id)
ids.append(wa.send_location(to=to, latitude=1.5, longitude=2.5, name="N", address="A").id)
card = types.Contact(name=types.Contact.Name(formatted_name="J D", first_name="J"), phones=[types.Contact.Phone(phone="+1555")])
ids.append(wa.send_contact(to=to, contact=card).id)
ids.append(wa.send_reaction(to=to, emoji="👍", message_id=ids[0]).id)
ids.append(wa.send_template(to=to, name="hello_world", language=TemplateLanguage.ENGLISH_US, params=[]).id)
wa.mark_message_as_read(ids[0])
wa.indicate_typing(ids[0])
described = wa.get_media_url(media.id)
content = wa.get_media_bytes(url=described.url)
try:
    WhatsApp.send_message(wa, to=to, text="x", sender="1")
    refused = None
except errors.WhatsAppError as error:
    refused = error.code

read = []

@wa.on_message
def on_message(_, message):
    read.append([message.type.value, message.from_user.name, message.id])

@wa.on_message_status
def on_status(_, status):
    read.append([status.status.value, status.error.code if status.error else None, status.tracker])

checked = []
for callback in given["callbacks"]:
    body = callback["body"].encode()
    checked.append(wa.webhook_update_validator(body, callback["signature"]) is None)
    wa.webhook_update_handler(body)
forged = wa.webhook_update_validator(b"{}", given["callbacks"][0]["signature"])
print(json.dumps({"ids": ids, "size": len(content), "mime": described.mime_type, "refused": refused, "read": read, "checked": checked, "forged": forged[1]}))
"#,
        &graph,
        &number,
    );
    let sent = sent(&graph, &number, &said);
    assert_eq!(sent[0].body["biz_opaque_callback_data"], "t1");
    assert_eq!(
        (&said["size"], &said["mime"], &said["refused"]),
        (&json!(8), &json!("image/png"), &json!(100)),
        "{said}"
    );
    assert_eq!(graph.read(&number).len(), 2);
    assert_eq!((&said["checked"], &said["forged"]), (&json!(vec![true; 6]), &json!(403)));
    let wanted = json!([
        ["text", "Ada", "wamid.f1"],
        ["image", "Ada", "wamid.f2"],
        ["location", "Ada", "wamid.f3"],
        ["reaction", "Ada", "wamid.f4"],
        ["delivered", null, "~01"],
        ["failed", 131_047, "~01"],
    ]);
    assert_eq!(said["read"], wanted);
}
