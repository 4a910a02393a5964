#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    transceiver::signaling::fuzz::request(bytes);
});
