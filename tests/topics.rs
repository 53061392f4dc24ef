//! Topic Names and Topic Filters [MQTT §4.7] [MQTT5 §4.7]: what matches what, seen from outside.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::reason::ReasonCode;
use table::*;

/// Whether a message on `topic` comes to a subscriber to `filter`: live, and retained.
#[track_caller]
fn matches(version: ProtocolVersion, filter: &str, topic: &str) -> bool {
    let mut t = Table::new();
    let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
    t.sends(ann, subscribe(1, filter, 0));
    t.gets(ann, suback(1, &[0]));
    t.sends(bob, publish(topic, "x").retain());
    let live = t.next(ann);
    t.sends(bob, subscribe(1, filter, 0));
    t.gets(bob, suback(1, &[0]));
    let retained = t.next(bob);
    t.silence();
    assert_eq!(
        live.is_some(),
        retained.is_some(),
        "{filter} and {topic}: live and retained messages do not agree"
    );
    live.is_some()
}

#[track_caller]
fn table(rows: &[(&str, &str, bool)]) {
    for version in EVERY {
        for (filter, topic, expected) in rows {
            assert_eq!(
                matches(version, filter, topic),
                *expected,
                "{filter} and {topic} in {version:?}"
            );
        }
    }
}

#[test]
fn the_multi_level_wildcard_matches_its_parent_and_all_below() {
    // [MQTT-4.7.1-2] [MQTT5-4.7.1-1]
    table(&[
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("a/#", "b", false),
        ("/#", "/a", true),
        ("/#", "a", false),
    ]);
}

#[test]
fn the_single_level_wildcard_matches_one_level_even_an_empty_one() {
    // [MQTT-4.7.1-3] [MQTT5-4.7.1-2]
    table(&[
        ("+", "a", true),
        ("+", "a/b", false),
        ("+", "/a", false),
        ("+/+", "/a", true),
        ("/+", "/a", true),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+/b", "a//b", true),
        ("a/+/b", "a/x/b", true),
        ("a/+/b", "a/x/y/b", false),
        ("+/b/#", "a/b", true),
    ]);
}

#[test]
fn leading_wildcards_leave_dollar_topics_alone() {
    // [MQTT-4.7.2-1] [MQTT5-4.7.2-1]
    table(&[
        ("#", "$a", false),
        ("#", "$a/x", false),
        ("+/x", "$a/x", false),
        ("+", "$a", false),
        ("+/#", "$a/x", false),
        ("$a/#", "$a/x", true),
        ("$a/#", "$a", true),
        ("$a/+", "$a/x", true),
        ("$a/x", "$a/x", true),
        ("a/#", "a/$x", true),
        ("a/+", "a/$x", true),
        ("#", "a$", true),
    ]);
}

#[test]
fn nothing_is_normalised_and_every_character_counts() {
    // [MQTT-4.7.3-4] [MQTT5-4.7.3-4]
    table(&[
        ("A", "a", false),
        ("a/", "a", false),
        ("a", "a/", false),
        ("/a", "a", false),
        ("a", "/a", false),
        ("a//b", "a/b", false),
        ("a//b", "a//b", true),
        ("a b", "a b", true),
        ("a b", "a  b", false),
        (" a", "a", false),
        (" ", " ", true),
        ("caf\u{e9}", "cafe\u{301}", false),
        ("caf\u{e9}", "caf\u{e9}", true),
        ("\u{2ce94}/+", "\u{2ce94}/\u{1f375}", true),
        ("\u{feff}a", "a", false),
        ("a", "\u{feff}a", false),
        ("\u{feff}a", "\u{feff}a", true),
        ("/", "/", true),
        ("//", "/", false),
    ]);
}

#[test]
fn a_shared_filter_matches_as_its_last_part_does() {
    // [MQTT-4.7.2-1] [MQTT5-4.7.2-1] [MQTT5 §4.8.2]
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(ann, subscribe(1, "$share/g/#", 0));
        t.gets(ann, suback(1, &[0]));
        t.sends(bob, publish("$a/x", "no"));
        t.sends(bob, publish("$share/g/x", "no"));
        t.silence();
        t.sends(bob, publish("a/x", "yes"));
        t.gets(ann, publish("a/x", "yes"));
        t.silence();
    }
}

#[test]
fn other_spellings_of_share_are_plain_filters() {
    for version in EVERY {
        for filter in ["$SHARE/g/a", "$share", "$sharex/g/a", "/$share/g/a"] {
            assert!(matches(version, filter, filter), "{filter}"); // [MQTT5-4.8.2-1]
        }
    }
}

#[test]
fn a_topic_name_has_no_wildcard_and_at_least_one_character() {
    let wildcard = "A Topic Name must not hold the wildcards + and #";
    for version in EVERY {
        for topic in ["+", "#", "a/+/b", "a/#", "a+", "#b"] {
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends(bob, subscribe(1, "#", 0));
            t.gets(bob, suback(1, &[0]));
            t.sends(ann, publish(topic, "x"));
            // [MQTT-4.7.1-1] [MQTT5-4.7.0-1] [MQTT-4.8.0-1]
            t.cut_off(ann, ReasonCode::TopicNameInvalid, wildcard);
            t.open(bob);
            t.silence();
            let carl = t.says_connect(version, connect("carl").will(topic, "x", 0, false));
            if version == V5 {
                let sentence = format!("Will Topic: {wildcard}");
                let reason = ReasonCode::TopicNameInvalid;
                t.gets(carl, refusal(false, reason).because(&sentence));
            }
            t.closed(carl);
            t.silence();
        }
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("", "x"));
        t.cut_off(
            ann,
            ReasonCode::ProtocolError, // [MQTT-4.7.3-1] [MQTT5-4.7.3-1]
            "PUBLISH has neither Topic Name nor Topic Alias",
        );
    }
}

#[test]
fn no_topic_name_has_a_null_character() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("a\0b", "x"));
        t.cut_off(
            ann,
            ReasonCode::MalformedPacket, // [MQTT-4.7.3-2] [MQTT5-4.7.3-2]
            "packet has a string with a null character in it",
        );
    }
}

#[test]
fn a_topic_may_have_65535_bytes_and_200_levels() {
    let long = "x".repeat(65_535);
    let deep = vec!["x"; 200].join("/");
    // [MQTT-4.7.3-3] [MQTT5-4.7.3-3]: a longer one cannot even be written.
    table(&[
        (&long, &long, true),
        ("+", &long, true),
        (&deep, &deep, true),
    ]);
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish(&vec!["x"; 201].join("/"), "x"));
        let reason = ReasonCode::TopicNameInvalid;
        t.cut_off(ann, reason, "The Topic Name has too many levels");
    }
}
