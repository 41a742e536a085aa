//! Read-only SQL views over the documents, for people with a SQL tool: the names and columns are part of the interface,
//! the tables beneath are not. Dropped and created anew at every start, so they always fit the running version. What each
//! column means is in `VIEWS.md`, beside this crate.
//!
//! Only functions that old SQLite tools know are used (`json_extract`, no `->>`): a view that a tool cannot parse makes the
//! whole file unreadable for it. Nothing here may show a password hash, key, secret, token or sealed value; of URLs that
//! users gave, only scheme and host.

#[cfg(test)]
mod tests;

use rusqlite::Connection;

/// A view: its columns over the rows that `from` yields.
struct View {
    name: &'static str,
    columns: &'static [(&'static str, Column)],
    from: &'static str,
}

/// Where the value of a column comes from.
enum Column {
    /// A field of `doc`, by its path. Booleans become 0 and 1.
    Field(&'static str),
    /// A boolean field that is absent when false.
    Flag(&'static str),
    /// Whether a field is there, for what must not be shown itself.
    Has(&'static str),
    /// A time in milliseconds, as ISO 8601 with milliseconds and `Z`.
    Time(&'static str),
    /// A list of texts, joined by commas; NULL when absent or empty.
    List(&'static str),
    Sql(&'static str),
}

use Column::{Field, Flag, Has, List, Sql, Time};

impl Column {
    fn sql(&self) -> String {
        match self {
            Field(path) => format!("json_extract(doc, '$.{path}')"),
            Flag(path) => format!("coalesce(json_extract(doc, '$.{path}'), 0)"),
            Has(path) => format!("json_extract(doc, '$.{path}') IS NOT NULL"),
            Time(path) => {
                format!("strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(doc, '$.{path}') / 1000.0, 'unixepoch')")
            }
            List(path) => format!("(SELECT group_concat(value, ',') FROM json_each(doc, '$.{path}'))"),
            Sql(sql) => (*sql).to_owned(),
        }
    }
}

const VIEWS: &[View] = &[
    View {
        name: "users",
        columns: &[
            ("id", Field("id")),
            ("email", Field("email")),
            ("username", Field("username")),
            ("first_name", Field("firstName")),
            ("last_name", Field("lastName")),
            ("role", Field("role")),
            ("disabled", Flag("disabled")),
            ("allowed_ips", List("allowedIps")),
            ("created_at", Time("createdAt")),
            ("updated_at", Time("updatedAt")),
        ],
        // Scoped keys lie beside the user.
        from: "items WHERE pk >= 'U#' AND pk < 'U$' AND sk = '.'",
    },
    View {
        name: "instances",
        columns: &[
            ("id", Field("id")),
            ("user_id", Field("userId")),
            ("name", Field("name")),
            ("description", Field("description")),
            ("platform", Field("platform")),
            ("transport", Field("transport")),
            ("mode", Field("mode")),
            ("status", Field("status")),
            ("reason", Field("reason")),
            ("status_at", Time("statusAt")),
            ("paired", Flag("paired")),
            ("address", Field("address")),
            ("account_name", Field("accountName")),
            ("has_qr", Has("qr")),
            ("has_credentials", Has("credentials")),
            ("has_proxy", Has("proxy")),
            // Paths of webhook URLs are secrets with many services. The stored form always has a slash after the host.
            (
                "webhook_origin",
                Sql("substr(json_extract(doc, '$.webhook.url'), 1,
                     7 + instr(substr(json_extract(doc, '$.webhook.url'), 9) || '/', '/'))"),
            ),
            ("webhook_enabled", Field("webhook.enabled")),
            ("notify_received", Field("webhook.notifyReceived")),
            ("notify_sent", Field("webhook.notifySent")),
            ("notify_delivery", Field("webhook.notifyDelivery")),
            ("notify_read", Field("webhook.notifyRead")),
            ("max_retries", Field("webhook.maxRetries")),
            ("retry_interval", Field("webhook.retryInterval")),
            ("webhook_events", List("webhook.events")),
            ("webhook_disabled_reason", Field("webhook.disabledReason")),
            ("last_seen_at", Time("lastSeenAt")),
            ("created_at", Time("createdAt")),
            ("updated_at", Time("updatedAt")),
        ],
        from: "items WHERE pk >= 'I#' AND pk < 'I$' AND sk = 'meta' AND json_extract(doc, '$.deleting') IS NULL",
    },
    View {
        name: "messages",
        columns: &[
            ("id", Field("id")),
            ("instance_id", Field("instanceId")),
            ("message_id", Sql("coalesce(json_extract(doc, '$.platformId'), json_extract(doc, '$.pmid'))")),
            ("chat_id", Field("remoteJid")),
            ("is_group", Field("isGroup")),
            ("from_me", Field("fromMe")),
            ("sender", Field("sender")),
            ("push_name", Field("pushName")),
            ("type", Field("kind")),
            // As `Content::text`.
            (
                "text",
                Sql("coalesce(CASE json_extract(content, '$.kind')
                         WHEN 'text' THEN json_extract(content, '$.text')
                         WHEN 'foreign' THEN json_extract(content, '$.text')
                         WHEN 'media' THEN json_extract(content, '$.caption')
                         WHEN 'poll' THEN json_extract(content, '$.question')
                         WHEN 'location' THEN json_extract(content, '$.name')
                         WHEN 'contact' THEN json_extract(content, '$.name')
                     END, '')"),
            ),
            ("media_id", Sql("json_extract(content, '$.mediaId')")),
            ("mime_type", Sql("json_extract(content, '$.mime')")),
            ("file_name", Sql("json_extract(content, '$.filename')")),
            ("media_size", Sql("json_extract(content, '$.size')")),
            ("latitude", Sql("json_extract(content, '$.latitude')")),
            ("longitude", Sql("json_extract(content, '$.longitude')")),
            ("contact_phone", Sql("json_extract(content, '$.phone')")),
            ("quoted_message_id", Field("quoted")),
            // As `Message::status_now` and `Message::reason_now`.
            ("status", Sql("CASE WHEN expired THEN 'failed' ELSE json_extract(doc, '$.status') END")),
            ("reason", Sql("CASE WHEN expired THEN 'expired' ELSE json_extract(doc, '$.reason') END")),
            ("status_at", Time("statusAt")),
            ("edited", Flag("edited")),
            ("revoked", Flag("revoked")),
            ("send_at", Time("sendAt")),
            ("created_at", Time("at")),
            ("updated_at", Time("updatedAt")),
        ],
        // Reactions, edits and revokes are rows of the same shape, but no messages; aliases have no kind at all.
        from: "(
            SELECT
                head.doc AS doc,
                coalesce(json_extract(body.doc, '$.content'), json_extract(head.doc, '$.content')) AS content,
                json_extract(head.doc, '$.status') = 'pending'
                    AND coalesce(json_extract(head.doc, '$.sendAt'), json_extract(head.doc, '$.at')) + 86400000
                        < CAST(strftime('%s', 'now') AS INTEGER) * 1000 AS expired
            FROM items AS head
            LEFT JOIN items AS body
                ON json_extract(head.doc, '$.body') IS NOT NULL
                AND body.pk = 'MB' || substr(head.pk, 2)
                AND body.sk = head.sk || '#' || json_extract(head.doc, '$.body')
            WHERE head.pk >= 'M#' AND head.pk < 'M$'
                AND json_extract(head.doc, '$.kind') NOT IN ('reaction', 'edit', 'revoke')
        )",
    },
    View {
        name: "contacts",
        columns: &[
            ("instance_id", Sql("substr(pk, 4)")),
            ("id", Field("address")),
            ("name", Field("name")),
            (
                "number",
                Sql("substr(json_extract(doc, '$.address'), 1, instr(json_extract(doc, '$.address') || '@', '@') - 1)"),
            ),
            ("avatar", Field("avatar")),
            ("is_group", Field("isGroup")),
            ("synced_at", Time("syncedAt")),
        ],
        from: "items WHERE pk >= 'CT#' AND pk < 'CT$'",
    },
    View {
        name: "rooms",
        columns: &[
            ("instance_id", Sql("instance_id")),
            ("id", Sql("id")),
            ("name", Sql("coalesce(nullif(max(contact_name), ''), max(chat_name), '')")),
            ("avatar", Sql("coalesce(max(avatar), '')")),
            ("last_message_at", Sql("strftime('%Y-%m-%dT%H:%M:%fZ', max(last_at) / 1000.0, 'unixepoch')")),
        ],
        // A group is known from the contact list, from its messages, or from both.
        from: "(
            SELECT substr(pk, 4) AS instance_id, json_extract(doc, '$.address') AS id,
                json_extract(doc, '$.name') AS contact_name, NULL AS chat_name,
                json_extract(doc, '$.avatar') AS avatar, NULL AS last_at
            FROM items WHERE pk >= 'CT#' AND pk < 'CT$' AND json_extract(doc, '$.isGroup') = 1
            UNION ALL
            SELECT substr(pk, 3), json_extract(doc, '$.addresses[0]'), NULL, json_extract(doc, '$.name'), NULL,
                json_extract(doc, '$.lastAt')
            FROM items WHERE pk >= 'C#' AND pk < 'C$' AND json_extract(doc, '$.isGroup') = 1
            UNION ALL
            SELECT substr(pk, 3), json_extract(doc, '$.address'), json_extract(doc, '$.name'), NULL,
                json_extract(doc, '$.avatar'), NULL
            FROM items WHERE pk >= 'R#' AND pk < 'R$'
        ) GROUP BY instance_id, id",
    },
    View {
        name: "unknown_notifications",
        columns: &[
            ("instance_id", Sql("substr(pk, 4)")),
            ("id", Sql("sk")),
            ("type", Field("kind")),
            ("data", Field("data")),
            ("received_at", Time("at")),
        ],
        from: "items WHERE pk >= 'JK#' AND pk < 'JK$'",
    },
    View {
        name: "groups",
        columns: &[
            ("id", Field("id")),
            ("channel", Field("key")),
            ("owner_id", Field("owner")),
            ("name", Field("name")),
            ("avatar", Field("avatar")),
            ("member_count", Sql("(SELECT count(*) FROM items AS member WHERE member.pk = 'CM#' || json_extract(grp.doc, '$.key'))")),
            ("last_seq", Field("lastSeq")),
            (
                "last_message_at",
                Sql("CASE WHEN json_extract(doc, '$.lastSeq') > 0
                     THEN strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(doc, '$.lastAt') / 1000.0, 'unixepoch') END"),
            ),
            ("created_at", Time("createdAt")),
        ],
        from: "items AS grp WHERE grp.pk >= 'CG#' AND grp.pk < 'CG$' AND json_extract(grp.doc, '$.deleted') IS NULL",
    },
    View {
        name: "im_messages",
        columns: &[
            ("message_id", Field("d.i")),
            ("channel", Sql("channel")),
            ("channel_type", Sql("CASE WHEN peers IS NULL THEN 2 ELSE 1 END")),
            // To whom: the other one of the two users, or the group.
            (
                "channel_id",
                Sql("CASE WHEN peers IS NULL
                     THEN (SELECT json_extract(grp.doc, '$.id') FROM items AS grp WHERE grp.pk = 'CG#' || grp_hash AND grp.sk = '.')
                     WHEN substr(peers, 1, instr(peers, '@') - 1) = json_extract(doc, '$.d.f')
                     THEN substr(peers, instr(peers, '@') + 1)
                     ELSE substr(peers, 1, instr(peers, '@') - 1) END"),
            ),
            ("seq", Sql("seq")),
            ("from_id", Field("d.f")),
            ("client_msg_no", Field("d.n")),
            ("content_type", Sql("coalesce(said, 'custom')")),
            ("content", Sql("CASE WHEN said IS NULL THEN '' ELSE coalesce(json_extract(text, '$.content'), '') END")),
            ("image_url", Sql("CASE said WHEN 'image' THEN json_extract(text, '$.url') END")),
            ("payload", Field("d.u")),
            ("payload_base64", Field("d.p")),
            ("timestamp", Time("at")),
        ],
        // Entries of the channels' logs: several an item, whose sort key is the number of its first. What a payload says is
        // decided as in `domain::im::content::read`.
        from: "(
            SELECT doc, text, seq, channel,
                CASE WHEN channel >= 'p' AND channel < 'q' THEN substr(channel, 2) END AS peers,
                CASE WHEN channel >= 'g' AND channel < 'h'
                    THEN rtrim(rtrim(substr(channel, 2), '0123456789'), '-') END AS grp_hash,
                CASE WHEN NOT json_valid(text) OR json_type(text, '$.type') != 'integer' THEN NULL
                    WHEN json_extract(text, '$.type') = 1 AND json_type(text, '$.content') = 'text' THEN 'text'
                    WHEN json_extract(text, '$.type') = 2 AND json_type(text, '$.url') = 'text' THEN 'image' END AS said
            FROM (
                SELECT entry.value AS doc, json_extract(entry.value, '$.d.u') AS text,
                    CAST(log.sk AS INTEGER) + entry.key AS seq,
                    substr(log.pk, 6, instr(substr(log.pk, 6), '#') - 1) AS channel
                FROM items AS log JOIN json_each(log.doc, '$.e') AS entry
                WHERE log.pk >= 'E#im:' AND log.pk < 'E#im;'
            )
        )",
    },
    View {
        name: "webhook_deliveries",
        columns: &[
            ("id", Field("id")),
            ("instance_id", Field("instanceId")),
            ("endpoint", Field("endpoint")),
            ("event_id", Field("eventId")),
            ("seq", Field("seq")),
            ("event", Field("event")),
            ("event_at", Time("eventAt")),
            ("status", Field("status")),
            ("tries", Field("tries")),
            ("last_outcome", Field("attempts[#-1].outcome")),
            ("last_status_code", Field("attempts[#-1].statusCode")),
            ("last_duration_ms", Field("attempts[#-1].durationMs")),
            ("last_attempt_at", Time("attempts[#-1].at")),
            ("next_attempt_at", Time("nextAttemptAt")),
            ("webhook_origin", Field("url")),
            ("created_at", Time("createdAt")),
            ("updated_at", Time("updatedAt")),
        ],
        from: "items WHERE pk >= 'D#' AND pk < 'D$'",
    },
    View {
        name: "daily_stats",
        columns: &[
            ("instance_id", Sql("instance_id")),
            (
                "date",
                Sql("substr(day, 1, 4) || '-' || substr(day, 5, 2) || '-' || substr(day, 7, 2) || 'T00:00:00.000Z'"),
            ),
            ("messages_sent", Sql("sum(sent)")),
            ("messages_received", Sql("sum(received)")),
            ("media_sent", Sql("sum(media_sent)")),
            ("media_received", Sql("sum(media_received)")),
            ("total_media_size", Sql("sum(size)")),
            ("api_calls", Sql("sum(calls)")),
            // Records of deliveries expire after a year, what is remembered of their number does not.
            ("webhook_sent", Sql("max(sum(delivered), max(remembered))")),
        ],
        // The places that `domain::stats::daily` reads: folded rows; entries of the log that no row has yet (folding is far
        // less than four buckets behind, and a row may be ahead of the mark); calls; deliveries.
        from: "(
            SELECT substr(pk, 4) AS instance_id, sk AS day,
                json_extract(doc, '$.messagesSent') AS sent, json_extract(doc, '$.messagesReceived') AS received,
                json_extract(doc, '$.mediaSent') AS media_sent, json_extract(doc, '$.mediaReceived') AS media_received,
                json_extract(doc, '$.totalMediaSize') AS size, json_extract(doc, '$.apiCalls') AS calls,
                0 AS delivered, 0 AS remembered
            FROM items WHERE pk >= 'ST#' AND pk < 'ST$'
            UNION ALL
            SELECT fresh.instance_id, fresh.day,
                coalesce(json_extract(delta, '$.messagesSent'), 0), coalesce(json_extract(delta, '$.messagesReceived'), 0),
                coalesce(json_extract(delta, '$.mediaSent'), 0), coalesce(json_extract(delta, '$.mediaReceived'), 0),
                coalesce(json_extract(delta, '$.totalMediaSize'), 0), coalesce(json_extract(delta, '$.apiCalls'), 0), 0, 0
            FROM (
                SELECT tail.instance_id, CAST(log.sk AS INTEGER) + entry.key AS seq, one.value AS delta,
                    strftime('%Y%m%d', json_extract(one.value, '$.day') / 1000, 'unixepoch') AS day
                FROM (
                    SELECT substr(meta.pk, 3) AS instance_id, coalesce(json_extract(owner.doc, '$.foldedUpto'), 0) AS mark
                    FROM items AS meta LEFT JOIN items AS owner ON owner.pk = meta.pk AND owner.sk = 'owner'
                    WHERE meta.pk >= 'I#' AND meta.pk < 'I$' AND meta.sk = 'meta'
                ) AS tail
                JOIN (SELECT 0 AS step UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS bucket
                JOIN items AS log
                    ON log.pk = 'E#' || tail.instance_id || '#' || (tail.mark / 4096 + bucket.step)
                    AND log.sk >= printf('%012d', max(tail.mark - 23, 0))
                JOIN json_each(log.doc, '$.e') AS entry
                JOIN json_each(json_insert(coalesce(json_extract(entry.value, '$.h'), '[]'), '$[#]', json_extract(entry.value, '$.s'))) AS one
                WHERE seq > tail.mark AND one.type = 'object'
            ) AS fresh
            LEFT JOIN items AS folded ON folded.pk = 'ST#' || fresh.instance_id AND folded.sk = fresh.day
            WHERE fresh.seq > coalesce(json_extract(folded.doc, '$.upto'), 0)
            UNION ALL
            SELECT substr(pk, 4), sk, 0, 0, 0, 0, 0, json_extract(doc, '$.calls'), 0, 0
            FROM items WHERE pk >= 'SC#' AND pk < 'SC$'
            UNION ALL
            SELECT substr(pk, 3, length(pk) - 11), substr(pk, -8), 0, 0, 0, 0, 0, 0,
                json_extract(doc, '$.status') = 'delivered', 0
            FROM items WHERE pk >= 'D#' AND pk < 'D$'
            UNION ALL
            SELECT substr(pk, 4), sk, 0, 0, 0, 0, 0, 0, 0, coalesce(json_extract(doc, '$.count'), 0)
            FROM items WHERE pk >= 'DC#' AND pk < 'DC$'
        ) GROUP BY instance_id, day",
    },
];

/// Replaces all views of the file by [`VIEWS`].
pub(crate) fn recreate(conn: &Connection) -> rusqlite::Result<()> {
    let old: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in old {
        conn.execute_batch(&format!("DROP VIEW IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
    }
    for View { name, columns, from } in VIEWS {
        let columns: Vec<_> = columns.iter().map(|(name, column)| format!("{} AS \"{name}\"", column.sql())).collect();
        conn.execute_batch(&format!("CREATE VIEW \"{name}\" AS SELECT {} FROM {from}", columns.join(", ")))?;
    }
    Ok(())
}
