//! See `crm_backend::fuzzing::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| crm_backend::fuzzing::session(input));
