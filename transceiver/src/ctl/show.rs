//! Answers as people read them: one function for each.

use serde_json::Value;
use service::show::words::{date, span};
use service::show::{Side, Table};
use transceiver::control::admin::protocol::Sessions;

/// The sessions, and how many are not shown.
pub(crate) fn sessions(sessions: &Sessions) -> String {
    if sessions.sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let mut table = Table::new([
        ("id", Side::Left),
        ("shard", Side::Right),
        ("state", Side::Left),
        ("backend", Side::Left),
        ("age", Side::Right),
        ("client", Side::Left),
        ("relay", Side::Left),
        ("audio in", Side::Right),
        ("lost", Side::Right),
        ("out", Side::Right),
        ("round trip", Side::Right),
    ]);
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for session in &sessions.sessions {
        table.row([
            session.id.clone(),
            session.shard.to_string(),
            session.state.clone(),
            session.backend.clone(),
            span(session.age_ms / 1_000),
            known(&session.client),
            known(&session.relay),
            session.packets_in.to_string(),
            session.lost_in.to_string(),
            session.packets_out.to_string(),
            session.round_trip_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms")),
        ]);
    }
    let shown = u32::try_from(sessions.sessions.len()).unwrap_or(u32::MAX);
    let more = match sessions.total.saturating_sub(shown) {
        0 => String::new(),
        more => format!("and {more} more: --limit\n"),
    };
    format!("{}{more}", table.text(""))
}

/// All that is known of one session: every field by its name in the JSON, so that nothing that is
/// added there is missing here.
pub(crate) fn session(report: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", report, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, lines);
            }
        }
        Value::Null => lines.push((path.to_owned(), "-".to_owned())),
        Value::String(text) => lines.push((path.to_owned(), text.clone())),
        Value::Number(number) if path.ends_with("_at") => {
            lines.push((path.to_owned(), number.as_u64().map_or_else(|| number.to_string(), date)));
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            lines.push((path.to_owned(), value.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use transceiver::control::admin::protocol::Session;

    #[test]
    fn a_list_says_what_it_leaves_out() {
        let session = Session {
            id: "rtc_a".into(),
            shard: 1,
            state: "connected".into(),
            backend: "echo".into(),
            age_ms: 61_000,
            client: Some("192.0.2.7:5000".into()),
            relay: None,
            packets_in: 3_050,
            packets_out: 3_049,
            lost_in: 1,
            round_trip_ms: Some(23.4),
        };
        let list = Sessions { sessions: vec![session], total: 3 };
        let expected = "\
id     shard  state      backend    age  client          relay  audio in  lost   out  round trip
rtc_a      1  connected  echo     1m 1s  192.0.2.7:5000  -          3050     1  3049       23 ms
and 2 more: --limit
";
        assert_eq!(sessions(&list), expected);
        assert_eq!(sessions(&Sessions { sessions: Vec::new(), total: 0 }), "no sessions\n");
    }

    #[test]
    fn a_session_shows_every_field() {
        let report = json!({
            "id": "rtc_a",
            "created_at": 1_795_243_200,
            "setup_ms": { "dtls": 12.5, "first_audio_in": null },
        });
        let expected = "\
created_at               2026-11-21 06:40:00 UTC
id                       rtc_a
setup_ms.dtls            12.5
setup_ms.first_audio_in  -
";
        assert_eq!(session(&report), expected);
    }
}
