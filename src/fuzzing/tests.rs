//! Replays the seeds of the fuzz targets, so that they stay valid.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Runs every seed of a target.
fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = fs::read_dir(seeds).expect("seeds");
    let mut count = 0;
    for entry in entries {
        run(&fs::read(entry.expect("an entry").path()).expect("a seed"));
        count += 1;
    }
    assert!(count > 0, "no seeds of {target}");
}

#[test]
fn every_seed_of_requests_keeps_the_promises() {
    replay("requests", requests);
}

#[test]
fn every_seed_of_parsers_keeps_the_promises() {
    replay("parsers", parsers);
}

#[test]
fn every_seed_of_session_keeps_the_promises() {
    replay("session", session);
}

#[test]
fn every_request_of_the_contract_is_among_them() {
    let methods = pb::CONTRACT.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let ours = methods.filter(|method| method.parent_service().package_name() == "crm.v1");
    let mut inputs: Vec<_> = ours.map(|method| method.input().name().to_owned()).collect();
    inputs.sort();
    inputs.dedup();
    let mut listed: Vec<_> = generated::REQUESTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(listed, inputs);
}

proptest! {
    /// Random bytes without the fuzzer's feedback; `PROPTEST_CASES` sets the number of cases.
    #[test]
    fn any_bytes_keep_the_promises(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        requests(&bytes);
        parsers(&bytes);
        session(&bytes);
    }
}
