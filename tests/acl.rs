//! The access control file: what each of its lines does, as a table of questions and answers, and
//! the line and reason of each that is refused. mosquitto 2.1 is the measure.

use midge::limits::AUTH_FILE_ERRORS_MAX;
use midge::message::Identity;
use midge::policy::acl::Access::{Read, Write};
use midge::policy::acl::{Access, AclFile};
use midge::topic::name::TopicName;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// A client: its identifier, and its username if it has one.
#[derive(Clone, Copy, Debug)]
struct Who(&'static str, Option<&'static str>);

const ANONYMOUS: Who = Who("c1", None);
const ANN: Who = Who("c1", Some("ann"));
const BOB: Who = Who("c2", Some("bob"));

fn file(text: &str) -> AclFile {
    AclFile::parse(text.as_bytes()).unwrap()
}

fn may(file: &AclFile, who: Who, access: Access, topic: &str) -> bool {
    let identity = Identity {
        listener: 0,
        client_identifier: who.0.into(),
        username: who.1.map(Into::into),
    };
    file.may(access, &identity, &TopicName::new(topic).unwrap())
}

/// Whether each question has its answer.
#[track_caller]
fn answers(text: &str, rows: &[(Who, Access, &str, bool)]) {
    let file = file(text);
    for (who, access, topic, expected) in rows {
        let given = may(&file, *who, *access, topic);
        assert_eq!(given, *expected, "{who:?} {access:?} {topic}");
    }
}

#[track_caller]
fn refused(text: &[u8], expected: &[&str]) {
    let errors = AclFile::parse(text).unwrap_err();
    let given: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(given, expected, "{}", String::from_utf8_lossy(text));
}

#[track_caller]
fn noticed(text: &str, expected: &[&str]) {
    let file = file(text);
    let given: Vec<_> = file.notices().iter().map(ToString::to_string).collect();
    assert_eq!(given, expected, "{text}");
}

#[test]
fn a_file_without_a_rule_denies_everything() {
    // CVE-2018-12550: an empty file let everybody do everything.
    for text in [
        "",
        "\n\n",
        "# nothing but a comment",
        "# one\n# two\r\n   \n",
        "user ann\n",
        "user ann\nuser bob",
    ] {
        assert!(file(text).is_empty(), "{text:?}");
        for who in [ANONYMOUS, ANN, BOB] {
            for access in [Read, Write] {
                assert!(!may(&file(text), who, access, "a/b"), "{text:?} {who:?}");
                assert!(!may(&file(text), who, access, "$SYS/broker/uptime"));
            }
        }
    }
}

#[test]
fn access_words() {
    answers(
        "topic read r\n\
         topic write w\n\
         topic readwrite rw\n\
         topic both\n\
         topic deny rw/not\n\
         topic rw/#\n",
        &[
            (ANONYMOUS, Read, "r", true),
            (ANONYMOUS, Write, "r", false),
            (ANONYMOUS, Read, "w", false),
            (ANONYMOUS, Write, "w", true),
            (ANONYMOUS, Read, "rw", true),
            (ANONYMOUS, Write, "rw", true),
            (ANONYMOUS, Read, "both", true),
            (ANONYMOUS, Write, "both", true),
            (ANONYMOUS, Read, "rw/x", true),
            (ANONYMOUS, Read, "rw/not", false),
            (ANONYMOUS, Write, "rw/not", false),
            (ANONYMOUS, Read, "else", false),
        ],
    );
}

#[test]
fn rules_before_any_user_are_for_clients_without_a_username() {
    answers(
        "topic read news\n\
         user ann\n\
         topic read ann/#\n\
         user bob\n\
         topic read bob/#\n\
         user ann\n\
         topic write again\n",
        &[
            (ANONYMOUS, Read, "news", true),
            (ANONYMOUS, Read, "ann/x", false),
            (ANN, Read, "news", false),
            (ANN, Read, "ann/x", true),
            (ANN, Read, "bob/x", false),
            (ANN, Write, "again", true), // two blocks of one user are one
            (BOB, Read, "bob/x", true),
            (BOB, Write, "again", false),
            (Who("c", Some("carl")), Read, "news", false), // no block, no patterns: denied
            (Who("c", Some("")), Read, "news", false),     // an empty name is a name
        ],
    );
}

