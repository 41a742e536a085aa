//! Questions that WhatsApp answers: who has an account, pictures; and what others are shown.

use super::{PNG, Stage};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Between two questions of an account about numbers, ten in each.
const PAUSE: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_numbers_are_looked_up_a_few_at_a_time() {
    let stage = Stage::set().await;
    let nobody = (0..20).map(|number| format!("1555999{number:04}"));
    let phones: Vec<String> = nobody.chain([stage.other.number.clone()]).collect();
    let asked = async || stage.whatsapp.stats().await["iqs"]["usync/usync"].as_u64().unwrap_or_default();
    let (before, begun) = (asked().await, Instant::now());
    // Whoever asks for one waits for those of the other, too.
    let (one, two) = (json!({"phones": phones}), json!({"phones": [stage.other.number]}));
    let (all, single) = tokio::join!(stage.instance.wa_post("/check", &one), stage.instance.wa_post("/check", &two));
    let (took, all) = (begun.elapsed(), all.expect(200)["results"].clone());
    assert!(took >= 3 * PAUSE, "{took:?}");
    // The client may have questions of its own.
    assert!(asked().await - before >= 4);
    assert_eq!(single.expect(200)["results"][0]["exists"], true);
    let all = all.as_array().expect("a list");
    let answered: Vec<&Value> = all.iter().map(|one| &one["phone"]).collect();
    assert_eq!(json!(answered), json!(phones), "in the order of the question");
    let exist: Vec<&Value> = all.iter().filter(|one| one["exists"] == true).collect();
    assert_eq!((exist.len(), &exist[0]["address"]), (1, &json!(stage.other.address())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_found_where_there_are_some() {
    let stage = Stage::set().await;
    let picture = async || {
        let path = stage.instance.wa(&format!("/profile-picture?phone={}", stage.other.number));
        stage.instance.client.get(&path).await.expect(200)["url"].clone()
    };
    assert_eq!(picture().await, Value::Null);
    let set = stage.other.does("picture", &json!({"data": PNG})).await;
    assert_eq!(picture().await, set["picture"][1]);
    assert!(picture().await.is_string());
    stage.other.does("picture", &json!({})).await;
    assert_eq!(picture().await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_is_shown_and_taken_back() {
    let stage = Stage::set().await;
    let shown = async |count: usize| {
        let seen = stage.other.get(&format!("/states?wait=10&count={count}")).await;
        let seen = seen["states"].as_array().expect("a list").clone();
        seen.iter().map(|one| one["state"].as_str().expect("a state").to_owned()).collect::<Vec<_>>()
    };
    let typing = json!({"phone": stage.other.number});
    assert_eq!(stage.instance.wa_post("/typing", &typing).await.expect(200)["success"], true);
    assert_eq!(shown(1).await, ["composing"]);
    stage.instance.wa_post("/typing", &json!({"phone": stage.other.number, "on": false})).await.expect(200);
    assert_eq!(shown(2).await, ["composing", "paused"]);

    let begun = Instant::now();
    let typed = stage.tells("/send", json!({"message": "typed", "delayMs": 700})).await;
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    assert_eq!(typed["text"], "typed");
    assert_eq!(shown(4).await, ["composing", "paused", "composing", "paused"]);
}
