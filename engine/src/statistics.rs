//! What an engine counts. Plain numbers in a plain struct: the thread that owns the engine is the
//! only writer, and publishes them to wherever the scraper reads.

/// Declares the counters once: the field, and its help text, from which the struct, the names and
/// the list of values all follow.
macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// Counters of one engine since it was made.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Statistics {
            $($(#[doc = $help])+ pub $name: u64,)+
        }

        impl Statistics {
            /// Name and help text of each counter, in the order of [`Statistics::values`].
            pub const ROWS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($help),+).trim_ascii_start()),)+];

            /// The values, in the order of [`Statistics::ROWS`].
            pub fn values(&self) -> [u64; Self::ROWS.len()] {
                [$(self.$name,)+]
            }
        }
    };
}

counters! {
    /// Calls of `wait`.
    waits,
    /// Waits that ended because their timeout passed.
    waits_timed_out,
    /// Waits that a waker ended or shortened.
    waker_wakes,
    /// System calls made for waiting, receiving and sending.
    syscalls,
    /// io_uring completions seen.
    completions,
    /// Datagrams delivered.
    datagrams_in,
    /// Payload bytes delivered.
    bytes_in,
    /// Datagrams that the kernel accepted for sending.
    datagrams_out,
    /// Payload bytes that the kernel accepted for sending.
    bytes_out,
    /// Sends handed to the kernel: one GSO send carries many datagrams.
    sends,
    /// Sends that carried more than one datagram (UDP GSO).
    gso_sends,
    /// GSO sends that the kernel refused and that were repeated datagram by datagram.
    gso_fallbacks,
    /// Datagrams not sent because the socket's send buffer or the queue behind it was full.
    send_refused,
    /// Datagrams not sent for any other reason (unreachable, too long, not permitted).
    send_errors,
    /// Received runs that the kernel had glued together (UDP GRO).
    gro_runs,
    /// Datagrams longer than the link's limit: dropped.
    truncated,
    /// Datagrams without a byte in them.
    zero_length,
    /// ICMP errors that the kernel reported on a socket.
    icmp_errors,
    /// Receives that failed for another reason.
    receive_errors,
    /// Times the kernel had a datagram and no buffer to put it in (it stays in the socket).
    buffers_exhausted,
    /// Multishot receives that ended and were armed again.
    rearms,
    /// Times the io_uring completion queue was full.
    completion_overflows,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_values_line_up() {
        let statistics = Statistics { waits: 1, completion_overflows: 9, ..Default::default() };
        let values = statistics.values();
        assert_eq!(Statistics::ROWS[0], ("waits", "Calls of `wait`."));
        assert_eq!((values[0], values[values.len() - 1]), (1, 9));
    }
}