#[test]
fn the_first_match_decides_in_this_order() {
    // 1. the user's denies, 2. the user's allows, 3. pattern denies, 4. pattern allows.
    answers(
        "pattern readwrite t/%u/#\n\
         pattern deny t/%u/private\n\
         user ann\n\
         topic readwrite t/ann/mine\n\
         topic readwrite t/ann/private\n\
         topic readwrite t/ann/shut\n\
         topic deny t/ann/shut\n\
         topic deny t/ann/closed\n",
        &[
            (ANN, Read, "t/ann/shut", false), // 1 before 2, though it stands below
            (ANN, Read, "t/ann/closed", false), // 1 before 4
            (ANN, Read, "t/ann/private", true), // 2 before 3
            (BOB, Read, "t/bob/private", false), // 3 before 4, though it stands below
            (BOB, Read, "t/bob/mine", true),  // 4; no block: falls through
            (ANN, Read, "t/ann/other", true), // 4; a block that says nothing of it: too
            (BOB, Read, "t/ann/other", false), // nobody: denied
            (ANONYMOUS, Read, "t/bob/mine", false),
        ],
    );
}

#[test]
fn an_allow_for_the_other_access_decides_nothing() {
    answers(
        "user ann\n\
         topic read a/#\n\
         pattern write a/%u\n",
        &[
            (ANN, Read, "a/ann", true),
            (ANN, Write, "a/ann", true),
            (ANN, Write, "a/bob", false),
        ],
    );
}

#[test]
fn patterns_stand_for_the_clients_own_names() {
    answers(
        "pattern read id/%c/#\n\
         pattern write user/%u\n\
         pattern readwrite both/%u/at/%c\n\
         pattern deny id/%c/shut\n",
        &[
            (ANN, Read, "id/c1", true),
            (ANN, Read, "id/c1/x/y", true),
            (ANN, Read, "id/c1/shut", false),
            (ANN, Read, "id/c2/x", false),
            (ANN, Write, "user/ann", true),
            (ANN, Write, "user/bob", false),
            (ANN, Write, "user/ann/x", false),
            (ANN, Write, "both/ann/at/c1", true),
            (ANN, Write, "both/ann/at/c2", false),
            (ANN, Write, "both/bob/at/c1", false),
            (ANN, Read, "id/%c", false), // the tokens do not stand for themselves
            (ANN, Write, "user/%u", false),
            // Patterns with %u are skipped for a client without a username.
            (ANONYMOUS, Read, "id/c1/x", true),
            (ANONYMOUS, Write, "user/", false),
            (ANONYMOUS, Write, "user/%u", false),
            (ANONYMOUS, Write, "both//at/c1", false),
        ],
    );
    let empty = Who("", Some(""));
    answers("pattern a/%c/%u", &[(empty, Read, "a//", true)]);
}

#[test]
fn a_pattern_without_a_token_holds_for_everybody() {
    answers(
        "user ann\npattern read news/#",
        &[
            (ANN, Read, "news/x", true),
            (BOB, Read, "news/x", true),
            (ANONYMOUS, Read, "news/x", true),
            (ANONYMOUS, Write, "news/x", false),
        ],
    );
}

#[test]
fn names_with_wildcards_get_nothing_from_patterns() {
    // CVE-2017-7650: a client called + or # read everybody's topics.
    let text = "pattern readwrite id/%c/#\npattern readwrite user/%u/#\npattern read news\n";
    for name in ["+", "#", "/", "a+", "#a", "a/b", "c1/../c2", "+/#"] {
        for who in [
            Who(name, None),
            Who(name, Some("ann")),
            Who("c1", Some(name)),
        ] {
            for topic in ["id/c1/x", "user/ann/x", "id/a/b/x", "user/a/b", "news"] {
                for access in [Read, Write] {
                    assert!(!may(&file(text), who, access, topic), "{who:?} {topic}");
                }
            }
        }
    }
}

