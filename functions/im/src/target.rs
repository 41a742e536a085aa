//! `channelId` and `channelType`, as every request names its channel.

use serde::Deserialize;
use shared::{
    Error, Result,
    app::App,
    domain::{
        access::Caller,
        im::{
            Channel, Type,
            group::{self, Group},
            people,
        },
    },
    edge::query::Params,
};

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) channel_id: Option<String>,
    pub(crate) channel_type: Option<u64>,
}

/// The channel that a request names, of a type that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) kind: Type,
    pub(crate) id: String,
}

impl Target {
    /// Errors: 400 `channelId and channelType are required`, or what is wrong with them.
    pub(crate) fn named(self) -> Result<Named> {
        let Self { channel_id, channel_type } = self;
        let id = channel_id.filter(|id| !id.is_empty());
        let missing = if id.is_none() { "channelId" } else { "channelType" };
        let both = id.zip(channel_type);
        // The seed's text, whichever is missing.
        let (id, number) = both.ok_or_else(|| Error::invalid(missing, "channelId and channelType are required"))?;
        let kind = Type::of_number(number);
        let kind = kind.ok_or_else(|| Error::invalid("channelType", "channelType must be 1 or 2"))?;
        Ok(Named { kind, id })
    }

    pub(crate) fn of_query(params: &Params) -> Result<Named> {
        let channel_type = match params.text("channelType") {
            Some(_) => Some(params.number("channelType", 1..=2, 1)?),
            None => None,
        };
        Self { channel_id: params.text("channelId").map(str::to_owned), channel_type }.named()
    }
}

/// The peer of a person channel.
pub(crate) async fn person(app: &App, caller: &Caller, id: &str) -> Result<Channel> {
    let peer = people::find(app, &caller.user, id).await?;
    let peer = peer.ok_or_else(|| people::unknown().field("channelId"))?;
    Ok(Channel::person(caller.id(), peer))
}

/// The group, whether the caller is a member or not.
pub(crate) async fn group(app: &App, id: &str) -> Result<Group> {
    group::find(app, id).await?.ok_or_else(|| group::unknown().field("channelId"))
}
