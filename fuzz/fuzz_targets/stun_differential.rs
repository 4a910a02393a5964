#![no_main]

#[path = "../../wire/tests/differential/mod.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    differential::agrees_with_str0m(bytes);
});
