//! The command line of `ctl`.

use clap::Subcommand;
use transceiver::control::admin::protocol::{Request, SESSIONS_DEFAULT};

pub(crate) const EXAMPLES: &str = "\
Examples:
  ringway-transceiver ctl status                        How is it?
  ringway-transceiver ctl top                           The same, every second
  ringway-transceiver ctl sessions                      Who is talking?
  ringway-transceiver ctl session rtc_4k5lq3…           How is that call, and how was it set up?
  ringway-transceiver ctl hangup rtc_4k5lq3…            End it
  ringway-transceiver ctl drain                         Before maintenance: take no new calls
  ringway-transceiver ctl --json status | jq '.drops[0]'   The most frequent reason for drops

The socket is that of --socket (or RINGWAY_ADMIN_SOCKET), else admin.socket of --config, else
/run/ringway/transceiver.sock. Who may use it is decided by its mode and group.";

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Show how the transceiver is: shards, rates, drops. Takes a second, to measure rates.
    Status {
        /// In one line: calls, audio packets a second, cores used.
        #[arg(long)]
        line: bool,
    },
    /// Show the status anew every second, until Ctrl-C.
    Top,
    /// List sessions.
    Sessions {
        /// The most of each shard, up to 1000.
        #[arg(long, value_name = "COUNT", default_value_t = SESSIONS_DEFAULT)]
        limit: usize,
    },
    /// Show all about one session.
    Session {
        /// The call's id, from `sessions` or from the Location that signaling answered with.
        id: String,
    },
    /// End a call.
    Hangup {
        /// The call's id.
        id: String,
    },
    /// Take no new calls, and fail /ready; the present calls go on.
    Drain,
    /// Take new calls again.
    Undrain,
    /// Read configuration and keys again, and say what changed and what takes a restart.
    Reload,
}

impl Question {
    /// The question as the transceiver understands it.
    pub(crate) fn request(&self) -> Request {
        match self {
            Self::Status { .. } => Request::Status,
            Self::Top => Request::Top,
            Self::Sessions { limit } => Request::Sessions { limit: *limit },
            Self::Session { id } => Request::Session { id: id.clone() },
            Self::Hangup { id } => Request::Hangup { id: id.clone() },
            Self::Drain => Request::Drain,
            Self::Undrain => Request::Undrain,
            Self::Reload => Request::Reload,
        }
    }
}
