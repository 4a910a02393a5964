#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    relay::core::fuzz::sequence(bytes);
});
