//! One suite that every engine passes. Each test is written once, against the interface, and runs
//! once per engine; where one does not apply to an engine it says why.
//!
//! The tests cause what the engines must survive rather than assume it: most of them are pitfalls
//! that real relays fell into.

// Helpers are not recognised as test code, which may unwrap and print.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod harness;

mod delivery;
mod hostile;
mod memory;
mod sending;
mod waiting;

#[global_allocator]
static HEAP: engine::heap::Counting = engine::heap::Counting;

/// Instantiates the tests for each engine.
macro_rules! suite {
    ($($module:ident: $($test:ident)+;)+) => {
        suite!(@engine mmsg, crate::harness::Subject::Mmsg; $($module: $($test)+;)+);
        suite!(@engine uring, crate::harness::Subject::Uring(None); $($module: $($test)+;)+);
        suite!(
            @engine uring_cooperative,
            crate::harness::Subject::Uring(Some(engine::TaskRun::Cooperative));
            $($module: $($test)+;)+
        );
        suite!(
            @engine uring_interrupting,
            crate::harness::Subject::Uring(Some(engine::TaskRun::Interrupting));
            $($module: $($test)+;)+
        );
        suite!(@engine sim, crate::harness::Subject::Sim; $($module: $($test)+;)+);
    };
    (@engine $engine:ident, $subject:expr; $($module:ident: $($test:ident)+;)+) => {
        mod $engine {
            $($(
                #[test]
                fn $test() {
                    if let Some(harness) = crate::harness::Harness::new($subject) {
                        crate::$module::$test(&harness);
                    }
                }
            )+)+
        }
    };
}

suite! {
    delivery:
        replies_reach_the_sender
        datagrams_of_one_source_keep_their_order
        many_sources_are_told_apart
        ipv6_works
        links_are_told_apart
        long_datagrams_arrive_whole
        arrivals_can_be_changed_in_place
        what_is_not_read_stays
        kernel_timestamps_come_and_go
        a_glued_run_arrives_split
        nothing_is_lost_between_two_engines_on_one_socket
        an_engine_may_move_before_its_first_wait
        an_engine_may_be_dropped_by_another_thread;
    waiting:
        a_timeout_ends_a_wait
        no_timeout_looks_once
        one_wait_brings_a_whole_batch
        a_wake_ends_a_wait
        a_wake_before_the_wait_counts
        coalescing_gathers_a_batch
        a_full_batch_ends_coalescing
        coalescing_does_not_swallow_all_there_is;
    hostile:
        empty_datagrams_are_normal
        truncated_datagrams_are_counted_and_never_delivered
        ring_starvation_leaves_nothing_stuck
        a_full_receive_buffer_is_counted_by_the_kernel
        icmp_errors_stop_nothing_on_an_unconnected_link
        icmp_errors_stop_nothing_on_a_connected_link
        many_icmp_errors_leave_room_for_datagrams
        a_socket_shut_down_is_an_error_and_no_busy_loop
        a_tiny_completion_queue_loses_nothing;
    sending:
        bursts_to_one_destination_arrive_as_they_were_queued
        bursts_leave_as_gso_sends
        gso_that_is_refused_is_repeated_and_then_left
        one_unreachable_destination_harms_no_other
        a_full_send_buffer_is_counted_and_passes
        a_full_outbox_is_flushed_and_goes_on
        what_was_flushed_leaves_even_if_the_engine_goes
        connected_links_send_to_their_peer
        datagrams_leave_from_the_address_that_is_asked_for;
    memory:
        steady_state_allocates_nothing
        dropping_an_engine_with_unread_arrivals_is_fine
        engines_whose_halves_were_swapped_refuse_to_run;
}