#[test]
fn names_that_look_like_tokens_are_only_names() {
    // Nothing is ever written into a filter, so that nothing in a name is read again.
    let text = "pattern readwrite %c/%u/x\n";
    let odd = Who("%u", Some("%c"));
    answers(
        text,
        &[
            (odd, Read, "%u/%c/x", true),
            (odd, Read, "%c/%c/x", false),
            (odd, Read, "%u/%u/x", false),
            (Who("%u", Some("ann")), Read, "ann/ann/x", false),
            (Who("a b", Some("é")), Read, "a b/é/x", true),
            (Who("a\u{1}", Some("b")), Read, "a\u{1}/b/x", true),
        ],
    );
}

#[test]
fn odd_names_keep_their_own_rules() {
    // A block names its user in full: nothing is matched, and so nothing can be widened.
    let text = "user a/b\ntopic read own\nuser +\ntopic read own\npattern read news\n";
    let slash = Who("c1", Some("a/b"));
    let plus = Who("c1", Some("+"));
    answers(
        text,
        &[
            (slash, Read, "own", true),
            (slash, Read, "news", false),
            (plus, Read, "own", true),
            (plus, Read, "news", false),
            (ANN, Read, "own", false),
            (ANN, Read, "news", true),
        ],
    );
    // Without patterns there is nothing to refuse.
    let id = Who("site/7/+", Some("ann"));
    answers("user ann\ntopic read own", &[(id, Read, "own", true)]);
}

#[test]
fn a_dollar_topic_needs_a_dollar_in_the_filter() {
    let sys = Who("$SYS", Some("$SYS"));
    answers(
        "topic read #\n\
         user ann\n\
         topic read #\n\
         topic read $SYS/broker/+\n\
         topic read +/monitor\n\
         pattern read %c/#\n\
         pattern read %u/#\n",
        &[
            (ANONYMOUS, Read, "a/b", true),
            (ANONYMOUS, Read, "$SYS/broker/uptime", false),
            (ANN, Read, "$SYS/broker/uptime", true),
            (ANN, Read, "$SYS/broker/load/1min", false),
            (ANN, Read, "$x/monitor", false),
            (ANN, Read, "a/$SYS", true),
            (sys, Read, "$SYS/broker/uptime", false), // no name makes a dollar topic
        ],
    );
}

#[test]
fn filters_match_as_subscriptions_do() {
    answers(
        "topic read sport/#\ntopic read a/+/c\ntopic read /\ntopic read with a space/x\n",
        &[
            (ANONYMOUS, Read, "sport", true),
            (ANONYMOUS, Read, "sport/x/y", true),
            (ANONYMOUS, Read, "sports", false),
            (ANONYMOUS, Read, "a/b/c", true),
            (ANONYMOUS, Read, "a//c", true),
            (ANONYMOUS, Read, "a/c", false),
            (ANONYMOUS, Read, "a/b/c/d", false),
            (ANONYMOUS, Read, "/", true),
            (ANONYMOUS, Read, "with a space/x", true),
            (ANONYMOUS, Read, "A/b/c", false),
        ],
    );
}

#[test]
fn blanks_and_line_ends() {
    answers(
        "  user   ann b  \r\n\
         \t topic\tread   a/b \r\n\
         topic    read   c d  \r\n\
         \r\n\
         topic w",
        &[
            (Who("c", Some("ann b")), Read, "a/b", true),
            (Who("c", Some("ann b")), Read, "c d", true),
            (Who("c", Some("ann b")), Write, "w", true),
        ],
    );
}

