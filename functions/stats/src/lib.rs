//! Route group `stats` (seed 001): usage of a user, of an instance, of the system. Days are UTC.

use axum::{Router, extract::State, routing::get};
use serde_json::{Value, json};
use shared::{
    Error,
    app::{App, AppState},
    clock::{DAY_MS, Millis},
    domain::{
        access::{Caller, Scope},
        instance::{self, Instance},
        stats::{self, Usage},
        user,
    },
    edge::{Admin, Owned, Reject, query::Params},
    error::Result,
};

type Answer = Result<axum::Json<Value>, Reject>;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/api/stats/user", get(get_user_stats))
        .route("/api/stats/instances/{instanceId}", get(get_instance_stats))
        .route("/api/stats/system", get(get_system_stats))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Today,
    Week,
    Month,
    Year,
    All,
}

impl Period {
    const WORDS: &[(&'static str, Self)] = &[
        ("today", Self::Today),
        ("week", Self::Week),
        ("month", Self::Month),
        ("year", Self::Year),
        ("all", Self::All),
    ];

    /// 00:00 of the first day, today included.
    fn first_day(self, now: Millis) -> Millis {
        let days = match self {
            Self::Today => 1,
            Self::Week => 7,
            Self::Month => 30,
            Self::Year => 365,
            Self::All => return Millis(0),
        };
        Millis(now.day().0 - (days - 1) * DAY_MS)
    }
}

/// `GET /api/stats/user?period=week|month|year|all`, month by default.
async fn get_user_stats(State(app): State<AppState>, caller: Caller, params: Params) -> Answer {
    caller.require(Scope::StatsRead)?;
    let words: Vec<_> = Period::WORDS.iter().copied().filter(|(_, period)| *period != Period::Today).collect();
    let period = params.one_of("period", &words, Period::Month)?;
    let now = app.clock.now();
    let (mut total, mut rows) = (Usage::default(), Vec::new());
    for instance in instance::all_of_user(&app, caller.id()).await? {
        if !caller.covers(&instance.id) {
            continue;
        }
        let usage = stats::total(&app, &instance, period.first_day(now), now.day()).await?;
        total.add(&usage);
        rows.push(with(json!({ "instanceId": instance.id, "name": instance.name }), &usage)?);
    }
    let total = with(json!({ "instanceCount": rows.len() }), &total)?;
    Ok(axum::Json(json!({ "total": total, "instances": rows })))
}

/// `GET /api/stats/instances/{instanceId}?period=today|week|month|year|all`, today by default.
async fn get_instance_stats(State(app): State<AppState>, params: Params, owned: Owned) -> Answer {
    let instance = owned.with(Scope::StatsRead)?.instance;
    let period = params.one_of("period", Period::WORDS, Period::Today)?;
    let now = app.clock.now();
    let mut usage = Usage::default();
    let mut daily = Vec::new();
    for (day, of_day) in window(&app, &instance, period.first_day(now), now.day()).await? {
        usage.add(&of_day);
        daily.push(with(json!({ "date": day.iso() }), &of_day)?);
    }
    Ok(axum::Json(json!({ "usage": with(json!({ "dailyStats": daily }), &usage)? })))
}

/// Every day of the window, zeros included; days before the instance existed are zeros, but for `all`, which begins with it.
async fn window(app: &App, instance: &Instance, from: Millis, to: Millis) -> Result<Vec<(Millis, Usage)>> {
    let born = instance.created_at.day();
    let mut days = Vec::new();
    let mut day = from;
    while from.0 > 0 && day < born && day <= to {
        days.push((day, Usage::default()));
        day = Millis(day.0 + DAY_MS);
    }
    days.extend(stats::daily(app, instance, from, to).await?);
    Ok(days)
}

/// `GET /api/stats/system`: all instances and users, all time. Administrators only.
async fn get_system_stats(State(app): State<AppState>, _: Admin) -> Answer {
    let now = app.clock.now();
    let (mut users, mut active_users, mut instances, mut active) = (0u64, 0u64, 0u64, 0u64);
    let mut usage = Usage::default();
    let mut cursor = None;
    loop {
        let (page, next) = user::list(&app, 500, cursor).await?;
        for user in page {
            users += 1;
            let mut connected = false;
            for instance in instance::all_of_user(&app, &user.id).await? {
                instances += 1;
                active += u64::from(instance.ready());
                connected |= instance.ready();
                usage.add(&stats::total(&app, &instance, Millis(0), now.day()).await?);
            }
            active_users += u64::from(connected);
        }
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    Ok(axum::Json(json!({
        "instances": { "total": instances, "active": active },
        "users": { "total": users, "active": active_users },
        "usage": usage,
    })))
}

fn with(mut base: Value, usage: &Usage) -> Result<Value> {
    if let (Some(base), Value::Object(usage)) =
        (base.as_object_mut(), serde_json::to_value(usage).map_err(Error::from)?)
    {
        base.extend(usage);
    }
    Ok(base)
}
