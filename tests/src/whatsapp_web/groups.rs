//! Groups: what an account may do with them.

use super::Stage;
use crate::harness::{Answer, whatsapp::Phone};
use http::Method;
use serde_json::{Value, json};

impl Stage {
    /// A request about a group of the account.
    async fn of_group(&self, method: Method, id: &str, rest: &str, body: Option<&Value>) -> Answer {
        self.instance.client.call(method, &self.instance.wa(&format!("/groups/{id}{rest}")), body).await
    }

    /// Somebody is added, removed, promoted or demoted; gives who is in the group then, and whether as an admin.
    async fn changes(&self, id: &str, action: &str, phones: &[&Phone]) -> Vec<(String, bool)> {
        let phones: Vec<&str> = phones.iter().map(|phone| phone.number.as_str()).collect();
        let body = json!({"action": action, "participants": phones});
        let group = self.of_group(Method::POST, id, "/participants", Some(&body)).await.expect(200);
        let answered = group["participants"].as_array().expect("a list").iter();
        let mut answered: Vec<_> = answered.map(|one| (text(&one["id"]), one["admin"] == true)).collect();
        let known = self.known(id).await;
        let known = known["members"].as_array().expect("a list").iter();
        let mut known: Vec<_> =
            known.map(|one| (format!("{}@s.whatsapp.net", text(&one["phone"])), one["admin"] == true)).collect();
        answered.sort();
        known.sort();
        assert_eq!(answered, known, "the answer tells what is");
        known
    }

    /// The group as WhatsApp has it.
    async fn known(&self, id: &str) -> Value {
        self.whatsapp.ask(Method::GET, &format!("/groups/{id}"), None).await
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_changes_its_group_and_leaves_it() {
    let stage = Stage::set().await;
    let third = stage.whatsapp.phone("Carol").await;
    let new = json!({"subject": "Plans", "participants": [stage.other.number]});
    let id = text(&stage.instance.wa_post("/groups", &new).await.expect(201)["id"]);
    let with = |carol: Option<bool>| {
        let mut all = vec![(stage.own.address(), true), (stage.other.address(), false)];
        all.extend(carol.map(|admin| (third.address(), admin)));
        all.sort();
        all
    };
    assert_eq!(stage.changes(&id, "add", &[&third]).await, with(Some(false)));
    assert_eq!(stage.changes(&id, "promote", &[&third]).await, with(Some(true)));
    assert_eq!(stage.changes(&id, "demote", &[&third]).await, with(Some(false)));
    assert_eq!(stage.changes(&id, "remove", &[&third]).await, with(None));
    let unknown = json!({"action": "add", "participants": ["15559990001"]});
    let answered = stage.of_group(Method::POST, &id, "/participants", Some(&unknown)).await.expect(200);
    let refused = json!([{"id": "15559990001@s.whatsapp.net", "code": "404", "reason": "not_there"}]);
    assert_eq!(answered["refused"], refused, "whoever could not be added is named");
    let sent = stage.instance.send(&id, "without Carol").await;
    assert_eq!(stage.other.receives(&sent).await["text"], "without Carol");
    assert_eq!(third.get("/inbox").await["messages"], json!([]), "who is out reads nothing");

    let subject = json!({"subject": "Better plans"});
    let renamed = stage.of_group(Method::PUT, &id, "/subject", Some(&subject)).await.expect(200);
    assert_eq!((&renamed["subject"], &stage.known(&id).await["subject"]), (&subject["subject"], &subject["subject"]));
    let invite = stage.of_group(Method::GET, &id, "/invite", None).await.expect(200);
    let code = text(&stage.known(&id).await["invite"]);
    assert_eq!(invite, json!({"code": code, "link": format!("https://chat.whatsapp.com/{code}")}));

    assert_eq!(stage.of_group(Method::POST, &id, "/leave", None).await.expect(200)["success"], true);
    let left = stage.known(&id).await["members"].clone();
    assert_eq!(left, json!([{"phone": stage.other.number, "admin": false}]));
    stage.of_group(Method::GET, &id, "", None).await.refused(404);
    let late = stage.instance.send(&id, "one more thing").await;
    assert_eq!(stage.instance.wait_event_of(&late).await["data"]["reason"], "not_in_group");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_not_do_what_admins_may() {
    let stage = Stage::set().await;
    let id = stage.whatsapp.group("Others' plans", &stage.other, &[&stage.own]).await;
    let someone = json!({"action": "remove", "participants": [stage.other.number]});
    stage.of_group(Method::POST, &id, "/participants", Some(&someone)).await.refused(403);
    stage.of_group(Method::GET, &id, "/invite", None).await.refused(403);
    let nobodys = "120363999999999999@g.us";
    stage.of_group(Method::GET, nobodys, "/invite", None).await.refused(404);
    stage.of_group(Method::PUT, nobodys, "/subject", Some(&json!({"subject": "x"}))).await.refused(404);
    assert_eq!(stage.known(&id).await["members"].as_array().map(Vec::len), Some(2));
}
