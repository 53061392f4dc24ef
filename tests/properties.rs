//! Random runs of eight clients against a plain model of what each of them is due
//! (`model/mod.rs`), the broker's own bookkeeping checked after every step. A run that fails is
//! shortened and printed with its seed:
//!
//! ```text
//!   MIDGE_SEED=17 cargo test --test properties              repeats a run (MIDGE_TRACE=1: in full)
//!   MIDGE_SEED=100 MIDGE_RUNS=5000 cargo test …             other runs than the usual ones
//!   CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true MIDGE_SEED=… MIDGE_RUNS=… \
//!       cargo test --release --test properties              a great many of them
//! ```
#![cfg(debug_assertions)] // `Broker::check` is not in a release build

mod model;
mod table;

use model::run::step::{Body, FILTERS, Step, TOPICS, WillStep};
use model::run::{CLIENTS, Run};
use model::{FOREVER, Rules};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use table::{V5, V31, V311};

/// Runs of each test, unless `MIDGE_RUNS` says otherwise.
const RUNS: u64 = 80;

/// Some are busier than others.
fn who() -> impl Strategy<Value = usize> {
    prop_oneof![0..3usize, 0..CLIENTS - 1]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        9 => Just(Body::Short),
        1 => Just(Body::Empty),
        2 => Just(Body::Big),
    ]
}

fn will() -> impl Strategy<Value = WillStep> {
    let expiry_s = option::weighted(0.2, select(vec![1, 3, 60]));
    let delay_s = select(vec![0, 0, 2, 20, 100]);
    (body(), 0..3u8, any::<bool>(), delay_s, expiry_s).prop_map(
        |(body, qos, retain, delay_s, expiry_s)| WillStep {
            body,
            qos,
            retain,
            delay_s,
            expiry_s,
        },
    )
}

fn a_connect() -> impl Strategy<Value = Step> {
    let terms = (
        select(vec![V31, V311, V5, V5]),
        prop::bool::weighted(0.3),
        select(vec![0, 5, 50, 50, FOREVER]),
        select(vec![0, 0, 1, 2, 5, 50]),
        select(vec![0, 0, 2, 50]),
        select(vec![0, 0, 0, 10, 30]),
    );
    (who(), terms, option::of(will())).prop_map(|(who, terms, will)| {
        let (version, clean, expiry_s, receive_maximum, alias_maximum, keep_alive_s) = terms;
        Step::Connect {
            who,
            version,
            clean,
            expiry_s,
            receive_maximum,
            alias_maximum,
            keep_alive_s,
            will,
        }
    })
}

fn a_subscribe() -> impl Strategy<Value = Step> {
    let bits = (prop::bool::weighted(0.2), any::<bool>(), 0..3u8);
    let filter = (0..FILTERS.len(), 0..3u8, bits);
    let filter = filter.prop_map(|(filter, qos, (no_local, as_published, handling))| {
        (filter, qos, no_local, as_published, handling)
    });
    let identifier = select(vec![0, 0, 1, 2, 300]);
    (who(), vec(filter, 1..4), identifier).prop_map(|(who, filters, identifier)| Step::Subscribe {
        who,
        filters,
        identifier,
    })
}

fn a_publish() -> impl Strategy<Value = Step> {
    let what = (0..TOPICS.len(), 0..3u8, prop::bool::weighted(0.3), body());
    let expiry_s = option::weighted(0.2, select(vec![1, 4, 30]));
    let alias = prop_oneof![2 => Just(0), 1 => 1..11u16];
    let count = prop_oneof![6 => Just(1), 1 => 2..30usize];
    (who(), what, expiry_s, alias, count).prop_map(|(who, what, expiry_s, alias, count)| {
        let (topic, qos, retain, body) = what;
        Step::Publish {
            who,
            topic,
            qos,
            retain,
            body,
            expiry_s,
            alias,
            count,
        }
    })
}

/// Enough to overflow the write queue of who does not read.
fn a_flood() -> impl Strategy<Value = Step> {
    (who(), 0..TOPICS.len(), 0..2u8).prop_map(|(who, topic, qos)| Step::Publish {
        who,
        topic,
        qos,
        retain: false,
        body: Body::Huge,
        expiry_s: None,
        alias: 0,
        count: 3,
    })
}

