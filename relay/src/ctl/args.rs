//! The command line of `ctl`.

use std::net::SocketAddr;

use clap::{Args as ClapArgs, Subcommand};
use relay::control::admin::protocol::{
    ClientAddress, Cursor, FLOWS_PAGE_DEFAULT, Request, TracedPacket,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  ringway-relay ctl status                           How is it?
  ringway-relay ctl top                              The same, every second
  ringway-relay ctl flow 192.0.2.7:51004             Where do this client's packets go?
  ringway-relay ctl trace 192.0.2.7:51004 --ufrag A4kP0vVb2mQxJ8sT1rLw9Zc
                                                     What would become of its first check?
  ringway-relay ctl drain                            Before maintenance: take no new flows
  ringway-relay ctl --json status | jq '.drops[0]'   The most frequent reason for drops

The socket is that of --socket (or RINGWAY_ADMIN_SOCKET), else admin.socket of --config, else
/run/ringway/relay.sock. Who may use it is decided by its mode and group.";

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Show how the relay is: workers, rates, drops, shards. Takes a second, to measure rates.
    Status,
    /// Show the status anew every second, until Ctrl-C.
    Top,
    /// List flows, a page at a time.
    #[command(after_help = FLOWS_EXAMPLES)]
    Flows {
        /// Only those of this worker.
        #[arg(long, value_name = "NUMBER")]
        worker: Option<usize>,
        /// Go on where the page before ended.
        #[arg(long, value_name = "WORKER:SLOT")]
        from: Option<Cursor>,
        /// The most flows on the page.
        #[arg(long, value_name = "COUNT", default_value_t = FLOWS_PAGE_DEFAULT)]
        limit: u32,
    },
    /// Show the flows of a client, on whichever workers they are.
    Flow(Client),
    /// List the shards that the relay talks to, with their round trips.
    Peers,
    /// Take no new flows, and fail /ready; the present flows go on.
    Drain,
    /// Take new flows again.
    Undrain,
    /// Read configuration and keys again, and say what changed and what takes a restart.
    Reload,
    /// Hand over to a new process of the program, of whatever version is installed by now: it takes
    /// sockets and flows, and no packet is lost. If it fails its checks, the present one goes on.
    #[command(after_help = UPGRADE_NOTES)]
    Upgrade,
    /// Say what a ufrag means, with the keys of the running relay.
    Decode {
        /// The ufrag, from the SDP answer (a=ice-ufrag) or before the colon of a USERNAME.
        ufrag: String,
    },
    /// Say what would become of a packet, step by step, and change nothing.
    #[command(after_help = TRACE_EXAMPLES)]
    Trace(Trace),
    /// Free the flows of a client: its next check makes a new one.
    Forget(Client),
}

const FLOWS_EXAMPLES: &str = "\
Examples:
  ringway-relay ctl flows --limit 1000
  ringway-relay ctl flows --from 0:1000        The next page, as the page before says at its end";

const UPGRADE_NOTES: &str = "\
The new process is started with the same path and arguments, and reads the configuration anew. The
addresses, the tunnel's ports and the number of workers must be as they are: else it says what
differs, and nothing changes. SIGUSR2 does the same, and so does SIGHUP (systemctl reload) once another
program is where the one that runs was started from.";

const TRACE_EXAMPLES: &str = "\
Examples:
  ringway-relay ctl trace 192.0.2.7:51004 --ufrag A4kP0vVb2mQxJ8sT1rLw9Zc
  ringway-relay ctl trace 192.0.2.7:51004 --hex 806f0001000000020000000300
  ringway-relay ctl trace [2001:db8::7]:51004 --listener 1 --hex '16 fe fd'";

/// Whose flow.
#[derive(Debug, ClapArgs)]
pub(crate) struct Client {
    /// The client's address as the relay sees it: 192.0.2.7:51004 or [2001:db8::7]:51004.
    #[arg(value_name = "ADDRESS")]
    client: SocketAddr,
    /// Only by this listener: its place in `listen`, from 0.
    #[arg(long, value_name = "NUMBER")]
    listener: Option<u8>,
}

impl Client {
    const fn address(&self) -> ClientAddress {
        ClientAddress { client: self.client, listener: self.listener }
    }
}

/// Which packet.
#[derive(Debug, ClapArgs)]
pub(crate) struct Trace {
    #[command(flatten)]
    client: Client,
    #[command(flatten)]
    packet: Packet,
}

/// One of the two.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Packet {
    /// The connectivity check of a client that has this ufrag from its SDP answer.
    #[arg(long)]
    ufrag: Option<String>,
    /// These bytes; spaces and colons between them are fine.
    #[arg(long, value_name = "DIGITS")]
    hex: Option<String>,
}

impl Question {
    /// The question as the relay understands it.
    pub(crate) fn request(&self) -> Request {
        match self {
            Self::Status => Request::Status,
            Self::Top => Request::Top,
            Self::Flows { worker, from, limit } => {
                Request::Flows { worker: *worker, from: *from, limit: *limit }
            }
            Self::Flow(client) => Request::Flow(client.address()),
            Self::Peers => Request::Peers,
            Self::Drain => Request::Drain,
            Self::Undrain => Request::Undrain,
            Self::Reload => Request::Reload,
            Self::Upgrade => Request::Upgrade,
            Self::Decode { ufrag } => Request::Decode { ufrag: ufrag.clone() },
            Self::Trace(Trace { client, packet }) => Request::Trace {
                client: client.client,
                listener: client.listener,
                packet: match (&packet.ufrag, &packet.hex) {
                    (Some(ufrag), _) => TracedPacket::Ufrag(ufrag.clone()),
                    // clap has seen to it that there is one.
                    (None, hex) => TracedPacket::Hex(hex.clone().unwrap_or_default()),
                },
            },
            Self::Forget(client) => Request::Forget(client.address()),
        }
    }
}