#[test]
fn each_wrong_line_is_named_with_its_reason() {
    refused(
        b"topic read a\n\
          tpoic read a\n\
          \n\
          user\n\
          user   \n\
          topic\n\
          pattern \n\
          topic reed a\n\
          topic a b\n\
          topic read a#\n\
          pattern %c/#/x\n\
          \x20# indented\n\
          READ a\n\
          user caf\xe9\n",
        &[
            "line 2: 'tpoic' is none of user, topic and pattern",
            "line 4: no username follows 'user'",
            "line 5: no username follows 'user'",
            "line 6: no topic filter follows",
            "line 7: no topic filter follows",
            "line 8: 'reed' is none of read, write, readwrite and deny, one of which must stand \
             before a topic filter with a space in it",
            "line 9: 'a' is none of read, write, readwrite and deny, one of which must stand \
             before a topic filter with a space in it",
            "line 10: 'a#': The wildcard # must fill its level of the Topic Filter",
            "line 11: '%c/#/x': The wildcard # must be the last level of a Topic Filter",
            "line 12: a comment must have its # as the first character of the line",
            "line 13: 'READ' is none of user, topic and pattern",
            "line 14: this is not UTF-8 text",
        ],
    );
    // A comment may hold anything.
    assert!(AclFile::parse(b"# caf\xe9\ntopic a").is_ok());
    let many = b"wrong\n".repeat(2 * AUTH_FILE_ERRORS_MAX);
    assert_eq!(
        AclFile::parse(&many).unwrap_err().len(),
        AUTH_FILE_ERRORS_MAX
    );
}

#[test]
fn lines_that_do_not_do_what_they_seem_to() {
    noticed("topic a/b\npattern %c\npattern read a/%u/#", &[]);
    noticed(
        "pattern read news/#",
        &[
            "line 1: this pattern has neither %c nor %u as a level, so that it holds for every client",
        ],
    );
    noticed(
        "user ann\npattern a/x%c\ntopic %u/#",
        &[
            "line 2: %c and %u stand for a name only as a whole level, as in mosquitto 2.1; beside \
             other characters they are taken literally, where mosquitto 2.0 put the name in",
            "line 3: %c and %u stand for a name only in a 'pattern' line; here they are taken \
             literally",
        ],
    );
    answers("pattern a/x%c", &[(ANN, Read, "a/xc1", false)]);
    // What mosquitto 2.0 denied must not come to be allowed in silence.
    let errors = AclFile::parse(b"topic #\npattern deny a/%c/x%u").unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "line 2: this pattern would deny nothing: %c and %u stand for a name only as a whole \
         level; give the token a level of its own, or deny more"
    );
    noticed(
        "topic read",
        &["line 1: 'read' is taken as the topic filter, because nothing follows it"],
    );
    answers("topic read", &[(ANONYMOUS, Write, "read", true)]);
    noticed(
        "topic read $share/g/a",
        &[
            "line 1: no topic begins with $share/; write the filter that stands behind the share \
           name",
        ],
    );
    answers("topic $share/g/a", &[(ANONYMOUS, Read, "a", false)]);
}

#[test]
fn users_can_be_listed() {
    let file = file("user ann\ntopic a\nuser bob\npattern %c");
    let mut users: Vec<_> = file.users().collect();
    users.sort_unstable();
    assert_eq!(users, ["ann", "bob"]);
    assert!(file.has_patterns());
    assert!(!file.is_empty());
}

fn cases() -> Config {
    Config {
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>()) {
        let _ = AclFile::parse(&bytes);
    }

    #[test]
    fn nor_do_lines_that_are_nearly_right(
        lines in proptest::collection::vec(
            "(user|topic|pattern|#|)[ \t](read|write|readwrite|deny|)[ ]?[a%cu+#/$ \r]{0,8}", 0..8
        ),
        topic in "[a%cu/$]{1,8}",
        name in "[a%cu+#/$]{0,4}",
    ) {
        let text = lines.join("\n");
        if let Ok(file) = AclFile::parse(text.as_bytes()) {
            let identity = Identity {
                listener: 0,
                client_identifier: name.as_str().into(),
                username: Some(name.into()),
            };
            let topic = TopicName::new(&topic).unwrap();
            for access in [Read, Write] {
                let may = file.may(access, &identity, &topic);
                prop_assert!(!(may && file.is_empty()));
            }
        }
    }
}
