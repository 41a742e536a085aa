//! Events: the logs of the instances that the caller may read, each from where the client is.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    future::Future,
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use shared::{
    Kind, Result,
    app::AppState,
    domain::{
        access::{Caller, Scope},
        cursor,
        event::{self, Event},
        instance::{self, Instance},
    },
    id::InstanceId,
    store::log,
};

use crate::{frame, tracker::Position};

/// Entries that are read at once.
const PAGE: usize = 100;
/// Instances that one connection follows; the user's oldest.
const MOST: usize = 1000;
/// How long one wait for a log lasts.
const WAIT: Duration = Duration::from_secs(300);

type Wait = Pin<Box<dyn Future<Output = InstanceId> + Send>>;

#[derive(Default)]
pub(super) struct Events {
    following: HashMap<InstanceId, Following>,
    /// One wait per instance that is followed; those that are through are in `grown`.
    waits: FuturesUnordered<Wait>,
    waiting: HashSet<InstanceId>,
    /// Logs to read, the one that is being read first.
    grown: Vec<InstanceId>,
    /// Logs that the client is behind in, as far as was told.
    behind: BTreeSet<InstanceId>,
    may_pair: bool,
    /// Whether the first look at the instances was taken: those that are found later are new.
    started: bool,
}

struct Following {
    instance: Instance,
    position: Position,
}

impl Events {
    /// Takes up instances that are new to the connection, if any are `allowed`, and drops those that are no longer the caller's. The first
    /// time, what is in their logs has been seen; an instance that is new later is followed from its first event.
    pub(super) async fn follow(&mut self, app: &AppState, caller: &Caller, allowed: bool) -> Result<()> {
        self.may_pair = caller.require(Scope::InstancesManage).is_ok();
        let mut found = HashMap::new();
        if allowed {
            let all = instance::all_of_user(app, caller.id()).await?;
            let mine = all.into_iter().filter(|instance| caller.covers(&instance.id)).take(MOST);
            found.extend(mine.map(|instance| (instance.id.clone(), instance)));
        }
        self.following.retain(|id, _| found.contains_key(id));
        self.behind.retain(|id| found.contains_key(id));
        for (id, instance) in found {
            if let Some(known) = self.following.get_mut(&id) {
                known.instance = instance;
                continue;
            }
            let seen = if self.started { 0 } else { app.store.tail(id.as_str()).await?.seq };
            self.following.insert(id.clone(), Following { instance, position: Position::at(seen) });
            self.wait(app, id, seen);
        }
        self.started = true;
        Ok(())
    }

    pub(super) fn ids(&self) -> Vec<InstanceId> {
        self.following.keys().cloned().collect()
    }

    /// The client has seen the instance's events up to `seq`; `None`: it wants all that there are.
    ///
    /// Errors: `CURSOR_EXPIRED`; then it goes on from the oldest event that is left.
    pub(super) async fn resume(&mut self, app: &AppState, id: &InstanceId, seq: Option<u64>) -> Result<()> {
        let (start, expired) = match cursor::start(app, id, seq).await {
            Ok(start) => (start, None),
            Err(error) if error.kind == Kind::Gone => (cursor::start(app, id, None).await?, Some(error)),
            Err(error) => return Err(error),
        };
        let tail = app.store.tail(id.as_str()).await?.seq;
        if let Some(following) = self.following.get_mut(id) {
            following.position.resume(start);
            if following.position.seen() < tail {
                self.behind.insert(id.clone());
                self.grew(id.clone());
            }
        }
        expired.map_or(Ok(()), Err)
    }

    /// Whether the client is still to be told of what it missed.
    pub(super) fn behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Returns when a log has grown; never, when there is none to follow.
    pub(super) async fn ready(&mut self) {
        while self.grown.is_empty() {
            match self.waits.next().await {
                Some(id) => {
                    self.waiting.remove(&id);
                    self.grew(id);
                }
                None => std::future::pending().await,
            }
        }
    }

    fn grew(&mut self, id: InstanceId) {
        if !self.grown.contains(&id) {
            self.grown.push(id);
        }
    }

    fn wait(&mut self, app: &AppState, id: InstanceId, seen: u64) {
        if !self.waiting.insert(id.clone()) {
            return;
        }
        let app = AppState::clone(app);
        self.waits.push(Box::pin(async move {
            app.store.changed(id.as_str(), seen, WAIT).await;
            id
        }));
    }

    /// Reads a page of one log that has grown.
    pub(super) async fn page(&mut self, app: &AppState) -> Result<Vec<Bytes>> {
        let Some(id) = self.grown.first().cloned() else { return Ok(Vec::new()) };
        let Some(Following { instance, position }) = self.following.get(&id) else {
            self.grown.remove(0);
            return Ok(Vec::new());
        };
        let entries = log::read(app.store.as_ref(), id.as_str(), position.seen(), PAGE).await?;
        let events = event::materialise(app, instance, &entries).await?;
        // Nothing below waits: what is counted as sent is handed out.
        let full = entries.len() == PAGE;
        let mut out = Vec::with_capacity(events.len());
        let Some(Following { position, .. }) = self.following.get_mut(&id) else { return Ok(out) };
        for mut event in events {
            if !self.may_pair {
                Event::hide_codes(&mut event);
            }
            if position.advance(event.seq) {
                out.push(frame::event(&id, &event).into());
            }
        }
        let seen = position.seen();
        self.grown.remove(0);
        if full {
            // The others' turn first.
            self.grown.push(id);
        } else {
            self.behind.remove(&id);
            self.wait(app, id, seen);
        }
        Ok(out)
    }
}
