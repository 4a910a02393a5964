#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    transceiver::shard::fuzz::sequence(bytes);
});
