//! Whom a `from` means: the instance with that address on the platform.

use crate::{
    address::{self, Platform},
    app::App,
    domain::{
        access::Caller,
        instance::{self, Instance, Mode},
        send,
    },
    error::{Error, Result},
    id::{InstanceId, UserId, is_id_shaped},
    store::{Query, keys},
};

/// Bytes of an address that is looked up, at the most.
const MAX: usize = 512;

/// Somebody who may be meant.
struct Candidate {
    id: InstanceId,
    user: UserId,
}

/// The instance that `from` names: by a phone number, a bot's username or id, an account's id, or the instance's id. Spaces
/// and `+` do not matter. `caller`: `None` for anybody, who may use every instance.
///
/// The caller's own come first, live ones before sandboxes, those that can send before those that cannot.
///
/// Errors: `SENDER_NOT_FOUND` (404); 403 if it is somebody else's; `SENDER_AMBIGUOUS` (409) if it still is more than one.
pub async fn find(app: &App, platform: Platform, from: &str, caller: Option<&Caller>) -> Result<Instance> {
    if from.trim().is_empty() {
        return Err(Error::invalid("from", "from must not be empty"));
    }
    let mut found = if from.len() > MAX { Vec::new() } else { candidates(app, platform, from).await? };
    let any = !found.is_empty();
    if let Some(caller) = caller {
        found.retain(|one| caller.require_instance(&one.user, &one.id).is_ok());
        if any && found.is_empty() {
            return Err(Error::forbidden("You do not have access to this sender").field("from"));
        }
    }
    let own = |user: &UserId| caller.is_some_and(|caller| caller.id() == user);
    if found.iter().any(|one| own(&one.user)) {
        found.retain(|one| own(&one.user));
    }
    let mut instances = Vec::new();
    for one in found {
        // An address row may outlive its instance for a moment.
        instances.extend(instance::find(app, &one.id).await?.filter(|instance| instance.platform == platform));
    }
    prefer(&mut instances, |instance| instance.mode == Mode::Live);
    prefer(&mut instances, |instance| send::require_session(instance).is_ok());
    match (instances.pop(), instances.is_empty()) {
        (Some(instance), true) => Ok(instance),
        (Some(_), false) => {
            let text = "Several accounts have this address: name one by its instance id";
            Err(Error::conflict("SENDER_AMBIGUOUS", text).field("from"))
        }
        (None, _) => {
            let text = format!("No {platform} account has this address");
            Err(Error::not_found(text).code("SENDER_NOT_FOUND").field("from"))
        }
    }
}

/// Keeps the better ones, if there are any.
fn prefer(instances: &mut Vec<Instance>, better: impl Fn(&Instance) -> bool) {
    if instances.iter().any(&better) {
        instances.retain(better);
    }
}

async fn candidates(app: &App, platform: Platform, from: &str) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let id = InstanceId::new(from.trim());
    if is_id_shaped(id.as_str())
        && let Some(instance) = instance::find(app, &id).await?.filter(|instance| instance.platform == platform)
    {
        found.push(Candidate { id: instance.id, user: instance.user_id });
    }
    let hash = app.keyring.index("address", &address::comparable(from));
    let mut query = Query::table(keys::addresses(platform.as_str(), &hash)).limit(500);
    loop {
        let page = app.store.query(query.clone()).await?;
        for item in &page.items {
            let candidate = Candidate {
                id: InstanceId::new(item.key.sk.as_str()),
                user: UserId::new(item.str("userId").unwrap_or_default()),
            };
            if !found.iter().any(|known| known.id == candidate.id) {
                found.push(candidate);
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}
