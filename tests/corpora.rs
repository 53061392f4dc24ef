//! The committed corpora of the fuzz targets, replayed through the same bodies. Fuzzing itself needs
//! a nightly toolchain and time (`fuzz/README.md`); what it has found so far needs neither.
#![cfg(debug_assertions)] // `Broker::check` and `Tree::check` are not in a release build

#[path = "fuzz/src/lib.rs"]
#[allow(dead_code)]
mod fuzz;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// Gives every input of one corpus to its body, in the order of their names.
fn replay(target: &str, body: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("no corpus in {}: {error}", directory.display()));
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    for input in &inputs {
        let bytes = fs::read(input).unwrap();
        if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| body(&bytes))) {
            eprintln!("{target} fails at {}", input.display());
            panic::resume_unwind(cause);
        }
    }
    println!("{target}: {} inputs replayed", inputs.len());
}

#[test]
fn the_corpus_of_packets_passes() {
    replay("packets", fuzz::packets::run);
}

#[test]
fn the_corpus_of_cuts_passes() {
    replay("cuts", fuzz::cuts::run);
}

#[test]
fn the_corpus_of_conversations_passes() {
    replay("conversation", fuzz::conversation::run);
}

#[test]
fn the_corpus_of_topics_passes() {
    replay("topics", fuzz::topics::run);
}

#[test]
fn the_corpus_of_proxy_passes() {
    replay("proxy", fuzz::proxy::run);
}

#[test]
fn the_corpus_of_upgrade_passes() {
    replay("upgrade", fuzz::upgrade::run);
}

#[test]
fn the_corpus_of_frames_passes() {
    replay("frames", fuzz::frames::run);
}