fn a_disconnect() -> impl Strategy<Value = Step> {
    let expiry_s = option::weighted(0.3, select(vec![0, 5, 500]));
    (who(), any::<bool>(), expiry_s).prop_map(|(who, with_will, expiry_s)| Step::Disconnect {
        who,
        with_will,
        expiry_s,
    })
}

fn an_acknowledgement() -> impl Strategy<Value = Step> {
    (who(), 0..30usize, prop::bool::weighted(0.2))
        .prop_map(|(who, which, refuse)| Step::Acknowledge { who, which, refuse })
}

fn a_step() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![4 => 1..10u64, 1 => 10..200u64];
    let filters = vec(0..FILTERS.len(), 1..4);
    prop_oneof![
        200 => a_publish(),
        100 => a_connect(),
        80 => a_subscribe(),
        25 => (who(), filters).prop_map(|(who, filters)| Step::Unsubscribe { who, filters }),
        30 => who().prop_map(Step::Drop),
        12 => a_disconnect(),
        3 => who().prop_map(Step::Babble),
        12 => (who(), 0..9usize).prop_map(|(who, which)| Step::Repeat(who, which)),
        3 => who().prop_map(Step::ReleaseNothing),
        30 => who().prop_map(Step::StopAcknowledging),
        20 => who().prop_map(Step::StartAcknowledging),
        60 => an_acknowledgement(),
        30 => (who(), 0..9usize).prop_map(|(who, which)| Step::AcknowledgeLate(who, which)),
        15 => who().prop_map(Step::Stall),
        15 => who().prop_map(Step::ReadAgain),
        1 => a_flood(),
        30 => seconds.prop_map(Step::Pass),
        8 => Just(Step::Crash),
    ]
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs of the test with this number, with seeds from `MIDGE_SEED` (or else 1) on.
fn check(test: u64, rules: Rules) {
    let seed = number("MIDGE_SEED");
    let runs = number("MIDGE_RUNS").unwrap_or(if seed.is_some() { 1 } else { RUNS });
    let first = seed.unwrap_or(1);
    for seed in first..first + runs {
        check_one(test, seed, rules);
    }
}

fn check_one(test: u64, seed: u64, rules: Rules) {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&test.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let outcome = runner.run(&vec(a_step(), 1..400), |steps| {
        let mut run = Run::new(rules);
        let played = steps.iter().try_for_each(|step| run.step(step));
        played
            .and_then(|()| run.ends())
            .map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => {
            let steps: String = steps.iter().map(|step| format!("  {step:?}\n")).collect();
            panic!("MIDGE_SEED={seed} fails: {why}\nafter\n{steps}");
        }
        Err(other) => panic!("MIDGE_SEED={seed}: {other}"),
    }
}

#[test]
fn everybody_gets_what_is_due_with_default_limits() {
    check(
        1,
        Rules {
            duplicates: true,
            queued_max: 1000,
            window_max: 20,
            in_memory: 0,
        },
    );
}

#[test]
fn everybody_gets_what_is_due_without_limits() {
    check(
        2,
        Rules {
            duplicates: true,
            queued_max: 0,
            window_max: 0,
            in_memory: 0,
        },
    );
}

#[test]
fn everybody_gets_what_is_due_one_message_at_a_time() {
    check(
        3,
        Rules {
            duplicates: true,
            queued_max: 0,
            window_max: 1,
            in_memory: 0,
        },
    );
}

#[test]
fn everybody_gets_what_is_due_with_short_queues() {
    check(
        4,
        Rules {
            duplicates: true,
            queued_max: 5,
            window_max: 3,
            in_memory: 0,
        },
    );
}

#[test]
fn everybody_gets_what_is_due_once_for_overlapping_subscriptions() {
    check(
        5,
        Rules {
            duplicates: false,
            queued_max: 0,
            window_max: 20,
            in_memory: 0,
        },
    );
}

#[test]
fn everybody_gets_what_is_due_where_the_store_has_most_of_it() {
    for (test, window_max, in_memory) in [(6, 1, 1), (7, 3, 2), (8, 20, 4)] {
        check(
            test,
            Rules {
                duplicates: true,
                queued_max: 0,
                window_max,
                in_memory,
            },
        );
    }
}
