//! The mailbox: what is done for a connection, one note after the other.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shared::{
    Error, Kind, Result,
    domain::{
        access::{Caller, Scope},
        cursor, instance, watch,
    },
    id::{InstanceId, SocketId, UserId},
    realtime::{
        mailbox::{self, After, Note, Others, Pushed, Reading},
        remote,
    },
    store::keys,
};

use super::{Gateway, Heard, PATIENCE, Row, Stop, presence};
use crate::{
    credential::Credential,
    feed::{AT_ONCE, EVERYTHING_ELSE, Named, lookup, owned_up},
    frame,
    session::Goodbye,
    tracker::Position,
};

/// Connections that one user may have open.
const PER_USER: usize = 20;
/// Instances that one connection follows; the user's oldest.
const MOST: usize = 1000;
/// How often it is looked at whether a credential still holds, while there is something to send.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// When to look again after something has changed: indexes lag, and owners learn a little later that they are watched.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

impl Gateway {
    /// Does what the notes of a connection say, in order. Whoever cannot be served, after some tries, is let go: it comes back
    /// and catches up.
    pub async fn notes(&self, socket: &SocketId, notes: Vec<Note>, receives: u32) -> Result<()> {
        let Some(mut row) = Row::load(&self.app, socket).await? else { return Ok(()) };
        let took = async {
            let mut notes = notes.into_iter().peekable();
            while let Some(note) = notes.next() {
                let Note::Push(first) = note else {
                    self.take(&mut row, note).await?;
                    continue;
                };
                let mut pushes = vec![first];
                while let Some(Note::Push(next)) = notes.next_if(|next| matches!(next, Note::Push(_))) {
                    pushes.push(next);
                }
                self.pushed(&mut row, pushes).await?;
            }
            Ok(())
        };
        match took.await {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) if receives < PATIENCE => Err(error),
            Err(Stop::Failed(error)) => {
                tracing::warn!(%socket, %error, "a connection could not be served any further");
                self.stop(&row, Stop::Ours(Goodbye::TryAgain)).await
            }
            Err(stop) => self.stop(&row, stop).await,
        }
    }

    async fn take(&self, row: &mut Row, note: Note) -> Result<(), Stop> {
        match note {
            Note::Auth { credential, after } => self.authenticate(row, &credential, after).await,
            Note::Said { text } => self.hear(row, Heard::Text(&text)).await,
            Note::Deadline if row.user.is_none() && !row.pending => self.refuse(row).await,
            Note::Deadline => Ok(()),
            // What follows is for who has signed on.
            _ if row.user.is_none() => Ok(()),
            Note::Resume { after } => match self.caller(row).await? {
                Some(caller) => self.resume(row, &caller, after).await,
                None => self.refuse(row).await,
            },
            Note::Read(reading) => {
                self.look_if_due(row).await?;
                self.read(row, reading).await
            }
            Note::Push(pushed) => self.pushed(row, vec![pushed]).await,
            Note::Grew { instance } => {
                self.look_if_due(row).await?;
                self.read(row, Reading { instances: vec![instance], ..Reading::default() }).await
            }
            Note::Look { behind } => self.look(row, behind).await,
        }
    }

    /// A credential was shown: the first one opens the connection.
    async fn authenticate(&self, row: &mut Row, sealed: &str, after: Option<After>) -> Result<(), Stop> {
        let credential = Credential::open(&self.app, &row.id, sealed, row.peer)?;
        let Some(caller) = credential.caller(&self.app).await? else { return self.refuse(row).await };
        if let Err(error) = self.app.rate.take(&caller.credential, self.app.clock.monotonic()) {
            self.send(&row.id, &frame::error(&error, None)).await?;
            return Err(Stop::Ours(Goodbye::TryAgain));
        }
        if caller.require(Scope::MessagesRead).is_err()
            && let Err(error) = caller.require(Scope::MessagesSend)
        {
            self.send(&row.id, &frame::error(&error, None)).await?;
            return Err(Stop::Ours(Goodbye::Forbidden));
        }
        let user = caller.id().clone();
        if row.user.as_ref().is_some_and(|before| *before != user) {
            return self.refuse(row).await;
        }
        let first = row.user.is_none();
        let events = !credential.is_of_im_client() && caller.require(Scope::MessagesRead).is_ok();
        // From here on pushes come into the mailbox, behind this note.
        remote::sign_on(&self.app, &user, &row.id, events).await?;
        row.user = Some(user.clone());
        if first {
            if remote::open(&self.app.store, self.app.clock.now(), &user).await?.len() > PER_USER {
                let text = "This user has too many connections open";
                let error = Error::new(Kind::RateLimited, "TOO_MANY_CONNECTIONS", text);
                self.send(&row.id, &frame::error(&error, None)).await?;
                return Err(Stop::Ours(Goodbye::TooManyConnections));
            }
            // Once more, now that a revocation would come into the mailbox: one in between is not overlooked.
            if credential.caller(&self.app).await?.is_none() {
                return self.refuse(row).await;
            }
        }
        (row.credential, row.pending) = (Some(sealed.to_owned()), false);
        self.found(row, &caller);
        let new = self.follow(row, &caller, events, first).await?;
        // Before the client knows, so that whatever it says then finds it.
        row.save(&self.app).await?;
        self.send(&row.id, &frame::auth_success(&user)).await?;
        match after {
            Some(after) => self.resume(row, &caller, after).await?,
            None => self.read(row, Reading { instances: new, ..Reading::default() }).await?,
        }
        if let Err(error) = presence::came(&self.app, &user).await {
            tracing::warn!(%user, %error, "nobody was told that a user has come");
        }
        Ok(())
    }

    /// What the credential is good for, as of now.
    fn found(&self, row: &mut Row, caller: &Caller) {
        row.checked = self.app.clock.now();
        row.reads = caller.require_account(Scope::MessagesRead).is_ok();
        row.may_pair = caller.require(Scope::InstancesManage).is_ok();
    }

    /// Takes up instances that are new to the connection, and drops those that are no longer the caller's. The `first` time,
    /// what is in their logs has been seen; an instance that is new later is followed from its first event. Answers those.
    async fn follow(&self, row: &Row, caller: &Caller, events: bool, first: bool) -> Result<Vec<InstanceId>> {
        let app = &self.app;
        let known = if first { HashMap::new() } else { row.followed(app).await? };
        let mut mine = Vec::new();
        if events {
            let all = instance::all_of_user(app, caller.id()).await?;
            mine.extend(all.into_iter().filter(|instance| caller.covers(&instance.id)).take(MOST));
        }
        let here: HashSet<&InstanceId> = mine.iter().map(|instance| &instance.id).collect();
        let lost = known.keys().filter(|id| !here.contains(id));
        let mut writes: Vec<_> =
            lost.map(|id| shared::store::Write::delete(keys::socket_events(&row.id, id))).collect();
        let new: Vec<InstanceId> = here.into_iter().filter(|id| !known.contains_key(id)).cloned().collect();
        let seen = async |id: &InstanceId| -> Result<u64> {
            if first { Ok(app.store.tail(id.as_str()).await?.seq) } else { Ok(0) }
        };
        let looks: Vec<_> = new.iter().map(seen).collect();
        let tails: Vec<u64> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        for (id, tail) in new.iter().zip(tails) {
            writes.push(row.position_write(keys::socket_events(&row.id, id), Position::at(tail))?);
        }
        if !writes.is_empty() {
            app.store.write_many(writes).await?;
        }
        if watch::begin(app, &mine).await? {
            self.look_again(row).await?;
        }
        Ok(if first { Vec::new() } else { new })
    }

    async fn look_again(&self, row: &Row) -> Result<()> {
        let work = mailbox::work(&row.id, Note::Look { behind: true });
        self.later(self.app.clock.now().plus(LOOK_AGAIN), mailbox::group(&row.id), work).await
    }

    /// Looks whether the credential still holds, and which instances there are now.
    async fn look(&self, row: &mut Row, behind: bool) -> Result<(), Stop> {
        let Some(caller) = self.caller(row).await? else { return self.refuse(row).await };
        self.found(row, &caller);
        row.save(&self.app).await?;
        let Some(sealed) = &row.credential else { return Ok(()) };
        let im = Credential::open(&self.app, &row.id, sealed, row.peer)?.is_of_im_client();
        let events = !im && caller.require(Scope::MessagesRead).is_ok();
        let new = self.follow(row, &caller, events, false).await?;
        let instances = if behind {
            row.followed(&self.app).await?.into_keys().collect()
        } else {
            if events {
                self.look_again(row).await?;
            }
            new
        };
        self.read(row, Reading { instances, ..Reading::default() }).await
    }

    /// Before something goes out: looks at the credential, if that was not done for a while.
    async fn look_if_due(&self, row: &mut Row) -> Result<(), Stop> {
        if self.app.clock.now() < row.checked.plus(LOOK_EVERY) {
            return Ok(());
        }
        let Some(caller) = self.caller(row).await? else { return self.refuse(row).await };
        self.found(row, &caller);
        row.save(&self.app).await
    }

    /// Frames for everybody concerned. Positions are written after what they are of went out: what is cut off in between comes
    /// twice rather than never.
    async fn pushed(&self, row: &mut Row, pushes: Vec<Pushed>) -> Result<(), Stop> {
        if !row.reads || row.user.is_none() {
            return Ok(());
        }
        self.look_if_due(row).await?;
        let mut moved = HashMap::new();
        let sent = self.send_pushed(row, pushes, &mut moved).await;
        for (channel, position) in moved {
            row.set_position(&self.app, &keys::socket_channel(&row.id, &channel), position).await?;
        }
        sent
    }

    /// `moved`: the positions that are to be written.
    async fn send_pushed(
        &self,
        row: &mut Row,
        pushes: Vec<Pushed>,
        moved: &mut HashMap<String, Position>,
    ) -> Result<(), Stop> {
        let writers: Vec<(&UserId, &str)> = pushes.iter().filter_map(Pushed::writer).collect();
        let mut own = row.sent_here(&self.app, &writers).await?.into_iter();
        for pushed in &pushes {
            let own = pushed.writer().is_some() && own.next() == Some(true);
            let Some(channel) = &pushed.channel else {
                if let Some(text) = &pushed.text {
                    self.send(&row.id, text).await?;
                }
                continue;
            };
            let key = keys::socket_channel(&row.id, channel);
            let mut position = match moved.get(channel) {
                Some(position) => *position,
                None => {
                    let known = row.position(&self.app, &key).await?.or(row.floor.map(Position::at));
                    known.unwrap_or_else(|| Position::at(pushed.seq.saturating_sub(1)))
                }
            };
            if pushed.seq <= position.seen() {
                continue;
            }
            match &pushed.text {
                Some(text) if pushed.seq == position.seen() + 1 => {
                    if position.advance(pushed.seq) && !own {
                        self.send(&row.id, text).await?;
                    }
                    moved.insert(channel.clone(), position);
                }
                // Something before it is missing, or it was too large to come along.
                _ => {
                    row.set_position(&self.app, &key, position).await?;
                    moved.remove(channel);
                    self.read(row, Reading { chats: vec![channel.clone()], ..Reading::default() }).await?;
                }
            }
        }
        Ok(())
    }

    /// Goes on where the client says that it is. What is wrong with single names is told; the rest is done all the same.
    pub(super) async fn resume(&self, row: &mut Row, caller: &Caller, mut after: After) -> Result<(), Stop> {
        let app = &self.app;
        let else_after = after.remove(EVERYTHING_ELSE);
        let followed: HashSet<InstanceId> = row.followed(app).await?.into_keys().collect();
        let followed = &followed;
        let named = async |(name, seq): (String, u64)| {
            let meant = lookup(app, caller, followed, &name).await;
            (name, seq, meant)
        };
        let looks: Vec<_> = after.into_iter().map(named).collect();
        let found: Vec<(String, u64, Result<Named>)> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        let (mut reading, mut wrong, mut named) =
            (Reading { told: true, ..Reading::default() }, Vec::new(), BTreeSet::new());
        let mut instances = HashSet::new();
        for (name, seq, meant) in found {
            match meant {
                Ok(Named::Chat { key, tail }) => {
                    if self.go_back(row, key.as_str(), seq, tail).await? {
                        reading.chats.push(key.as_str().to_owned());
                    }
                    named.insert(key.as_str().to_owned());
                }
                Ok(Named::Instance(id)) => {
                    if let Err(error) = self.go_back_in_events(row, &id, Some(seq)).await {
                        wrong.push(owned_up(error, &name)?);
                    }
                    instances.insert(id);
                }
                Err(error) => wrong.push(owned_up(error, &name)?),
            }
        }
        if let Some(seq) = else_after {
            if row.reads {
                row.floor = Some(seq);
                row.save(app).await?;
                reading.others = Some(Others { cursor: None, seq, named });
            }
            for id in followed.iter().filter(|id| !instances.contains(id)) {
                if let Err(error) = self.go_back_in_events(row, id, Some(seq).filter(|seq| *seq > 0)).await {
                    wrong.push(owned_up(error, id.as_str())?);
                }
            }
            instances.extend(followed.iter().cloned());
        }
        reading.instances.extend(instances);
        let wrong: Vec<String> = wrong.iter().map(|error| frame::error(error, None)).collect();
        self.send_all(&row.id, &wrong).await?;
        self.read(row, reading).await
    }

    /// The client has seen a channel up to `seq`; the channel goes up to `tail`. Whether it has to be read.
    pub(super) async fn go_back(&self, row: &Row, channel: &str, seq: u64, tail: u64) -> Result<bool> {
        let seq = seq.min(tail);
        let key = keys::socket_channel(&row.id, channel);
        let mut position = row.position(&self.app, &key).await?.unwrap_or_else(|| Position::at(seq));
        position.resume(seq);
        row.set_position(&self.app, &key, position).await?;
        Ok(position.seen() < tail)
    }

    /// The client has seen the instance's events up to `seq`; `None`: it wants all that there are.
    ///
    /// Errors: `CURSOR_EXPIRED`; then it goes on from the oldest event that is left.
    async fn go_back_in_events(&self, row: &Row, id: &InstanceId, seq: Option<u64>) -> Result<()> {
        let (start, expired) = match cursor::start(&self.app, id, seq).await {
            Ok(start) => (start, None),
            Err(error) if error.kind == Kind::Gone => (cursor::start(&self.app, id, None).await?, Some(error)),
            Err(error) => return Err(error),
        };
        let key = keys::socket_events(&row.id, id);
        if let Some(mut position) = row.position(&self.app, &key).await? {
            position.resume(start);
            row.set_position(&self.app, &key, position).await?;
        }
        expired.map_or(Ok(()), Err)
    }
}
